"""Prediction intervals of TransferEstimator, from out-of-fold errors of the target's rows."""

import copy
import pickle
import warnings

import checks
import numpy as np
import pandas as pd
import polars as pl
import pytest
import reference
from scipy import sparse
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge
from sklearn.model_selection import (
    KFold,
    LeaveOneOut,
    PredefinedSplit,
    RepeatedKFold,
    TimeSeriesSplit,
    cross_val_predict,
)  # fmt: skip
from sklearn.neighbors import KNeighborsRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from test_transfer import WithSource

from skmtl import Source, TransferEstimator
from skmtl.adaptation import Pooled
from skmtl.guard import conformal
from skmtl.guard.conformal import ConformalResiduals


def draw(seed=0, n=30, n_later=500, helpful=True, noise="normal", n_features=3):
    """Return a source of three tasks, the target's rows, and later rows of it."""
    rng = np.random.default_rng(seed)
    coef = rng.normal(size=n_features)
    make = {"normal": rng.normal, "skewed": lambda size: rng.exponential(size=size) - 1.0}[noise]

    def rows(size, slopes):
        X = rng.normal(size=(size, n_features))
        return X, (X * slopes).sum(1) + make(size=size)

    task = np.repeat(np.arange(3), 50)
    slopes = 0.1 * rng.normal(size=(3, n_features)) + (coef if helpful else -coef)
    return Source(*rows(150, slopes[task]), task), rows(n, coef), rows(n_later, coef)


SOURCE, (X, Y), (LATER, CAME) = draw()
MODEL = TransferEstimator(source=SOURCE, keep_residuals=True)
QUICK = TransferEstimator(source=SOURCE, adaptation=Pooled(2.0), keep_residuals=True)
WEIGHT = np.random.default_rng(1).integers(1, 4, size=len(Y))


def width(model, coverage=0.8):
    low, high = model.predict_interval(LATER, coverage)
    np.testing.assert_allclose(low + high, 2.0 * model.predict(LATER), rtol=1e-9, atol=1e-9)
    assert np.ptp(high - low) < 1e-9
    return high[0] - low[0]


# --------------------------------------------------------------------------------- coverage


@pytest.mark.parametrize("noise", ["normal", "skewed"])
@pytest.mark.parametrize("source", ["none", "helpful", "opposite"])
@pytest.mark.parametrize("n", [10, 40])
def test_coverage_on_new_rows(n, source, noise):
    """At least the nominal coverage, less three standard errors of the simulation."""
    shares = []
    for seed in range(40):
        rows, target, (later, came) = draw(seed, n, 200, source == "helpful", noise)
        model = clone(MODEL).set_params(source=None if source == "none" else rows).fit(*target)
        each = []
        for coverage in (0.8, 0.9):
            low, high = model.predict_interval(later, coverage)
            each.append(((low <= came) & (came <= high)).mean())
        shares.append(each)
    mean, error = np.mean(shares, axis=0), np.std(shares, axis=0) / np.sqrt(len(shares))
    assert (mean > [0.8, 0.9] - 3.0 * error).all()
    assert (mean < [0.9, 0.98]).all()


def test_a_helpful_source_makes_intervals_narrow():
    widths = []
    for seed in range(20):
        source, target, _ = draw(seed, 12, n_features=8)
        with_source, alone = (
            clone(MODEL).set_params(source=rows).fit(*target) for rows in (source, None)
        )
        widths.append(
            [np.subtract(*m.predict_interval(target[0][:1])[::-1])[0] for m in (with_source, alone)]
        )
    assert np.median(np.divide(*np.transpose(widths))) < 0.8


# ----------------------------------------------------------------------------- the quantile


@pytest.mark.parametrize("kind", ["none", "counts", "multiples", "weights"])
def test_the_quantile_is_that_of_the_definition(kind, rng):
    for n in (1, 2, 7, 40):
        rows = np.r_[np.arange(n), rng.integers(n, size=n // 2)]  # some are held out twice
        errors = rng.normal(size=len(rows))
        count = rng.integers(1, 5, size=n + 3)
        weight = {
            "none": np.ones(n + 3), "counts": count, "multiples": 6.0 * count,
            "weights": rng.uniform(0.1, 3.0, size=n + 3),
        }[kind]  # fmt: skip
        residuals = ConformalResiduals.of(errors, rows, None if kind == "none" else weight)
        for coverage in (0.05, 0.5, 0.55, 0.8, 0.9, 0.975):
            wanted = reference.conformal_radius(errors, rows, weight, coverage)
            if np.isfinite(wanted):
                np.testing.assert_array_equal(residuals.band(coverage), [-wanted, wanted])
            else:
                with pytest.raises(ValueError, match="needs out-of-fold residuals of at least"):
                    residuals.band(coverage)


def test_ranks():
    """The ceil(coverage * (n + 1))-th smallest, also where the product is rounded up."""
    for n, coverage, rank in [
        (9, 0.9, 9), (10, 0.9, 10), (19, 0.95, 19), (19, 0.55, 11), (99, 0.57, 57), (4, 0.1, 1),
    ]:  # fmt: skip
        errors = (-1.0) ** np.arange(n) * np.arange(1, n + 1)
        assert ConformalResiduals.of(errors, np.arange(n)).band(coverage)[1] == rank


@pytest.mark.parametrize("factor", [1e-200, 0.3, 1e200])
def test_weights_that_are_alike_have_no_effect(factor, rng):
    errors, rows = rng.normal(size=20), np.arange(20)
    wanted = ConformalResiduals.of(errors, rows).band(0.9)
    found = ConformalResiduals.of(errors, rows, np.full(20, factor)).band(0.9)
    np.testing.assert_array_equal(found, wanted)


def test_large_tables_keep_few_points_and_no_less_coverage(monkeypatch, rng):
    errors, rows = rng.normal(size=5000), np.arange(5000)
    every = ConformalResiduals.of(errors, rows)
    monkeypatch.setattr(conformal, "_POINTS", 100)
    few = ConformalResiduals.of(errors, rows)
    assert len(few.size) == 100
    for coverage in (0.003, 0.5, 0.9, 0.995, 0.9995):
        low, high = every.band(coverage), every.band(min(coverage + 0.011, 0.9998))
        assert low[1] <= few.band(coverage)[1] <= high[1]


# -------------------------------------------------------------------------------- the folds


def test_errors_are_out_of_fold_predictions_of_the_whole_procedure():
    splits = list(KFold(5, shuffle=True, random_state=0).split(X))  # those of the default
    plain = clone(MODEL).set_params(keep_residuals=False)
    errors = np.abs(Y - cross_val_predict(plain, X, Y, cv=splits))
    np.testing.assert_allclose(MODEL.fit(X, Y)._residuals.size, np.sort(errors), rtol=1e-9)


def test_steps_before_the_estimator_are_refitted():
    pipe = make_pipeline(StandardScaler(), Ridge())
    model = clone(MODEL).set_params(estimator=pipe, cv=3)
    plain = clone(model).set_params(keep_residuals=False)
    splits = list(KFold(3, shuffle=True, random_state=0).split(X))
    errors = np.abs(Y - cross_val_predict(plain, X, Y, cv=splits))
    np.testing.assert_allclose(model.fit(X, Y)._residuals.size, np.sort(errors), rtol=1e-9)


def test_the_model_itself_is_that_without_residuals():
    for model in (MODEL, clone(MODEL).set_params(random_state=3)):
        plain = clone(model).set_params(keep_residuals=False).fit(X, Y)
        np.testing.assert_array_equal(model.fit(X, Y).predict(LATER), plain.predict(LATER))
        assert model.transfer_report_.keys() == plain.transfer_report_.keys()


def _few(train, test):
    return [(train[: len(train) // 2], test), (np.repeat(train, 2), test)]


@pytest.mark.parametrize(
    "cv",
    [
        3, np.int64(4), LeaveOneOut(), KFold(2), RepeatedKFold(n_splits=3, n_repeats=2),
        TimeSeriesSplit(4), PredefinedSplit(np.arange(30) % 4 - 1),
        [(np.arange(20), np.arange(20, 30))], _few(np.arange(20), np.arange(20, 30)),
    ],
    ids=lambda cv: type(cv).__name__,
)  # fmt: skip
def test_splits_of_every_kind(cv):
    model = clone(MODEL).set_params(cv=cv).fit(X, Y)
    assert np.isfinite(width(model))
    n_held_out = {TimeSeriesSplit: 24, PredefinedSplit: 22, list: 10}.get(type(cv), 30)
    np.testing.assert_allclose(model._residuals.count[-1], n_held_out)


def test_splits_inside_are_those_of_the_training_rows():
    """The folds' own tuning sees no held-out row, and rows keep their places."""
    splits = [(np.setdiff1d(np.arange(30), test), test) for test in np.split(np.arange(30), 3)]
    model = clone(MODEL).set_params(cv=splits).fit(X, Y)
    errors = []
    for train, test in splits:
        inside = [
            (np.flatnonzero(np.isin(train, a)), np.flatnonzero(np.isin(train, b)))
            for a, b in splits
            if np.isin(train, b).any()
        ]
        fold = TransferEstimator(source=SOURCE, cv=inside).fit(X[train], Y[train])
        errors.append(np.abs(Y[test] - fold.predict(X[test])))
    np.testing.assert_allclose(model._residuals.size, np.sort(np.concatenate(errors)), rtol=1e-9)


def test_an_iterator_is_read_once():
    splits = list(KFold(5).split(X))
    found = TransferEstimator(source=SOURCE, cv=iter(splits), keep_residuals=True).fit(X, Y)
    wanted = TransferEstimator(source=SOURCE, cv=splits, keep_residuals=True).fit(X, Y)
    assert width(found) == width(wanted)


def test_number_of_jobs_has_no_effect():
    for model in (MODEL, clone(MODEL).set_params(cv=RepeatedKFold(n_splits=3, random_state=0))):
        one, two = (clone(model).set_params(n_jobs=n).fit(X, Y) for n in (1, 2))
        np.testing.assert_array_equal(one._residuals.size, two._residuals.size)
        np.testing.assert_array_equal(one._residuals.count, two._residuals.count)
        assert width(one) == width(two)


def test_the_same_twice_and_another_seed():
    assert width(clone(MODEL).fit(X, Y)) == width(clone(MODEL).fit(X, Y))
    other = clone(MODEL).set_params(random_state=5)
    assert width(clone(other).fit(X, Y)) == width(other.fit(X, Y)) != width(MODEL.fit(X, Y))


def test_weight_two_is_the_row_twice():
    """With splits that keep copies together."""
    fold = np.arange(30) % 5
    copies = np.repeat(np.arange(30), WEIGHT)
    model = clone(QUICK).set_params(cv=PredefinedSplit(fold)).fit(X, Y, WEIGHT)
    twice = clone(QUICK).set_params(cv=PredefinedSplit(fold[copies])).fit(X[copies], Y[copies])
    for coverage in (0.5, 0.8, 0.9):
        np.testing.assert_allclose(width(model, coverage), width(twice, coverage), rtol=1e-9)


def test_rows_of_weight_zero_are_left_out():
    weight = np.r_[np.ones(20), np.zeros(10)]
    model = clone(MODEL).fit(X, np.r_[Y[:20], np.full(10, 1e6)], weight)
    fewer = clone(MODEL).fit(X[:20], Y[:20], np.ones(20))
    np.testing.assert_allclose(width(model), width(fewer), rtol=1e-9)
    assert model._residuals.count[-1] == 20


@pytest.mark.parametrize("factor", [1e-4, 1e4])
def test_units_of_the_target(factor):
    source = Source(SOURCE.X, factor * SOURCE.y, np.repeat(np.arange(3), 50))
    model = clone(MODEL).set_params(source=source).fit(X, factor * Y)
    for found, wanted in zip(
        model.predict_interval(LATER), MODEL.fit(X, Y).predict_interval(LATER), strict=True
    ):
        np.testing.assert_allclose(found, factor * wanted, rtol=1e-6, atol=1e-6 * factor)


# ----------------------------------------------------------------------------- scikit-learn


@pytest.mark.parametrize(
    ("estimator", "check"),
    list(
        checks.estimator_check_cases(
            {
                "residuals": TransferEstimator(keep_residuals=True),
                "source, residuals": WithSource(keep_residuals=True),
            }
        )
    ),
)
def test_estimator_checks(estimator, check):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        check(estimator)


@pytest.mark.parametrize("library", ["pandas", "polars", "csr", "csc"])
def test_tables_of_every_kind(library):
    make = {
        "pandas": lambda A: pd.DataFrame(A, columns=["a", "b", "c"]),
        "polars": lambda A: pl.DataFrame(A, schema=["a", "b", "c"]),
        "csr": sparse.csr_matrix, "csc": sparse.csc_matrix,
    }[library]  # fmt: skip
    source = Source(make(SOURCE.X), SOURCE.y, np.repeat(np.arange(3), 50))
    model = clone(MODEL).set_params(source=source).fit(make(X), Y)
    low, high = model.predict_interval(make(LATER))
    for found, wanted in zip((low, high), MODEL.fit(X, Y).predict_interval(LATER), strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-6, atol=1e-8)


def test_strings_and_gaps():
    df = pd.DataFrame(X, columns=["a", "b", "c"]).assign(d=np.where(X[:, 0] > 0, "yes", "no"))
    df.loc[::7, "b"] = np.nan
    model = TransferEstimator(preprocessor="auto", keep_residuals=True).fit(df, Y)
    low, high = model.predict_interval(df)
    assert (low < high).all()


def test_behind_steps_of_a_pipeline():
    pipe = make_pipeline(FunctionTransformer(), clone(MODEL)).fit(X, Y)
    found = pipe[-1].predict_interval(pipe[:-1].transform(LATER))
    np.testing.assert_array_equal(found, MODEL.fit(X, Y).predict_interval(LATER))


def test_pickles_keep_intervals_and_no_rows():
    model = clone(QUICK).set_params(source=None)
    sizes = []
    for n in (30, 3000):
        _, target, _ = draw(0, n)
        text = pickle.dumps(model.fit(*target))
        sizes.append(len(text))
        found = pickle.loads(text).predict_interval(LATER)
        np.testing.assert_array_equal(found, model.predict_interval(LATER))
        assert target[0].tobytes() not in text and target[1].tobytes() not in text
    assert sizes[1] - sizes[0] < 17 * 3000  # two numbers per error
    assert not hasattr(clone(model), "estimator_")


def test_models_pickled_before_there_were_intervals():
    model = clone(MODEL).set_params(keep_residuals=False).fit(X, Y)
    for name in ("keep_residuals", "_residuals", "_labelled"):
        vars(model).pop(name)
    model = pickle.loads(pickle.dumps(model))
    assert model.get_params()["keep_residuals"] is False
    with pytest.raises(ValueError, match="set keep_residuals=True and call fit again"):
        model.predict_interval(LATER)
    clone(model).fit(X, Y)


def test_nothing_of_the_callers_is_changed():
    splitter, state = KFold(5, shuffle=True, random_state=0), np.random.RandomState(0)
    step = Ridge()
    given = {"source": SOURCE, "cv": splitter, "estimator": step}
    model = TransferEstimator(**given, random_state=state, keep_residuals=True)
    rows, labels, weight = X.copy(), Y.copy(), WEIGHT.astype(float)
    for array in (rows, labels, weight):
        array.flags.writeable = False
    before = copy.deepcopy(vars(splitter))
    plain = np.random.RandomState(0)
    model.fit(rows, labels, weight)
    TransferEstimator(**given, random_state=plain).fit(rows, labels, weight)
    assert vars(splitter) == before and not hasattr(step, "coef_")
    assert state.randint(1000) == plain.randint(1000)  # one number is drawn in either case
    assert model.get_params()["cv"] is splitter and model.keep_residuals is True


def test_progress_is_reported_once(capsys):
    clone(QUICK).set_params(verbose=1).fit(X, Y)
    lines = capsys.readouterr().out.splitlines()
    assert sum("out-of-fold residuals: fits on 5 splits" in line for line in lines) == 1
    quiet = clone(QUICK).set_params(verbose=1, keep_residuals=False).fit(X, Y)
    assert len(capsys.readouterr().out.splitlines()) == len(lines) - 1
    assert quiet._residuals is None


# ----------------------------------------------------------------------------------- errors


@pytest.mark.parametrize("coverage", [0.0, 1.0, 90, -0.5, "most", None, True, np.nan])
def test_coverage_is_a_share(coverage):
    model = clone(QUICK).fit(X, Y)
    with pytest.raises(ValueError, match="coverage=.* must be a number between 0 and 1"):
        model.predict_interval(LATER, coverage)


def test_too_few_rows_for_the_coverage():
    model = clone(QUICK).fit(X[:10], Y[:10])
    width(model, 0.9)
    with pytest.raises(ValueError, match=r"coverage=0\.95 .* at least 19 rows, .* 10 row.*0\.9,"):
        model.predict_interval(LATER, 0.95)
    single = clone(QUICK).fit(X[:1], Y[:1])  # cannot be split
    with pytest.raises(ValueError, match="those of no row.*infinite: fit on more"):
        single.predict_interval(LATER, 0.5)


def test_weights_that_differ_count_for_fewer_rows():
    weight = np.r_[np.full(5, 10.5), np.full(25, 0.01)]
    model = clone(QUICK).fit(X, Y, weight)
    with pytest.raises(ValueError, match="at least 9 rows, but there are those of 5.0"):
        model.predict_interval(LATER, 0.9)


def test_residuals_must_have_been_asked_for():
    with pytest.raises(NotFittedError):
        clone(MODEL).predict_interval(LATER)
    model = clone(MODEL).set_params(keep_residuals=False).fit(X, Y)
    model.set_params(keep_residuals=True)  # has no effect before the next fit
    with pytest.raises(ValueError, match="was fitted with keep_residuals=False; set keep_res"):
        model.predict_interval(LATER)
    model.fit(X, Y).predict_interval(LATER)
    model.set_params(keep_residuals=False).fit(X, Y)
    with pytest.raises(ValueError, match="keep_residuals=False"):
        model.predict_interval(LATER)


def test_classifiers_have_no_intervals():
    labels = np.where(Y > 0, "yes", "no")
    model = TransferEstimator(LogisticRegression())
    for each in (model, clone(model).fit(X, labels)):
        assert not hasattr(each, "predict_interval")
        with pytest.raises(AttributeError) as error:
            each.predict_interval  # noqa: B018
        assert "is for regressors; the probabilities" in str(error.value.__cause__)
    model.set_params(keep_residuals=True)
    with pytest.raises(ValueError, match="for regressors, but estimator=LogisticRegression is a"):
        model.fit(X, labels)
    assert not hasattr(model, "estimator_")


def test_without_labels_there_are_no_intervals():
    model = TransferEstimator(source=SOURCE, adaptation="kmm").fit(X)
    assert not hasattr(model, "predict_interval")
    with pytest.raises(AttributeError) as error:
        model.predict_interval  # noqa: B018
    assert "fitted without y" in str(error.value.__cause__)
    with pytest.raises(ValueError, match="keep_residuals=True requires y to be passed"):
        model.set_params(keep_residuals=True).fit(X)
    assert width(model.fit(X, Y)) > 0
    model.set_params(keep_residuals=False).fit(X)
    assert not hasattr(model, "predict_interval")


@pytest.mark.parametrize("value", ["yes", 1, None])
def test_the_parameter_is_a_boolean(value):
    with pytest.raises(ValueError, match="keep_residuals"):
        TransferEstimator(keep_residuals=value).fit(X, Y)


@pytest.mark.parametrize("n_jobs", [None, 2])
def test_errors_of_fits_on_fewer_rows_say_where_they_come_from(n_jobs):
    model = TransferEstimator(KNeighborsRegressor(20), cv=2, keep_residuals=True, n_jobs=n_jobs)
    TransferEstimator(KNeighborsRegressor(20), cv=2).fit(X, Y)
    with pytest.raises(ValueError) as error:
        model.fit(X, Y)
    assert any(
        "keep_residuals=True, by a fit on the 15 training rows of split" in note
        for note in error.value.__notes__
    )
    assert not hasattr(model, "estimator_")


def test_a_perfect_fit_has_no_width():
    model = TransferEstimator(LinearRegression(), keep_residuals=True).fit(X, X @ [1.0, 2.0, 3.0])
    low, high = model.predict_interval(LATER)
    np.testing.assert_allclose(low, high, atol=1e-9)
