"""MultiTaskRegressor with losses other than squares: counts, amounts, medians, quantiles."""

import pickle
import warnings

import checks
import numpy as np
import pandas as pd
import pytest
import reference
from scipy.optimize import minimize
from sklearn.base import clone
from sklearn.linear_model import (
    GammaRegressor,
    HuberRegressor,
    PoissonRegressor,
    QuantileRegressor,
)
from sklearn.metrics import (
    d2_absolute_error_score,
    d2_pinball_score,
    d2_tweedie_score,
    mean_gamma_deviance,
    mean_pinball_loss,
    mean_poisson_deviance,
)
from sklearn.model_selection import GridSearchCV

from skmtl import MultiTaskClassifier, MultiTaskRegressor
from skmtl.losses import ABSOLUTE_ERROR, GAMMA, POISSON, Huber, Quantile
from skmtl.sharing import Independent, PartialPooling, Pooled, TaskTree

pytestmark = pytest.mark.jit
FIXED = PartialPooling(4.0, alpha_intercept=2.0, alpha_shared=1.0)
LOSSES = ["poisson", "gamma", "huber", "absolute_error", Quantile(0.8)]


def table(loss, seed=0, n_tasks=12, rows=25, level=0.5, slope=0.2):
    """Return features, tasks, targets of a loss, and their middles."""
    rng = np.random.default_rng(seed)
    codes = np.repeat(np.arange(n_tasks), rows)
    X = rng.normal(size=(len(codes), 2)) * [1.0, 3.0] + [0.0, 5.0]
    coef = np.array([0.4, -0.1]) + slope * rng.normal(size=(n_tasks, 2)) * [1.0, 0.3]
    middle = 1.0 + level * rng.normal(size=n_tasks)[codes]
    middle += ((X - [0.0, 5.0]) * coef[codes]).sum(axis=1)
    if loss == "poisson":
        y = rng.poisson(np.exp(middle)).astype(float)
    elif loss == "gamma":
        y = rng.gamma(2.0, np.exp(middle) / 2.0)
    else:
        y = middle + 0.5 * rng.standard_t(2.0, size=len(codes))
    return X, codes, y, middle


def standardised(X, weight=None):
    mean = np.average(X, axis=0, weights=weight)
    return (X - mean) / np.sqrt(np.average((X - mean) ** 2, axis=0, weights=weight))


# ------------------------------------------------------------------ the same as scikit-learn's


@pytest.mark.parametrize(
    ("loss", "kind"), [("poisson", PoissonRegressor), ("gamma", GammaRegressor)]
)
@pytest.mark.parametrize("weighted", [False, True])
def test_pooled_models_are_scikit_learns(loss, kind, weighted, rng):
    X, _, y, _ = table(loss)
    weight = rng.uniform(0.5, 2.0, size=len(y)) if weighted else np.ones(len(y))
    model = MultiTaskRegressor(Pooled(5.0), loss=loss, cv=None, tol=1e-8)
    model.fit(X, y, weight if weighted else None)
    Z = standardised(X, weight)
    wanted = kind(alpha=5.0 / weight.sum(), tol=1e-10, solver="newton-cholesky")
    wanted.fit(Z, y, weight)
    np.testing.assert_allclose(model.predict(X), wanted.predict(Z), rtol=1e-7)
    assert model.score(X, y, weight) == pytest.approx(wanted.score(Z, y, weight), rel=1e-8)
    assert model.kkt_residual_ <= 1e-8


def test_huber_at_a_fixed_scale():
    """HuberRegressor divides residuals by a scale, which its optimum also determines."""
    X, _, y, _ = table("huber")
    Z = standardised(X)
    wanted = HuberRegressor(alpha=0.1, tol=1e-9, max_iter=10_000).fit(Z, y)
    loss, strength = Huber(wanted.epsilon * wanted.scale_), 0.1 * wanted.scale_
    model = MultiTaskRegressor(Pooled(strength), loss=loss, cv=None, tol=1e-7).fit(X, y)
    np.testing.assert_allclose(model.predict(X), wanted.predict(Z), atol=1e-3)


@pytest.mark.parametrize("level", [0.2, 0.5, 0.9])
@pytest.mark.parametrize("scale", [1.0, 1e4])
def test_quantiles_without_a_penalty(level, scale):
    X, _, y, _ = table("quantile")
    Z, y = standardised(X), scale * y
    wanted = QuantileRegressor(quantile=level, alpha=0.0).fit(Z, y).predict(Z)
    model = MultiTaskRegressor(Pooled(0.0), loss=Quantile(level), cv=None, tol=1e-6, max_iter=500)
    found = model.fit(X, y).predict(X)
    losses = [mean_pinball_loss(y, p, alpha=level) for p in (found, wanted)]
    assert losses[1] <= losses[0] * (1 + 1e-9) and losses[0] <= losses[1] * (1 + 1e-5)
    np.testing.assert_allclose(found, wanted, atol=0.02 * scale)
    share = (y <= found).mean()
    assert share == pytest.approx(level, abs=4 / len(y))


def test_the_median_is_the_absolute_error():
    X, codes, y, _ = table("absolute_error")
    half = PartialPooling(2.0, alpha_intercept=1.0, alpha_shared=0.5)
    models = [
        MultiTaskRegressor(s, loss=loss, cv=None, tol=1e-6, max_iter=500).fit(X, y, task=codes)
        for s, loss in ((half, "quantile"), (FIXED, "absolute_error"))
    ]
    found = [m.predict(X, task=codes) for m in models]
    np.testing.assert_allclose(found[0], found[1], atol=5e-3)


@pytest.mark.parametrize("loss", LOSSES)
def test_fixed_strengths_are_the_joint_optimum(loss):
    """By a general minimiser, of the loss in the units of the targets."""
    X, codes, y, _ = table(loss, n_tasks=4, rows=15)
    one = Huber(0.6) if loss == "huber" else loss
    model = MultiTaskRegressor(FIXED, loss=one, cv=None, tol=1e-7, max_iter=500)
    found = model.fit(X, y, task=codes)
    by_name = {"poisson", "gamma", "absolute_error"}
    Z, dummies = standardised(X), np.eye(4)[codes]
    parts = [np.ones((len(y), 1)), Z, dummies, *(dummies * z[:, None] for z in Z.T)]
    penalty = np.r_[0.0, [1.0] * 2, [2.0] * 4, [4.0] * 8]
    design = np.hstack(parts)

    def value(scores):
        if loss == "poisson":
            return (np.exp(scores) - y * scores).sum()
        if loss == "gamma":
            return (scores + y * np.exp(-scores)).sum()
        r = y - scores
        if one not in by_name and isinstance(one, Huber):
            return np.where(np.abs(r) <= 0.6, r**2 / 2, 0.6 * (np.abs(r) - 0.3)).sum()
        a, b = (1.0, 1.0) if loss == "absolute_error" else (0.8, 0.2)
        return (a * np.maximum(r, 0.0) + b * np.maximum(-r, 0.0)).sum()

    def objective(beta):
        return value(design @ beta) + 0.5 * penalty @ beta**2

    coef, shared = found.coef_ * X.std(axis=0), found.shared_coef_ * X.std(axis=0)
    level = found.intercept_ + found.coef_ @ X.mean(axis=0)
    middle = found.shared_intercept_ + found.shared_coef_ @ X.mean(axis=0)
    ours = np.concatenate([[middle], shared, level - middle, (coef - shared).T.ravel()])
    np.testing.assert_allclose(
        design @ ours, (X * found.coef_[codes]).sum(axis=1) + found.intercept_[codes], atol=1e-8
    )
    smooth = loss in ("poisson", "gamma", "huber")
    best = minimize(
        objective, ours, method="BFGS" if smooth else "Powell", options={"maxiter": 300}
    )
    assert objective(ours) <= best.fun + (1e-7 if smooth else 1e-3)


@pytest.mark.parametrize("loss", LOSSES)
def test_limits_of_the_strengths(loss):
    X, codes, y, _ = table(loss, n_tasks=4)
    options = {"loss": loss, "cv": None, "tol": 1e-7, "max_iter": 500}

    def predictions(sharing, X=X, y=y, codes=codes):
        return MultiTaskRegressor(sharing, **options).fit(X, y, task=codes).predict(X, task=codes)

    pooled = PartialPooling(np.inf, alpha_intercept=np.inf, alpha_shared=1.0)
    np.testing.assert_allclose(predictions(pooled), predictions(Pooled(1.0)), rtol=1e-6, atol=1e-6)
    alone = predictions(Independent(0.0))
    rows = codes == 2
    one = predictions(Pooled(0.0), X[rows], y[rows], codes[rows])
    np.testing.assert_allclose(alone[rows], one, rtol=2e-2, atol=2e-2)


# ---------------------------------------------------------------------------------- tuned


@pytest.mark.parametrize("loss", LOSSES)
def test_sharing_helps_and_is_reported_in_deviances(loss):
    errors, y_means = [], []
    for seed in range(3):
        X, codes, y, _ = table(loss, seed)
        test = np.arange(len(y)) % 5 == 0
        row = []
        for sharing in ("partial_pooling", "independent", "pooled"):
            model = MultiTaskRegressor(sharing, loss=loss)
            model.fit(X[~test], y[~test], task=codes[~test])
            prediction = model.predict(X[test], task=codes[test])
            row.append(deviance(loss, y[test], prediction))
            if sharing == "partial_pooling":
                report = model.task_report_
                y_means.append(report["error_shared"][:-1].mean() / row[-1])
                assert (report["gain_over_pooled"][:-1].mean()) > 0.0
                assert np.isfinite(report["error_shared"]).all()
        errors.append(row)
    shared, alone, pooled = np.mean(errors, axis=0)
    assert shared < pooled and shared < 1.02 * alone
    assert np.mean(y_means) == pytest.approx(1.0, abs=0.3)  # cross-validated, in the same units


def deviance(loss, y, prediction):
    if loss == "poisson":
        return mean_poisson_deviance(y, prediction)
    if loss == "gamma":
        return mean_gamma_deviance(y, prediction)
    if loss == "huber":
        noise = 0.8  # as estimated, about
        return Huber(1.345 * noise).value(prediction[:, None], y[:, None]).mean()
    if loss == "absolute_error":
        return np.abs(y - prediction).mean()
    return mean_pinball_loss(y, prediction, alpha=0.8)


@pytest.mark.parametrize("loss", ["huber", "absolute_error"])
def test_outliers_do_not_rule(loss):
    X, codes, y, middle = table(loss)
    y[::9] += 1e3
    model = MultiTaskRegressor("partial_pooling", loss=loss).fit(X, y, task=codes)
    assert np.abs(model.predict(X, task=codes) - middle).mean() < 0.4


def test_auto_is_its_linear_models():
    X, codes, y, _ = table("poisson")
    auto, linear = (
        MultiTaskRegressor(s, loss="poisson").fit(X, y, task=codes)
        for s in ("auto", "partial_pooling")
    )
    np.testing.assert_array_equal(auto.coef_, linear.coef_)


def test_the_scale_of_the_target_changes_nothing():
    X, codes, y, _ = table("huber")
    for loss in ("huber", "absolute_error", Quantile(0.8)):
        small, large = (
            MultiTaskRegressor("partial_pooling", loss=loss).fit(X, k * y - k, task=codes)
            for k in (1.0, 1e3)
        )
        wanted = 1e3 * small.predict(X, task=codes)
        np.testing.assert_allclose(large.predict(X, task=codes), wanted, rtol=1e-5, atol=1e-3)


def test_given_strengths_are_in_the_units_of_the_target():
    """Doubling rows or weights is doubling the loss."""
    X, _codes, y, _ = table("huber")
    for loss in (Huber(0.5), "absolute_error"):
        twice = MultiTaskRegressor(Pooled(8.0), loss=loss, cv=None, tol=1e-7, max_iter=500)
        once = clone(twice).set_params(sharing=Pooled(4.0))
        found = twice.fit(np.tile(X, (2, 1)), np.tile(y, 2)).predict(X)
        np.testing.assert_allclose(found, once.fit(X, y).predict(X), atol=1e-3)
        assert once.sharing_.alpha_shared_ == pytest.approx(4.0)


# ---------------------------------------------------------------------------- everything else


@pytest.mark.parametrize("loss", LOSSES)
def test_scores_are_shares_of_the_deviance(loss):
    X, codes, y, _ = table(loss)
    model = MultiTaskRegressor(FIXED, loss=loss, cv=None).fit(X, y, task=codes)
    prediction = model.predict(X, task=codes)
    weight = np.random.default_rng(1).uniform(0.5, 2.0, size=len(y))
    found = model.score(X, y, weight, task=codes)
    if loss in ("poisson", "gamma"):
        power = 1 if loss == "poisson" else 2
        wanted = d2_tweedie_score(y, prediction, sample_weight=weight, power=power)
    elif loss == "absolute_error":
        wanted = d2_absolute_error_score(y, prediction, sample_weight=weight)
    elif loss == "huber":
        fitted = model._fitted_loss
        grid = np.linspace(y.min(), y.max(), 20_001)
        best = min(weight @ fitted.value(np.full((len(y), 1), g), y[:, None]) for g in grid[::20])
        wanted = 1 - weight @ fitted.value(prediction[:, None], y[:, None]) / best
    else:
        wanted = d2_pinball_score(y, prediction, sample_weight=weight, alpha=0.8)
    assert found == pytest.approx(wanted, abs=2e-3)


@pytest.mark.parametrize("loss", LOSSES)
def test_models_of_tasks_and_of_new_tasks(loss):
    X, codes, y, middle = table(loss, n_tasks=20, level=1.0)
    known = codes < 19
    model = MultiTaskRegressor("partial_pooling", loss=loss).fit(
        X[known], y[known], task=codes[known]
    )
    one = codes == 3
    alone = model.for_task(3)
    np.testing.assert_allclose(alone.predict(X[one]), model.predict(X[one], task=3))
    new = np.flatnonzero(~known)
    adapted = model.adapt(X[new[:15]], y[new[:15]])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        unseen = model.predict(X[new], task=np.full(len(new), 19))
    scale = np.exp if loss in ("poisson", "gamma") else lambda s: s
    gaps = [np.abs(p - scale(middle[new])).mean() for p in (adapted.predict(X[new]), unseen)]
    assert gaps[0] < gaps[1] + 0.05
    copy = pickle.loads(pickle.dumps(adapted))
    np.testing.assert_array_equal(copy.predict(X[new]), adapted.predict(X[new]))
    with pytest.raises(ValueError, match="for the squared error, but the model was fitted with"):
        adapted.predict(X[new], return_std=True)
    if loss in ("poisson", "gamma"):
        with pytest.raises(ValueError, match=r"the prediction is exp\(X @ coef_"):
            alone.to_sklearn()
    else:
        np.testing.assert_allclose(alone.to_sklearn().predict(X[one]), alone.predict(X[one]))


def test_adapting_to_the_rows_of_a_task_is_near_its_model():
    X, codes, y, _ = table("poisson", rows=60)
    model = MultiTaskRegressor(FIXED, loss="poisson", cv=None, tol=1e-8).fit(X, y, task=codes)
    one = codes == 5
    adapted = model.adapt(X[one], y[one])
    np.testing.assert_allclose(adapted.coef_, model.coef_[5], atol=1e-4)
    np.testing.assert_allclose(adapted.intercept_, model.intercept_[5], atol=1e-3)


def test_a_target_of_two_dimensions():
    X, _codes, _y, _ = table("poisson", n_tasks=1, rows=80)
    rng = np.random.default_rng(5)
    Y = rng.poisson(np.exp(np.column_stack([0.3 * X[:, 0], 1 - 0.2 * X[:, 0], 0.1 * X[:, 1]])))
    Y = Y.astype(float)
    Y[rng.random(Y.shape) < 0.2] = np.nan
    model = MultiTaskRegressor("partial_pooling", loss="poisson").fit(X, Y)
    prediction = model.predict(X)
    assert prediction.shape == Y.shape and (prediction > 0).all()
    each = [
        d2_tweedie_score(t[~np.isnan(t)], p[~np.isnan(t)], power=1)
        for t, p in zip(Y.T, prediction.T, strict=True)
    ]
    assert model.score(X, Y) == pytest.approx(np.mean(each))


def test_a_grid_of_losses_and_frames():
    X, codes, y, _ = table("quantile")
    frame = pd.DataFrame(X, columns=["a", "b"]).assign(shop=codes)
    model = MultiTaskRegressor(FIXED, task_column="shop", cv=None, loss="quantile")
    search = GridSearchCV(
        model, {"loss": [Quantile(0.2), Quantile(0.8), "absolute_error"]}, cv=3,
        scoring="neg_mean_absolute_error",
    ).fit(frame, y)  # fmt: skip
    assert search.best_params_["loss"] == "absolute_error"
    assert clone(search.best_estimator_.set_params(loss=Quantile(0.3))).loss == Quantile(0.3)


# ------------------------------------------------------------------- beside groupings and levels


def crossed_counts(seed=0, n=2400, n_tasks=40, n_levels=80):
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(rng.normal(size=(n, 2)), columns=["a", "b"])
    frame["shop"], frame["day"] = rng.integers(n_tasks, size=n), rng.integers(n_levels, size=n)
    eta = 0.5 + 0.5 * rng.normal(size=n_tasks)[frame["shop"]]
    eta += 0.6 * rng.normal(size=n_levels)[frame["day"]] + frame["a"] * 0.3
    return frame, rng.poisson(np.exp(eta)).astype(float)


@pytest.mark.parametrize("weighted", [False, True])
def test_effects_of_groupings_are_the_joint_optimum(weighted):
    X, y = crossed_counts(n=250, n_tasks=10, n_levels=20)
    weight = np.random.default_rng(1).uniform(0.5, 2.0, size=len(y)) if weighted else None
    model = MultiTaskRegressor(
        FIXED, loss="poisson", task_column="shop", grouping_columns={"day": 3.0}, cv=None, tol=1e-8
    ).fit(X, y, weight)
    Z, w = standardised(X[["a", "b"]].to_numpy(), weight), np.ones(len(y))
    w = w if weight is None else weight
    codes = [np.unique(X[c], return_inverse=True)[1] for c in ("shop", "day")]
    sizes = (codes[1].max() + 1,)
    design, penalty = reference.crossed_design(
        Z, codes[0], codes[0].max() + 1, codes[1][:, None], sizes, (4.0, 2.0, 1.0), (3.0,)
    )
    beta = np.zeros(design.shape[1])
    for _ in range(100):
        mean = np.exp(np.clip(design @ beta, -20, 20))
        gradient = design.T @ (w * (mean - y)) + penalty * beta
        curvature = design.T @ ((w * mean)[:, None] * design) + np.diag(penalty + 1e-12)
        beta -= np.linalg.solve(curvature, gradient)
    np.testing.assert_allclose(np.log(model.predict(X)), design @ beta, atol=1e-5)
    effects = model.grouping_effects_["day"]["effect"]
    np.testing.assert_allclose(effects, beta[-sizes[0] :], atol=1e-5)


def test_groupings_and_levels_help_counts():
    X, y = crossed_counts()
    train = np.arange(len(y)) % 4 > 0
    with_days, without = (
        MultiTaskRegressor(
            loss="poisson", task_column="shop", grouping_columns=g, exclude_columns=e
        ).fit(X[train], y[train])
        for g, e in (("day", None), (None, "day"))
    )
    test = X[~train]
    errors = [mean_poisson_deviance(y[~train], m.predict(test)) for m in (with_days, without)]
    assert errors[0] < 0.8 * errors[1]
    # 1 / 0.36 with a dispersion of one
    assert 1.5 < with_days.grouping_strengths_["day"] < 6.0
    one = test[test["shop"] == 3]
    np.testing.assert_allclose(with_days.for_task(3).predict(one), with_days.predict(one))
    X = X.assign(region=X["shop"] // 8)
    rng = np.random.default_rng(5)
    y = rng.poisson(np.exp(1 + rng.normal(size=5)[X["region"]])).astype(float)
    known = (X["shop"] % 8 > 0).to_numpy()
    columns = ["region", "shop"]
    tree, flat = (
        MultiTaskRegressor(s, loss="poisson", task_column=columns, exclude_columns="day").fit(
            X[known], y[known]
        )
        for s in ("auto", "partial_pooling")
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        errors = [mean_poisson_deviance(y[~known], m.predict(X[~known])) for m in (tree, flat)]
    assert errors[0] < 0.6 * errors[1] and "region" in tree.level_coef_


def test_weights_of_tasks_count():
    X, codes, y, _ = table("poisson")
    weights = {int(t): 3.0 for t in range(6)}
    found = MultiTaskRegressor(Pooled(2.0), loss="poisson", cv=None, task_weight=weights, tol=1e-8)
    wanted = MultiTaskRegressor(Pooled(2.0), loss="poisson", cv=None, tol=1e-8)
    found.fit(X, y, task=codes)
    wanted.fit(X, y, np.where(codes < 6, 3.0, 1.0), task=codes)
    np.testing.assert_allclose(
        found.predict(X, task=codes), wanted.predict(X, task=codes), rtol=5e-3
    )


# -------------------------------------------------------------------------------------- errors


@pytest.mark.parametrize(
    ("loss", "y", "message"),
    [
        (
            "poisson",
            [1.0, -2.0, 0.0, 1.0],
            "loss='poisson' is for counts, but y has the value -2.0",
        ),
        ("poisson", [0.0, 0.0, 0.0, 0.0], "needs numbers above 0, but all of y are 0"),
        ("gamma", [1.0, 0.0, 2.0, 1.0], "amounts above 0, but y has the value 0.0"),
        ("tweedie", [1.0, 2.0, 1.0, 1.0], "loss is 'tweedie', which is not a loss"),
    ],
)
def test_bad_targets_and_names(loss, y, message):
    with pytest.raises(ValueError, match=message):
        MultiTaskRegressor(Pooled(1.0), loss=loss, cv=None).fit(np.arange(4.0)[:, None], y)


@pytest.mark.parametrize("kind", [Huber, Quantile])
@pytest.mark.parametrize("value", [0.0, -1.0, True, "no", np.nan])
def test_bad_parameters_of_losses(kind, value):
    with pytest.raises(ValueError, match=f"of {kind.__name__} must be"):
        kind(value)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"keep_moments": True}, "cannot be combined with keep_moments=True"),
        ({"task_weight": "uncertainty"}, "combined with task_weight='uncertainty'"),
        ({"target_scale": "task"}, "combined with target_scale='task'"),
        ({"loss": "huber", "grouping_columns": 0}, "combined with grouping_columns=0"),
        ({"loss": "quantile", "sharing": TaskTree()}, "combined with sharing=TaskTree"),
        ({"sharing": "hidden_layers"}, "MultiTaskRegressor with sharing=SharedHiddenLayers"),
        ({"sharing": PartialPooling(positive=[0])}, "positive= and negative=.*for 'poisson'"),
    ],
)
def test_what_losses_do_not_go_with(params, message):
    X, codes, y, _ = table("poisson")
    with pytest.raises(ValueError, match=message):
        MultiTaskRegressor(**{"sharing": "partial_pooling", "loss": "poisson", **params}).fit(
            X, y, task=codes
        )


def test_a_classifier_does_not_take_them():
    X, codes, y, _ = table("poisson")
    with pytest.raises(ValueError, match="loss='poisson': MultiTaskClassifier"):
        MultiTaskClassifier("partial_pooling", loss="poisson").fit(X, y > 2, task=codes)


def test_too_few_steps_warn():
    X, codes, y, _ = table("poisson")
    model = MultiTaskRegressor(FIXED, loss="poisson", cv=None, max_iter=1, tol=1e-12)
    with pytest.warns(match=r"stopped at a residual of .* above tol=1e-12, after 1 steps"):
        model.fit(X, y, task=codes)


def test_intervals_are_for_squares():
    X, codes, y, _ = table("poisson")
    model = MultiTaskRegressor("partial_pooling", loss="poisson").fit(X, y, task=codes)
    with pytest.raises(ValueError, match=r"fitted with loss='poisson'; fit two models .*Quantile"):
        model.predict_interval(X, task=codes)


# -------------------------------------------------------------- the contract and sklearn's checks

CONTRACT = {
    "huber": MultiTaskRegressor(FIXED, loss="huber", cv=None, tol=1e-9, max_iter=500),
    "auto, absolute error": MultiTaskRegressor("pooled", loss="absolute_error", cv=2),
}
CONFIGURATIONS = {
    "poisson": MultiTaskRegressor("partial_pooling", loss="poisson", cv=2),
    "gamma": MultiTaskRegressor(FIXED, loss="gamma", cv=None),
    "huber": MultiTaskRegressor("partial_pooling", loss="huber", cv=2),
    "quantile": MultiTaskRegressor(FIXED, loss=Quantile(0.7), cv=None),
}


@pytest.mark.filterwarnings("ignore:the final fit stopped")
@pytest.mark.parametrize(("estimator", "check"), list(checks.contract_cases(CONTRACT)))
def test_contract(estimator, check):
    check(estimator)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("estimator", "check"), list(checks.estimator_check_cases(CONFIGURATIONS)))
def test_estimator_checks(estimator, check):
    check(estimator)


# --------------------------------------------------------- levels of the tasks, units of the target


@pytest.mark.parametrize("loss", ["huber", "absolute_error", Quantile(0.9)])
def test_tasks_far_apart_are_fitted_as_those_that_are_not(loss):
    rng = np.random.default_rng(0)
    task = np.repeat(np.arange(20), 15)
    X = rng.normal(size=(300, 2))
    y = X @ [1.0, -1.0] + rng.normal(size=20)[task] + 0.5 * rng.standard_t(3, size=300)
    levels = 1e4 * rng.normal(size=20)
    gaps = []
    for shift in (np.zeros(20), levels):
        model = MultiTaskRegressor("partial_pooling", loss=loss).fit(X, y + shift[task], task=task)
        gaps.append(model.predict(X, task=task) - shift[task])
    assert np.abs(gaps[1] - gaps[0]).mean() < 0.4
    assert not isinstance(loss, str) or np.abs(gaps[1] - y).mean() < 1.0
    new = model.adapt(X[:15], y[:15] + 5e3).predict(X[:15]) - 5e3
    assert np.abs(new - y[:15]).mean() < 2.0


@pytest.mark.parametrize("loss", ["huber", Quantile(0.9)])
def test_independent_models_do_not_depend_on_other_tasks(loss):
    rng = np.random.default_rng(0)
    task = np.repeat(np.arange(8), 15)
    X = rng.normal(size=(120, 2))
    y = X @ [1.0, -1.0] + rng.normal(size=120)
    far = np.where(task == 0, y + 1e4, y)
    found = [
        MultiTaskRegressor("independent", loss=loss).fit(X, v, task=task).predict(X, task=task)
        for v in (y, far)
    ]
    assert np.abs(found[0] - found[1])[task > 0].max() < 0.8  # of the noise


@pytest.mark.parametrize("unit", [1e-12, 1e-3, 1e3])
def test_the_unit_of_rates_changes_nothing(unit):
    X, codes, y, _ = table("poisson")
    model = MultiTaskRegressor("partial_pooling", loss="poisson").fit(X, y, task=codes)
    other = MultiTaskRegressor("partial_pooling", loss="poisson").fit(X, unit * y, task=codes)
    wanted = model.predict(X, task=codes)
    np.testing.assert_allclose(other.predict(X, task=codes) / unit, wanted, rtol=1e-6)
    assert other.summary().components["std"][0] == pytest.approx(
        model.summary().components["std"][0], rel=1e-3
    )


def test_a_fit_that_has_no_partial_fit():
    X, codes, y, _ = table("poisson")
    with pytest.raises(AttributeError, match="loss='poisson' needs all rows at once"):
        MultiTaskRegressor("partial_pooling", loss="poisson").partial_fit(X, y, task=codes)


def test_a_mapping_to_one_loss_is_that_loss():
    X, codes, y, _ = table("poisson")
    losses = {int(t): "poisson" for t in range(12)}
    found = MultiTaskRegressor(FIXED, cv=None, loss=losses).fit(X, y, task=codes)
    wanted = MultiTaskRegressor(FIXED, cv=None, loss="poisson").fit(X, y, task=codes)
    np.testing.assert_array_equal(found.coef_, wanted.coef_)
    assert found.loss_ is POISSON and wanted.loss_ is POISSON


def test_losses_of_new_tasks():
    X, codes, y, _ = table("poisson")
    model = MultiTaskRegressor(FIXED, loss="poisson", cv=None).fit(X, y, task=codes)
    same = model.adapt(X[:5], y[:5], loss="poisson")
    np.testing.assert_array_equal(same.coef_, model.adapt(X[:5], y[:5]).coef_)
    with pytest.raises(ValueError, match="all tasks of the fit have 'poisson'"):
        model.adapt(X[:5], y[:5], loss="squared_error")


def test_scores_of_odd_targets():
    X, codes, y, _ = table("poisson")
    model = MultiTaskRegressor(FIXED, loss="poisson", cv=None).fit(X, y, task=codes)
    assert model.score(X[:5], np.zeros(5), task=codes[:5]) == 0.0
    one = model.score(X, y, task=codes)
    assert model.score(X, y[:, None], task=codes) == pytest.approx(one)
    with pytest.raises(ValueError, match="NaN"):
        model.score(X, np.where(np.arange(len(y)) == 3, np.nan, y), task=codes)
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        model.score(X, y[:-1], task=codes)


@pytest.mark.parametrize("loss", [POISSON, GAMMA, ABSOLUTE_ERROR, Huber(2.0)])
def test_losses_are_shown_as_they_are_written(loss):
    shown = repr(MultiTaskRegressor(loss=loss))
    assert f"loss={loss!r}" in shown and "object at" not in shown


@pytest.mark.parametrize("loss", LOSSES)
def test_constant_targets(loss):
    X, codes, _, _ = table(loss)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = MultiTaskRegressor("partial_pooling", loss=loss).fit(
            X, np.full(len(X), 3.0), task=codes
        )
    np.testing.assert_allclose(model.predict(X, task=codes), 3.0, rtol=1e-6)
