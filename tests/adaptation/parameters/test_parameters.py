"""ShrinkToSource: closed forms and naive minimisers, limits, what is chosen, what is refused."""

import checks
import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from scipy.optimize import minimize
from scipy.special import log_softmax
from sklearn.linear_model import (
    BayesianRidge,
    Lasso,
    LinearRegression,
    LogisticRegression,
    LogisticRegressionCV,
    PoissonRegressor,
    Ridge,
    SGDRegressor,
)  # fmt: skip
from sklearn.model_selection import GridSearchCV
from sklearn.naive_bayes import GaussianNB
from sklearn.svm import SVR
from sklearn.tree import DecisionTreeRegressor

from skmtl import Source, TransferEstimator
from skmtl.adaptation import ShrinkToSource

_rng = np.random.default_rng(2)
COEF = np.array([1.0, -2.0, 0.5, 0.0])
XS, X, AT = (_rng.normal(1.0, 1.0, size=(n, 4)) for n in (120, 16, 300))
YS = XS @ COEF + 0.3 * _rng.normal(size=120)
Y = X @ (COEF + 0.2) + 3.0 + 0.3 * _rng.normal(size=16)
WEIGHT, WEIGHT_S = _rng.uniform(0.5, 2.0, 16), _rng.uniform(0.5, 2.0, 120)
del _rng  # a test draws from a generator of its own
CLOSE = {"solver": "newton-cholesky", "tol": 1e-10, "max_iter": 1000}


def shrunk(alpha="auto", estimator=None, source=None, sources="nearest", **params):
    source = Source(XS, YS) if source is None else source
    adaptation = ShrinkToSource(alpha, sources)
    return TransferEstimator(estimator, source=source, adaptation=adaptation, **params)


# --------------------------------------------------------------------------------- squared loss


def normal_equations(X, y, w, anchor, alpha, own):
    """``sum w (y - x'b - c)^2 + alpha |b - anchor|^2 + own |b|^2`` over (b, c), in one system."""
    Z = np.column_stack([X, np.ones(len(X))])
    penalty = np.diag([alpha + own] * X.shape[1] + [0.0])
    right = Z.T @ (w * y) + np.append(alpha * anchor, 0.0)
    theta = np.linalg.solve(Z.T @ (w[:, None] * Z) + penalty, right)
    return theta[:-1], theta[-1]


@pytest.mark.parametrize("alpha", [0.01, 1.0, 50.0])
@pytest.mark.parametrize("own", [0.0, 2.0])
def test_closed_form(alpha, own):
    estimator = Ridge(own) if own else LinearRegression()
    source = Source(XS, YS, sample_weight=WEIGHT_S)
    model = shrunk(alpha, estimator, source).fit(X, Y, WEIGHT).estimator_
    anchor = type(estimator)(**estimator.get_params()).fit(XS, YS, WEIGHT_S).coef_
    coef, intercept = normal_equations(X, Y, WEIGHT, anchor, alpha, own)
    np.testing.assert_allclose(model.coef_, coef)
    np.testing.assert_allclose(model.intercept_, intercept)
    assert type(model) is type(estimator) and model.n_features_in_ == 4
    np.testing.assert_allclose(model.predict(AT), AT @ coef + intercept)


def test_limits():
    at_source = shrunk(np.inf).fit(X, Y)
    np.testing.assert_allclose(at_source.estimator_.coef_, Ridge().fit(XS, YS).coef_, rtol=1e-9)
    level = np.mean(Y - X @ at_source.estimator_.coef_)
    np.testing.assert_allclose(at_source.estimator_.intercept_, level)
    np.testing.assert_allclose(shrunk(1e12).fit(X, Y).predict(AT), at_source.predict(AT), rtol=1e-6)
    for estimator in (Ridge(), Ridge(0.0), LinearRegression(), Lasso(0.1)):
        alone = estimator.fit(X, Y)
        model = shrunk(0.0, estimator).fit(X, Y)
        np.testing.assert_allclose(model.estimator_.coef_, alone.coef_, rtol=1e-8, atol=1e-10)
        np.testing.assert_allclose(model.estimator_.intercept_, alone.intercept_)
        np.testing.assert_array_equal(model.source_weights_, [0.0])
        if not isinstance(estimator, Lasso):
            small = shrunk(1e-9, estimator).fit(X, Y)
            np.testing.assert_allclose(small.predict(AT), alone.predict(AT), rtol=1e-6)
    assert at_source.source_weights_ == [1.0] and at_source.history_ == {}


def test_fewer_rows_than_features_stay_at_the_source_where_they_say_nothing():
    few, anchor = slice(0, 3), LinearRegression().fit(XS, YS).coef_
    model = shrunk(1e-9, LinearRegression()).fit(X[few], Y[few]).estimator_
    np.testing.assert_allclose(model.predict(X[few]), Y[few], atol=1e-5)
    rows = X[few] - X[few].mean(axis=0)
    moved = model.coef_ - anchor
    np.testing.assert_allclose(np.linalg.pinv(rows) @ rows @ moved, moved, atol=1e-6)


def test_levels_may_differ_and_the_intercept_is_not_pulled():
    one, two = shrunk(5.0).fit(X, Y), shrunk(5.0).fit(X, Y + 1000.0)
    np.testing.assert_allclose(two.predict(AT), one.predict(AT) + 1000.0)
    none = shrunk(5.0, Ridge(fit_intercept=False)).fit(X, Y).estimator_
    assert none.intercept_ == 0.0
    anchor = Ridge(fit_intercept=False).fit(XS, YS).coef_
    wanted = np.linalg.solve(X.T @ X + 6.0 * np.eye(4), X.T @ Y + 5.0 * anchor)
    np.testing.assert_allclose(none.coef_, wanted)


@pytest.mark.parametrize(
    "estimator", [Lasso(0.05), SGDRegressor(random_state=0), BayesianRidge()], ids=str
)
def test_other_linear_regressors_give_their_source_slopes(estimator):
    model = shrunk(4.0, estimator).fit(X, Y).estimator_
    anchor = estimator.fit(XS, YS).coef_
    coef, intercept = normal_equations(X, Y, np.ones(16), anchor, 4.0, 0.0)
    np.testing.assert_allclose(model.coef_, coef)
    np.testing.assert_allclose(model.predict(AT), AT @ coef + intercept)
    assert np.shape(model.intercept_) == np.shape(estimator.intercept_)


# ------------------------------------------------------------------------------------- log-loss


def by_hand(X, codes, w, anchor, start, alpha, own, free=True):
    """Minimise the log-loss of all classes by BFGS over (coef, intercept) as they stand."""
    K, p = anchor.shape

    def objective(theta):
        coef, intercept = theta[: K * p].reshape(K, p), theta[K * p :] if free else start
        scores = X @ coef.T + intercept
        if K == 1:
            scores = np.column_stack([np.zeros(len(X)), scores])
        loss = -w @ log_softmax(scores, axis=1)[np.arange(len(X)), codes]
        return loss + alpha / 2 * ((coef - anchor) ** 2).sum() + own / 2 * (coef**2).sum()

    found = minimize(objective, np.append(anchor.ravel(), start if free else []), tol=1e-9)
    coef = found.x[: K * p].reshape(K, p)
    return coef, found.x[K * p :] if free else start


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("alpha", [0.5, 20.0])
def test_logistic_by_hand(n_classes, alpha):
    codes_s, codes = (np.digitize(v, [0.0, 3.0][: n_classes - 1]) for v in (YS, Y - 2.0))
    source = Source(XS, codes_s, sample_weight=WEIGHT_S)
    estimator = LogisticRegression(C=0.5, **CLOSE)
    model = shrunk(alpha, estimator, source).fit(X, codes, WEIGHT).estimator_
    start = estimator.fit(XS, codes_s, WEIGHT_S)
    coef, intercept = by_hand(X, codes, WEIGHT, start.coef_, start.intercept_, alpha, 2.0)
    np.testing.assert_allclose(model.coef_, coef, atol=2e-4)
    np.testing.assert_allclose(
        model.intercept_ - model.intercept_.mean() * (n_classes > 2),
        intercept - intercept.mean() * (n_classes > 2), atol=5e-4,
    )  # fmt: skip
    assert list(model.classes_) == list(range(n_classes))


@pytest.mark.parametrize("n_classes", [2, 3])
def test_logistic_limits(n_classes):
    codes_s, codes = (np.digitize(v, [0.0, 3.0][: n_classes - 1]) for v in (YS, Y - 2.0))
    every = [{}, {"class_weight": "balanced"}, {"class_weight": {1: 3.0}}]
    if checks.SKLEARN < (1, 7):  # there, "balanced" does not take weights into account
        del every[1]
    for params in every:
        estimator, source = LogisticRegression(**CLOSE, **params), Source(XS, codes_s)
        alone = shrunk(0.0, estimator, source).fit(X, codes, WEIGHT)
        wanted = estimator.fit(X, codes, WEIGHT).predict_proba(AT)
        np.testing.assert_allclose(alone.predict_proba(AT), wanted, atol=1e-6)
        at_source = shrunk(np.inf, estimator, source).fit(X, codes).estimator_
        np.testing.assert_allclose(at_source.coef_, estimator.fit(XS, codes_s).coef_)


def test_gradient_vanishes_with_wide_and_with_badly_scaled_rows():
    wide, codes = np.random.default_rng(0).normal(size=(12, 40)), np.arange(12) % 3
    scaled = X * np.array([1e4, 1.0, 1e-4, 1.0])
    for rows, y in ((wide, codes), (scaled, (Y > Y.mean()).astype(int))):
        source = Source(np.vstack([rows, -rows]), np.append(y, y[::-1]))
        model = shrunk(0.7, LogisticRegression(**CLOSE), source).fit(rows, y).estimator_
        start = LogisticRegression(**CLOSE).fit(source.X, source.y).coef_
        p = model.predict_proba(rows)
        missed = (p - np.eye(len(model.classes_))[y])[:, -len(start) :]
        slope = missed.T @ rows + 0.7 * (model.coef_ - start) + model.coef_
        size = np.abs(rows).sum(axis=0)
        assert np.abs(slope / size).max() < 1e-8 and np.abs(missed.sum(axis=0)).max() < 1e-8


def test_classes_that_target_rows_do_not_show():
    codes_s = np.digitize(YS, [-1.0, 2.0])
    source, estimator = Source(XS, codes_s), LogisticRegression(**CLOSE)
    start = estimator.fit(XS, codes_s)
    codes = (Y - 2.0 > 0).astype(int)  # 0 and 1 of 0, 1, 2
    model = shrunk(3.0, estimator, source).fit(X, codes)
    there = X.mean(axis=0)
    level, before = model.decision_function([there])[0], start.decision_function([there])[0]
    np.testing.assert_allclose(level[2], before[2])
    np.testing.assert_allclose(level[:2].sum(), before[:2].sum())
    assert model.predict_proba(AT).shape == (300, 3)
    one = shrunk(3.0, estimator, source).fit(X[:5], np.full(5, 1)).estimator_
    at = [X[:5].mean(axis=0)]
    np.testing.assert_allclose(one.decision_function(at), start.decision_function(at))
    p, p_start = one.predict_proba(X[:5])[:, 1], start.predict_proba(X[:5])[:, 1]
    assert np.log(p).sum() > np.log(p_start).sum()
    two = Source(XS, (YS > 0).astype(int))
    for y in (np.zeros(5, int), np.full(5, 2)):  # one class; one that the source lacks
        model = shrunk("auto", estimator, two).fit(X[:5], y)
        assert model.predict_proba(X).shape == (16, 2 + (y[0] == 2))
    own = shrunk("auto", estimator, two).fit(X, np.digitize(Y, [1.0, 5.0]))
    assert own.score(X, np.digitize(Y, [1.0, 5.0])) > 0.6


# ------------------------------------------------------------------------------- what is chosen


def test_the_choice_by_hand():
    cv = [(np.flatnonzero(np.arange(16) % 4 != k), np.flatnonzero(np.arange(16) % 4 == k))
          for k in range(4)]  # fmt: skip
    model = shrunk(cv=cv).fit(X, Y, WEIGHT)
    grid, error = model.history_["alpha"], model.history_["error"]
    assert grid[0] == np.inf and grid[-1] == 0.0 and (np.diff(grid) < 0).all()
    rows = X - WEIGHT @ X / WEIGHT.sum()
    np.testing.assert_allclose(grid[1], 100.0 * np.mean(WEIGHT @ rows**2))
    for alpha, wanted in list(zip(grid, error, strict=True))[::4]:
        missed = 0.0
        for train, test in cv:
            fixed = shrunk(alpha).fit(X[train], Y[train], WEIGHT[train])
            missed += WEIGHT[test] @ (Y[test] - fixed.predict(X[test])) ** 2
        np.testing.assert_allclose(missed / WEIGHT.sum(), wanted)
    fixed = shrunk(grid[np.argmin(error)]).fit(X, Y, WEIGHT)
    np.testing.assert_allclose(model.predict(AT), fixed.predict(AT))
    two = shrunk(cv=cv, n_jobs=2).fit(X, Y, WEIGHT)
    np.testing.assert_array_equal(two.history_["error"], error)


def test_sources_that_harm_are_left_out():
    task = np.arange(120) % 4
    source = Source(XS, np.where(task < 2, YS, -YS), task)
    model = shrunk(source=source).fit(X, Y)
    assert model.source_weights_[:2].any() and not model.source_weights_[2:].any()
    assert sorted(set(model.history_["n_sources"])) == [1, 2, 4]
    truth = AT @ (COEF + 0.2) + 3.0
    harmed = shrunk(10.0, source=source, sources="all").fit(X, Y)
    assert (
        np.mean((model.predict(AT) - truth) ** 2) < np.mean((harmed.predict(AT) - truth) ** 2) / 4
    )
    np.testing.assert_array_equal(harmed.source_weights_, np.ones(4))
    wrong = shrunk(source=Source(XS, -100 * YS)).fit(X, Y)
    np.testing.assert_array_equal(wrong.source_weights_, [0.0])
    np.testing.assert_allclose(wrong.predict(AT), Ridge().fit(X, Y).predict(AT))


@pytest.mark.parametrize("alpha", [np.inf, 1.0, "auto"])
@pytest.mark.parametrize("n_classes", [2, 3])
def test_target_rows_far_from_the_source(alpha, n_classes):
    """The source's model is sure of one class in every row; only its slopes count."""
    cuts = [0.0] if n_classes == 2 else [-1.0, 1.0]
    source, y = Source(XS, np.digitize(YS, cuts)), np.digitize(Y - 3.0, cuts)
    shift = np.array([0.0, 0.0, 0.0, 1e6])
    models = [
        TransferEstimator(
            LogisticRegression(), source=source, adaptation=ShrinkToSource(alpha), cv=3
        ).fit(X + far, y)
        for far in (0.0, shift)
    ]
    wanted, found = models[0].predict_proba(X), models[1].predict_proba(X + shift)
    np.testing.assert_allclose(found, wanted, atol=1e-6)
    assert np.isfinite(models[1].history_.get("error", 0.0)).all()


@pytest.mark.parametrize("adaptation", ["shrink_to_source", "fine_tune"])
def test_a_source_of_one_class_is_no_start(adaptation):
    labels = np.where(Y > 0, "yes", "no")
    model = TransferEstimator(
        LogisticRegression(), source=Source(XS, np.full(len(XS), "no")), adaptation=adaptation
    )
    with pytest.raises(ValueError, match="source are of one class, 'no'.*adaptation='auto'"):
        model.fit(X, labels)


def test_sources_of_one_class_are_taken_together():
    codes, task = (YS > 0).astype(int), (YS > 0).astype(int)
    model = shrunk(estimator=LogisticRegression(), source=Source(XS, codes, task))
    assert model.fit(X, (Y > 3).astype(int)).score(X, Y > 3) > 0.7
    with pytest.raises(ValueError, match="class"):
        shrunk(1.0, LogisticRegression(), Source(XS, np.ones(120, int))).fit(X, Y > 3)


def test_few_rows_and_no_spread():
    for n in (1, 2, 3):
        assert np.isfinite(shrunk().fit(X[:n], Y[:n]).predict(AT)).all()
    one = shrunk().fit(X[:1], Y[:1])
    np.testing.assert_allclose(one.estimator_.coef_, Ridge().fit(XS, YS).coef_)
    np.testing.assert_allclose(one.predict(X[:1]), Y[:1])
    same = shrunk().fit(np.ones((6, 4)), np.arange(6.0))
    assert np.isfinite(same.predict(AT)).all()


def test_weights_are_repeated_rows_and_the_order_of_source_rows_does_not_matter(rng):
    often, often_s = rng.integers(0, 3, 16), rng.integers(0, 3, 120)
    rows, rows_s = np.repeat(np.arange(16), often), np.repeat(np.arange(120), often_s)
    for estimator, y, y_s in (
        (Ridge(), Y, YS),
        (LogisticRegression(**CLOSE), Y > 3, YS > 1),
    ):
        weighted = shrunk(3.0, estimator, Source(XS, y_s, sample_weight=often_s)).fit(X, y, often)
        twice = shrunk(3.0, estimator, Source(XS[rows_s], y_s[rows_s])).fit(X[rows], y[rows])
        back = shrunk(3.0, estimator, Source(XS[rows_s][::-1], y_s[rows_s][::-1]))
        back = back.fit(X[rows][::-1], y[rows][::-1])
        for other in (twice, back):
            np.testing.assert_allclose(
                other.estimator_.coef_, weighted.estimator_.coef_, rtol=1e-6, atol=1e-9
            )


def test_frames_and_sparse_rows():
    def frame(X):
        return pd.DataFrame(X, columns=list("abcd")).assign(k=np.where(X[:, 0] > 1, "p", "q"))

    source = Source(frame(XS), YS)
    model = shrunk(source=source, preprocessor="auto").fit(frame(X), Y)
    assert model.score(frame(X), Y) > 0.9
    thin = shrunk(2.0, source=Source(sparse.csr_matrix(XS), YS)).fit(sparse.csr_matrix(X), Y)
    np.testing.assert_allclose(thin.predict(AT), shrunk(2.0).fit(X, Y).predict(AT), rtol=1e-3)


# ------------------------------------------------------------------------------ what is refused


@pytest.mark.parametrize(
    ("estimator", "classes", "message"),
    [
        (DecisionTreeRegressor(), False, "DecisionTreeRegressor has no coef_ and intercept_"),
        (SVR(kernel="linear"), False, "SVR does not let its coef_ be set"),
        (PoissonRegressor(), False, "PoissonRegressor does not predict X @ coef_"),
        (Ridge(positive=True), False, "estimator=Ridge has positive=True; set"),
        (GaussianNB(), True, "supports the log-loss only, but estimator=GaussianNB"),
        (LogisticRegressionCV(), True, "but estimator=LogisticRegressionCV"),
        pytest.param(
            LogisticRegression(l1_ratio=0.5),
            True,
            r"supports the squared \(L2\) penalty only",
            marks=pytest.mark.skipif(
                checks.SKLEARN < (1, 8), reason="no penalty without `penalty`"
            ),
        ),
    ],
    ids=str,
)
def test_estimators_that_are_not_linear_models_of_a_known_loss(estimator, classes, message):
    y_s, y = (YS > 0, Y > 3) if classes else (np.abs(YS), np.abs(Y))
    with pytest.raises(ValueError, match=message):
        shrunk(2.0, estimator, Source(XS, y_s)).fit(X, y)


@pytest.mark.parametrize("alpha", [-1.0, np.nan, "much", None, True])
def test_bad_alpha(alpha):
    with pytest.raises(ValueError, match="alpha=.* must be 'auto' or a number from 0 to infinity"):
        shrunk(alpha).fit(X, Y)


def test_bad_parameters():
    with pytest.raises(ValueError, match="sources='best' must be 'nearest' or 'all'"):
        shrunk(sources="best").fit(X, Y)
    with pytest.raises(ValueError, match="ShrinkToSource requires y to be passed"):
        shrunk().fit(X)
    search = GridSearchCV(shrunk(), {"adaptation__alpha": [0.0, 1.0, np.inf]}, cv=3).fit(X, Y)
    assert search.best_score_ > 0.5
