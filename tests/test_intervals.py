"""Predictive standard deviations and intervals from out-of-fold errors."""

import numpy as np
import pytest
from scipy import stats
from sklearn.model_selection import KFold

from skmtl import MultiTaskRegressor
from skmtl.guard.residuals import ResidualScale, _inverse_trigamma, _weighted_quantiles
from skmtl.sharing import PartialPooling


def draw(n_tasks=30, rows=20, seed=0, noise=None, df=None):
    """Return training rows, and many test rows, of tasks with different noise levels."""
    rng = np.random.default_rng(seed)
    coef = rng.normal(size=2) + 0.3 * rng.normal(size=(n_tasks, 2))
    noise = np.exp(0.6 * rng.normal(size=n_tasks)) if noise is None else np.full(n_tasks, noise)

    def sample(n):
        task = np.repeat(np.arange(n_tasks), n)
        X = rng.normal(size=(len(task), 2))
        error = rng.normal(size=len(task)) if df is None else rng.exponential(size=len(task)) - 1
        return X, (X * coef[task]).sum(1) + task % 3 + noise[task] * error, task

    return sample(rows), sample(200), noise


def covered(model, X, y, task, coverage):
    low, high = model.predict_interval(X, coverage, task=task)
    assert (low < high).all()
    return (low < y) & (y < high)


@pytest.mark.parametrize("coverage", [0.5, 0.9])
@pytest.mark.parametrize("skewed", [False, True])
def test_coverage_on_new_rows(coverage, skewed):
    """Coverage holds on average and in most tasks, whose noise levels differ by a factor of six."""
    within, tails = [], []
    for seed in range(3):
        (X, y, task), (at, truth, task_at), _ = draw(seed=seed, df=3 if skewed else None)
        model = MultiTaskRegressor("partial_pooling").fit(X, y, task=task)
        ok = covered(model, at, truth, task_at, coverage)
        within.append(np.bincount(task_at, ok) / 200)
        low, high = model.predict_interval(at, coverage, task=task_at)
        tails.append([(truth <= low).mean(), (truth >= high).mean()])
    assert abs(np.mean(within) - coverage) < 0.03
    assert np.quantile(within, 0.1) > coverage - 0.2
    np.testing.assert_allclose(np.mean(tails, axis=0), (1 - coverage) / 2, atol=0.035)


def test_noise_levels_are_found_and_shrunk():
    (X, y, task), _, noise = draw(n_tasks=60, rows=12)
    model = MultiTaskRegressor("partial_pooling").fit(X, y, task=task)
    std = model.task_report_["residual_std"][:-1]
    assert np.corrcoef(np.log(std), np.log(noise))[0, 1] > 0.6
    raw = np.sqrt(model.task_report_["error_shared"][:-1])
    assert np.log(std).std() < 0.9 * np.log(raw).std()
    same = MultiTaskRegressor("partial_pooling").fit(
        *draw(noise=0.7)[0][:2], task=draw(noise=0.7)[0][2]
    )
    assert np.ptp(np.log(same.task_report_["residual_std"][:-1])) < 0.5


def test_std_of_predict():
    (X, y, task), _, _ = draw()
    model = MultiTaskRegressor("partial_pooling").fit(X, y, task=task)
    prediction, std = model.predict(X, task=task, return_std=True)
    np.testing.assert_array_equal(prediction, model.predict(X, task=task))
    np.testing.assert_array_equal(std, model.task_report_["residual_std"][task])
    with pytest.warns(UserWarning, match="never seen"):
        _, unseen = model.predict(X[:3], task=[77, 78, 79], return_std=True)
    np.testing.assert_array_equal(unseen, model.task_report_["residual_std"][-1])
    assert unseen[0] > np.median(std)  # includes the differences between tasks
    one = model.for_task(4)
    np.testing.assert_array_equal(one.predict(X[:3], return_std=True)[1], std[task == 4][0])
    for got, wanted in zip(
        one.predict_interval(X[:3], 0.8),
        model.predict_interval(X[:3], 0.8, task=np.repeat(4, 3)),
        strict=True,
    ):
        np.testing.assert_allclose(got, wanted, rtol=1e-9, atol=1e-9)


def test_a_2d_target_and_a_single_task():
    (X, y, _), _, _ = draw()
    Y = np.column_stack([y, 100 * y + np.random.default_rng(0).normal(size=len(y))])
    Y[::7, 1] = np.nan
    model = MultiTaskRegressor("partial_pooling").fit(X, Y)
    prediction, std = model.predict(X, return_std=True)
    assert std.shape == prediction.shape == Y.shape
    low, high = model.predict_interval(X)
    assert (low < prediction).all() and (prediction < high).all()
    one = MultiTaskRegressor("partial_pooling").fit(X, y)
    assert one.predict(X, return_std=True)[1].shape == y.shape


def test_units_of_the_target():
    (X, y, task), _, _ = draw()
    model = MultiTaskRegressor("partial_pooling").fit(X, y, task=task)
    other = MultiTaskRegressor("partial_pooling").fit(X, 1000.0 * y + 5.0, task=task)
    np.testing.assert_allclose(
        other.task_report_["residual_std"], 1000 * model.task_report_["residual_std"], rtol=1e-6
    )


def test_a_perfect_fit_has_no_spread():
    X = np.random.default_rng(0).normal(size=(40, 2))
    model = MultiTaskRegressor("partial_pooling").fit(X, X @ [1.0, 2.0], task=np.repeat([0, 1], 20))
    low, high = model.predict_interval(X, task=np.repeat([0, 1], 20))
    np.testing.assert_allclose(low, high, atol=0.05)


def test_rows_of_no_fold_and_splits_of_ones_own():
    (X, y, task), _, _ = draw()
    model = MultiTaskRegressor("partial_pooling", cv=KFold(3, shuffle=True, random_state=0)).fit(
        X, y, task=task
    )
    assert (model.task_report_["residual_std"] > 0).all()
    half = [(np.arange(0, len(y), 2), np.arange(1, len(y), 4))]
    model = MultiTaskRegressor("partial_pooling", cv=half).fit(X, y, task=task)
    assert (model.task_report_["residual_std"] > 0).all()


def test_partial_fit_has_the_normal_shape():
    (X, y, task), _, _ = draw()
    model = MultiTaskRegressor("partial_pooling").partial_fit(X, y, task=task)
    prediction, std = model.predict(X, task=task, return_std=True)
    low, high = model.predict_interval(X, 0.95, task=task)
    np.testing.assert_allclose((high - prediction) / std, stats.norm.ppf(0.975), rtol=1e-9)
    np.testing.assert_allclose((prediction - low) / std, stats.norm.ppf(0.975), rtol=1e-9)


@pytest.mark.parametrize("coverage", [0.0, 1.0, 90, -0.5, "most", None, True])
def test_coverage_is_a_share(coverage):
    (X, y, task), _, _ = draw()
    model = MultiTaskRegressor("partial_pooling").fit(X, y, task=task)
    with pytest.raises(ValueError, match="coverage=.* must be a number between 0 and 1"):
        model.predict_interval(X, coverage, task=task)


def test_without_validation_there_is_nothing_to_go_by():
    (X, y, task), _, _ = draw()
    model = MultiTaskRegressor(PartialPooling(alpha=1.0, alpha_shared=1.0), cv=None)
    model.fit(X, y, task=task)
    for ask in (
        lambda: model.predict(X, task=task, return_std=True),
        lambda: model.predict_interval(X, task=task),
        lambda: model.for_task(0).predict(X, return_std=True),
        lambda: model.for_task(0).predict_interval(X),
        lambda: model.adapt(X[:5], y[:5]).predict_interval(X),
    ):
        with pytest.raises(ValueError, match="fitted with cv=None; set cv=5"):
            ask()


def test_shrinkage_is_that_of_smyth():
    """Prior rows and variance are recovered from data of the model of the paper."""
    rng = np.random.default_rng(0)
    n_tasks, d, d0, s0 = 4000, 8, 6.0, 2.0
    variance = d0 * s0**2 / rng.chisquare(d0, size=n_tasks)
    sse = variance * rng.chisquare(d, size=n_tasks)
    spread = ResidualScale.learn(sse, np.full(n_tasks, float(d)), np.nan)
    np.testing.assert_allclose(spread.prior_rows, d0, rtol=0.15)
    np.testing.assert_allclose(spread.prior_variance, s0**2, rtol=0.05)
    wanted = np.sqrt((spread.prior_rows * spread.prior_variance + sse) / (spread.prior_rows + d))
    np.testing.assert_allclose(spread.std, wanted)
    alike = ResidualScale.learn(
        s0**2 * rng.chisquare(d, size=n_tasks), np.full(n_tasks, float(d)), np.nan
    )
    assert alike.prior_rows > 100


@pytest.mark.parametrize("x", [0.1, 1.0, 30.0])
def test_inverse_of_trigamma(x):
    from scipy.special import polygamma

    np.testing.assert_allclose(_inverse_trigamma(polygamma(1, x)), x, rtol=1e-6)


def test_weights_count_rows():
    rng = np.random.default_rng(0)
    values, count = rng.normal(size=400), rng.integers(1, 4, size=400)
    got = _weighted_quantiles(values, count.astype(float))
    repeated = np.repeat(values, count)
    levels = np.linspace(0, 1, len(got))[20:-20]
    np.testing.assert_allclose(got[20:-20], np.quantile(repeated, levels), atol=0.05)


@pytest.mark.jit
def test_intervals_widen_outside_the_training_rows_whatever_the_unit_of_weights(rng):
    task = np.repeat(np.arange(8), 15)
    X, weight = rng.normal(size=(120, 2)), rng.uniform(0.5, 2.0, size=120)
    y = (X * (1.0 + 0.5 * rng.normal(size=(8, 2)))[task]).sum(1) + rng.normal(size=120)
    far = np.array([[0.0, 0.0], [X[:, 0].max(), 0.0], [20.0, 0.0], [40.0, 0.0]])
    found = []
    for factor in (1.0, 1e-4):
        model = MultiTaskRegressor("partial_pooling").fit(
            X, y, sample_weight=factor * weight, task=task
        )
        new = model.adapt(X[:10], y[:10], factor * weight[:10])
        found.append(
            [m.predict(far, return_std=True)[1] for m in (model.for_task(0), new)]
            + [model.predict(far, task=np.zeros(4, dtype=int), return_std=True)[1]]
        )
    np.testing.assert_allclose(found[0], found[1], rtol=1e-6)
    for std in found[0]:
        assert std[0] == std[1] < std[2] < std[3]
        # The additional variance grows with the square of the distance from the range.
        gaps = (far[2:, 0] - X[:, 0].max()) ** 2
        excess = (std[2:] / std[0]) ** 2 - 1.0
        np.testing.assert_allclose(excess[1] / excess[0], gaps[1] / gaps[0], rtol=1e-9)
    np.testing.assert_array_equal(found[0][0], found[0][2])
