"""TaskKFold: balance, every task in every training fold, labels, scikit-learn's tools."""

import copy
import pickle
import warnings

import numpy as np
import pandas as pd
import polars as pl
import pytest
import sklearn
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import StackingRegressor
from sklearn.linear_model import Ridge
from sklearn.model_selection import (
    GridSearchCV,
    cross_val_predict,
    cross_val_score,
    cross_validate,
)
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import FunctionTransformer

from skmtl.model_selection import TaskKFold


def folds_of(splitter, X, y=None, groups=None):
    """The test fold of every row; fails unless the test sets are a partition."""
    n_samples = len(X)
    folds = np.full(n_samples, -1)
    for k, (train, test) in enumerate(splitter.split(X, y, groups)):
        assert (folds[test] == -1).all()
        folds[test] = k
        np.testing.assert_array_equal(np.sort(np.r_[train, test]), np.arange(n_samples))
    assert k == splitter.get_n_splits(X, y, groups) - 1
    assert (folds >= 0).all()
    return folds


def table(folds, tasks, n_splits):
    """Rows of every task (one a row) in every fold (one a column)."""
    codes = np.unique(tasks, return_inverse=True)[1]
    counts = np.zeros((codes.max() + 1, n_splits), dtype=int)
    np.add.at(counts, (codes, folds), 1)
    return counts


def ragged_tasks(sizes, seed=None):
    tasks = np.repeat(np.arange(len(sizes)), sizes)
    return tasks if seed is None else np.random.default_rng(seed).permutation(tasks)


SIZES = {
    "equal": [20] * 6,
    "ragged": [1, 2, 3, 4, 5, 6, 7, 50, 101],
    "all small": [2] * 37,
    "singles among others": [1] * 11 + [13] * 4,
    "just above a multiple": [6] * 13,
    "one task": [23],
}


@pytest.mark.parametrize("sizes", SIZES.values(), ids=SIZES.keys())
@pytest.mark.parametrize("n_splits", [2, 3, 5, 7])
@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize("seed", [None, 0])
def test_balance_within_tasks_and_overall(sizes, n_splits, shuffle, seed):
    tasks = ragged_tasks(sizes, seed)
    splitter = TaskKFold(n_splits, shuffle=shuffle, random_state=0 if shuffle else None)
    folds = folds_of(splitter, np.zeros((len(tasks), 1)), groups=tasks)
    counts = table(folds, tasks, n_splits)
    assert (np.ptp(counts, axis=1) <= 1).all()
    assert np.ptp(counts.sum(axis=0)) <= 1
    several = counts.sum(axis=1) >= 2
    in_training = counts.sum(axis=1, keepdims=True) - counts
    assert (in_training[several] > 0).all()


@pytest.mark.parametrize("relabel", ["as is", "reversed", "strings", "by first appearance"])
def test_balance_does_not_depend_on_labels(relabel):
    tasks = ragged_tasks([1] * 20 + [3] * 10 + [40], seed=3)
    if relabel == "reversed":
        tasks = tasks.max() - tasks
    elif relabel == "strings":
        tasks = np.array([f"shop {t}" for t in tasks])
    elif relabel == "by first appearance":
        tasks = pd.factorize(tasks)[0]
    counts = table(folds_of(TaskKFold(5), np.zeros((len(tasks), 1)), groups=tasks), tasks, 5)
    assert (np.ptp(counts, axis=1) <= 1).all()
    assert np.ptp(counts.sum(axis=0)) <= 1
    assert (counts[counts.sum(axis=1) == 1].sum(axis=0) > 0).all()  # no fold has all small tasks


def test_contiguous_within_a_task_without_shuffle():
    tasks = ragged_tasks([7, 9, 12], seed=1)
    folds = folds_of(TaskKFold(3), np.zeros((len(tasks), 1)), groups=tasks)
    for t in range(3):
        assert (np.diff(folds[tasks == t]) >= 0).all()


def test_one_task_is_kfold():
    from sklearn.model_selection import KFold

    X = np.zeros((23, 1))
    ours = TaskKFold(4).split(X, groups=np.zeros(23, dtype=int))
    for (train, test), (train_sk, test_sk) in zip(ours, KFold(4).split(X), strict=True):
        np.testing.assert_array_equal(train, train_sk)
        np.testing.assert_array_equal(test, test_sk)


def test_task_of_one_row_is_in_one_test_fold():
    tasks = np.array([0, 0, 0, 0, 1])
    tested = [4 in test for _, test in TaskKFold(2).split(np.zeros((5, 1)), groups=tasks)]
    assert sum(tested) == 1


def test_shuffle():
    tasks = ragged_tasks([30, 31, 2, 1, 1, 7])
    X = np.zeros((len(tasks), 1))
    plain = folds_of(TaskKFold(3), X, groups=tasks)
    np.testing.assert_array_equal(plain, folds_of(TaskKFold(3), X, groups=tasks))
    seeded = TaskKFold(3, shuffle=True, random_state=0)
    shuffled = folds_of(seeded, X, groups=tasks)
    assert (shuffled != plain).any()
    np.testing.assert_array_equal(shuffled, folds_of(seeded, X, groups=tasks))
    other = folds_of(TaskKFold(3, shuffle=True, random_state=1), X, groups=tasks)
    assert (shuffled != other).any()
    rng = np.random.RandomState(0)
    first = folds_of(TaskKFold(3, shuffle=True, random_state=rng), X, groups=tasks)
    second = folds_of(TaskKFold(3, shuffle=True, random_state=rng), X, groups=tasks)
    np.testing.assert_array_equal(first, shuffled)
    assert (first != second).any()


# where labels come from

SHOPS = np.array(["b", "a", "a", "b", "c", "a", "b", "c", "a", "b"])


def frames():
    data = {"x": np.arange(10.0), "shop": SHOPS, "z": np.ones(10)}
    pandas = pd.DataFrame(data)
    codes = np.unique(SHOPS, return_inverse=True)[1]
    return {
        "pandas": (pandas, "shop"),
        "pandas category": (pandas.astype({"shop": "category"}), "shop"),
        "pandas by index": (pandas, 1),
        "pandas renamed": (pandas.rename(columns={"shop": "remainder__shop"}), "shop"),
        "pandas odd index": (pandas.set_index(np.arange(10)[::-1] + 5), "shop"),
        "polars": (pl.DataFrame(data), "shop"),
        "polars category": (
            pl.DataFrame(data).with_columns(pl.col("shop").cast(pl.Categorical)),
            "shop",
        ),
        "numpy floats": (np.column_stack([np.ones(10), codes]), 1),
        "numpy negative index": (np.column_stack([np.ones(10), codes]), -1),
        "numpy objects": (np.column_stack([np.ones(10), SHOPS]).astype(object), 1),
        "list": ([[1.0, int(c)] for c in codes], 1),
    }


@pytest.mark.parametrize("kind", frames())
def test_task_column(kind):
    X, column = frames()[kind]
    before = copy.deepcopy(X)
    expected = folds_of(TaskKFold(3), np.zeros((10, 1)), groups=SHOPS)
    folds = folds_of(TaskKFold(3, task_column=column), X, y=np.zeros(10))
    np.testing.assert_array_equal(folds, expected)
    same = X.equals(before) if hasattr(X, "equals") else np.array_equal(X, before)
    assert same


def test_sparse_task_column():
    from scipy.sparse import csr_array

    codes = np.unique(SHOPS, return_inverse=True)[1]
    X = csr_array(np.column_stack([np.ones(10), codes]))
    tests = [test for _, test in TaskKFold(3, task_column=1).split(X)]
    expected = [test for _, test in TaskKFold(3).split(np.zeros((10, 1)), groups=SHOPS)]
    for a, b in zip(tests, expected, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("wrap", [list, np.asarray, pd.Series, pl.Series])
def test_groups_override_the_column(wrap):
    X = pd.DataFrame({"x": np.arange(10.0), "shop": SHOPS})
    groups = np.repeat([1, 2], 5)
    folds = folds_of(TaskKFold(2, task_column="shop"), X, groups=wrap(groups))
    np.testing.assert_array_equal(folds, folds_of(TaskKFold(2), X, groups=groups))
    # groups are enough, even if the column is not there
    np.testing.assert_array_equal(
        folds, folds_of(TaskKFold(2, task_column="shop"), X[["x"]], groups=groups)
    )


# errors


@pytest.mark.parametrize(
    "kwargs, error, match",
    [
        ({"n_splits": 1}, ValueError, "n_splits=1 is too small"),
        ({"n_splits": 2.5}, ValueError, "n_splits=2.5 is of type float"),
        ({"n_splits": True}, ValueError, "n_splits=True is of type bool"),
        ({"shuffle": 1}, TypeError, "shuffle=1 must be True or False"),
        ({"random_state": 0}, ValueError, "random_state=0 has no effect.*shuffle=True"),
    ],
)
def test_bad_parameters(kwargs, error, match):
    with pytest.raises(error, match=match):
        TaskKFold(**kwargs)


GOOD = pd.DataFrame({"x": np.arange(4.0), "shop": ["a", "a", "b", "b"]})


@pytest.mark.parametrize(
    "X, kwargs, groups, match",
    [
        (GOOD, {}, None, r"task_column=None and groups=None.*TaskKFold\(task_column="),
        (GOOD, {"task_column": "store"}, None, "'store' is not a column of X.*'x', 'shop'"),
        (GOOD.to_numpy(), {"task_column": "shop"}, None, "without column names"),
        (GOOD.to_numpy(), {"task_column": 7}, None, "task_column=7 is out of range"),
        (GOOD, {"task_column": "x", "n_splits": 5}, None, "n_splits=5 greater.*n_samples=4"),
        (GOOD, {}, [1.0, 1.5, 2.0, 2.0], "groups holds non-integral numbers such as .*1.5"),
        (GOOD, {}, np.array(["a", None, "b", "b"], object), "groups has 1 missing labels"),
        (GOOD, {}, np.array(["a", 1, "b", 2], object), "groups holds labels of mixed"),
        (GOOD, {}, [1, 1, 2], "inconsistent numbers of samples"),
        (GOOD.assign(shop=["a", None, "b", "b"]), {"task_column": "shop"}, None, "missing labels"),
    ],
)
def test_bad_input(X, kwargs, groups, match):
    splitter = TaskKFold(**{"n_splits": 2, **kwargs})
    with pytest.raises(ValueError, match=match):
        list(splitter.split(X, groups=groups))


def test_warns_if_every_row_is_a_task():
    with pytest.warns(UserWarning, match="Each of the 6 rows is a task of its own"):
        list(TaskKFold(2).split(np.zeros((6, 1)), groups=np.arange(6)))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        list(TaskKFold(2).split(np.zeros((6, 1)), groups=[0, 1, 2, 3, 4, 4]))


# scikit-learn's tools


def panel(n_tasks=6, n_rows=15, seed=0):
    """A pandas table sorted by string task ids; a task's level and slope are its own."""
    rng = np.random.default_rng(seed)
    shop = np.repeat([f"shop {i}" for i in range(n_tasks)], n_rows)
    X = pd.DataFrame(rng.normal(size=(len(shop), 3)), columns=["p", "q", "r"])
    y = X["p"] + np.repeat(3 * rng.normal(size=n_tasks), n_rows) + 0.1 * rng.normal(size=len(shop))
    return X.assign(shop=shop), y


def features(X):
    return X[["p", "q", "r"]]


def pooled(drop="by ColumnTransformer"):
    if drop == "by function":  # scikit-learn 1.6's ColumnTransformer finds no polars columns
        drop = FunctionTransformer(features)
    else:
        drop = ColumnTransformer([("features", "passthrough", ["p", "q", "r"])], remainder="drop")
    return Pipeline([("drop", drop), ("ridge", Ridge())])


@pytest.mark.parametrize(
    "wrap, drop",
    [(pd.DataFrame, "by ColumnTransformer"), (pl.from_pandas, "by function")],
    ids=["pandas", "polars"],
)
def test_cross_val_score_and_grid_search(wrap, drop):
    X, y = panel()
    cv = TaskKFold(3, task_column="shop")
    splits = list(cv.split(X))
    expected = cross_val_score(pooled(), X, y, cv=splits)
    model, table = pooled(drop), wrap(X)
    np.testing.assert_allclose(cross_val_score(model, table, y, cv=cv), expected)
    search = GridSearchCV(model, {"ridge__alpha": [1.0, 1e6]}, cv=cv).fit(table, y)
    assert search.n_splits_ == 3
    assert search.best_params_ == {"ridge__alpha": 1.0}
    np.testing.assert_allclose(search.cv_results_["mean_test_score"][0], expected.mean())


def test_every_training_fold_has_every_task():
    X, y = panel()
    result = cross_validate(
        pooled(), X, y, cv=TaskKFold(4, task_column="shop"), return_indices=True
    )
    for train in result["indices"]["train"]:
        assert X["shop"].iloc[train].nunique() == 6


def test_cross_val_predict_and_stacking():
    X, y = panel()
    cv = TaskKFold(3, task_column="shop", shuffle=True, random_state=0)
    assert cross_val_predict(pooled(), X, y, cv=cv).shape == y.shape
    stack = StackingRegressor([("pooled", pooled())], final_estimator=Ridge(), cv=cv).fit(X, y)
    assert stack.predict(X).shape == y.shape


def test_groups_by_metadata_routing():
    X, y = panel()
    expected = cross_val_score(pooled(), X, y, cv=TaskKFold(3, task_column="shop"))
    shops = X["shop"].to_numpy()
    np.testing.assert_allclose(
        cross_val_score(pooled(), X, y, cv=TaskKFold(3), groups=shops), expected
    )
    with sklearn.config_context(enable_metadata_routing=True):
        scores = cross_val_score(pooled(), X, y, cv=TaskKFold(3), params={"groups": shops})
        np.testing.assert_allclose(scores, expected)
        renamed = TaskKFold(3).set_split_request(groups="shops")
        search = GridSearchCV(pooled(), {"ridge__alpha": [1.0]}, cv=renamed)
        search.fit(X, y, shops=shops)
        np.testing.assert_allclose(search.cv_results_["mean_test_score"][0], expected.mean())


def test_repr_pickle_copy():
    splitter = TaskKFold(3, task_column="shop", shuffle=True, random_state=7)
    shown = "TaskKFold(n_splits=3, random_state=7, shuffle=True, task_column='shop')"
    assert "".join(repr(splitter).split()) == shown.replace(" ", "")
    for twin in (pickle.loads(pickle.dumps(splitter)), copy.deepcopy(splitter)):
        assert repr(twin) == repr(splitter)
        np.testing.assert_array_equal(
            folds_of(twin, GOOD, groups=GOOD["shop"]), folds_of(splitter, GOOD, groups=GOOD["shop"])
        )
