"""TaskKFold and TaskTimeSeriesSplit: folds, labels, times, scikit-learn's tools."""

import copy
import datetime
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
    TimeSeriesSplit,
    cross_val_predict,
    cross_val_score,
    cross_validate,
)
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import FunctionTransformer

from skmtl import MultiTaskClassifier, MultiTaskRegressor
from skmtl.model_selection import TaskKFold, TaskTimeSeriesSplit
from skmtl.sharing import PartialPooling


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
    """Number of rows of every task (one per row) in every fold (one per column)."""
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


# sources of labels

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
    # groups suffice, even if the column is missing
    np.testing.assert_array_equal(
        folds, folds_of(TaskKFold(2, task_column="shop"), X[["x"]], groups=groups)
    )


# errors


@pytest.mark.parametrize(
    "kwargs, error, match",
    [
        ({"n_splits": 1}, ValueError, "n_splits=1 must be a number of folds, .* at least 2"),
        ({"n_splits": 2.5}, ValueError, "n_splits=2.5 must be a number of folds"),
        ({"n_splits": True}, ValueError, "n_splits=True must be a number of folds"),
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
    """A pandas table sorted by string task ids; level and slope differ between tasks."""
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


# TaskTimeSeriesSplit


def forward_reference(n_splits, time, task, gap=0, test_size=None, max_train_size=None):
    """The definition as loops: sorted (train, test) rows of every fold."""
    folds = [(set(), set()) for _ in range(n_splits)]
    for label in set(task):
        times = sorted({t for t, s in zip(time, task, strict=True) if s == label})
        size = test_size or max(1, len(times) // (n_splits + 1))
        for k, (train, test) in enumerate(folds):
            start = len(times) - (n_splits - k) * size
            past = times[: max(start - gap, 0)][-(max_train_size or len(times)) :]
            future = times[max(start, 0) : max(start + size, 0)]
            if past and future:
                for i, (t, s) in enumerate(zip(time, task, strict=True)):
                    if s == label and t in past:
                        train.add(i)
                    if s == label and t in future:
                        test.add(i)
    return [(sorted(train), sorted(test)) for train, test in folds]


def ragged_times(seed, sizes=(1, 2, 3, 4, 9, 17, 40), repeats=1.3):
    """Unsorted rows of tasks with few to many distinct times, some of them in several rows."""
    rng = np.random.default_rng(seed)
    time, task = [], []
    for i, size in enumerate(sizes):
        distinct = rng.choice(60, size, replace=False)
        more = rng.choice(distinct, int((repeats - 1) * size))
        time += [*distinct, *more]
        task += [f"shop {i}"] * (size + len(more))
    order = rng.permutation(len(time))
    return np.array(time)[order], np.array(task)[order]


OPTIONS = [
    {},
    {"n_splits": 1},
    {"n_splits": 3, "gap": 2},
    {"n_splits": 3, "test_size": 4},
    {"n_splits": 2, "test_size": 3, "gap": 1, "max_train_size": 5},
]


def as_lists(splits):
    return [(train.tolist(), test.tolist()) for train, test in splits]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("cut", ["task", "table"])
@pytest.mark.parametrize("seed", [0, 1])
def test_forward_split_is_its_definition(options, cut, seed):
    time, task = ragged_times(seed)
    X = pd.DataFrame({"week": time, "shop": task})
    cv = TaskTimeSeriesSplit(time_column="week", task_column="shop", cut=cut, **options)
    options = {"n_splits": 5, **options}
    one = np.zeros(len(time), dtype=int)
    wanted = forward_reference(time=time, task=task if cut == "task" else one, **options)
    assert as_lists(cv.split(X)) == wanted
    assert cv.get_n_splits() == len(wanted)


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_no_future_in_training_and_the_gap_honoured(options):
    time, task = ragged_times(2)
    gap = options.get("gap", 0)
    for train, test in TaskTimeSeriesSplit(time_column=0, **options).split(
        time[:, None], None, task
    ):
        assert set(task[test]) == set(task[train])  # a task is in both or in neither
        for label in set(task[test]):
            past, future = (time[rows[task[rows] == label]] for rows in (train, test))
            times = np.unique(time[task == label])
            between = np.sum((times > past.max()) & (times < future.min()))
            assert between == gap  # and so past.max() < future.min()


def test_tables_are_cut_at_one_date():
    time, task = ragged_times(3)
    cv = TaskTimeSeriesSplit(4, time_column=0, cut="table", gap=2)
    for train, test in cv.split(time[:, None]):  # tasks are not needed
        assert time[train].max() < time[test].min()
        between = np.unique(time[(time > time[train].max()) & (time < time[test].min())])
        assert len(between) == 2
    by_task = TaskTimeSeriesSplit(4, time_column=0, gap=2).split(time[:, None], None, task)
    assert any(time[train].max() >= time[test].min() for train, test in by_task)


@pytest.mark.parametrize("n_times, n_folds", [(1, 0), (2, 1), (3, 2), (4, 3), (6, 3)])
def test_short_tasks_are_in_the_last_folds(n_times, n_folds):
    time = np.r_[np.arange(30), np.arange(n_times)]
    task = np.repeat([0, 1], [30, n_times])
    folds = list(TaskTimeSeriesSplit(3, time_column=0).split(time[:, None], None, task))
    tested = [(task[test] == 1).any() for _, test in folds]
    trained = [(task[train] == 1).any() for train, _ in folds]
    assert tested == trained == [False] * (3 - n_folds) + [True] * n_folds


def test_without_a_time_column_rows_stand_in_time():
    task = np.random.default_rng(0).integers(3, size=50)
    by_row = TaskTimeSeriesSplit(4).split(np.zeros((50, 1)), None, task)
    by_time = TaskTimeSeriesSplit(4, time_column=0).split(np.arange(50)[:, None], None, task)
    assert as_lists(by_row) == as_lists(by_time)


@pytest.mark.parametrize(
    "options", [{}, {"gap": 2}, {"test_size": 3}, {"max_train_size": 6, "gap": 1}], ids=str
)
@pytest.mark.parametrize("cut", ["task", "table"])
def test_one_task_is_time_series_split(options, cut):
    X = np.zeros((31, 1))
    ours = TaskTimeSeriesSplit(4, cut=cut, **options).split(X, groups=np.zeros(31, dtype=int))
    assert as_lists(ours) == as_lists(TimeSeriesSplit(4, **options).split(X))


def test_order_of_rows_does_not_matter():
    time, task = ragged_times(4)
    order = np.random.default_rng(0).permutation(len(time))
    cv = TaskTimeSeriesSplit(3, time_column=0)
    plain = cv.split(time[:, None], None, task)
    mixed = cv.split(time[order, None], None, task[order])
    for (train, test), (train_mixed, test_mixed) in zip(plain, mixed, strict=True):
        np.testing.assert_array_equal(np.sort(order[train_mixed]), train)
        np.testing.assert_array_equal(np.sort(order[test_mixed]), test)


DAYS = np.array([3, 0, 5, 2, 1, 4, 6, 0, 9, 3, 2, 8])
DATES = np.datetime64("2023-12-28") + DAYS  # across a new year
STAMPS = pd.Series(pd.to_datetime(DATES))
TIMES = {
    "int": DAYS,
    "float": DAYS / 7 - 0.5,
    "numpy dates": DATES,
    "pandas datetimes": STAMPS,
    "pandas datetimes with a time zone": STAMPS.dt.tz_localize("Europe/Berlin"),
    "pandas periods": STAMPS.dt.to_period("D"),
    "pandas strings": STAMPS.dt.strftime("%Y-%m-%d"),
    "pandas nullable": pd.Series(DAYS, dtype="Int64"),
    "pandas unordered category": STAMPS.dt.strftime("%Y-%m-%d").astype("category"),
    "pandas ordered category": pd.Series(
        pd.Categorical([f"day {d}" for d in DAYS + 5], [f"day {d}" for d in range(15)], True)
    ),
    "datetime.date": pd.Series(list(DATES.astype(object)), dtype=object),
    "datetime.datetime": pd.Series(list(DATES.astype("M8[us]").astype(object)), dtype=object),
    "strings with a time": STAMPS.dt.strftime("%Y-%m-%dT00:00:00+01:00"),
    "ISO weeks": pd.Series([f"2024-W{d + 5:02d}" for d in DAYS]),
    "polars dates": pl.Series(DATES),
    "polars datetimes": pl.Series(DATES.astype("M8[us]")),
    "polars strings": pl.Series([str(d) for d in DATES]),
    "polars int": pl.Series(DAYS),
}


@pytest.mark.parametrize("kind", TIMES)
def test_kinds_of_time(kind):
    times, shop = TIMES[kind], ["a", "b"] * 6
    frame = pl.DataFrame if isinstance(times, pl.Series) else pd.DataFrame
    X = frame({"when": times, "shop": shop})
    before = copy.deepcopy(X)
    cv = TaskTimeSeriesSplit(2, time_column="when", task_column="shop")
    wanted = forward_reference(2, DAYS, shop)
    assert as_lists(cv.split(X)) == wanted
    assert X.equals(before)


def test_sparse_and_list_tables():
    from scipy.sparse import csr_array

    X = np.column_stack([DAYS, np.tile([0, 1], 6)])
    cv = TaskTimeSeriesSplit(2, time_column=0, task_column=-1)
    wanted = forward_reference(2, DAYS, X[:, 1].tolist())
    for table in (X, X.astype(float), X.astype(object), X.tolist(), csr_array(X)):
        assert as_lists(cv.split(table)) == wanted


@pytest.mark.parametrize(
    "kwargs, match",
    [
        ({"n_splits": 0}, "n_splits=0 must be a number of folds, .* at least 1"),
        ({"n_splits": 2.5}, "n_splits=2.5 must be a number of folds"),
        ({"gap": -1}, "gap=-1 must be a number of distinct times"),
        ({"gap": None}, "gap=None must be a number of distinct times"),
        ({"test_size": 0}, "test_size=0 must be .* at least 1, or None"),
        ({"test_size": 0.2}, "test_size=0.2 must be a number of distinct times"),
        ({"max_train_size": True}, "max_train_size=True must be"),
        ({"cut": "date"}, "cut='date' must be 'task' .* or 'table'"),
    ],
)
def test_bad_parameters_of_the_forward_split(kwargs, match):
    with pytest.raises(ValueError, match=match):
        TaskTimeSeriesSplit(**kwargs)


def shops(*times, **columns):
    """A table of shop "a", with these times."""
    return pd.DataFrame({"when": pd.Series(times, **columns), "shop": "a"})


BY_SHOP = {"n_splits": 2, "time_column": "when", "task_column": "shop"}
PLAIN = shops(1, 2, 3)


@pytest.mark.parametrize(
    "X, kwargs, match",
    [
        (PLAIN, {"task_column": None}, r"task_column=None and groups=None.*TaskTimeSeriesSplit\("),
        (PLAIN, {"time_column": "date"}, "time_column='date' is not a column of X.*'when', 'shop'"),
        (PLAIN, {"time_column": 5}, "time_column=5 is out of range"),
        (PLAIN, {"task_column": "date"}, "task_column='date' is not a column of X"),
        (shops(1, None, 3), {}, "time_column='when' has 1 missing times, the first in row 1"),
        (shops(1, None, 3, dtype="Int64"), {}, "1 missing times, the first in row 1"),
        (shops("2024-01", None, "2024-02"), {}, "1 missing times, the first in row 1"),
        (shops("2024-01", np.nan, 3.0, dtype=object), {}, "1 missing times"),
        (shops(*DATES[:3], pd.NaT), {}, "1 missing times, the first in row 3"),
        (shops("2024-01", 3, 4), {}, "mixed kinds .number, string."),
        (shops(datetime.date(2024, 1, 1), STAMPS[0], dtype=object), {}, "mixed kinds"),
        (shops("week 9", "week 10", "week 11"), {}, "'week 10', which does not begin with a year"),
        (shops("03/01/2024", "04/01/2024"), {}, "does not begin with a year"),
        (shops("2024-9", "2024-10", "2024-11"), {}, "'2024-10' and '2024-9', which do not sort"),
        (
            shops("2024-10-27T02:30:00+02:00", "2024-10-27T02:00:00+01:00"),
            {},
            "different forms",
        ),
        (shops(True, False), {}, "holds values of type bool"),
        (shops(1 + 2j, 3), {}, "holds values of type complex"),
        (shops((1, 2), (3, 4), {}, dtype=object), {}, "mixed kinds .dict, tuple."),
        (shops({}, {}, dtype=object), {}, "have no order"),
        (shops(1, 1, 2), {}, "even the longest task has 2 distinct times.*need more than 2"),
        (shops(1, 2, 3), {"gap": 1}, "n_splits=2 folds has no training rows.*gap=1 need more"),
        (shops(1, 2, 3), {"cut": "table", "test_size": 2}, "the table has 3 distinct times"),
        (shops(1, 2), {"time_column": None}, r"2 distinct times \(time_column=None: every row"),
        (shops(*range(9)).assign(shop=range(9)), {}, "even the longest task has 1 distinct"),
    ],
)
def test_bad_input_of_the_forward_split(X, kwargs, match):
    with pytest.raises(ValueError, match=match):
        list(TaskTimeSeriesSplit(**{**BY_SHOP, **kwargs}).split(X))


def test_repr_and_routing_of_the_forward_split():
    cv = TaskTimeSeriesSplit(3, time_column="when", gap=1)
    assert "".join(repr(cv).split()) == (
        "TaskTimeSeriesSplit(cut='task',gap=1,max_train_size=None,n_splits=3,"
        "task_column=None,test_size=None,time_column='when')"
    )
    X, y = panel()
    shop = X["shop"].to_numpy()
    expected = cross_val_score(pooled(), X, y, cv=TaskTimeSeriesSplit(3, task_column="shop"))
    with sklearn.config_context(enable_metadata_routing=True):
        routed = cross_val_score(pooled(), X, y, cv=TaskTimeSeriesSplit(3), params={"groups": shop})
    np.testing.assert_allclose(routed, expected)


# the forward split inside and around a fit


def test_forward_split_in_a_grid_search():
    X, y = panel()
    X = X.assign(week=np.tile(np.arange(15.0), 6))
    order = np.random.default_rng(0).permutation(len(X))
    X, y = X.iloc[order], y.iloc[order]
    cv = TaskTimeSeriesSplit(3, time_column="week", task_column="shop", gap=1)
    model = MultiTaskRegressor(PartialPooling(), task_column="shop", cv=3)
    search = GridSearchCV(model, {"sharing__alpha": [0.0, 1e6]}, cv=cv).fit(X, y)
    assert search.n_splits_ == 3
    model.set_params(sharing__alpha=search.best_params_["sharing__alpha"])
    np.testing.assert_allclose(
        search.best_score_, cross_val_score(model, X, y, cv=list(cv.split(X))).mean()
    )


@pytest.mark.parametrize("estimator", [MultiTaskRegressor, MultiTaskClassifier])
@pytest.mark.parametrize("cut", ["task", "table"])
def test_inner_forward_split_needs_no_more_than_a_time_column(estimator, cut):
    X, y = panel(n_rows=24)
    y = y if estimator is MultiTaskRegressor else (y > np.median(y)).astype(int)
    X = X.assign(week=np.tile(np.arange(24.0), 6))
    cv = TaskTimeSeriesSplit(5, time_column="week", gap=2, cut=cut)
    model = estimator("partial_pooling", task_column="shop", cv=cv).fit(X, y)
    splits = list(cv.split(X, groups=X["shop"]))
    twin = estimator("partial_pooling", task_column="shop", cv=splits).fit(X, y)
    np.testing.assert_allclose(model.coef_, twin.coef_)
    order = np.random.default_rng(0).permutation(len(X))
    mixed = estimator("partial_pooling", task_column="shop", cv=cv).fit(
        X.iloc[order], y.iloc[order]
    )
    np.testing.assert_allclose(mixed.coef_, model.coef_, atol=1e-6)
    assert np.isfinite(model.task_report_["error_shared"]).all()


def test_inner_forward_split_with_a_target_of_columns():
    rng = np.random.default_rng(0)
    X = np.column_stack([rng.permutation(60), rng.normal(size=60)])
    y = X[:, [1]] * [1.0, 1.2, 0.9] + 0.1 * rng.normal(size=(60, 3))
    y[::7, 1] = np.nan
    model = MultiTaskRegressor("partial_pooling", cv=TaskTimeSeriesSplit(4, time_column=0)).fit(
        X, y
    )
    assert np.isfinite(model.task_report_["error_shared"][:3]).all()


@pytest.mark.parametrize("estimator", [MultiTaskRegressor, MultiTaskClassifier])
@pytest.mark.parametrize("n_splits", [2, 10])  # 10 folds of ragged tasks go split by split
def test_a_task_that_no_fold_holds_out_is_fitted_but_not_judged(estimator, n_splits):
    rng = np.random.default_rng(0)
    sizes = np.array([1, 2, 4, 7, 12, 30, 40, 41])
    shop, week = np.repeat(np.arange(8), sizes), np.concatenate([np.arange(n) for n in sizes])
    X = np.column_stack([rng.normal(size=len(shop)), week, shop])
    y = X[:, 0] + 2 * rng.normal(size=8)[shop] + 0.3 * rng.normal(size=len(shop))
    y = y if estimator is MultiTaskRegressor else (y > 0).astype(int)
    cv = TaskTimeSeriesSplit(n_splits, time_column=1, gap=2)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = estimator("partial_pooling", task_column=2, cv=cv).fit(X, y)
    report = model.task_report_
    for name in ("error_shared", "error_independent", "error_pooled", "gain_over_pooled"):
        np.testing.assert_array_equal(np.isnan(report[name][:8]), sizes <= 3)  # gap of 2
    assert np.isfinite(model.coef_).all() and np.isfinite(model.intercept_).all()
    assert np.isfinite(model.history_["weight"]).all()


def drifting_stores(seed, n_stores=30, n_weeks=156, step=0.2):
    """Stores with a random walk as their level: week, a feature, store; and the target."""
    rng = np.random.default_rng(seed)
    shape = n_weeks, n_stores
    level = np.cumsum(step * rng.normal(size=shape), axis=0) + 3 * rng.normal(size=n_stores)
    x = rng.normal(size=shape)
    y = level + x * (1 + 0.3 * rng.normal(size=n_stores)) + 0.5 * rng.normal(size=shape)
    week, store = np.indices(shape)
    return week.ravel(), np.column_stack([x.ravel(), store.ravel()]), y.ravel()


def test_the_report_on_drifting_series_is_honest():
    """For the next 13 weeks, shuffled folds predict half of the error, forward folds most of it."""
    predicted, actual = {"shuffled": [], "forward": []}, {"shuffled": [], "forward": []}
    for seed in range(4):
        week, X, y = drifting_stores(seed)
        past = week < 156 - 13  # rows are in the order of weeks
        for name, cv in (("shuffled", 5), ("forward", TaskTimeSeriesSplit(2, test_size=13))):
            model = MultiTaskRegressor("partial_pooling", task_column=1, cv=cv).fit(
                X[past], y[past]
            )
            predicted[name].append(model.task_report_["error_shared"][:-1].mean())
            actual[name].append(np.mean((model.predict(X[~past]) - y[~past]) ** 2))
    ratio = {name: np.mean(predicted[name]) / np.mean(actual[name]) for name in actual}
    assert ratio["shuffled"] < 0.65
    assert 1 / 1.25 < ratio["forward"] < 1.25
    # it also chooses the better model for the future
    assert np.mean(actual["forward"]) < 0.95 * np.mean(actual["shuffled"])


def test_the_report_allows_for_having_chosen_the_model():
    """With one trend per store there are more choices; the windows still predict the error."""
    predicted, actual = [], []
    for seed in range(4):
        week, X, y = drifting_stores(seed)
        X, past = np.column_stack([X, week]), week < 156 - 13
        cv = TaskTimeSeriesSplit(3, time_column=2, test_size=13)
        model = MultiTaskRegressor("partial_pooling", task_column=1, cv=cv).fit(X[past], y[past])
        predicted.append(model.task_report_["error_shared"][:-1].mean())
        actual.append(np.mean((model.predict(X[~past]) - y[~past]) ** 2))
    assert 0.8 < np.mean(predicted) / np.mean(actual) < 1.25
