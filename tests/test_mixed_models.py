"""Equality with the predictions of statsmodels' and GPBoost's mixed models at their variances."""

import warnings

import numpy as np
import pytest

from skmtl import MultiTaskRegressor
from skmtl.sharing import PartialPooling, TaskTree

pd = pytest.importorskip("pandas")
pytestmark = pytest.mark.jit


def stores(seed=0):
    rng = np.random.default_rng(seed)
    store = np.repeat(np.arange(90), 8)
    frame = pd.DataFrame({"x": rng.normal(size=720), "region": store // 6, "store": store})
    y = 1 + 0.5 * frame["x"] + rng.normal(size=15)[frame["region"]]
    y = y + 0.6 * rng.normal(size=90)[store] + 0.8 * rng.normal(size=720)
    return frame, y.to_numpy(), rng


def fit_of_statsmodels(frame, y, formula="y ~ x", **options):
    smf = pytest.importorskip("statsmodels.formula.api")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return smf.mixedlm(formula, frame.assign(y=y), **options).fit(reml=True)


def test_random_intercepts():
    X, y, _ = stores()
    wanted = fit_of_statsmodels(X, y, groups="store")
    strength = wanted.scale / wanted.cov_re.iloc[0, 0]
    sharing = PartialPooling(np.inf, alpha_intercept=strength, alpha_shared=0.0)
    model = MultiTaskRegressor(sharing, task_column="store", exclude_columns="region", cv=None)
    found = model.fit(X, y)
    np.testing.assert_allclose(found.predict(X), wanted.fittedvalues, atol=1e-8)
    table = found.summary().coefficients
    np.testing.assert_allclose(table["coef"], wanted.fe_params, atol=1e-8)
    np.testing.assert_allclose(table["std_error"], wanted.bse_fe, rtol=0.02)  # another noise


def test_nested_random_intercepts():
    X, y, _ = stores()
    of_stores = {"store": "0 + C(store)"}
    wanted = fit_of_statsmodels(X, y, groups="region", re_formula="1", vc_formula=of_stores)
    sharing = TaskTree(
        np.inf, alpha_intercept=wanted.scale / wanted.vcomp[0], alpha_shared=0.0,
        alpha_levels=np.inf, alpha_levels_intercept=wanted.scale / wanted.cov_re.iloc[0, 0],
    )  # fmt: skip
    model = MultiTaskRegressor(sharing, task_column=["region", "store"], cv=None).fit(X, y)
    np.testing.assert_allclose(model.predict(X), wanted.fittedvalues, atol=1e-8)


def test_crossed_random_intercepts():
    gpboost = pytest.importorskip("gpboost")
    X, y, rng = stores()
    X["customer"] = rng.integers(40, size=720)
    y = y + 0.5 * rng.normal(size=40)[X["customer"]]
    variances = np.array([0.6, 1.1, 0.3])  # of the noise, the stores and the customers
    sharing = PartialPooling(np.inf, alpha_intercept=0.6 / 1.1, alpha_shared=0.0)
    model = MultiTaskRegressor(
        sharing, task_column="store", grouping_columns={"customer": 2.0}, exclude_columns="region",
        cv=None,
    ).fit(X, y)  # fmt: skip
    fixed = model.shared_intercept_ + model.shared_coef_[0] * X["x"].to_numpy()
    groups = X[["store", "customer"]].to_numpy()
    mixed = gpboost.GPModel(
        group_data=groups, likelihood="gaussian", matrix_inversion_method="cholesky"
    )
    wanted = mixed.predict(y=y - fixed, group_data_pred=groups, cov_pars=variances)["mu"]
    np.testing.assert_allclose(model.predict(X), wanted + fixed, atol=1e-8)
