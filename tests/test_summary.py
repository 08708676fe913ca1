"""Summaries of fits: standard errors, variances, effective parameters, gains."""

import pickle

import numpy as np
import pytest
import reference
from scipy.stats import norm
from sklearn.exceptions import NotFittedError
from test_groupings import face, ratings
from test_levels import FIXED, chain, parts, tree

from skmtl import MultiTaskClassifier, MultiTaskRegressor
from skmtl.sharing import PartialPooling, Pooled
from skmtl.sharing.inference import RestrictedLikelihood, kappa_of_strengths, n_effective_of
from skmtl.sharing.problem import Problem
from skmtl.tasks.moments import block_moments
from skmtl.tasks.table import pack

pd = pytest.importorskip("pandas")
pytestmark = pytest.mark.jit
FLAT = PartialPooling(5.0, alpha_intercept=3.0, alpha_shared=1.0)


def in_units(std_error, X):
    """Standard errors of slopes of X, from those of standardised features."""
    return std_error[1:] / X.std(axis=0)


@pytest.mark.parametrize("levels", [False, True])
@pytest.mark.parametrize("weighted", [False, True])
def test_standard_errors_at_given_strengths(levels, weighted, rng):
    X, y, _ = chain(rows=6)
    weight = rng.integers(1, 4, size=len(y)).astype(float) if weighted else None
    numbers, (_, store, region) = X[["a", "b"]].to_numpy(), parts(X)
    if levels:
        model = tree(FIXED, cv=None).fit(X, y, weight)
        groups, of_levels = [region], [(2.0, 4.0)]
    else:
        model = MultiTaskRegressor(FLAT, cv=None).fit(numbers, y, weight, task=store)
        groups, of_levels = [], []
    Z = reference.standardised(numbers, weight)
    error, noise, n_effective = reference.mixed_inference(
        Z, y, store, groups, (5.0, 3.0, 1.0), of_levels, weight
    )
    summary = model.summary(coverage=0.9)
    unit = np.sqrt(np.cov(numbers.T, aweights=weight, ddof=0).diagonal())
    table = summary.coefficients
    np.testing.assert_allclose(table["std_error"][1:], error[1:] / unit, rtol=1e-6)
    assert summary.facts["effective parameters"] == pytest.approx(n_effective, rel=1e-6)
    assert summary.components["std"][-1] == pytest.approx(noise, rel=1e-6)
    width = norm.ppf(0.95) * table["std_error"]
    np.testing.assert_allclose(table["high"] - table["coef"], width)
    np.testing.assert_allclose(table["coef"] - table["low"], width)
    of_tasks = summary.components["std"][summary.components["level"] == "task"]
    np.testing.assert_allclose(of_tasks, noise / np.sqrt([3.0, 5.0]), rtol=1e-6)
    if levels:
        of_regions = summary.components["std"][summary.components["level"] == "region"]
        np.testing.assert_allclose(of_regions, noise / np.sqrt([2.0, 4.0]), rtol=1e-6)


def test_three_levels(rng):
    X, y, _ = chain(regions=9, stores=4, rows=5)
    X.insert(0, "country", np.array(["n", "s", "w"])[X["region"].str[1].astype(int) // 3])
    Z, store, region = parts(X)
    from skmtl.sharing import TaskTree

    sharing = TaskTree(5.0, alpha_intercept=3.0, alpha_shared=1.0, alpha_levels=[6.0, 4.0])
    columns = ["country", "region", "store"]
    summary = MultiTaskRegressor(sharing, task_column=columns, cv=None).fit(X, y).summary()
    error, _noise, n_effective = reference.mixed_inference(
        Z, y, store, [region // 3, region], (5.0, 3.0, 1.0), [(6.0, 6.0), (4.0, 4.0)]
    )
    found = summary.coefficients["std_error"][1:]
    np.testing.assert_allclose(found, in_units(error, X[["a", "b"]].to_numpy()), rtol=1e-6)
    assert summary.facts["effective parameters"] == pytest.approx(n_effective, rel=1e-6)
    assert summary.components["level"].tolist()[:2] == ["country", "country"]


def test_pooled_models_have_the_errors_of_least_squares(rng):
    X = rng.normal(size=(60, 2))
    y = X @ [1.0, -2.0] + rng.normal(size=60)
    summary = MultiTaskRegressor(Pooled(0.0), cv=None).fit(X, y).summary()
    design = np.column_stack([np.ones(60), X])
    inverse = np.linalg.inv(design.T @ design)
    rest = y - design @ (inverse @ (design.T @ y))
    wanted = np.sqrt(np.diag(inverse) * (rest @ rest) / 57)
    np.testing.assert_allclose(summary.coefficients["std_error"], wanted, rtol=1e-8)
    assert summary.facts["effective parameters"] == pytest.approx(3.0)


def test_classes_have_the_errors_of_working_responses():
    X, y, _ = chain(rows=8)
    numbers, (Z, store, _) = X[["a", "b"]].to_numpy(), parts(X)
    model = MultiTaskClassifier(FLAT, cv=None, tol=1e-9).fit(numbers, y > np.median(y), task=store)
    p = model.predict_proba(numbers, task=store)[:, 1]
    error, _, n_effective = reference.mixed_inference(
        Z, y, store, [], (5.0, 3.0, 1.0), [], curvature=p * (1 - p)
    )
    summary = model.summary()
    found = summary.coefficients["std_error"][1:]
    np.testing.assert_allclose(found, in_units(error, numbers), rtol=1e-5)
    assert summary.facts["effective parameters"] == pytest.approx(n_effective, rel=1e-5)
    np.testing.assert_allclose(summary.components["std"], 1 / np.sqrt([3.0, 5.0]))


def test_the_restricted_likelihood(rng):
    codes = np.repeat(np.arange(6), 5)
    X = rng.normal(size=(30, 2))
    y = X[:, 0] + rng.normal(size=6)[codes] + rng.normal(size=30)
    moments = block_moments(pack(X, y, codes, 6)).block(0)
    for factors in ([1.0, 0.5], [0.7, 0.0], [0.0, 0.0]):  # slopes of zero do not vary
        for within_only in (False, True):
            likelihood = RestrictedLikelihood(moments, np.array(factors), within_only)
            for kappa in ([0.5, 0.2], [2.0, 1e-3], [1e-4, 3.0]):
                wanted = reference.restricted_likelihood(X, y, codes, kappa, within_only, factors)
                assert likelihood(np.log(kappa)) == pytest.approx(wanted, abs=1e-6)
    likelihood = RestrictedLikelihood(moments, np.ones(2))
    *best, noise = likelihood.best()
    assert noise > 0
    best = np.array(best)
    here = likelihood(np.log(best[:2]))
    for factor in ([1.2, 1.0], [0.8, 1.0], [1.0, 1.5], [1.0, 0.6]):
        assert likelihood(np.log(best[:2] * factor)) > here - 1e-2


def test_variances_are_found():
    found = []
    for seed in range(6):
        rng = np.random.default_rng(seed)
        codes = np.repeat(np.arange(60), 10)
        X = rng.normal(size=(600, 2))
        y = (X * (0.4 * rng.normal(size=(60, 2)))[codes]).sum(axis=1)
        y += 0.8 * rng.normal(size=60)[codes] + 0.6 * rng.normal(size=600)
        model = MultiTaskRegressor("partial_pooling").fit(X, y, task=codes)
        found.append(model.summary().components["std"])
    np.testing.assert_allclose(np.mean(found, axis=0), [0.8, 0.4, 0.6], rtol=0.07)


def test_intervals_cover_what_tasks_share():
    """Slopes of tasks that differ, whose mean is zero."""
    inside = []
    for seed in range(60):
        rng = np.random.default_rng(seed)
        codes = np.repeat(np.arange(25), 12)
        X = rng.normal(size=(300, 2))
        y = (X * (0.5 * rng.normal(size=(25, 2)))[codes]).sum(axis=1) + rng.normal(size=25)[codes]
        y += rng.normal(size=300)
        table = MultiTaskRegressor("partial_pooling", cv=3).fit(X, y, task=codes).summary(0.9)
        low, high = table.coefficients["low"], table.coefficients["high"]
        inside.append((low < 0) & (0 < high))
    assert 0.8 < np.mean(inside) < 0.97


def test_counts_have_a_dispersion():
    rng = np.random.default_rng(0)
    codes = np.repeat(np.arange(40), 20)
    X = rng.normal(size=(800, 2))
    mean = np.exp(1 + 0.5 * rng.normal(size=40)[codes] + 0.3 * X[:, 0])
    y = rng.poisson(rng.gamma(mean / 2.0, 2.0))
    model = MultiTaskRegressor("partial_pooling", loss="poisson").fit(X, y, task=codes)
    components = model.summary().components
    assert components["term"][-1] == "dispersion (root)"
    assert components["std"][-1] == pytest.approx(np.sqrt(3.0), rel=0.15)
    assert components["std"][0] == pytest.approx(0.5, rel=0.3)
    robust = MultiTaskRegressor("partial_pooling", loss="huber").fit(X, y, task=codes).summary()
    assert np.isnan(robust.coefficients["std_error"]).all()
    assert "Standard errors are not known for this kind of fit." in robust.notes


def test_text_frames_and_html():
    X, y = ratings()
    model = face().fit(X, y)
    summary = model.summary()
    text = str(summary)
    assert text.startswith("MultiTaskRegressor: PartialPooling\n===")
    for part in ("What all tasks share", "student", "What sharing gained", "independent"):
        assert part in text
    page = summary._repr_html_()
    assert page.count("<table>") == 4 and "student" in page and "nan" not in page
    frame = summary.to_frame()
    assert frame.columns.tolist() == ["name", "coef", "std_error", "low", "high"]
    np.testing.assert_allclose(frame["coef"][1:], model.shared_coef_)
    gains = summary.to_frame("gains").set_index("model")
    rows = model.task_report_["n_samples"][:-1]
    wanted = np.average(model.task_report_["error_pooled"][:-1], weights=rows)
    assert gains.loc["pooled", "error"] == pytest.approx(wanted)
    assert summary.to_frame("components")["n_groups"].tolist()[:2] == [60, 3]
    with pytest.raises(ValueError, match="part='all' is unknown"):
        summary.to_frame("all")
    copy = pickle.loads(pickle.dumps(model)).summary()
    assert str(copy) == text


def test_names_are_escaped():
    X, y = ratings()
    model = face(exclude_columns=["dept"], grouping_columns=("student",))
    page = model.fit(X.rename(columns={"age": "<b>age"}), y).summary()._repr_html_()
    assert "&lt;b&gt;age" in page and "<b>age" not in page


def test_many_features_and_what_is_not_linear():
    rng = np.random.default_rng(0)
    X, codes = rng.normal(size=(300, 40)), np.repeat(np.arange(10), 30)
    summary = MultiTaskRegressor("partial_pooling").fit(X, X[:, 0], task=codes).summary()
    assert "... and 11 more" in str(summary) and len(summary.to_frame()) == 41
    frame, y = ratings(n=1500, bend=2.0)
    bent = face("auto").fit(frame, y).summary()
    assert bent.coefficients == {} and "member_report_" in bent.notes[0]
    three = MultiTaskClassifier("partial_pooling").fit(X, np.arange(300) % 3, task=codes).summary()
    assert three.to_frame()["class"].tolist()[:41] == [0] * 41
    assert np.isnan(three.coefficients["std_error"]).all()


def test_errors():
    with pytest.raises(NotFittedError):
        MultiTaskRegressor().summary()
    model = MultiTaskRegressor(FLAT, cv=None).fit(np.arange(8.0)[:, None], np.arange(8.0) % 3)
    with pytest.raises(ValueError, match="coverage=2.0 must be a number between 0 and 1"):
        model.summary(2.0)
    assert model.summary().gains == {}  # without cross-validation


@pytest.mark.parametrize("kind", [MultiTaskRegressor, MultiTaskClassifier])
def test_standard_errors_beside_grouping_columns(kind):
    X, y = ratings(n=260, n_lecturers=8, n_students=15)
    is_class = kind is MultiTaskClassifier
    y = (y > np.median(y)).astype(float) if is_class else y
    given, options = {"student": 2.0, "dept": 5.0}, {"tol": 1e-9} if is_class else {}
    sharing = PartialPooling(6.0, alpha_intercept=3.0, alpha_shared=0.0)
    model = kind(sharing, task_column="lecturer", grouping_columns=given, cv=None, **options)
    model.fit(X, y)
    numbers = X[["age", "hours"]].to_numpy()
    columns = [np.unique(X[c], return_inverse=True)[1] for c in ("lecturer", "student", "dept")]
    A, penalty = reference.crossed_design(
        reference.standardised(numbers), columns[0], 8, np.column_stack(columns[1:]), (15, 3),
        (6.0, 3.0, 0.0), (2.0, 5.0),
    )  # fmt: skip
    weight, variance = np.ones(len(y)), 1.0
    if is_class:
        p = model.predict_proba(X)[:, 1]
        weight = p * (1 - p)
    gram = A.T @ (weight[:, None] * A)
    inverse = np.linalg.inv(gram + np.diag(penalty))
    n_effective = np.trace(inverse @ gram)
    summary = model.summary()
    assert summary.facts["effective parameters"] == pytest.approx(n_effective, rel=0.1)
    if not is_class:
        rest = y - model.predict(X)
        variance = (rest @ rest) / (len(y) - summary.facts["effective parameters"])
    wanted = np.sqrt(np.diag(inverse)[1:3] * variance) / numbers.std(axis=0)
    np.testing.assert_allclose(summary.coefficients["std_error"][1:], wanted, rtol=1e-3)
    of_students = summary.components["std"][0]
    assert of_students == pytest.approx(np.sqrt(variance / 2.0), rel=1e-6)


@pytest.mark.parametrize("varying", [[], [0], None])
def test_variances_where_some_slopes_do_not_vary(varying):
    """The shared slopes of these features are none of the noise."""
    rng = np.random.default_rng(0)
    task = np.repeat(np.arange(60), 15)
    X = rng.normal(size=(900, 2))
    y = X @ [10.0, -5.0] + rng.normal(size=60)[task] + 0.3 * rng.normal(size=900)
    model = MultiTaskRegressor(PartialPooling(varying=varying)).fit(X, y, task=task)
    summary = model.summary()
    np.testing.assert_allclose(summary.components["std"][[0, -1]], [1.0, 0.3], rtol=0.15)
    error = summary.coefficients["std_error"]
    np.testing.assert_allclose(error[1:], 0.3 / np.sqrt(900), rtol=0.3)
    assert error[0] == pytest.approx(1 / np.sqrt(60), rel=0.15)


def test_models_that_share_all_or_nothing():
    rng = np.random.default_rng(0)
    task = np.repeat(np.arange(30), 15)
    X = rng.normal(size=(450, 2))
    y = X @ [1.0, -0.5] + rng.normal(size=30)[task] + 0.3 * rng.normal(size=450)
    pooled = MultiTaskRegressor("pooled").fit(X, y, task=task).summary()
    np.testing.assert_array_equal(pooled.components["std"][:2], 0.0)
    assert pooled.facts["effective parameters"] == pytest.approx(3.0, abs=0.1)
    alone = MultiTaskRegressor("independent").fit(X, y, task=task).summary()
    assert np.isnan(alone.coefficients["std_error"]).all()


def test_a_summary_is_a_copy():
    X, y, _ = chain()
    model = MultiTaskRegressor(FLAT, cv=None).fit(X[["a", "b"]].to_numpy(), y, task=X["store"])
    model.summary().coefficients["std_error"][:] = 99.0
    assert (model.summary().coefficients["std_error"] < 9.0).all()


def test_variances_of_strengths_of_zero():
    factors = np.array([0.0, 1.0, 2.0])
    with np.errstate(all="raise"):
        found = kappa_of_strengths(0.0, np.inf, factors)
        np.testing.assert_array_equal(found, [0.0, 0.0, 1e10, 4e10])
        found = kappa_of_strengths(np.inf, 0.0, factors)
        np.testing.assert_array_equal(found, [1e10, 0.0, 0.0, 0.0])
        found = kappa_of_strengths(4.0, 2.0, factors)
    np.testing.assert_array_equal(found, [0.5, 0.0, 0.25, 1.0])


def test_a_summary_by_loss(rng):
    X, task = rng.normal(size=(240, 2)), np.arange(240) % 6
    score = X @ [1.0, -0.5] + 0.5 * rng.normal(size=6)[task]
    y = np.where(task < 3, score + rng.normal(size=240), rng.poisson(np.exp(score)))
    loss = dict.fromkeys(range(3, 6), "poisson")
    model = MultiTaskRegressor("partial_pooling", loss=loss, cv=2).fit(X, y, task=task)
    summary, own = model.summary(), task >= 3
    one = MultiTaskRegressor("partial_pooling", loss="poisson", cv=2)
    wanted = one.fit(X[own], y[own], task=task[own]).summary()
    for part in ("coefficients", "components", "gains"):
        found, known = getattr(summary, part), getattr(wanted, part)
        assert set(found) == {"loss", *known}
        chosen = found["loss"] == "poisson"
        for key, values in known.items():
            if values.dtype.kind == "f":
                np.testing.assert_allclose(found[key][chosen], values)
            else:
                assert found[key][chosen].tolist() == values.tolist()
    assert "poisson (3 tasks), squared_error (3 tasks)" in str(summary)
    assert summary.to_frame("gains").shape == (6, 4) and "poisson" in summary._repr_html_()


def test_the_parameters_of_baselines(rng):
    task, X, y = np.repeat(np.arange(4), 20), rng.normal(size=(80, 2)), rng.normal(size=80)
    problem = Problem([], block_moments(pack(X, y, task, 4)).merge())
    Z = reference.standardised(X)
    plain = problem.scalings()[0]
    grams = [(Z[task == t] - Z[task == t].mean(axis=0)) for t in range(4)]
    grams = [part.T @ part for part in grams]
    alone = 4 + sum(np.trace(np.linalg.solve(C + 3.0 * np.eye(2), C)) for C in grams)
    pooled = 1 + np.trace(np.linalg.solve(Z.T @ Z + 5.0 * np.eye(2), Z.T @ Z))
    assert n_effective_of(problem, (3.0, 0.0, np.inf, plain)) == pytest.approx(alone, rel=1e-6)
    assert n_effective_of(problem, (np.inf, np.inf, 5.0, plain)) == pytest.approx(pooled)
