"""Finding the task column, splitting it off, and labels to codes and back."""

import pickle

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from scipy import sparse

from skmtl.tasks.columns import as_table, column_names, drop_columns, find_column
from skmtl.tasks.encode import TaskLabels, check_labels, read_labels

FRAME = pd.DataFrame({"a": [1.0, 2.0], "shop": ["x", "y"], "b": [3.0, 4.0]})
FRAMES = {"pandas": FRAME, "polars": pl.DataFrame(FRAME.to_dict("list"))}


@pytest.mark.parametrize("frame", FRAMES.values(), ids=FRAMES)
def test_find_by_name_or_index(frame):
    assert column_names(frame) == ["a", "shop", "b"]
    assert find_column(frame, "shop") == 1
    assert find_column(frame, 1) == 1
    assert find_column(frame, -2) == 1
    assert column_names(np.zeros((2, 2))) is None


def test_find_renamed_by_a_column_transformer():
    assert find_column(FRAME.rename(columns={"shop": "remainder__shop"}), "shop") == 1
    both = FRAME.rename(columns={"a": "num__shop"})
    assert find_column(both, "shop") == 1  # the exact name wins
    two = FRAME.rename(columns={"shop": "remainder__shop", "a": "num__shop"})
    with pytest.raises(ValueError, match=r"could be any of \['num__shop', 'remainder__shop'\]"):
        find_column(two, "shop")
    with pytest.raises(ValueError, match="whose columns are"):
        find_column(FRAME.rename(columns={"shop": "workshop"}), "shop")


@pytest.mark.parametrize(
    ("X", "column", "message"),
    [
        (FRAME, "store", "'store' is not a column of X, whose columns are: 'a', 'shop', 'b'"),
        (FRAME, 3, "task_column=3 is out of range: X has 3 columns"),
        (np.zeros((2, 3)), -4, "task_column=-4 is out of range"),
        (np.zeros((2, 3)), "shop", "'shop' is a name, but X is a ndarray"),
        (FRAME, True, "task_column=True is of type bool"),
        (FRAME, 1.0, "task_column=1.0 is of type float"),
        (FRAME.set_axis(["a", "a", "shop"], axis=1), "shop", r"duplicate column names \['a'\]"),
    ],
)
def test_not_found(X, column, message):
    with pytest.raises(ValueError, match=message):
        find_column(X, column)


def test_a_wide_table_is_not_listed_in_full():
    wide = pd.DataFrame(np.zeros((1, 500)), columns=[f"c{i}" for i in range(500)])
    with pytest.raises(ValueError, match="not a column") as raised:
        find_column(wide, "shop")
    assert len(str(raised.value)) < 500


@pytest.mark.parametrize("frame", FRAMES.values(), ids=FRAMES)
def test_split_frame(frame):
    labels, rest = read_labels(frame, "shop"), drop_columns(frame, [1])
    assert list(labels) == ["x", "y"]
    assert column_names(rest) == ["a", "b"]
    assert column_names(frame) == ["a", "shop", "b"]


@pytest.mark.parametrize(
    "form", [np.asarray, np.asfortranarray, sparse.csr_matrix, sparse.csc_array, list]
)
def test_split_array(form):
    X = np.array([[1.0, 7.0, 2.0], [3.0, 8.0, 0.0]])
    table = as_table(form(X))
    labels, rest = read_labels(table, 1), drop_columns(table, [1])
    np.testing.assert_array_equal(labels, [7, 8])
    rest = rest.toarray() if hasattr(rest, "toarray") else rest
    np.testing.assert_array_equal(rest, X[:, [0, 2]])


LABELS = {
    "python strings": (["b", "a", "b"], "string", ["a", "b"]),
    "numpy strings": (np.array(["b", "a", "b"]), "string", ["a", "b"]),
    "pandas strings": (pd.Series(["b", "a", "b"]), "string", ["a", "b"]),
    "pandas category": (pd.Series(["b", "a", "b"], dtype="category"), "string", ["a", "b"]),
    "pandas unused category": (
        pd.Series(pd.Categorical(["b", "a", "b"], categories=["z", "b", "a"])),
        "string",
        ["a", "b"],
    ),
    "pandas Int64": (pd.Series([2, 1, 2], dtype="Int64"), "integer", [1, 2]),
    "polars strings": (pl.Series(["b", "a", "b"]), "string", ["a", "b"]),
    "polars category": (pl.Series(["b", "a", "b"], dtype=pl.Categorical), "string", ["a", "b"]),
    "polars integers": (pl.Series([2, 1, 2]), "integer", [1, 2]),
    "integers": ([2, -1, 2], "integer", [-1, 2]),
    "wide integers": ([2**40, -(2**40), 2**40], "integer", [-(2**40), 2**40]),
    "small integers": (np.array([2, 1, 2], dtype=np.uint8), "integer", [1, 2]),
    "whole floats": ([2.0, 1.0, 2.0], "integer", [1, 2]),
    "object integers": (np.array([2, 1, 2], dtype=object), "integer", [1, 2]),
    "object whole floats": (np.array([2.0, 1, 2], dtype=object), "integer", [1, 2]),
    "booleans": ([True, False, True], "boolean", [False, True]),
    "one column": (np.array([[2], [1], [2]]), "integer", [1, 2]),
}
if hasattr(np.dtypes, "StringDType"):  # numpy >= 2.0
    strings = np.array(["b", "a", "b"], dtype=np.dtypes.StringDType())
    LABELS["StringDType"] = (strings, "string", ["a", "b"])


@pytest.mark.parametrize(("labels", "kind", "classes"), LABELS.values(), ids=LABELS)
def test_labels_of_every_kind(labels, kind, classes):
    encoded, codes = TaskLabels.from_rows(labels)
    assert encoded.kind == kind
    assert list(encoded.classes) == classes and len(encoded) == 2
    np.testing.assert_array_equal(codes, [1, 0, 1])
    assert codes.dtype == np.int64
    np.testing.assert_array_equal(encoded.encode(labels), codes)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(encoded)).encode(labels), codes)


BAD = {
    "NaN among floats": ([1.0, np.nan], "1 missing labels, the first in row 1"),
    "NaN among strings": (np.array(["a", np.nan], dtype=object), "missing labels"),
    "None among strings": (["a", None], "missing labels"),
    "None among integers": (np.array([1, None], dtype=object), "missing labels"),
    "missing pandas string": (pd.Series(["a", None]), "missing labels"),
    "missing pandas category": (pd.Series(["a", None], dtype="category"), "missing labels"),
    "missing pandas Int64": (pd.Series([1, None], dtype="Int64"), "missing labels"),
    "missing polars integer": (pl.Series([1, None]), "missing labels"),
    "missing polars string": (pl.Series(["a", None]), "missing labels"),
    "strings and integers": (np.array(["a", 1], dtype=object), "mixed .* kinds .int, str."),
    "booleans and integers": (np.array([True, 1], dtype=object), "mixed .* kinds"),
    "scaled ids": ([0.5, 1.0], "non-integral numbers such as .*0.5.* transformer"),
    "infinite": ([1.0, np.inf], "non-integral"),
    "dates": (np.array(["2020-01-01"], dtype="datetime64[D]"), "datetime64"),
    "complex": (np.array([1j]), "complex"),
    "two columns": (np.zeros((2, 2), dtype=int), "one label per row, got an array of shape"),
}


@pytest.mark.parametrize(("labels", "message"), BAD.values(), ids=BAD)
def test_bad_labels(labels, message):
    with pytest.raises(ValueError, match=message) as raised:
        check_labels(labels, "task column 'shop'")
    assert "task column 'shop'" in str(raised.value)


def test_unknown_labels_are_minus_one():
    strings, _ = TaskLabels.from_rows(["b", "d"])
    np.testing.assert_array_equal(strings.encode(["a", "b", "c", "d", "e"]), [-1, 0, -1, 1, -1])
    integers, _ = TaskLabels.from_rows([3, 10, 7])
    np.testing.assert_array_equal(integers.encode([2, 3, 7, 8, 10, 11]), [-1, 0, 1, -1, 2, -1])
    assert strings.encode([]).shape == (0,)


@pytest.mark.parametrize(
    ("fitted", "given"), [([17, 18], ["17"]), (["17"], [17]), ([True, False], [1]), ([1], [True])]
)
def test_labels_of_another_kind(fitted, given):
    encoded, _ = TaskLabels.from_rows(fitted)
    with pytest.raises(ValueError, match="convert them to the same kind"):
        encoded.encode(given)


def test_codes_of_many_integers_agree_with_numpy():
    rng = np.random.default_rng(0)
    for high in (5, 10**3, 10**12):  # by lookup table, and by sorting
        labels = rng.integers(-high, high, size=400)
        encoded, codes = TaskLabels.from_rows(labels)
        classes, wanted = np.unique(labels, return_inverse=True)
        np.testing.assert_array_equal(encoded.classes, classes)
        np.testing.assert_array_equal(codes, wanted)


def test_union():
    a, _ = TaskLabels.from_rows(["b", "d"])
    b, _ = TaskLabels.from_rows(["c", "a", "d"])
    both, of_a, of_b = a.union(b)
    assert list(both.classes) == ["a", "b", "c", "d"]
    np.testing.assert_array_equal(of_a, [1, 3])
    np.testing.assert_array_equal(of_b, [0, 2, 3])
    with pytest.raises(ValueError, match="earlier labels were of kind"):
        a.union(TaskLabels.from_rows([1, 2])[0])


@pytest.mark.parametrize(
    "labels",
    [np.array([2**63 + 5, 1], dtype=np.uint64), [1e30, 1.0], [1e30, 2e30], [2**70, 1]],
    ids=["uint64", "a large float", "large floats", "a large int"],
)
def test_integers_beyond_64_bits(labels):
    """They raise; they are neither merged nor do they turn negative."""
    with pytest.raises(ValueError, match="the task column holds"):
        TaskLabels.from_rows(labels)


# ------------------------------------------------------------------------ floats, gaps, tuples


@pytest.mark.parametrize(
    ("dtype", "bits"), [(np.float16, 11), (np.float32, 24), (np.float64, 53), (np.longdouble, 63)]
)
def test_ids_beyond_what_a_float_holds(dtype, bits):
    bits = min(bits, np.finfo(dtype).nmant + 1)
    most = np.array([2**bits - 1, 1], dtype=dtype)
    labels, codes = TaskLabels.from_rows(most)
    assert labels.classes.tolist() == [1, 2**bits - 1] and codes.tolist() == [1, 0]
    forms = [most + dtype(1), list(most + dtype(1))]
    if dtype in (np.float32, np.float64):
        forms += [pd.Series(most + dtype(1)), pl.Series(most + dtype(1)), pa.array(most + dtype(1))]
        nullable = pd.Series(most + dtype(1)).astype(f"Float{dtype().nbytes * 8}")
        if nullable.to_numpy().dtype == dtype:  # pandas before 2.2 makes Python's floats of them
            forms.append(nullable)
    for beyond in forms:
        with pytest.raises(ValueError, match=f"beyond {bits} bits"):
            TaskLabels.from_rows(beyond)
        with pytest.raises(ValueError, match=f"beyond {bits} bits"):
            labels.encode(beyond)


MISSING = {
    "strings": pd.Series(["a", pd.NA, "b"], dtype="string"),
    "objects": np.array(["a", pd.NA, "b"], dtype=object),
    "None": ["a", None, "b"],
    "NaN": np.array(["a", np.nan, "b"], dtype=object),
    "NaT": np.array(["a", pd.NaT, "b"], dtype=object),
    "integers": pd.array([1, None, 2], dtype="Int64"),
    "booleans": pd.array([True, None, False], dtype="boolean"),
    "categories": pd.Categorical(["a", None, "b"]),
    "polars": pl.Series(["a", None, "b"]),
    "arrow": pa.array(["a", None, "b"]),
    "arrow in pandas": pd.Series(["a", None, "b"], dtype=pd.ArrowDtype(pa.string())),
}


@pytest.mark.parametrize("labels", MISSING.values(), ids=MISSING)
def test_missing_labels_of_every_kind(labels):
    with pytest.raises(ValueError, match="1 missing labels, the first in row 1"):
        TaskLabels.from_rows(labels)
    known, _ = TaskLabels.from_rows(["a", "b"])
    with pytest.raises(ValueError, match="1 missing labels, the first in row 1"):
        known.encode(labels)
    with pytest.raises(ValueError, match="column 1 of .* has 1 missing labels"):
        TaskLabels.from_rows(pd.DataFrame({0: ["x", "y", "z"], 1: labels}))


def test_tuples_of_several_kinds():
    rows = [("b", 2, True), ("a", 10, True), ("b", 2, False), ("a", 10, True), ("a", 9, False)]
    labels, codes = TaskLabels.from_rows(rows)
    assert labels.classes.tolist() == sorted(set(rows))
    assert labels.kind == ("string", "integer", "boolean")
    assert [labels.classes[c] for c in codes] == rows
    np.testing.assert_array_equal(labels.encode(rows[::-1]), codes[::-1])
    unknown = [("a", 9, True), ("c", 9, False), ("a", 9, False)]  # of known parts, and of others
    assert labels.encode(unknown).tolist() == [-1, -1, 0]
    again = pickle.loads(pickle.dumps(labels))
    np.testing.assert_array_equal(again.encode(rows), codes)
    assert labels.find(("b", 2, True)) == labels.classes.tolist().index(("b", 2, True))
    with pytest.raises(ValueError, match=r"did you mean \('b', 2, True\)"):
        labels.find(("B", 2, True))


def test_tuples_against_a_slow_twin(rng):
    columns = [rng.integers(9, size=300), np.array(list("pqrs"))[rng.integers(4, size=300)]]
    columns.append(rng.integers(9, size=300) * 10**12)
    rows = list(zip(*(c.tolist() for c in columns), strict=True))
    labels, codes = TaskLabels.from_rows(rows[:200])
    known = sorted(set(rows[:200]))
    assert labels.classes.tolist() == known
    assert codes.tolist() == [known.index(row) for row in rows[:200]]
    wanted = [known.index(row) if row in known else -1 for row in rows]
    assert labels.encode(rows).tolist() == wanted and -1 in wanted
    other, _ = TaskLabels.from_rows(rows[200:])
    both, here, there = labels.union(other)
    assert both.classes.tolist() == sorted(set(rows))
    assert [both.classes[i] for i in here] == known
    assert [both.classes[i] for i in there] == other.classes.tolist()


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([("a", 1), "a"], "tuples together with other labels"),
        ([("a", 1), ("a",)], "several lengths"),
        ([()], "several lengths"),
        (["a", ("a", 1)], "mixed or unsupported kinds"),
        ([("a", 1), ("a", "1")], "column 1 of .* mixed"),
        ([("a", 1.5)], "column 1 of .* non-integral"),
        (np.zeros((3, 2)), "pass a data frame of them or a list of tuples"),
        (pd.DataFrame(index=range(3)), "without columns"),
    ],
)
def test_tuples_that_are_not_labels(rows, message):
    with pytest.raises(ValueError, match=message):
        TaskLabels.from_rows(rows)


def test_tuples_where_fit_had_other_labels():
    plain, _ = TaskLabels.from_rows(["a", "b"])
    with pytest.raises(ValueError, match="holds tuple labels such as .*fitted on string labels"):
        plain.encode([("a", 1)])
    pairs, _ = TaskLabels.from_rows([("a", 1), ("b", 2)])
    with pytest.raises(ValueError, match="holds string labels .* fitted on tuple labels"):
        pairs.encode(["a"])
    with pytest.raises(ValueError, match="labels of 3 parts .* labels of 2"):
        pairs.encode([("a", 1, 2)])
    with pytest.raises(ValueError, match="column 1 .* string labels .* fitted on integer"):
        pairs.encode([("a", "1")])
