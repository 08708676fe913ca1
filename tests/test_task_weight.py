"""``task_weight=`` of the multi-task estimators."""

import numpy as np
import pandas as pd
import pytest
import reference
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge
from sklearn.preprocessing import StandardScaler

from skmtl import MultiTaskClassifier, MultiTaskRegressor
from skmtl.sharing import Independent, PartialPooling, Pooled, SharedEstimator, SharedHiddenLayers
from skmtl.sharing.structure import Solution, Structure

FACTORS = np.array([0.2, 1.0, 3.0, 0.5])
FIXED = PartialPooling(2.0, alpha_intercept=3.0, alpha_shared=5.0)


def draw(rng, n_tasks=4, rows=(30, 12, 7, 20), p=3, noise=0.5, spread=0.4):
    """Return features, target, task, and the expected target."""
    task = np.repeat(np.arange(n_tasks), np.resize(rows, n_tasks))
    X = rng.normal(size=(len(task), p))
    slopes = rng.normal(size=p) + spread * rng.normal(size=(n_tasks, p))
    mean = (X * slopes[task]).sum(1) + rng.normal(size=n_tasks)[task]
    noise = np.resize(noise, n_tasks)
    return X, mean + noise[task] * rng.normal(size=len(task)), task, mean


def given(factors=FACTORS):
    return dict(enumerate(factors.tolist()))


def same(one, other, tolerance=1e-8):
    np.testing.assert_allclose(one.coef_, other.coef_, rtol=tolerance, atol=tolerance)
    np.testing.assert_allclose(one.intercept_, other.intercept_, rtol=tolerance, atol=tolerance)
    np.testing.assert_allclose(one.shared_coef_, other.shared_coef_, rtol=tolerance, atol=tolerance)


# --------------------------------------------------------------------------- the objective


@pytest.mark.parametrize("strengths", [(2.0, 3.0, 5.0), (np.inf, 0.5, 1.0), (2.0, 2.0, 0.0)])
@pytest.mark.parametrize("weighted", [False, True])
def test_factors_multiply_the_weights_of_rows(strengths, weighted, rng):
    """As the dense ridge with these weights, on features standardised without the factors."""
    X, y, task, _ = draw(rng)
    w = rng.uniform(0.5, 2.0, len(y)) if weighted else np.ones(len(y))
    slope, intercept, ridge = strengths
    sharing = PartialPooling(slope, alpha_intercept=intercept, alpha_shared=ridge)
    model = MultiTaskRegressor(sharing, cv=None, task_weight=given())
    model.fit(X, y, task=task, sample_weight=w if weighted else None)
    Z = reference.standardised(X, w)
    theta, coef, a = reference.dense_ridge(Z, y, task, 4, strengths, w * FACTORS[task])
    fitted = (model.coef_[task] * X).sum(1) + model.intercept_[task]
    np.testing.assert_allclose(fitted, (coef[task] * Z).sum(1) + a[task], atol=1e-8)
    shared = X @ model.shared_coef_ + model.shared_intercept_
    np.testing.assert_allclose(shared, Z @ theta[1:] + theta[0], atol=1e-8)
    assert model.kkt_residual_ < 1e-10


def test_pooled_is_a_weighted_ridge(rng):
    X, y, task, _ = draw(rng)
    model = MultiTaskRegressor(Pooled(3.0), cv=None, task_weight=given()).fit(X, y, task=task)
    Z = StandardScaler().fit_transform(X)
    ridge = Ridge(3.0).fit(Z, y, sample_weight=FACTORS[task])
    np.testing.assert_allclose(model.predict(X, task=task), ridge.predict(Z), atol=1e-10)


@pytest.mark.parametrize("n_classes", [2, 3])
def test_log_loss(n_classes, rng):
    X, y, task, _ = draw(rng, rows=(40, 20, 15, 30))
    y = np.searchsorted(np.quantile(y, np.arange(1, n_classes) / n_classes), y)
    model = MultiTaskClassifier(FIXED, cv=None, tol=1e-10, max_iter=1000, task_weight=given())
    model.fit(X, y, task=task)
    wanted = reference.dense_logistic(X, y, task, n_classes, (2.0, 3.0, 5.0), factors=FACTORS)
    np.testing.assert_allclose(model.predict_proba(X, task=task), wanted, atol=1e-5)


def test_pooled_log_loss_is_a_weighted_logistic_regression(rng):
    X, y, task, _ = draw(rng)
    y = y > 0
    model = MultiTaskClassifier(Pooled(3.0), cv=None, tol=1e-10, task_weight=given())
    model.fit(X, y, task=task)
    Z = StandardScaler().fit_transform(X)
    other = LogisticRegression(C=1 / 3, tol=1e-10).fit(Z, y, sample_weight=FACTORS[task])
    np.testing.assert_allclose(model.predict_proba(X, task=task), other.predict_proba(Z), atol=1e-6)


@pytest.mark.parametrize("make", [MultiTaskRegressor, MultiTaskClassifier])
@pytest.mark.parametrize(
    "sharing", [Independent(2.0), Independent(), PartialPooling(0.0, alpha_shared=1.0)]
)
def test_models_without_sharing_do_not_change(make, sharing, rng):
    """Neither a task's own model with its weight, nor those of the others."""
    if make is MultiTaskClassifier and not isinstance(sharing, Independent):
        pytest.skip("a log-loss without a ridge may have no minimum")
    X, y, task, _ = draw(rng)
    y = y > np.median(y) if make is MultiTaskClassifier else y
    cv = None if isinstance(sharing.alpha, float) else 3
    plain = make(sharing, cv=cv).fit(X, y, task=task)
    for weight in ({2: 7.0}, {2: 0.01}, "balanced"):
        other = make(sharing, cv=cv, task_weight=weight).fit(X, y, task=task)
        # A strength of zero is 1e-10 of the rows.
        np.testing.assert_allclose(other.coef_, plain.coef_, rtol=1e-6, atol=1e-6)
        np.testing.assert_allclose(other.intercept_, plain.intercept_, rtol=1e-6, atol=1e-6)


def test_a_task_of_weight_zero_is_not_learned_from(rng):
    X, y, task, _ = draw(rng)
    model = MultiTaskRegressor(FIXED, cv=None, task_weight={1: 0.0}).fit(X, y, task=task)
    other = MultiTaskRegressor(FIXED, cv=None, task_weight={1: 0.0})
    other.fit(X, np.where(task == 1, y + 100.0 * rng.normal(size=len(y)), y), task=task)
    same(model, other)
    np.testing.assert_allclose(model.coef_[1], model.shared_coef_, atol=1e-12)


# ------------------------------------------------------------------------------- invariances


@pytest.mark.jit
@pytest.mark.parametrize("make", [MultiTaskRegressor, MultiTaskClassifier])
def test_a_common_factor_has_no_effect_where_strengths_are_tuned(make, rng):
    X, y, task, _ = draw(rng)
    y = y > 0 if make is MultiTaskClassifier else y
    same(
        make("partial_pooling", task_weight=dict.fromkeys(range(4), 7.0)).fit(X, y, task=task),
        make("partial_pooling").fit(X, y, task=task),
    )
    same(
        make("partial_pooling", task_weight=given(7.0 * FACTORS)).fit(X, y, task=task),
        make("partial_pooling", task_weight=given()).fit(X, y, task=task),
        1e-6,
    )


def test_a_common_factor_is_one_on_the_rows_where_strengths_are_numbers(rng):
    X, y, task, _ = draw(rng)
    weight = dict.fromkeys(range(4), 7.0)
    one = MultiTaskRegressor(FIXED, cv=None, task_weight=weight).fit(X, y, task=task)
    other = MultiTaskRegressor(FIXED, cv=None)
    same(one, other.fit(X, y, task=task, sample_weight=np.full(len(y), 7.0)))
    tuned = MultiTaskRegressor(FIXED, task_weight=weight).fit(X, y, task=task)
    same(tuned, other)


@pytest.mark.jit
@pytest.mark.parametrize("task_weight", ["balanced", "uncertainty", given()])
def test_copies_and_weights(task_weight, rng):
    X, y, task, _ = draw(rng)
    k = rng.integers(1, 4, size=len(y))
    copies = np.repeat(np.arange(len(y)), k)
    model = MultiTaskRegressor("partial_pooling", task_weight=task_weight)
    weighted = model.fit(X, y, task=task, sample_weight=k).coef_
    repeated = model.fit(X[copies], y[copies], task=task[copies]).coef_
    np.testing.assert_allclose(weighted, repeated, rtol=1e-6, atol=1e-8)


@pytest.mark.jit
@pytest.mark.parametrize("task_weight", ["balanced", "uncertainty", given()])
def test_order_and_units(task_weight, rng):
    X, y, task, _ = draw(rng, n_tasks=4, noise=(0.1, 1.0, 0.3, 3.0))
    model = MultiTaskRegressor("partial_pooling", task_weight=task_weight)
    first = model.fit(X, y, task=task).predict(X, task=task)
    order = rng.permutation(len(y))
    again = model.fit(X[order], 1e3 * y[order] + 5.0, task=task[order]).predict(X, task=task)
    np.testing.assert_allclose(again, 1e3 * first + 5.0, rtol=1e-6, atol=1e-3)
    if task_weight == "uncertainty":
        noise = model.task_noise_
        np.testing.assert_allclose(noise, 1e3 * model.fit(X, y, task=task).task_noise_, rtol=1e-6)


@pytest.mark.jit
def test_balanced_tasks_of_one_size_are_as_without_weights(rng):
    X, y, task, _ = draw(rng, rows=(15,))
    plain = MultiTaskRegressor("partial_pooling").fit(X, y, task=task)
    same(MultiTaskRegressor("partial_pooling", task_weight="balanced").fit(X, y, task=task), plain)


def test_balanced_by_hand(rng):
    """Including sample weights, and in the unit of the strengths."""
    X, y, task, _ = draw(rng)
    w = rng.uniform(0.5, 2.0, len(y))
    factors = reference.balanced_factors(np.bincount(task, w))
    balanced = MultiTaskRegressor(FIXED, cv=None, task_weight="balanced")
    by_hand = MultiTaskRegressor(FIXED, cv=None, task_weight=given(factors))
    same(
        balanced.fit(X, y, task=task, sample_weight=w),
        by_hand.fit(X, y, task=task, sample_weight=w),
    )


# ---------------------------------------------------------------------- errors and intervals


def test_errors_of_the_report_are_those_of_plain_rows(rng):
    """Of a weighted least squares fit in every split, by hand."""
    X, y, task, _ = draw(rng)
    number = rng.permutation(len(y)) % 3
    cv = [(np.flatnonzero(number != k), np.flatnonzero(number == k)) for k in range(3)]
    model = MultiTaskRegressor(Pooled(0.0), cv=cv, task_weight=given()).fit(X, y, task=task)
    errors = np.empty(len(y))
    for train, test in cv:
        line = LinearRegression().fit(X[train], y[train], sample_weight=FACTORS[task[train]])
        errors[test] = y[test] - line.predict(X[test])
    wanted = np.bincount(task, errors**2) / np.bincount(task)
    np.testing.assert_allclose(model.task_report_["error_shared"][:-1], wanted, rtol=1e-8)


@pytest.mark.jit
@pytest.mark.parametrize("task_weight", ["balanced", "uncertainty", "given"])
def test_intervals_are_calibrated_in_every_task(task_weight, rng):
    """Tasks of unequal sizes and noise levels; a weight makes no task more certain."""
    inside, ratio = [], []
    noise = 10.0 ** np.linspace(-0.5, 0.5, 12)
    weight = given(10.0 ** np.linspace(-1.0, 1.0, 12)) if task_weight == "given" else task_weight
    for _ in range(3):
        X, y, task, _mean = draw(rng, 12, rows=(100, 40, 70), noise=noise)
        known = np.arange(len(y)) % 2 == 0
        model = MultiTaskRegressor("partial_pooling", task_weight=weight).fit(
            X[known], y[known], task=task[known]
        )
        at = ~known
        low, high = model.predict_interval(X[at], 0.8, task=task[at])
        covered = (low < y[at]) & (y[at] < high)
        inside.append(np.bincount(task[at], covered) / np.bincount(task[at]))
        _, std = model.predict(X[at], task=task[at], return_std=True)
        ratio.append(np.log(np.bincount(task[at], std) / np.bincount(task[at]) / noise))
    assert abs(np.mean(inside) - 0.8) < 0.06
    assert np.mean(inside, axis=0).min() > 0.55
    assert np.abs(np.mean(ratio, axis=0)).max() < 0.5


# -------------------------------------------------------------------------------- noise levels


@pytest.mark.jit
@pytest.mark.slow
def test_noise_is_learned_and_helps(rng):
    """Noise levels over a factor of a hundred: nearly as good as with the true weights."""
    errors, below, noise = [], [], 10.0 ** np.linspace(-1.0, 1.0, 15)
    for _ in range(4):
        X, y, task, mean = draw(rng, 15, rows=(25,), p=5, noise=noise, spread=0.3)
        models = [
            MultiTaskRegressor("partial_pooling", task_weight=weight).fit(X, y, task=task)
            for weight in (None, "uncertainty", given(1.0 / noise**2))
        ]
        errors.append([np.mean((m.predict(X, task=task) - mean) ** 2) for m in models])
        found = models[1].task_noise_
        assert found.shape == (15,)
        assert np.abs(np.log(found / noise)).mean() < 0.35
        below.append(found < models[1].task_report_["residual_std"][:-1])
    assert np.mean(below) > 0.7  # the errors of new rows are those of the model as well
    plain, learned, true = np.mean(errors, axis=0)
    assert learned < 0.9 * plain
    assert learned < 1.08 * true


@pytest.mark.jit
def test_tasks_of_one_noise_level_are_as_without_weights(rng):
    X, y, task, _ = draw(rng, 10, rows=(20,))
    plain = MultiTaskRegressor("partial_pooling").fit(X, y, task=task).predict(X, task=task)
    model = MultiTaskRegressor("partial_pooling", task_weight="uncertainty").fit(X, y, task=task)
    assert np.abs(model.predict(X, task=task) - plain).max() < 0.1 * y.std()
    assert np.ptp(np.log(model.task_noise_)) < 0.7


@pytest.mark.jit
def test_tasks_in_their_own_units(rng):
    """Gains over decades: what is noisy is so relative to the units that are used."""
    gain, noise = 10.0 ** rng.uniform(-2, 2, 12), np.tile([0.1, 1.0], 6)
    X, y, task, _ = draw(rng, 12, rows=(20,), noise=noise, spread=0.1)
    model = MultiTaskRegressor("partial_pooling", task_weight="uncertainty", target_scale="task")
    model.fit(X, gain[task] * y, task=task)
    found = model.task_noise_ / gain
    assert found[1::2].mean() > 2.0 * found[::2].mean()


@pytest.mark.jit
def test_the_noise_is_that_of_the_last_fit(rng):
    X, y, task, _ = draw(rng)
    model = MultiTaskRegressor("partial_pooling", task_weight="uncertainty").fit(X, y, task=task)
    assert (model.task_noise_ > 0).all()
    model.set_params(task_weight=None).fit(X, y, task=task)
    assert not hasattr(model, "task_noise_")
    model = MultiTaskRegressor("independent", task_weight="uncertainty").fit(X, y, task=task)
    assert model.task_noise_.shape == (4,)


def test_what_has_no_noise_level(rng):
    X, y, task, _ = draw(rng)
    model = MultiTaskRegressor(FIXED, cv=None).fit(X, y, task=task)
    with pytest.raises(ValueError, match="to learn noise levels, but cv=None; set cv=5"):
        model.set_params(task_weight="uncertainty").fit(X, y, task=task)
    assert model.coef_.shape == (4, 3)
    with pytest.raises(ValueError, match="log-loss .* does not have: .* Set task_weight='balanc"):
        MultiTaskClassifier("partial_pooling", task_weight="uncertainty").fit(X, y > 0, task=task)
    with pytest.raises(AttributeError, match="'uncertainty' .* so there is no partial_fit"):
        MultiTaskRegressor("partial_pooling", task_weight="uncertainty").partial_fit(
            X, y, task=task
        )
    with pytest.raises(ValueError, match="keep_moments=True is for partial_fit"):
        MultiTaskRegressor("partial_pooling", task_weight="uncertainty", keep_moments=True).fit(
            X, y, task=task
        )


# --------------------------------------------------------------------------- forms of the input


@pytest.mark.parametrize("task_weight", ["balanced", {0: 3.0, 3: 0.1}])
def test_partial_fit_is_fit(task_weight, rng):
    X, y, task, _ = draw(rng)
    model = MultiTaskRegressor(FIXED, cv=None, task_weight=task_weight)
    parts = MultiTaskRegressor(FIXED, cv=None, task_weight=task_weight)
    for part in (slice(None, None, 2), slice(1, None, 2)):
        parts.partial_fit(X[part], y[part], task=task[part])
    same(parts, model.fit(X, y, task=task))


def test_columns_of_y_are_tasks(rng):
    X = rng.normal(size=(40, 3))
    Y = X @ rng.normal(size=(3, 3)) + rng.normal(size=(40, 3))
    Y[rng.uniform(size=Y.shape) < 0.3] = np.nan
    for names in (["weight", "age", "height"], None):
        target = Y if names is None else pd.DataFrame(Y, columns=names)
        keys = names or range(3)
        weight = dict(zip(keys, [3.0, 1.0, 0.2], strict=True))
        model = MultiTaskRegressor(FIXED, cv=None, task_weight=weight).fit(X, target)
        rows, codes = np.nonzero(~np.isnan(Y))
        long = MultiTaskRegressor(FIXED, cv=None, task_weight={0: 3.0, 2: 0.2})
        long.fit(X[rows], Y[rows, codes], task=codes)
        np.testing.assert_allclose(model.coef_.sum(), long.coef_.sum(), rtol=0.2)
        with pytest.raises(ValueError, match="a key of task_weight="):
            model.set_params(task_weight={"none": 1.0}).fit(X, target)


def test_tasks_of_several_columns(rng):
    X, y, task, _ = draw(rng)
    frame = pd.DataFrame(X, columns=list("abc")).assign(
        store=np.where(task > 1, "s", "t"), item=task % 2
    )
    model = MultiTaskRegressor(
        FIXED, task_column=["store", "item"], cv=None, task_weight={("t", 0): 4.0}
    ).fit(frame, y)
    other = MultiTaskRegressor(FIXED, cv=None, task_weight={0: 4.0}).fit(X, y, task=task)
    np.testing.assert_allclose(model.shared_coef_, other.shared_coef_, atol=1e-10)


@pytest.mark.parametrize(
    ("task_weight", "message"),
    [
        ({"z": 1.0}, "a key of task_weight='z' is not a task seen in fit"),
        ({0: -2.0}, "task_weight gives task 0 the weight -2.0"),
        (dict.fromkeys(range(4), 0.0), "zero for all tasks"),
        ("uniform", "task_weight.*must be"),
        (3.0, "task_weight.*must be"),
    ],
)
@pytest.mark.parametrize("make", [MultiTaskRegressor, MultiTaskClassifier])
def test_bad_weights_leave_a_fitted_model_alone(make, task_weight, message, rng):
    X, y, task, _ = draw(rng)
    y = y > 0 if make is MultiTaskClassifier else y
    model = make(FIXED, cv=None).fit(X, y, task=task)
    before = model.predict(X, task=task)
    with pytest.raises(ValueError, match=message):
        model.set_params(task_weight=task_weight).fit(X, y, task=task)
    np.testing.assert_array_equal(model.predict(X, task=task), before)


def test_new_tasks_have_the_factor_one(rng):
    """Given the shared part, a new task is fitted as without weights."""
    X, y, task, _ = draw(rng)
    model = MultiTaskRegressor(FIXED, cv=None, task_weight=given()).fit(X, y, task=task)
    new, label = rng.normal(size=(6, 3)), rng.normal(size=6)
    adapted = model.adapt(new, label)
    Z = (new - X.mean(0)) / X.std(0)
    gap = label - new @ model.shared_coef_ - model.shared_intercept_
    A = np.column_stack([np.ones(6), Z])
    own = np.linalg.solve(A.T @ A + np.diag([3.0, 2.0, 2.0, 2.0]), A.T @ gap)
    wanted = new @ model.shared_coef_ + model.shared_intercept_ + A @ own
    np.testing.assert_allclose(adapted.predict(new), wanted, atol=1e-8)


# --------------------------------------------------------------------------- other structures


class Recorder(LinearRegression):
    """Linear regression that keeps the ratios of the weights of tasks."""

    seen: list = []

    def fit(self, X, y, sample_weight=None):
        self.seen.append(sample_weight)
        return super().fit(X, y, sample_weight)


@pytest.mark.jit
def test_learners_see_the_weights(rng):
    X, y, task, _ = draw(rng, rows=(40,))
    Recorder.seen.clear()
    model = MultiTaskRegressor(SharedEstimator(Recorder()), task_weight=given())
    model.fit(X, y, task=task)
    for weight in Recorder.seen:
        levels = np.unique(np.round(weight / weight.min(), 8))
        np.testing.assert_allclose(levels, np.unique(FACTORS) / 0.2)


@pytest.mark.jit
@pytest.mark.slow
@pytest.mark.parametrize("sharing", ["auto", SharedHiddenLayers((3,), max_iter=5)])
@pytest.mark.parametrize("task_weight", [{0: 1e-6}, "uncertainty"])
def test_structures_with_learners(sharing, task_weight, rng):
    """A task that is unlike the others, whose weight makes its rows count for nothing."""
    X, y, task, _ = draw(rng, rows=(60,), noise=(5.0, 0.1, 0.1, 0.1), spread=0.1)
    y = y + np.where(X[:, 0] > 0, 1.0, -1.0)
    plain = MultiTaskRegressor(sharing).fit(X, y, task=task)
    model = MultiTaskRegressor(sharing, task_weight=task_weight).fit(X, y, task=task)
    assert np.abs(model.predict(X, task=task) - plain.predict(X, task=task)).max() > 1e-3
    if task_weight == "uncertainty":
        assert model.task_noise_[0] > 3.0 * model.task_noise_[1:].max()
    low, high = model.predict_interval(X, 0.8, task=task)
    assert abs(np.mean((low < y) & (y < high)) - 0.8) < 0.2


class Means(Structure):
    """The mean target of all rows, for every task."""

    def candidates(self, data):
        return [{"kind": "mean"}]

    def path(self, data, candidates):
        n, p = len(data.weight), data.n_features
        mean = data.weight @ data.mean[:, -1] / data.weight.sum()
        yield Solution(np.zeros((n, p)), np.full(n, mean), np.r_[mean, np.zeros(p)], 0.0)


def test_own_structures_get_weighted_moments(rng):
    X, y, task, _ = draw(rng)
    model = MultiTaskRegressor(Means(), cv=None, task_weight=given()).fit(X, y, task=task)
    wanted = np.average(y, weights=FACTORS[task])
    assert model.shared_intercept_ == pytest.approx(wanted)
    assert model.intercept_ == pytest.approx(np.full(4, wanted))


def test_slopes_with_signs(rng):
    X, y, task, _ = draw(rng)
    sharing = PartialPooling(2.0, alpha_intercept=3.0, alpha_shared=5.0, positive=[0])
    model = MultiTaskRegressor(sharing, cv=None, task_weight=given()).fit(X, y, task=task)
    Z = reference.standardised(X)
    positive = np.array([True, False, False])
    found = reference.dense_signed(Z, y, task, 4, (2.0, 3.0, 5.0), positive, w=FACTORS[task])
    coef, a = found[1], found[2]
    fitted = (model.coef_[task] * X).sum(1) + model.intercept_[task]
    np.testing.assert_allclose(fitted, (coef[task] * Z).sum(1) + a[task], atol=1e-5)


@pytest.mark.jit
def test_more_features_than_rows(rng):
    X, y, task, _ = draw(rng, n_tasks=3, rows=(8, 5, 6), p=40)
    weight = {0: 0.2, 2: 3.0}
    model = MultiTaskRegressor(FIXED, cv=None, task_weight=weight).fit(X, y, task=task)
    Z, factors = reference.standardised(X), np.array([0.2, 1.0, 3.0])
    _, coef, a = reference.dense_ridge(Z, y, task, 3, (2.0, 3.0, 5.0), factors[task])
    np.testing.assert_allclose(
        model.predict(X, task=task), (coef[task] * Z).sum(1) + a[task], atol=1e-7
    )
    tuned = MultiTaskRegressor("partial_pooling", task_weight="uncertainty").fit(X, y, task=task)
    assert np.isfinite(tuned.predict(X, task=task)).all()


def test_tasks_without_spare_rows_have_the_noise_of_all(rng):
    """Rows that the features use up say nothing of the noise."""
    task = np.repeat(np.arange(10), [7] * 3 + [40] * 7)
    X = rng.normal(size=(len(task), 5))
    noise = np.where(np.arange(10) % 2, 0.3, 3.0)
    y = X @ rng.normal(size=5) + noise[task] * rng.normal(size=len(task))
    model = MultiTaskRegressor("partial_pooling", task_weight="uncertainty").fit(X, y, task=task)
    found = model.task_noise_
    assert found[0] == found[1] == found[2]
    assert found[3:].min() < 0.6 * found[0] < 0.9 * found[3:].max()
    few = task < 3
    model.fit(X[few], y[few], task=task[few])  # by errors on held-out rows
    assert np.isfinite(model.task_noise_).all() and (model.task_noise_ > 0).all()
