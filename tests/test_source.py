"""Source and Unlabeled: handles that are shared, never changed; and source_target_split."""

import copy
import pickle
import sys
import time

import joblib
import numpy as np
import pandas as pd
import polars as pl
import pytest
from scipy import sparse
from sklearn.base import clone

from skmtl import Source, TransferEstimator, Unlabeled
from skmtl.model_selection import source_target_split

X = np.arange(12.0).reshape(6, 2)
Y = np.arange(6.0)
TASK = ["Bonn", "Kiel", "Bonn", "Ulm", "Kiel", "Ulm"]
MILLION = 1_000_000


# ---------------------------------------------------------------------------------- sharing


def test_clones_and_copies_are_the_handle_itself():
    for handle in (Source(X, Y), Unlabeled(X)):
        assert clone(handle) is handle
        assert copy.copy(handle) is handle and copy.deepcopy(handle) is handle
        assert handle == handle and len({handle, handle}) == 1
    assert Source(X, Y) != Source(X, Y)


def test_clone_takes_no_time_at_a_million_rows():
    model = TransferEstimator(source=Source(np.zeros((MILLION, 27)), np.zeros(MILLION)))
    fastest = min(_seconds(clone, model) for _ in range(20))
    assert fastest < 1e-3
    assert clone(model).source is model.source


def _seconds(function, *args):
    start = time.perf_counter()
    function(*args)
    return time.perf_counter() - start


def test_arrays_are_not_copied():
    source = Source(X, Y, sample_weight=np.ones(6))
    assert np.shares_memory(source.X, X) and np.shares_memory(source.y, Y)
    in_order = Source(X, Y, task=[0, 0, 0, 1, 1, 2])
    assert np.shares_memory(in_order.X, X)
    assert np.shares_memory(Unlabeled(X).X, X)
    frame = pd.DataFrame(X, columns=["a", "b"])
    assert np.shares_memory(Source(frame, Y).X.to_numpy(), frame.to_numpy())


def test_immutable():
    table = X.copy()
    source = Source(table, Y)
    for array in (source.X, source.y, source.labels, source.offsets):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 1
    with pytest.raises(AttributeError, match="immutable"):
        source.X = X
    with pytest.raises(AttributeError, match="immutable"):
        del source.y
    table[0, 0] = 7.0  # the caller's own array stays writeable
    again = pickle.loads(pickle.dumps(source))
    with pytest.raises(ValueError, match="read-only"):
        again.X[0] = 1
    matrix = sparse.csr_matrix(X)
    with pytest.raises(ValueError, match="read-only"):
        Source(matrix, Y).X.data[0] = 1
    matrix.data[0] = 3.0


def test_frames_do_not_see_columns_that_are_added_later():
    for library in (pd, pl):
        frame = library.DataFrame({"a": X[:, 0], "b": X[:, 1]})
        source = Source(frame, Y)
        if library is pd:
            frame["c"] = 0.0
        else:
            frame.insert_column(2, pl.Series("c", np.zeros(6)))
        assert source.feature_names == ["a", "b"] and source.n_features == 2


def test_pickle():
    source = Source(X, Y, TASK, np.arange(1.0, 7.0))
    again = pickle.loads(pickle.dumps(source))
    np.testing.assert_array_equal(again.X, source.X)
    np.testing.assert_array_equal(again.sample_weight, source.sample_weight)
    assert list(again.labels) == ["Bonn", "Kiel", "Ulm"] and repr(again) == repr(source)


def _of_memmap(array):
    while array is not None:
        if isinstance(array, np.memmap):
            return True
        array = getattr(array, "base", None)
    return False


def _held_in_a_worker(source):
    table = source.X if isinstance(source.X, np.ndarray) else source.X.to_numpy()
    return [_of_memmap(a) for a in (table, source.y)], table.flags.writeable


@pytest.fixture
def told_to_workers():
    """This module is none that a worker could import: what it defines is sent along."""
    cloudpickle = pytest.importorskip("cloudpickle")  # what joblib sends with
    module = sys.modules[__name__]
    cloudpickle.register_pickle_by_value(module)
    yield
    cloudpickle.unregister_pickle_by_value(module)


@pytest.mark.usefixtures("told_to_workers")
@pytest.mark.parametrize("kind", ["array", "frame"])
def test_workers_map_the_rows_from_disk(kind):
    rows = np.zeros((200_000, 3))  # 4.8 MB; joblib maps what is above one
    table = rows if kind == "array" else pd.DataFrame(rows)
    source = Source(table, np.zeros(200_000))
    jobs = joblib.Parallel(n_jobs=2)(joblib.delayed(_held_in_a_worker)(source) for _ in range(2))
    assert jobs == [([True, True], False)] * 2


# --------------------------------------------------------------------------------- what it holds


def test_repr():
    assert repr(Source(X, Y)) == "Source(6 rows x 2 features, 1 source)"
    assert repr(Source(X, Y, TASK)) == "Source(6 rows x 2 features, 3 sources)"
    assert repr(Unlabeled(X)) == "Unlabeled(6 rows x 2 features)"
    big = TransferEstimator(source=Source(np.zeros((MILLION, 2)), np.zeros(MILLION)))
    assert "1000000 rows" in repr(big) and len(repr(big)) < 100
    assert "1000000 rows" in big._repr_html_()


@pytest.mark.parametrize("kind", ["list", "array", "pandas", "polars", "sparse"])
def test_rows_are_kept_by_source(kind):
    table = {
        "list": X.tolist(),
        "array": X,
        "pandas": pd.DataFrame(X, columns=["a", "b"], index=list("uvwxyz")),
        "polars": pl.DataFrame(X, schema=["a", "b"]),
        "sparse": sparse.coo_matrix(X),
    }[kind]
    source = Source(table, Y, TASK)
    assert list(source.labels) == ["Bonn", "Kiel", "Ulm"]
    assert list(source.offsets) == [0, 2, 4, 6]
    np.testing.assert_array_equal(source.y, [0, 2, 1, 4, 3, 5])
    held = source.X.toarray() if kind == "sparse" else np.asarray(source.X)
    np.testing.assert_array_equal(held, X[[0, 2, 1, 4, 3, 5]])
    assert source.n_rows == 6 and source.n_features == 2
    assert source.feature_names == (["a", "b"] if kind in ("pandas", "polars") else None)
    np.testing.assert_array_equal(source.numbers()[[0]].sum(), X[0].sum())
    assert source.numbers() is source.numbers()


def test_rows_of_weight_zero_are_left_out():
    source = Source(X, Y, TASK, [1, 0, 2, 1, 0, 3])
    assert list(source.labels) == ["Bonn", "Ulm"] and list(source.offsets) == [0, 2, 4]
    np.testing.assert_array_equal(source.y, [0, 2, 3, 5])
    np.testing.assert_array_equal(source.sample_weight, [1, 2, 1, 3])


@pytest.mark.parametrize(
    ("y", "kind"),
    [
        (["no", "yes"] * 3, "O"),
        (np.array(["no", "yes"] * 3), "U"),
        (pd.Series(["no", "yes"] * 3, dtype="category"), "O"),
        (pd.Series([1, 2] * 3, dtype="Int64"), "i"),
        ([1, 2.5] * 3, "f"),
        ([True, False] * 3, "b"),
        (Y[:, None], "f"),
    ],
)
@pytest.mark.filterwarnings("ignore:A column-vector y was passed")
def test_labels_of_every_kind(y, kind):
    source = Source(X, y)
    assert source.y.dtype.kind == kind and source.y.shape == (6,)


BAD_SOURCES = {
    "short y": ((X, Y[:5]), "X has 6 rows, but y has 5"),
    "short task": ((X, Y, TASK[:5]), "X has 6 rows, but task has 5"),
    "short weights": ((X, Y, None, np.ones(5)), "sample_weight.shape"),
    "negative weight": ((X, Y, None, -np.ones(6)), "negative entries"),
    "no weight": ((X, Y, None, np.zeros(6)), "zero for every row"),
    "NaN in y": ((X, [0, 1, np.nan, 3, 4, 5]), "Source: y|missing"),
    "None in y": ((X, ["a", "b", None, "a", "b", "a"]), "1 missing labels, the first in row 2"),
    "mixed y": ((X, ["a", 1] * 3), "mixed kinds"),
    "dates": ((X, np.zeros(6, dtype="M8[s]")), "pass numbers or class labels"),
    "missing task": ((X, Y, ["a", None] * 3), "task= has 3 missing labels"),
    "no rows": ((X[:0], Y[:0]), "at least one row and one column, got shape"),
    "one dimension": ((Y, Y), "at least one row and one column, got shape"),
    "names twice": ((pd.DataFrame(X, columns=["a", "a"]), Y), "duplicate column names"),
}


@pytest.mark.parametrize("name", BAD_SOURCES)
def test_bad_input_gets_a_clear_error(name):
    args, message = BAD_SOURCES[name]
    with pytest.raises(ValueError, match=message):
        Source(*args)


def test_numbers_must_be_finite():
    table = X.copy()
    table[2, 1] = np.nan
    source = Source(table, Y)  # legal: a Pipeline may fill gaps
    with pytest.raises(ValueError, match='(?s)contains NaN.*preprocessor="auto"'):
        source.numbers()


# -------------------------------------------------------------------------- source_target_split


def test_split_by_labels():
    before = X.copy()
    source, X_target, y_target = source_target_split(X, Y, TASK, target="Kiel")
    np.testing.assert_array_equal(X_target, X[[1, 4]])
    np.testing.assert_array_equal(y_target, [1, 4])
    np.testing.assert_array_equal(source.y, [0, 2, 3, 5])
    assert list(source.labels) == ["Bonn", "Ulm"]
    np.testing.assert_array_equal(X, before)
    series = pd.Series(Y, index=list("uvwxyz"))
    assert source_target_split(X, series, TASK, target="Kiel")[2].to_dict() == {"v": 1.0, "y": 4.0}
    assert isinstance(source_target_split(X, pl.Series(Y), TASK, target="Kiel")[2], pl.Series)


@pytest.mark.parametrize("library", [pd, pl])
def test_split_by_column_of_a_frame(library):
    frame = library.DataFrame({"a": X[:, 0], "plant": TASK, "b": X[:, 1]})
    source, X_target, y_target = source_target_split(
        frame, Y.tolist(), target="Ulm", task_column="plant"
    )
    assert type(X_target) is type(frame) is type(source.X)
    assert list(X_target.columns) == source.feature_names == ["a", "b"]
    np.testing.assert_array_equal(X_target.to_numpy(), X[[3, 5]])
    np.testing.assert_array_equal(y_target, [3, 5])


def test_split_by_index_of_an_array():
    table = np.column_stack([X, [1, 2, 1, 3, 2, 3]])
    for kind in (np.asarray, sparse.csr_matrix):
        source, X_target, y_target = source_target_split(kind(table), Y, target=2, task_column=-1)
        assert source.n_features == X_target.shape[1] == 2
        assert list(source.labels) == [1, 3] and list(y_target) == [1, 4]


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"task": TASK, "target": "Koeln"}, "'Koeln' is not among the labels of task=.*: 'Bonn'"),
        ({"task": [1, 2] * 3, "target": "1"}, "target='1' is not among the labels"),
        ({"task": [1, 2] * 3, "target": True}, "target=True is not among the labels"),
        ({"task": TASK, "target": ["Kiel"]}, "must be one of the labels"),
        ({"task": TASK, "target": "Kiel", "task_column": 0}, "both of task= and task_column="),
        ({"target": "Kiel"}, "neither of task= and task_column="),
        ({"task": ["Kiel"] * 6, "target": "Kiel"}, "one label only"),
        ({"task": TASK[:5], "target": "Kiel"}, "inconsistent numbers of samples"),
        ({"target": 0, "task_column": "plant"}, "is a name, but X is a ndarray"),
    ],
)
def test_split_errors(kwargs, message):
    with pytest.raises(ValueError, match=message):
        source_target_split(X, Y, **kwargs)


@pytest.mark.parametrize(
    ("X", "message"),
    [
        (np.full((4, 2), 1j), "Source: X is an array of type complex128"),
        (np.zeros((4, 2), dtype="V8"), "Source: X is an array of type"),
        (sparse.csr_matrix(np.full((4, 2), 1j)), "Source: X is an array of type complex128"),
        (np.ma.array(np.ones((4, 2)), mask=np.eye(4, 2)), "2 masked entries.*filled"),
    ],
)
def test_tables_that_nothing_can_be_fitted_to(X, message):
    with pytest.raises(ValueError, match=message):
        Source(X, np.arange(4.0))


@pytest.mark.parametrize(
    ("y", "message"),
    [
        (np.full(4, 1j), "y is of type complex128"),
        (np.zeros((4, 1, 1)), r"y must be one label per row.*\(4, 1, 1\)"),
        ([[1.0], [2.0, 3.0], [1.0], [1.0]], "entries of several lengths"),
        (np.array([{1}, {2}, {1}, {2}], dtype=object), r"y holds \{1\} of type set in row 0"),
    ],
)
def test_labels_that_are_no_labels(y, message):
    with pytest.raises(ValueError, match=message):
        Source(np.ones((4, 2)), y)
    with pytest.raises(ValueError, match=message):
        source_target_split(np.ones((4, 2)), y, [0, 0, 1, 1], target=1)
