"""Bad input to every face: an error that names the argument, and nothing has changed.

A short version of some thousands of cases; what `checks.py` has is not repeated.
"""

import datetime
import pickle
import re

import numpy as np
import pandas as pd
import polars as pl
import pytest
from checks import linear
from scipy import sparse
from sklearn.linear_model import Ridge
from sklearn.model_selection import KFold

from skmtl import (
    MetaLearnerClassifier,
    MetaLearnerRegressor,
    MultiTaskClassifier,
    MultiTaskRegressor,
)
from skmtl.learners import MAML
from skmtl.sharing import PartialPooling

FACES = MultiTaskRegressor, MultiTaskClassifier, MetaLearnerRegressor, MetaLearnerClassifier
N = 24
TASK = np.arange(N) % 3


def numbers():
    return np.random.default_rng(0).normal(size=(N, 3))


def labels(face):
    y = numbers()[:, 0] + TASK
    return y if face in (MultiTaskRegressor, MetaLearnerRegressor) else (y > 1.0).astype(int)


@pytest.fixture(scope="module")
def fitted():
    return {face: linear(face).fit(numbers(), labels(face), task=TASK) for face in FACES}


def cell(value, dtype=object):
    X = numbers().astype(dtype)
    X[3, 1] = value
    return X


def entry(value, like=None):
    out = (np.ones(N) if like is None else like).astype(object)
    out[3] = value
    return out


def refuses(model, call, names):
    """`call` raises an error that has one of the `names`, and the model is as it was."""
    before = pickle.dumps(model)
    with pytest.raises((ValueError, TypeError)) as caught:
        call()
    assert not type(caught.value).__module__.startswith(("numpy", "numba", "pandas"))
    assert re.search(names, str(caught.value)), str(caught.value)
    assert len(str(caught.value)) < 600
    assert pickle.dumps(model) == before


X_OF = {
    "None": lambda: None,
    "dates": lambda: np.full((N, 3), np.datetime64("2024-01-01")),
    "durations": lambda: np.full((N, 3), np.timedelta64(3, "D")),
    "a date": lambda: cell(datetime.date(2024, 1, 1)),
    "a frame with dates": lambda: pd.DataFrame(numbers()).assign(when=pd.Timestamp("2024-01-01")),
    "polars with dates": lambda: pl.DataFrame(numbers()).with_columns(
        when=pl.lit(datetime.date(2024, 1, 1))
    ),
    "complex": lambda: numbers() + 1j,
    "sparse complex": lambda: sparse.csr_matrix(numbers() + 1j),
    "a list": lambda: cell([1, 2]),
    "a dict": lambda: cell({}),
    "a huge integer": lambda: cell(10**400),
    "masked": lambda: np.ma.masked_array(numbers(), mask=numbers() > 1),
    "ragged": lambda: [[1.0, 2.0]] * (N - 1) + [[1.0]],
    "a function": lambda: len,
    "records": lambda: np.zeros(N, dtype=[("a", float)]),
}


@pytest.mark.parametrize("face", FACES)
@pytest.mark.parametrize("bad", X_OF)
def test_features(fitted, face, bad):
    model = fitted[face]
    names = r"\bX\b|array|column|dimension|feature|Sparse"
    refuses(model, lambda: model.fit(X_OF[bad](), labels(face), task=TASK), names)
    if bad != "None":
        refuses(model, lambda: model.predict(X_OF[bad](), task=TASK), names)


@pytest.mark.parametrize("face", FACES)
@pytest.mark.parametrize("bad", ["a frame with dates", "polars with dates"])
def test_a_date_names_its_column_and_the_remedy(fitted, face, bad):
    model = fitted[face]
    names = r"column 'when' of .*exclude_columns=\['when'\].*preprocessor=\"auto\""
    refuses(model, lambda: model.fit(X_OF[bad](), labels(face), task=TASK), names)


Y_OF = {
    "a single number": lambda y: 3.0,
    "a string": lambda y: "abc",
    "a dict": lambda y: {"a": 1},
    "a generator": lambda y: (v for v in y),
    "complex": lambda y: y + 1j,
    "dates": lambda y: np.full(N, np.datetime64("2024-01-01")),
    "dicts": lambda y: np.array([{}] * N, dtype=object),
    "lists": lambda y: entry([1, 2], y),
    "NaT": lambda y: entry(pd.NaT, y),
    "NA": lambda y: entry(pd.NA, y),
    "numbers and a string": lambda y: [*y[:-1], "x"],
    "no columns": lambda y: np.zeros((N, 0)),
    "ragged": lambda y: [[1], [1, 2]] * (N // 2),
    "records": lambda y: np.zeros(N, dtype=[("a", float)]),
    "sparse": lambda y: sparse.csr_matrix(np.asarray(y, dtype=float)[:, None]),
    "a lazy frame": lambda y: pl.DataFrame({"y": y}).lazy(),
}


@pytest.mark.parametrize("face", FACES)
@pytest.mark.parametrize("bad", Y_OF)
def test_target(fitted, face, bad):
    model, y = fitted[face], labels(face)
    refuses(model, lambda: model.fit(numbers(), Y_OF[bad](y), task=TASK), r"\by\b|label")
    refuses(model, lambda: model.adapt(numbers(), Y_OF[bad](y)), r"\by\b|label")


@pytest.mark.parametrize("face", [MultiTaskRegressor, MetaLearnerRegressor])
@pytest.mark.parametrize("bad", [np.array(["a", "b"] * 12), np.array([b"a"] * N)])
def test_strings_for_numbers(fitted, face, bad):
    model = fitted[face]
    refuses(model, lambda: model.fit(numbers(), bad, task=TASK), "y must hold numbers.*row 0")


WEIGHTS = {
    "strings": np.array(["a"] * N), "complex": np.ones(N) + 1j, "a word": "balanced",
    "dates": np.full(N, np.datetime64("2024-01-01")), "none": np.ones(0), "3-D": np.ones((N, 1, 1)),
    "a set": {1.0}, "NA": entry(pd.NA), "infinite": entry(np.inf), "masked": np.ma.masked_equal(
        np.arange(N), 3
    ), "lists": [[1, 2]] * N, "not a number": np.nan,
}  # fmt: skip


@pytest.mark.parametrize("face", FACES)
@pytest.mark.parametrize("bad", WEIGHTS)
def test_weights(fitted, face, bad):
    model, y = fitted[face], labels(face)
    refuses(model, lambda: model.fit(numbers(), y, WEIGHTS[bad], task=TASK), "sample_weight")
    refuses(model, lambda: model.adapt(numbers(), y, WEIGHTS[bad]), "sample_weight")


TASKS = {
    "too few": TASK[:9], "too many": np.r_[TASK, TASK], "missing": entry(pd.NA, TASK.astype(str)),
    "dates": np.full(N, np.datetime64("2024-01-01")), "complex": TASK + 1j, "a dict": {"a": 1},
    "a set": {1, 2}, "two columns": np.column_stack([TASK, TASK]), "lists": entry([1], TASK),
    "records": np.zeros(N, dtype=[("a", float)]), "a generator": (t for t in TASK),
    "halves": TASK + 0.5, "mixed": [1, "1"] * (N // 2), "float32": (TASK + 2**24).astype("f4"),
}  # fmt: skip


@pytest.mark.parametrize("face", FACES)
@pytest.mark.parametrize("bad", TASKS)
def test_tasks(fitted, face, bad):
    model = fitted[face]
    refuses(model, lambda: model.fit(numbers(), labels(face), task=TASKS[bad]), "task|label")
    refuses(model, lambda: model.predict(numbers(), task=TASKS[bad]), "task|label")


@pytest.mark.parametrize("face", FACES)
@pytest.mark.parametrize("bad", [3, "shop"])
def test_one_label_for_all_rows_of_fit(fitted, face, bad):
    model = fitted[face]
    refuses(model, lambda: model.fit(numbers(), labels(face), task=bad), "task.*label")


@pytest.mark.parametrize("face", FACES)
@pytest.mark.parametrize("bad", [9, "0", [0], [0, 1], np.array([0, 1]), None, np.nan, 1j, (0,)])
def test_labels_of_no_task(fitted, face, bad):
    refuses(fitted[face], lambda: fitted[face].for_task(bad), "label=")


@pytest.mark.parametrize("face", FACES)
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("sharing", PartialPooling), ("learner", MAML), ("preprocessor", Ridge),
        ("cv", KFold), ("cv", [(np.arange(9), np.arange(9, 99))]), ("cv", {"a": 1}),
        ("cv", 10**30), ("categorical_columns", ["a"]), ("task_column", {"shop"}),
        ("task_column", []), ("exclude_columns", {"zz": 1}),
    ],
)  # fmt: skip
def test_parameters(face, name, value):
    model = linear(face)
    if name not in model.get_params():
        pytest.skip("not a parameter of this face")
    model.set_params(**{name: value})
    task = {} if name == "task_column" else {"task": TASK}
    refuses(model, lambda: model.fit(numbers(), labels(face), **task), name)


@pytest.mark.parametrize(
    "bad",
    [
        {0: "a"}, {0: None}, {0: [1, 2]}, {0: np.nan}, {0: np.inf}, {0: -1.0}, {0: 0.0, 1: 0.0},
        {0: True, 1: 1j}, {"0": 1.0}, {9: 1.0},
    ],
)  # fmt: skip
def test_class_weights(bad):
    model = MultiTaskClassifier("partial_pooling", class_weight=bad)
    fit = lambda: model.fit(numbers(), labels(MultiTaskClassifier), task=TASK)  # noqa: E731
    refuses(model, fit, "class_weight")
