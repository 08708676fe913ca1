"""Losses of scores on lazy frames: working moments by queries, fits and predictions."""

import warnings

import narwhals as nw
import numpy as np
import polars as pl
import pytest
import reference
from engines import ENGINES, in_memory, make
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import log_loss

from skmtl import MultiTaskClassifier, MultiTaskRegressor
from skmtl.losses import GAMMA, LOG_LOSS, POISSON
from skmtl.queries.frames import QueryError
from skmtl.queries.moments import LazyTable, block_sums, summarise
from skmtl.queries.working import ModelQueries
from skmtl.sharing import Independent, PartialPooling, Pooled

FIXED = PartialPooling(5.0, alpha_intercept=1.0, alpha_shared=0.5)
LOSSES = {"log_loss": LOG_LOSS, "poisson": POISSON, "gamma": GAMMA}
FEATURES = ["a", "b", "c"]


def targets(rng, loss, score):
    """Return targets of rows with these scores."""
    if loss == "log_loss":
        return rng.random(len(score)) < 1.0 / (1.0 + np.exp(-score))
    if loss == "poisson":
        return rng.poisson(np.exp(score)).astype(float)
    return rng.gamma(2.0, np.exp(score) / 2.0)


def draw(rng, loss="log_loss", n=900, n_tasks=15, level=1.0):
    """Return a table with tasks, ids, three features, weights and a target."""
    task = rng.integers(0, n_tasks, n)
    X = rng.normal(size=(n, 3)) + level * rng.normal(size=(n_tasks, 3))[task]
    X[:, 2] = rng.normal(size=n_tasks)[task]  # a feature of the tasks
    slopes = 0.5 * rng.normal(size=3) + 0.3 * rng.normal(size=(n_tasks, 3))
    score = 0.5 * rng.normal(size=n_tasks)[task] + ((X - X.mean(axis=0)) * slopes[task]).sum(axis=1)
    y = targets(rng, loss, score if level < 10.0 else 0.0 * score)
    return pl.DataFrame(
        {"task": task, "id": rng.permutation(n) * 10}
        | dict(zip(FEATURES, X.T, strict=True))
        | {"w": rng.choice([0.0, 0.5, 2.0], n), "y": y}
    )


def parts(frame):
    """Return X, y and weights of the table as those of a frame in memory."""
    return frame.drop("y", "w"), frame["y"].to_numpy(), frame["w"].to_numpy()


def estimator(loss, sharing="partial_pooling", **options):
    options = {"task_column": "task", "fold_column": "id"} | options
    if loss == "log_loss":
        return MultiTaskClassifier(sharing, **options)
    return MultiTaskRegressor(sharing, loss=loss, **options)


def given(loss, sharing=FIXED, **options):
    """Return an estimator with given strengths, and a small tolerance."""
    options = {"fold_column": None, "exclude_columns": ["id"], "cv": None, "tol": 1e-11} | options
    return estimator(loss, sharing, **options)


def assert_same_models(found, wanted, tol):
    for name in ("coef_", "intercept_", "shared_coef_", "shared_intercept_"):
        a, b = getattr(found, name), getattr(wanted, name)
        np.testing.assert_allclose(a, b, rtol=0, atol=tol * np.abs(b).max(), err_msg=name)
    np.testing.assert_array_equal(found.tasks_, wanted.tasks_)
    assert found.feature_names_in_.tolist() == wanted.feature_names_in_.tolist()


@pytest.mark.parametrize("level", [1.0, 1e4])
@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("engine", ["polars", "duckdb"])
def test_working_moments_are_those_of_a_slow_reference(rng, engine, loss, level):
    n_tasks, n_folds = 6, 3
    frame = draw(rng, loss, 300, n_tasks, level)
    names = {"task": "key0", "w": "weight", "y": "target"} | {
        c: f"z{j}" for j, c in enumerate(FEATURES)
    }
    frame = frame.rename(names).with_columns(
        pl.col("target").cast(pl.Float64), fold=pl.col("id") // 10 % n_folds
    )
    frame = frame.filter(pl.col("weight") > 0.0)
    lazy = nw.from_native(make(engine, frame.drop("id")))
    table = LazyTable(lazy, 1, 3, True)
    summary = summarise(lazy, [nw.col(c) for c in table.columns], [], nw.col("weight"))
    sums = block_sums(table, n_folds, summary, lambda text: None)
    assert level < 10.0 or sums.origin is not None
    queries = ModelQueries(table, sums, summary.mean[:-1], LOSSES[loss], n_folds, lambda text: None)
    X = frame[["z0", "z1", "z2"]].to_numpy()
    y, w, task, fold = (frame[c].to_numpy() for c in ("target", "weight", "key0", "fold"))
    coef = rng.normal(size=(2, n_tasks, 3)) / level
    intercept = rng.normal(size=(2, n_tasks)) - np.einsum("mtj,j->mt", coef, X.mean(axis=0))
    for m, found in enumerate(queries.working(coef[:, :, None], intercept[:, :, None])):
        scores = intercept[m, task] + (X * coef[m, task]).sum(axis=1)
        for t in range(n_tasks):
            for k in range(n_folds):
                own = (task == t) & (fold == k)
                wanted = reference.working_moments(loss, X[own], y[own], w[own], scores[own])
                weight, mean, scatter, value, square = wanted
                np.testing.assert_allclose(found.moments.weight[t, k], weight, rtol=1e-9)
                # Working responses may be far from each other.
                np.testing.assert_allclose(found.moments.mean[t, k], mean, rtol=1e-8, atol=1e-8)
                np.testing.assert_allclose(
                    found.moments.scatter[t, k], scatter, rtol=1e-7, atol=1e-9 * scatter.max()
                )
                np.testing.assert_allclose(found.loss[t, k], value, rtol=1e-9)
                np.testing.assert_allclose(found.square[t, k], square, rtol=1e-9)
    assert queries.n_passes == 1


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("engine", ENGINES)
def test_a_fit_with_given_strengths_is_that_in_memory(rng, engine, loss):
    frame = draw(rng, loss)
    X, y, w = parts(frame)
    wanted = given(loss).fit(X, y, sample_weight=w)
    found = given(loss).fit(make(engine, frame), "y", sample_weight="w")
    assert_same_models(found, wanted, 1e-6)
    assert found.kkt_residual_ <= 1e-9
    # The same new tasks.
    new = [pl.DataFrame(np.linspace(-1.0, 1.0, 18).reshape(6, 3), schema=FEATURES), y[:6]]
    if len(np.unique(y[:6])) == 2 or loss != "log_loss":
        models = [model.adapt(*new) for model in (found, wanted)]
        np.testing.assert_allclose(models[0].coef_, models[1].coef_, atol=1e-6)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize(
    "options",
    [
        {"sharing": Pooled(1.0)},
        {"sharing": Independent(2.0)},
        {"sharing": PartialPooling(3.0, alpha_shared=1.0, varying=["a"])},
        {"task_weight": "balanced"},
        {"sharing": FIXED, "task_column": None, "exclude_columns": ["id", "task"]},
    ],
    ids=["pooled", "independent", "varying", "task weights", "one task"],
)
def test_structures_and_weights(rng, loss, options):
    frame = draw(rng, loss).drop("w")
    X, y = frame.drop("y"), frame["y"].to_numpy()
    found = given(loss, **options).fit(frame.lazy(), "y")
    assert_same_models(found, given(loss, **options).fit(X, y), 1e-6)


def test_a_far_start_takes_half_steps(rng):
    frame = draw(rng, "poisson", 400).drop("w")
    frame = frame.with_columns(y=(pl.col("a") * 2.0).exp().round())
    options = {"sharing": PartialPooling(0.1, alpha_intercept=0.1, alpha_shared=0.1)}
    wanted = given("poisson", **options).fit(frame.drop("y"), frame["y"].to_numpy())
    found = given("poisson", **options).fit(frame.lazy(), "y")
    assert_same_models(found, wanted, 1e-4)


@pytest.mark.parametrize("loss", LOSSES)
def test_a_tuned_fit_is_about_that_in_memory(rng, loss):
    frame = draw(rng, loss, 6000, 30)
    train, test = frame[:4000].drop("w"), frame[4000:]
    X, y, _ = parts(test)
    wanted = estimator(loss).fit(train.drop("y"), train["y"].to_numpy())
    found = estimator(loss).fit(train.lazy(), "y")
    losses = []
    for model in (found, wanted):
        if loss == "log_loss":
            losses.append(log_loss(y, model.predict_proba(X)))
        else:
            score = np.log(model.predict(X))
            losses.append(LOSSES[loss].deviance(score, y).mean())
    assert abs(losses[0] / losses[1] - 1.0) < 2e-3
    assert found.task_report_.keys() == wanted.task_report_.keys()
    for name in ("independent", "pooled", "shared"):
        a, b = (m.task_report_[f"error_{name}"][:-1].mean() for m in (found, wanted))
        np.testing.assert_allclose(a, b, rtol=0.02, err_msg=name)
    assert found.history_.keys() == wanted.history_.keys()
    assert str(found.summary()).splitlines()[0] == str(wanted.summary()).splitlines()[0]


def test_the_number_of_passes_is_small(rng, capsys):
    frame = draw(rng, n=2000).drop("w")
    estimator("log_loss", verbose=1).fit(frame.lazy(), "y")
    lines = capsys.readouterr().out.splitlines()
    assert sum("] query" in line for line in lines) <= 15
    assert any("residual" in line for line in lines)


def test_strengths_of_zero_and_early_stops_warn(rng):
    for _ in range(4):  # whether a task has one class only is read off rounded moments
        frame = draw(rng).drop("w").with_columns(y=(pl.col("task") > 0) & pl.col("y"))
        with pytest.warns(ConvergenceWarning, match="alpha_intercept = 0 does not bound"):
            given("log_loss", Independent(1.0), max_iter=25).fit(frame.lazy(), "y")
    with pytest.warns(ConvergenceWarning, match=r"above tol=1e-11, after 1 steps; increase"):
        given("log_loss", max_iter=1).fit(draw(rng).lazy(), "y", sample_weight="w")


# Engines differ little in kinds of labels.
KINDS = [(e, "strings") for e in ENGINES[:4]] + [("polars", "booleans"), ("duckdb", "integers")]


@pytest.mark.parametrize(
    ("engine", "kind"), [*KINDS, pytest.param("pyspark", "booleans", marks=pytest.mark.slow)]
)
def test_predictions_are_those_in_memory(rng, engine, kind):
    frame = draw(rng, n=300).drop("w")
    if kind != "booleans":
        no, yes = ("No", "Yes") if kind == "strings" else (3, 7)
        frame = frame.with_columns(y=pl.when(pl.col("y")).then(pl.lit(yes)).otherwise(pl.lit(no)))
    model = given("log_loss").fit(make(engine, frame), "y")
    new = frame.with_columns(
        task=pl.when(pl.col("id") < 300).then(99).otherwise(pl.col("task")), a=pl.col("a") * 3.0
    )
    lazy, order = make(engine, new), np.argsort(new["id"].to_numpy())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        X = new.drop("y")
        labels, proba = model.predict(X), model.predict_proba(X)
        score = model.decision_function(X)
    found = in_memory(model.predict(lazy), "id")
    assert found["prediction"].to_list() == labels[order].tolist()
    found = in_memory(model.predict_proba(lazy), "id")
    assert found.columns == [*new.columns, *(f"proba_{c}" for c in model.classes_)]
    np.testing.assert_allclose(found.to_numpy()[:, -2:].astype(float), proba[order], rtol=1e-10)
    found = in_memory(model.decision_function(lazy), "id")
    np.testing.assert_allclose(found["score"], score[order], rtol=1e-10, atol=1e-10)
    wanted = given("log_loss").fit(frame.drop("y"), frame["y"].to_numpy())
    assert model.classes_.tolist() == wanted.classes_.tolist()


@pytest.mark.parametrize(
    ("engine", "class_weight", "weights"),
    [
        ("polars", "balanced", (None, "w")),
        ("duckdb", {True: 3.0}, ("w",)),
        ("dask", {True: 3.0}, (None,)),
    ],
)
def test_weights_of_classes(rng, engine, class_weight, weights):
    frame = draw(rng)
    X, y, w = parts(frame)
    for weight in weights:
        wanted = given("log_loss", class_weight=class_weight)
        wanted.fit(X, y, sample_weight=None if weight is None else w)
        rows = frame if weight else frame.drop("w")
        found = given("log_loss", class_weight=class_weight)
        found.fit(make(engine, rows), "y", sample_weight=weight)
        assert_same_models(found, wanted, 1e-6)


def test_a_regression_with_the_log_loss(rng):
    frame = draw(rng).drop("w").with_columns(pl.col("y").cast(pl.Int64))
    options = {"task_column": "task", "exclude_columns": ["id"], "cv": None, "tol": 1e-9}
    model = MultiTaskRegressor(FIXED, loss="log_loss", **options)
    X, y = frame.drop("y"), frame["y"].to_numpy()
    proba = model.fit(X, y).predict_proba(X)
    found = in_memory(model.fit(frame.lazy(), "y").predict_proba(frame.lazy()), "id")
    order = np.argsort(frame["id"].to_numpy())
    np.testing.assert_allclose(found[["proba_0", "proba_1"]].to_numpy(), proba[order], atol=1e-8)


def wrong(frame):
    """Return calls that must fail, by the error."""
    lazy = frame.drop("w").lazy()

    def fit(lazy=lazy, y="y", loss="log_loss", weight=None, **options):
        return lambda: estimator(loss, **options).fit(lazy, y, sample_weight=weight)

    return {
        r"y='z' is not a column of X, whose columns are: 'task'": fit(y="z"),
        r"sample_weight='v' is not a column": fit(weight="v"),
        r"y has one class only among the rows of positive weight, .*True": fit(
            lazy.filter(pl.col("y"))
        ),
        r"has the classes \[0, 1, 2\], but lazy frames are fitted for two classes only": fit(
            lazy.with_columns(y=pl.col("id") // 10 % 3)
        ),
        r"more than 10 classes": fit(lazy.with_columns(y=pl.col("id"))),
        r"column y='y' of X, a lazy frame, has missing labels": fit(
            lazy.with_columns(y=pl.when(pl.col("id") > 50).then(pl.col("y")))
        ),
        r"class_weight has keys that are not classes": fit(class_weight={"yes": 2.0}),
        r"set fold_column= to its name": fit(fold_column=None, exclude_columns=["id"]),
        r"y must be the name of one of its columns": fit(y=frame["y"].to_numpy()),
        r"grouping_columns=\['a'\] needs all rows in memory.*set grouping_columns=None": fit(
            grouping_columns=["a"]
        ),
        r"sharing=TaskTree needs all rows in memory": fit(sharing="task_tree"),
        r"sharing='hidden_layers' fits learners, which need all rows": fit(sharing="hidden_layers"),
        r"positive= and negative= of the sharing structure are for": fit(
            sharing=PartialPooling(positive=["a"])
        ),
        r"loss='huber' needs all rows in memory.*collect it, or set loss to one of": fit(
            loss="huber"
        ),
        r"loss='absolute_error' needs": fit(loss="absolute_error"),
        r"loss=\{3: 'poisson'\} needs": fit(loss={3: "poisson"}),
        r"task_weight='uncertainty' learns noise levels": fit(
            loss="poisson", task_weight="uncertainty"
        ),
        r"loss='poisson' cannot be combined with keep_moments=True": fit(
            lazy.with_columns(y=pl.col("id") * 1.0), loss="poisson", keep_moments=True
        ),
        r"loss='poisson' is for counts, but y has the value -": fit(
            lazy.with_columns(y=pl.col("a")), loss="poisson"
        ),
        r"loss='gamma' is for amounts above 0": fit(
            lazy.with_columns(y=pl.col("id") * 1.0), loss="gamma"
        ),
    }


def test_wrong_calls_name_the_argument_and_the_remedy(rng):
    frame = draw(rng, n=300)
    for text, call in wrong(frame).items():
        with pytest.raises((ValueError, TypeError), match=f"(?s){text}"):
            call()
    model = given("log_loss").fit(frame.drop("w").lazy(), "y")
    lazy = frame.lazy()
    for call in (
        lambda: model.score(lazy, "y"),
        lambda: model.predict_log_proba(lazy),
        lambda: model.predict_set(lazy),
    ):
        with pytest.raises((ValueError, TypeError)):
            call()
    with pytest.raises(ValueError, match=r"has columns \['Proba_true'\]"):
        model.predict_proba(lazy.with_columns(Proba_true=1.0))
    with pytest.raises(ValueError, match="more than two classes"):
        X = frame.drop("y", "w")
        given("log_loss").fit(X, np.arange(300) % 3).predict(lazy)


def test_auto_says_once_that_it_fits_linear_models(rng):
    lazy = draw(rng, n=600).drop("w").lazy()
    with pytest.warns(UserWarning, match="fits its linear models only") as found:
        model = estimator("log_loss", "auto").fit(lazy, "y")
    assert len(found) == 1
    assert_same_models(model, estimator("log_loss").fit(lazy, "y"), 1e-12)


def test_a_query_that_fails_leaves_everything_as_it_was(rng):
    frame = draw(rng, n=300).drop("w")
    model = given("log_loss").fit(frame.lazy(), "y")
    before, calls = dict(vars(model)), []

    def explode(rows):
        calls.append(1)
        if len(calls) > 4:  # the first steps succeed
            raise OSError("disk 7 is gone")
        return rows

    broken = frame.lazy().map_batches(explode, schema=frame.schema, projection_pushdown=False)
    with pytest.raises(QueryError, match=r"failed in .*; nothing was changed.*disk 7"):
        model.fit(broken, "y")
    assert vars(model) == before
