"""Fits and predictions of lazy frames are those of the same rows in memory."""

import warnings

import narwhals as nw
import numpy as np
import polars as pl
import pytest
from engines import ENGINES, assert_same_fit, in_memory, make, skip_unless_encoded
from sklearn.preprocessing import StandardScaler

from skmtl import MultiTaskRegressor
from skmtl.queries.frames import QueryError
from skmtl.sharing import PartialPooling
from skmtl.tasks.fold_column import fold_of

FIXED = PartialPooling(5.0, alpha_intercept=1.0, alpha_shared=0.5)
FEATURES = ["a", "b", "c"]


def draw(rng, n=900, n_tasks=15, level=3.0):
    """Return a table with tasks of several kinds, ids, three features, weights and a target."""
    task = rng.integers(0, n_tasks, n)
    X = rng.normal(size=(n, 3)) + level * rng.normal(size=(n_tasks, 3))[task]
    X[:, 2] = rng.normal(size=n_tasks)[task]  # a feature of the tasks
    slopes = rng.normal(size=3) + 0.5 * rng.normal(size=(n_tasks, 3))
    y = (X * slopes[task]).sum(axis=1) + rng.normal(size=n)
    columns = dict(zip(FEATURES, X.T, strict=True))
    shop = [f"shop {t}" for t in task]
    return pl.DataFrame(
        {
            "task": task,
            "shop": shop,
            "even": task % 2 == 0,
            "id": rng.permutation(n) * 10,
            **columns,
        }
        | {"w": rng.choice([0.0, 0.5, 2.0], n), "y": y}
    )


def parts(frame):
    """Return X, y and weights of the table as those of a frame in memory."""
    return frame.drop("y", "w"), frame["y"].to_numpy(), frame["w"].to_numpy()


def regressor(sharing="partial_pooling", **options):
    options = {
        "task_column": "task",
        "fold_column": "id",
        "exclude_columns": ["shop", "even"],
    } | options
    return MultiTaskRegressor(sharing, **options)


@pytest.mark.parametrize("weights", [None, "w"])
@pytest.mark.parametrize("sharing", [FIXED, "partial_pooling"], ids=["fixed", "tuned"])
@pytest.mark.parametrize("engine", ENGINES)
def test_a_fit_is_that_in_memory(rng, engine, sharing, weights):
    frame = draw(rng)
    X, y, w = parts(frame)
    wanted = regressor(sharing).fit(X, y, sample_weight=None if weights is None else w)
    rows = frame if weights else frame.drop("w")
    found = regressor(sharing).fit(make(engine, rows), "y", sample_weight=weights)
    assert_same_fit(found, wanted)
    assert found.target_scale_ == wanted.target_scale_


@pytest.mark.parametrize("engine", ENGINES)
def test_predictions_and_intervals_are_those_in_memory(rng, engine):
    frame = draw(rng, n=300)
    X, y, _ = parts(frame)
    lazy = make(engine, frame)
    for model in (
        regressor().fit(X, y),
        regressor(fold_column=None, exclude_columns=["shop", "even", "id"]).fit(X, y),
    ):
        # New rows, some of an unseen task and some out of the range of the training rows.
        task = pl.when(pl.col("id") < 100).then(99).otherwise(pl.col("task")).alias("task")
        new = frame.with_columns(task, a=pl.col("a") * 3.0)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            wanted, std = model.predict(new.drop("y", "w"), return_std=True)
            low, high = model.predict_interval(new.drop("y", "w"), 0.8)
        lazy = make(engine, new)
        order = np.argsort(frame["id"].to_numpy())
        found = in_memory(model.predict(lazy, return_std=True), "id")
        assert found.columns == [*frame.columns, "prediction", "std"]
        np.testing.assert_allclose(found["prediction"], wanted[order], rtol=1e-10, atol=1e-10)
        np.testing.assert_allclose(found["std"], std[order], rtol=1e-10)
        found = in_memory(model.predict_interval(lazy, 0.8), "id")
        assert found.columns == [*frame.columns, "prediction", "low", "high"]
        np.testing.assert_allclose(found["low"], low[order], rtol=1e-9, atol=1e-9)
        np.testing.assert_allclose(found["high"], high[order], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("task_column", ["shop", "even", ["even", "shop"], None])
@pytest.mark.parametrize("engine", ["polars", "duckdb"])
def test_tasks_of_every_kind(rng, engine, task_column):
    frame = draw(rng, n=300, n_tasks=6)
    used = [task_column] if not isinstance(task_column, list) else task_column
    options = {
        "task_column": task_column,
        "exclude_columns": [c for c in ("task", "shop", "even") if c not in used],
    }
    X, y, _ = parts(frame)
    wanted = regressor(FIXED, **options).fit(X, y)
    lazy = make(engine, frame.drop("w"))
    found = regressor(FIXED, **options).fit(lazy, "y")
    assert_same_fit(found, wanted)
    order = np.argsort(frame["id"].to_numpy())
    predicted = in_memory(found.predict(lazy), "id")["prediction"]
    np.testing.assert_allclose(predicted, wanted.predict(X)[order], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("level", [1e3, 1e6])
@pytest.mark.parametrize("engine", ENGINES[:3])
def test_tasks_far_apart_keep_their_accuracy(rng, engine, level):
    frame = draw(rng, level=level)
    X, y, _ = parts(frame)
    y = y - X["a"].to_numpy() * 3.0  # else the target has the levels only
    frame = frame.with_columns(y=y)
    sharing = PartialPooling(0.5, alpha_intercept=1e-6, alpha_shared=0.0)
    wanted = regressor(sharing).fit(X, y)
    found = regressor(sharing).fit(make(engine, frame.drop("w")), "y")
    # Means are known up to rounding of the levels.
    tol = max(1e-9, 1e3 * level * np.finfo(float).eps)
    within = np.ptp(wanted.coef_[:, :2], axis=0).max()
    np.testing.assert_allclose(found.coef_[:, :2], wanted.coef_[:, :2], atol=tol * within, rtol=0)


@pytest.mark.parametrize("engine", ENGINES)
def test_categories_are_encoded_as_in_memory(rng, engine):
    skip_unless_encoded(engine)
    frame = draw(rng)
    n = len(frame)
    many = np.array([f"level {k:02d}" for k in range(45)])[np.minimum(rng.geometric(0.08, n), 44)]
    few = np.where(rng.random(n) < 0.1, None, rng.choice(["x", "y"], n))
    frame = frame.with_columns(
        many=pl.Series(many), few=pl.Series(few.tolist()), code=pl.Series(rng.integers(0, 4, n))
    )
    options = {"preprocessor": "auto", "categorical_columns": ["code"]}
    X, y, _ = parts(frame)
    with pytest.warns(UserWarning, match="at most 30 categories"):
        wanted = regressor(**options).fit(X, y)
    lazy = make(engine, frame.drop("w"))
    with pytest.warns(UserWarning, match="at most 30 categories"):
        found = regressor(**options).fit(lazy, "y")
    assert found.coef_feature_names_.tolist() == wanted.coef_feature_names_.tolist()
    assert_same_fit(found, wanted, tol=1e-8)
    order = np.argsort(frame["id"].to_numpy())
    predicted = in_memory(found.predict(lazy), "id")["prediction"]
    np.testing.assert_allclose(predicted, wanted.predict(X)[order], rtol=1e-7, atol=1e-7)
    np.testing.assert_allclose(found.predict(X), wanted.predict(X), rtol=1e-7, atol=1e-7)


def test_frames_of_narwhals_stay_such(rng):
    frame = draw(rng, n=300).drop("w")
    model = regressor(FIXED).fit(nw.from_native(frame.lazy()), "y")
    assert_same_fit(model, regressor(FIXED).fit(frame.lazy(), "y"), tol=1e-12)
    assert isinstance(model.predict(nw.from_native(frame.lazy())), nw.LazyFrame)
    assert isinstance(model.predict(frame.lazy()), pl.LazyFrame)


def test_names_of_columns_do_not_matter(rng):
    frame = draw(rng, n=300).drop("w")
    names = {"a": "fold", "b": "weight", "c": "z0", "y": "key0", "task": "target", "id": "n"}
    wanted = regressor(FIXED).fit(frame.lazy(), "y")
    for engine in ("polars", "duckdb", "dask"):
        renamed = make(engine, frame.rename(names))
        model = regressor(FIXED, task_column="target", fold_column="n").fit(renamed, "key0")
        np.testing.assert_allclose(model.coef_, wanted.coef_, rtol=1e-9)
        found = in_memory(model.predict(renamed), "n")["prediction"]
        np.testing.assert_allclose(found, wanted.predict(frame.drop("y").sort("id")), rtol=1e-9)


def test_the_fit_goes_on_with_rows_in_memory(rng):
    frame = draw(rng)
    X, y, _ = parts(frame)
    wanted = regressor(FIXED, keep_moments=True).fit(X, y)
    half = frame["id"] < 4500
    found = regressor(FIXED, keep_moments=True).fit(frame.filter(half).drop("w").lazy(), "y")
    rest = ~half.to_numpy()
    found.partial_fit(X.filter(~half), y[rest])
    assert_same_fit(found, wanted)


def test_auto_says_once_that_it_fits_linear_models(rng):
    lazy = draw(rng, n=300).drop("w").lazy()
    with pytest.warns(UserWarning, match="fits its linear models only") as found:
        model = regressor("auto").fit(lazy, "y")
    assert len(found) == 1
    assert_same_fit(model, regressor("partial_pooling").fit(lazy, "y"), tol=1e-12)


def test_folds_of_a_column(rng):
    # Fold numbers from 0 or from 1 are folds; ids are spread evenly, whatever their steps.
    same = fold_of(np.arange(6), 5, 0, np.where)
    assert same.tolist() == [0, 1, 2, 3, 4, 0]
    for ids in (np.arange(5000) * 10, -np.arange(5000) * 7, rng.integers(-(2**62), 2**62, 5000)):
        counts = np.bincount(fold_of(ids, 5, 3, np.where), minlength=5)
        assert counts.sum() == 5000 and counts.min() > 850

    def slowly(value, n_folds, seed):
        if 0 <= value <= n_folds:
            return value % n_folds
        p = 2**31 - 1
        rest = ((value % p) * 1103515245 + seed) % p
        return rest * ((rest + 1103515245) % p) % p % n_folds

    ids = rng.integers(-(2**62), 2**62, 200)
    assert [slowly(int(i), 4, 7) for i in ids] == fold_of(ids, 4, 7, np.where).tolist()


def test_a_fold_column_in_memory(rng):
    frame = draw(rng, n=300)
    X, y, _ = parts(frame)
    X = X.with_columns(fold=pl.Series(np.arange(len(y)) % 3 + 1))
    left_out = ["shop", "even", "id"]
    options = {"fold_column": "fold", "exclude_columns": left_out, "cv": 3}
    model = regressor(**options).fit(X, y)
    assert model.coef_feature_names_.tolist() == FEATURES
    assert model.predict(X).shape == (300,)
    # Structures and losses that need the rows have the same folds.
    fold = X["fold"].to_numpy()
    splits = [(np.flatnonzero(fold != k), np.flatnonzero(fold == k)) for k in (3, 1, 2)]
    plain = {"fold_column": None, "exclude_columns": [*left_out, "fold"], "cv": splits}
    for more in ({"loss": "huber"}, {"grouping_columns": "shop", "exclude_columns": left_out[1:]}):
        found = regressor(**{**options, **more}).fit(X, y)
        if "exclude_columns" in more:
            more = {**more, "exclude_columns": ["even", "id", "fold"]}
        wanted = regressor(**{**plain, **more}).fit(X, y)
        np.testing.assert_allclose(found.coef_, wanted.coef_, rtol=1e-9, atol=1e-12)
    with pytest.raises(ValueError, match=r"rows in 3 of cv=5 folds"):
        regressor(**{**options, "cv": 5}).fit(X, y)
    with pytest.raises(ValueError, match=r"fold_column='shop' holds strings"):
        regressor(fold_column="shop", exclude_columns=["even", "id"], cv=3).fit(X, y)
    with pytest.raises(ValueError, match=r"(?s)cv=.* must be an int or None, because fold_column"):
        regressor(**{**options, "cv": splits}).fit(X, y)
    with pytest.raises(ValueError, match=r"fold_column names 'task', which is the task column"):
        regressor(fold_column="task").fit(X, y)


def wrong(frame):
    """Return calls with lazy frames that must fail, by the error."""
    lazy = frame.drop("w").lazy()
    gap = lazy.with_columns(a=pl.when(pl.col("id") > 8000).then(None).otherwise(pl.col("a")))
    nan = lazy.with_columns(a=pl.when(pl.col("id") > 8000).then(np.nan).otherwise(pl.col("a")))
    dates = lazy.with_columns(day=pl.date(2020, 1, 1))
    floats = lazy.with_columns(task=pl.col("task") + 0.5)
    gaps = lazy.with_columns(task=pl.when(pl.col("id") > 8000).then(None).otherwise(pl.col("task")))
    negative = lazy.with_columns(v=pl.col("a") * 100.0)
    ids = lazy.with_columns(name=pl.col("id").cast(pl.String))
    fit = regressor().fit
    return {
        r"y must be the name of one of its columns": lambda: fit(lazy, frame["y"].to_numpy()),
        r"sample_weight must be the name": lambda: fit(lazy, "y", sample_weight=np.ones(900)),
        r"set task_column= instead": lambda: regressor(task_column=None).fit(lazy, "y", task=[1]),
        r"y='z' is not a column of X, whose columns are: 'task'": lambda: fit(lazy, "z"),
        r"set fold_column= to its name": lambda: regressor(fold_column=None).fit(lazy, "y"),
        r"fold_column='a' holds values of type Float64": lambda: regressor(fold_column="a").fit(
            lazy, "y"
        ),
        r"fold_column='name' holds values of type String": lambda: regressor(
            fold_column="name"
        ).fit(ids, "y"),
        r"rows in 1 of cv=2 folds": lambda: regressor(cv=2).fit(lazy.with_columns(id=2), "y"),
        r"missing values: column 'a' \(99 rows\)": lambda: fit(gap, "y"),
        r"missing values: column 'task' \(99 rows\)": lambda: fit(gaps, "y"),
        r"column 'a' of X, a lazy frame, contains NaN": lambda: fit(nan, "y"),
        r"exclude_columns=\['day'\]": lambda: fit(dates, "y"),
        r"column 'shop' of X, a feature, is of type String": lambda: regressor(
            exclude_columns=["even"]
        ).fit(lazy, "y"),
        r"the task column 'task' of X, a lazy frame, is of type Float64": lambda: fit(floats, "y"),
        r"weights must be at least 0": lambda: fit(negative, "y", sample_weight="v"),
        r"column 'c' of X, a lazy frame, holds numbers that need not be whole": lambda: regressor(
            preprocessor="auto", categorical_columns=["c"]
        ).fit(lazy, "y"),
        r"'text' of X, a lazy frame, has numbers that are stored as strings": lambda: regressor(
            preprocessor="auto"
        ).fit(lazy.with_columns(text=pl.col("id").cast(pl.String)), "y"),
        r"has no features": lambda: fit(lazy.drop("a", "b", "c"), "y"),
        r"column 'shop' of X, the target or the weights, is of type String: convert": lambda: (
            regressor(exclude_columns=["even"]).fit(lazy, "shop")
        ),
        r"column '\^a.\*\$' of X, a lazy frame, has a name": lambda: fit(
            frame.drop("w").rename({"a": "^a.*$"}).lazy(), "y"
        ),
        r"memory_limit='potato' must be": lambda: regressor(memory_limit="potato").fit(lazy, "y"),
        r"column 'task' \(99 rows\). Filter these rows": lambda: fit(gaps, "y"),
        r"without rows": lambda: fit(lazy.filter(pl.col("id") < 0), "y"),
        r"loss='huber' needs all rows in memory, but X is a lazy frame": lambda: regressor(
            loss="huber"
        ).fit(lazy, "y"),
        r"grouping_columns=\['shop'\] needs all rows": lambda: regressor(
            grouping_columns=["shop"], exclude_columns=["even"]
        ).fit(lazy, "y"),
        r"preprocessor=StandardScaler transforms rows in memory": lambda: regressor(
            preprocessor=StandardScaler()
        ).fit(lazy, "y"),
    }


def test_wrong_calls_name_the_argument_and_the_remedy(rng):
    frame = draw(rng)
    for text, call in wrong(frame).items():
        with pytest.raises((ValueError, TypeError), match=text):
            call()


def test_wrong_rows_of_predict(rng):
    frame = draw(rng, n=300)
    lazy = frame.drop("w").lazy()
    model = regressor(FIXED).fit(lazy, "y")
    with pytest.raises(ValueError, match=r"has columns \['Prediction'\].*rename or drop"):
        model.predict(lazy.with_columns(Prediction=1.0))
    with pytest.raises(ValueError, match=r"no columns \['a'\]"):
        model.predict(lazy.drop("a"))
    with pytest.raises(ValueError, match=r"holds labels of kind \('string',\)"):
        model.predict(lazy.with_columns(task=pl.col("shop")))
    with pytest.raises(ValueError, match="not task="):
        model.predict(lazy, task="shop 1")
    strict = regressor(FIXED, handle_unknown="error").fit(lazy, "y")
    assert len(in_memory(strict.predict(lazy), "id")) == 300
    with pytest.raises(ValueError, match=r"^300 rows belong to tasks never seen in fit; drop"):
        strict.predict(lazy.with_columns(task=99))
    with pytest.raises(ValueError, match="several losses"):
        X, y, _ = parts(frame)
        regressor(FIXED, loss={3: "huber"}).fit(X, y).predict(lazy)


@pytest.mark.parametrize("engine", ["polars", "duckdb", "dask"])
def test_a_query_that_fails_leaves_everything_as_it_was(rng, engine):
    frame = draw(rng, n=300)
    X, y, _ = parts(frame)
    model = regressor(FIXED).fit(X, y)
    before = dict(vars(model))
    if engine == "polars":

        def explode(rows):
            raise OSError("disk 7 is gone")

        broken = frame.drop("w").lazy().map_batches(explode, schema=frame.drop("w").schema)
    elif engine == "duckdb":
        arrow = frame.drop("w").with_columns(bad=pl.lit("x1")).to_arrow()  # noqa: F841
        columns = "task, shop, even, id, cast(bad as double) as a, b, c, y"
        connection = pytest.importorskip("duckdb").connect()
        broken = connection.query(f"select {columns} from arrow")
    else:

        def explode(part):
            if len(part):
                raise OSError("disk 7 is gone")
            return part

        rows = make("dask", frame.drop("w"))
        broken = rows.map_partitions(explode, meta=rows._meta)
    with pytest.raises(QueryError, match=r"failed in .*; nothing was changed.*(disk 7|x1)"):
        model.fit(broken, "y")
    assert vars(model) == before


@pytest.mark.parametrize("engine", ["polars", "duckdb", "dask"])
def test_categories_that_are_rare_or_booleans(rng, engine):
    skip_unless_encoded(engine)
    frame = draw(rng, n=400)
    rare = [f"n{i // 3}" for i in range(400)]  # no level has five rows
    frame = frame.with_columns(rare=pl.Series(rare), flag=pl.Series(rng.random(400) < 0.3))
    options = {"preprocessor": "auto", "categorical_columns": ["flag"]}
    X, y, _ = parts(frame)
    with pytest.warns(UserWarning, match="at most 30 categories"):
        wanted = regressor(FIXED, **options).fit(X, y)
        found = regressor(FIXED, **options).fit(make(engine, frame.drop("w")), "y")
    assert found.coef_feature_names_.tolist() == wanted.coef_feature_names_.tolist()
    assert_same_fit(found, wanted)
    for model in (found, wanted):
        predicted = in_memory(model.predict(make(engine, frame)), "id")["prediction"]
        order = np.argsort(frame["id"].to_numpy())
        np.testing.assert_allclose(predicted, wanted.predict(X)[order], rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("engine", ["polars", "duckdb", "dask"])
def test_gaps_are_filled_in_predict_as_in_memory(rng, engine):
    frame = draw(rng, n=300)
    gap = pl.Series(rng.random(300) < 0.1)
    frame = frame.with_columns(a=pl.when(gap).then(np.nan).otherwise(pl.col("a")))
    X, y, _ = parts(frame)
    model = regressor(FIXED, preprocessor="auto").fit(X, y)
    predicted = in_memory(model.predict(make(engine, frame)), "id")["prediction"]
    order = np.argsort(frame["id"].to_numpy())
    np.testing.assert_allclose(predicted, model.predict(X)[order], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("engine", ["polars", "duckdb", "dask"])
def test_small_tasks_far_apart_keep_their_accuracy(rng, engine):
    task = np.repeat(np.arange(100), 5)
    X = rng.normal(size=(500, 3)) + np.c_[1e4 * task, np.zeros((500, 2))]
    y = X @ [1e-4, 1.0, -1.0] + rng.normal(size=100)[task] + rng.normal(size=500)
    columns = dict(zip("abc", X.T, strict=True))
    frame = pl.DataFrame({"task": task, "id": rng.permutation(500), **columns, "y": y})
    options = {"exclude_columns": None}
    wanted = regressor(**options).fit(frame.drop("y"), y)
    assert_same_fit(regressor(**options).fit(make(engine, frame), "y"), wanted)


def test_labels_of_a_list_of_one_column_are_tuples(rng):
    frame = draw(rng, n=300)
    X, y, _ = parts(frame)
    wanted = regressor(FIXED, task_column=["task"]).fit(X, y)
    found = regressor(FIXED, task_column=["task"]).fit(frame.drop("w").lazy(), "y")
    assert found.tasks_.tolist() == wanted.tasks_.tolist() == [(t,) for t in range(15)]
    for model in (found, wanted):
        predicted = in_memory(model.predict(frame.lazy()), "id")["prediction"]
        order = np.argsort(frame["id"].to_numpy())
        np.testing.assert_allclose(predicted, wanted.predict(X)[order], rtol=1e-9)


@pytest.mark.parametrize("memory_limit", [None, "1MB"])
def test_tasks_whose_rows_have_no_weight_are_tasks(rng, memory_limit):
    frame = draw(rng, n=3000, n_tasks=300)
    w = pl.when(pl.col("task") % 50 == 3).then(0.0).otherwise(pl.col("w"))
    frame = frame.with_columns(w=w)
    X, y, weight = parts(frame)
    options = {"task_weight": {3: 2.0, 5: 0.5}, "target_scale": "table"}
    wanted = regressor(FIXED, **options).fit(X, y, sample_weight=weight)
    model = regressor(FIXED, memory_limit=memory_limit, **options)
    assert_same_fit(model.fit(frame.lazy(), "y", sample_weight="w"), wanted)
    assert model.tasks_.tolist() == list(range(300))


def test_moments_that_are_kept_without_folds(rng):
    frame = draw(rng, n=300)
    X, y, _ = parts(frame)
    options = {"cv": None, "keep_moments": True, "fold_column": None}
    options["exclude_columns"] = ["shop", "even", "id"]
    wanted = regressor(FIXED, **options).fit(X, y).partial_fit(X, y)
    found = regressor(FIXED, **options).fit(frame.drop("w").lazy(), "y").partial_fit(X, y)
    assert_same_fit(found, wanted)


def test_a_fit_ends_the_wait_for_a_solution(rng):
    frame = draw(rng, n=300)
    X, y, _ = parts(frame)
    model = regressor(FIXED, keep_moments=True).fit(X, y).partial_fit(X, y, solve=False)
    model.fit(frame.drop("w").lazy(), "y")
    assert "_rows_to_solve" not in vars(model)
    assert_same_fit(model, regressor(FIXED).fit(X, y))
