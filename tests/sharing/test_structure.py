"""Structures that solve their own candidates, under the guard."""

import pickle
from dataclasses import replace

import checks
import numpy as np
import pytest
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning

from skmtl import MultiTaskClassifier, MultiTaskRegressor
from skmtl.sharing import PartialPooling
from skmtl.sharing.structure import Solution, Structure


class TowardsMean(Structure):
    """Slopes of the tasks are shrunk towards shared ones; intercepts are free.

    The models are linear in y. The share of the own slopes in the number of parameters is that at
    known shared slopes, and what is left of the trace of the model is the share of these.
    """

    def __init__(self, alpha="auto"):
        self.alpha = alpha

    def candidates(self, data):
        return [
            {"alpha": a} for a in ([1.0, 10.0, 100.0] if self.alpha == "auto" else [self.alpha])
        ]

    def path(self, data, candidates):
        p = data.n_features
        products = np.array([data.products(t) for t in range(len(data.weight))])
        gram, moment = products[:, :p, :p], products[:, :p, p]
        for candidate in candidates:
            ridge = candidate["alpha"] * np.eye(p)
            own = np.linalg.solve(gram + ridge, np.concatenate([gram, moment[..., None]], axis=2))
            # Shared slopes, for which the task-specific slopes are ridges on the residuals.
            left = (
                (gram - gram @ own[..., :p]).sum(0),
                (moment - (gram @ own[..., p:])[..., 0]).sum(0),
            )
            shared = np.linalg.lstsq(*left, rcond=None)[0]  # a constant feature is zero
            coef = shared + own[..., p] - own[..., :p] @ shared
            intercept = data.mean[:, p] - np.einsum("tj,tj->t", coef, data.mean[:, :p])
            spent = np.trace(own[..., :p], axis1=1, axis2=2)
            level = data.weight @ intercept / data.weight.sum()
            kept = np.eye(p) - own[..., :p]
            of_shared = np.einsum("tij,tjk->ik", gram @ kept, kept)
            found = Solution(coef, intercept, np.append(level, shared), spent, n_iter=7)
            found.shared_complexity = np.trace(np.linalg.pinv(left[0]) @ of_shared)
            yield found


class Nothing(Structure):
    """Models that always predict zero."""

    def candidates(self, data):
        return [{"kind": "zero"}]

    def path(self, data, candidates):
        n, p = len(data.weight), data.n_features
        yield Solution(np.zeros((n, p)), np.zeros(n), np.zeros(1 + p), 0.0)


class BestFeature(Structure):
    """The most predictive feature, for all tasks: a model that is not rotation invariant."""

    def candidates(self, data):
        return [{"number": 0}]

    def path(self, data, candidates):
        slope = data.gradient(np.zeros((len(data.weight), data.n_features))).sum(0)
        slope = np.where(np.abs(slope) == np.abs(slope).max(), slope, 0.0)
        slope /= data.feature_squares().sum(0)[slope != 0]
        intercept = data.mean[:, -1] - data.mean[:, :-1] @ slope
        shared = np.append(data.weight @ intercept / data.weight.sum(), slope)
        yield Solution(np.tile(slope, (len(intercept), 1)), intercept, shared, 1.0)


def draw(rng, n_tasks=12, p=3, rows=15, spread=0.3):
    task = np.repeat(np.arange(n_tasks), rows)
    X = rng.normal(size=(len(task), p))
    slopes = rng.normal(size=p) + spread * rng.normal(size=(n_tasks, p))
    y = np.einsum("ij,ij->i", X, slopes[task]) + rng.normal(size=n_tasks)[task]
    return X, y + 0.5 * rng.normal(size=len(task)), task


def test_a_given_strength_is_partial_pooling(rng):
    X, y, task = draw(rng)
    given = {"alpha_intercept": 0.0, "alpha_shared": 0.0}
    mine = MultiTaskRegressor(TowardsMean(3.0), cv=None).fit(X, y, task=task)
    theirs = MultiTaskRegressor(PartialPooling(3.0, **given), cv=None).fit(X, y, task=task)
    np.testing.assert_allclose(mine.coef_, theirs.coef_, rtol=1e-8, atol=1e-10)
    np.testing.assert_allclose(mine.shared_coef_, theirs.shared_coef_, rtol=1e-8, atol=1e-10)
    np.testing.assert_allclose(mine.intercept_, theirs.intercept_, rtol=1e-8, atol=1e-10)
    assert mine.sharing_.alpha_ == 3.0 and mine.n_iter_ == 7
    assert not hasattr(mine.sharing_, "alpha_shared_")


def test_a_given_strength_is_in_the_unit_of_the_weights(rng):
    X, y, task = draw(rng)
    weight = rng.uniform(0.5, 2.0, size=len(y))
    one = MultiTaskRegressor(TowardsMean(3.0)).fit(X, y, task=task, sample_weight=weight)
    more = MultiTaskRegressor(TowardsMean(12.0)).fit(X, y, task=task, sample_weight=4.0 * weight)
    np.testing.assert_allclose(one.coef_, more.coef_, rtol=1e-8)
    np.testing.assert_allclose([one.sharing_.alpha_, more.sharing_.alpha_], [3.0, 12.0])
    assert set(one.history_["weight"][1:]) == {0.0}  # no guard


@pytest.mark.parametrize("spread", [0.0, 0.3, 3.0])
def test_it_is_guarded(spread, rng):
    X, y, task = draw(rng, rows=30, spread=spread)
    known = np.arange(len(y)) % 2 == 0
    errors = {}
    for sharing in (TowardsMean(), "independent", "pooled"):
        model = MultiTaskRegressor(sharing).fit(X[known], y[known], task=task[known])
        missed = y[~known] - model.predict(X[~known], task=task[~known])
        errors[str(sharing)] = np.mean(missed**2)
    shared, *baselines = errors.values()
    assert shared < 1.1 * min(baselines)


def test_a_useless_structure_has_no_weight(rng):
    X, y, task = draw(rng, n_tasks=20, p=4, rows=12, spread=0.0)
    y += np.einsum("ij,ij->i", X, (rng.normal(size=(20, 4)) * [3.0, 0.02, 0.02, 0.02])[task])
    model = MultiTaskRegressor(Nothing()).fit(X, y, task=task)
    history, report = model.history_, model.task_report_
    assert history["weight"][0] < 0.01
    assert history["kind"].tolist() == ["zero", *[None] * (len(history["kind"]) - 1)]
    used = report["used"][:-1]
    assert "independent" in used and (used != "shared").mean() > 0.8
    # Where independent is used, there is no gain over independent.
    assert np.abs(report["gain_over_independent"][:-1]).mean() < 0.05


def test_a_structure_without_strengths_is_guarded(rng):
    X, y, task = draw(rng, p=12)
    model = MultiTaskRegressor(BestFeature()).fit(X, y, task=task)
    limit = MultiTaskRegressor("independent").fit(X, y, task=task)
    assert np.isfinite(model.predict_interval(X, task=task)).all()
    ours, theirs = (m.task_report_["error_shared"][:-1].mean() for m in (model, limit))
    assert ours < 1.1 * theirs


def test_what_a_fit_tells(rng):
    X, y, task = draw(rng)
    model = MultiTaskRegressor(TowardsMean()).fit(X, y, task=task)
    history, report = model.history_, model.task_report_
    assert set(history["member"]) == {"own", "independent", "pooled"}
    assert history["alpha"][:3].tolist() == [1.0, 10.0, 100.0]
    assert np.isnan(history["alpha"][3:]).all()
    np.testing.assert_allclose(history["weight"].sum(), 1.0)
    assert model.sharing_.alpha_ in (1.0, 10.0, 100.0)
    assert np.isfinite(report["error_shared"]).all() and np.isfinite(report["residual_std"]).all()
    np.testing.assert_array_equal(
        pickle.loads(pickle.dumps(model)).predict(X, task=task), model.predict(X, task=task)
    )
    assert clone(model).sharing.alpha == "auto"


def test_new_tasks_are_adapted_to(rng):
    X, y, task = draw(rng, n_tasks=40, spread=0.5)
    seen = task < 35
    model = MultiTaskRegressor(TowardsMean()).fit(X[seen], y[seen], task=task[seen])
    shared, adapted = [], []
    for t in range(35, 40):
        rows = np.flatnonzero(task == t)
        few, rest = rows[:8], rows[8:]
        found = model.adapt(X[few], y[few]).predict(X[rest])
        adapted.append(np.mean((found - y[rest]) ** 2))
        found = X[rest] @ model.shared_coef_ + model.shared_intercept_
        shared.append(np.mean((found - y[rest]) ** 2))
    assert np.mean(adapted) < 0.7 * np.mean(shared)


def test_more_features_than_rows_are_not_rotated(rng):
    X, _, task = draw(rng, n_tasks=5, p=120, rows=10)
    y = 4.0 * X[:, 17] + task + 0.1 * rng.normal(size=len(X))
    model = MultiTaskRegressor(BestFeature(), cv=None).fit(X, y, task=task)
    assert np.flatnonzero(model.shared_coef_).tolist() == [17]
    np.testing.assert_allclose(model.shared_coef_[17], 4.0, atol=0.2)


def test_other_losses_are_refused(rng):
    X, y, task = draw(rng)
    model = MultiTaskClassifier(TowardsMean())
    with pytest.raises(ValueError, match="TowardsMean fits 'squared_error' only.*'log_loss'"):
        model.fit(X, y > 0, task=task)
    assert not hasattr(model, "coef_")


def test_a_structure_without_candidates_says_so(rng):
    X, y, task = draw(rng)
    sharing = type("Empty", (TowardsMean,), {"candidates": lambda self, data: []})()
    with pytest.raises(ValueError, match="Empty.candidates returned none"):
        MultiTaskRegressor(sharing).fit(X, y, task=task)


def test_a_path_that_works_in_place(rng):
    X, y, task = draw(rng)

    class InPlace(TowardsMean):
        def path(self, data, candidates):
            kept = None
            for found in super().path(data, candidates):
                if kept is None:
                    kept = found
                else:
                    kept.coef[:], kept.intercept[:] = found.coef, found.intercept
                    kept.shared[:] = found.shared
                yield kept

    errors = [
        MultiTaskRegressor(kind()).fit(X, y, task=task).history_["error"]
        for kind in (InPlace, TowardsMean)
    ]
    np.testing.assert_array_equal(*errors)


BROKEN = {
    "not finite": (lambda n, p: {"coef": np.full((n, p), np.nan)}, "finite"),
    "intercept": (lambda n, p: {"intercept": np.zeros((n, 1))}, "shapes"),
    "shared": (lambda n, p: {"shared": np.zeros(p)}, "shapes"),
    "complexity of no task": (lambda n, p: {"complexity": np.ones(n + 1)}, "the complexity"),
    "complexity below zero": (lambda n, p: {"complexity": -1.0}, "the complexity"),
    "no complexity": (lambda n, p: {"complexity": np.nan}, "finite"),
    "no residual": (lambda n, p: {"residual": np.nan}, "finite"),
    "shared below zero": (lambda n, p: {"shared_complexity": -1.0}, "the shared_complexity -1.0"),
    "no shared complexity": (lambda n, p: {"shared_complexity": np.inf}, "finite"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_what_a_path_gives_is_checked(name, rng):
    X, y, task = draw(rng)
    make, message = BROKEN[name]

    class Broken(TowardsMean):
        def path(self, data, candidates):
            n, p = len(data.weight), data.n_features
            for _ in candidates:
                right = Solution(np.zeros((n, p)), np.zeros(n), np.zeros(1 + p), 1.0)
                yield replace(right, **make(n, p))

    with pytest.raises(ValueError, match=f"Broken.path gave .*{message}"):
        MultiTaskRegressor(Broken()).fit(X, y, task=task)


def test_a_path_that_ends_early(rng):
    X, y, task = draw(rng)

    class Short(TowardsMean):
        def path(self, data, candidates):
            yield from super().path(data, candidates[:1])

    with pytest.raises(ValueError, match="Short.path gave 1 solutions for 3 candidates"):
        MultiTaskRegressor(Short()).fit(X, y, task=task)


@pytest.mark.parametrize(
    ("candidates", "message"),
    [
        ({"alpha": 1.0}, "must return a list of dicts"),
        (np.ones(3), "must return a list of dicts"),
        ([{"alpha": 1.0}, {"beta": 1.0}], "must have the same keys"),
    ],
)
def test_candidates_are_checked(candidates, message, rng):
    X, y, task = draw(rng)

    class Odd(TowardsMean):
        def candidates(self, data):
            return candidates

    with pytest.raises(ValueError, match=f"Odd.candidates.*{message}"):
        MultiTaskRegressor(Odd()).fit(X, y, task=task)


def test_keys_that_are_no_parameters_leave_a_given_strength_fixed(rng):
    X, y, task = draw(rng)

    class Labelled(TowardsMean):
        def candidates(self, data):
            return [{**one, "label": "a"} for one in super().candidates(data)]

    plain, labelled = (
        MultiTaskRegressor(kind(5.0)).fit(X, y, task=task) for kind in (TowardsMean, Labelled)
    )
    np.testing.assert_array_equal(labelled.coef_, plain.coef_)


def test_a_residual_above_the_tolerance_warns(rng):
    X, y, task = draw(rng)

    class Rough(TowardsMean):
        def path(self, data, candidates):
            for solution in super().path(data, candidates):
                yield replace(solution, residual=1e-3)

    with pytest.warns(ConvergenceWarning, match=r"Rough .* residual of 1.0e-03, above tol=1e-06"):
        model = MultiTaskRegressor(Rough(5.0)).fit(X, y, task=task)
    assert model.kkt_residual_ == 1e-3


@pytest.mark.parametrize("worst", [0, 1, 2])
def test_the_residual_is_the_largest_of_all_candidates_with_weight(worst, rng):
    X, y, task = draw(rng)

    class Uneven(TowardsMean):
        def path(self, data, candidates):
            for k, solution in enumerate(super().path(data, candidates)):
                yield replace(solution, residual=1e-3 if k == worst else 1e-9)

    message = rf"1.0e-03, .* for the candidate {{'alpha': {10.0**worst}}}; raise"
    with pytest.warns(ConvergenceWarning, match=message):
        model = MultiTaskRegressor(Uneven()).fit(X, y, task=task)
    weight = model.history_["weight"]
    assert model.kkt_residual_ == 1e-3 and weight[worst] > 0
    assert weight[worst] < weight.max() or worst == weight.argmax()


def test_the_residual_of_a_candidate_without_weight_does_not_count(rng):
    X, y, task = draw(rng)

    class Unused(Nothing):
        def path(self, data, candidates):
            for solution in super().path(data, candidates):
                yield replace(solution, residual=0.5)

    y = 10.0 * X[:, 0] + 0.1 * rng.normal(size=len(y))
    model = MultiTaskRegressor(Unused()).fit(X, y, task=task)
    assert model.history_["weight"][0] == 0.0
    assert model.kkt_residual_ < 1e-9


def test_one_task_is_not_drawn_to_zero(rng):
    X, y, _ = draw(rng, n_tasks=1, rows=20)
    model = MultiTaskRegressor(TowardsMean()).fit(X, y)
    np.testing.assert_allclose(model.coef_[0], model.shared_coef_, rtol=1e-8)


def test_rows_in_place_of_moments(rng, monkeypatch):
    X, y, task = draw(rng)
    wanted = MultiTaskRegressor(TowardsMean()).fit(X, y, task=task)
    monkeypatch.setattr("skmtl.multitask._least_squares.prefers_rows", lambda *args: True)
    found = MultiTaskRegressor(TowardsMean()).fit(X, y, task=task)
    np.testing.assert_allclose(found.coef_, wanted.coef_, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("cv", [None, 5])
def test_a_structure_of_ones_own_has_no_standard_errors(cv, rng):
    """Its penalty says nothing of the variances; its number of parameters is its own."""
    X, y, task = draw(rng)
    model = MultiTaskRegressor(TowardsMean(3.0), cv=cv).fit(X, y, task=task)
    summary = model.summary()
    assert np.isnan(summary.coefficients["std_error"]).all()
    assert np.isnan(summary.components["std"][:2]).all()
    assert "Standard errors are not known for this kind of fit." in summary.notes
    same = PartialPooling(3.0, alpha_intercept=0.0, alpha_shared=0.0)
    wanted = MultiTaskRegressor(same, cv=None).fit(X, y, task=task).summary()
    found = summary.facts["effective parameters"]
    assert found == pytest.approx(wanted.facts["effective parameters"], rel=1e-6)
    assert summary.components["std"][-1] == pytest.approx(wanted.components["std"][-1], rel=1e-6)


def test_the_parameters_of_shared_slopes_are_their_number_by_default(rng):
    class Silent(TowardsMean):
        def path(self, data, candidates):
            for found in super().path(data, candidates):
                yield replace(found, complexity=2.0, shared_complexity=None)

    X, y, task = draw(rng)
    model = MultiTaskRegressor(Silent(3.0), cv=None).fit(X, y, task=task)
    assert model.summary().facts["effective parameters"] == pytest.approx(12 * (1 + 2.0) + 3)


def test_the_parameters_of_a_blend_are_those_of_its_candidates(rng, monkeypatch):
    class Counted(TowardsMean):
        def path(self, data, candidates):
            for found, one in zip(super().path(data, candidates), candidates, strict=True):
                yield replace(found, complexity=2.0 / one["alpha"], shared_complexity=1.5)

    monkeypatch.setattr("skmtl.sharing.base.n_effective_of", lambda problem, candidate: 50.0)
    X, y, task = draw(rng)
    model = MultiTaskRegressor(Counted()).fit(X, y, task=task)
    weight, own = model.history_["weight"], model.history_["member"] == "own"
    assert (weight[own] > 0).sum() > 1 and weight[~own].sum() > 1e-3
    of_own = 12 * (1 + 2.0 / np.array([1.0, 10.0, 100.0])) + 1.5
    wanted = weight[own] @ of_own + 50.0 * weight[~own].sum()
    assert model.summary().facts["effective parameters"] == pytest.approx(wanted)


def test_standard_errors_beside_a_useless_structure(rng):
    """Most of the weight is that of a baseline, whose standard errors are known."""
    task, X = np.repeat(np.arange(12), 15), rng.normal(size=(180, 3))
    y = X @ [1.0, 2.0, 3.0] + 0.5 * rng.normal(size=180)
    beside, alone = (
        MultiTaskRegressor(sharing).fit(X, y, task=task).summary()
        for sharing in (Nothing(), "pooled")
    )
    found, wanted = beside.coefficients["std_error"], alone.coefficients["std_error"]
    np.testing.assert_allclose(found, wanted, rtol=0.05)


CONTRACT = {
    "tuned": MultiTaskRegressor(TowardsMean()),
    "fixed": MultiTaskRegressor(TowardsMean(5.0), cv=None),
}


@pytest.mark.parametrize(("estimator", "check"), list(checks.contract_cases(CONTRACT)))
def test_contract(estimator, check):
    check(estimator)


@pytest.mark.parametrize("alpha", [-5.0, None, "best"])
def test_strengths_are_checked(alpha, rng):
    X, y, task = draw(rng)
    with pytest.raises(ValueError, match="alpha="):
        MultiTaskRegressor(TowardsMean(alpha)).fit(X, y, task=task)


def test_tuning_needs_folds(rng):
    X, y, task = draw(rng)
    message = "alpha of TowardsMean: strengths that are 'auto' need cross-validation"
    with pytest.raises(ValueError, match=message):
        MultiTaskRegressor(TowardsMean(), cv=None).fit(X, y, task=task)
