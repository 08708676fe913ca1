"""TransLasso: nested sets of sources, a sparse difference, and their average."""

import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from sklearn.linear_model import ElasticNet, Lasso, LassoCV, LinearRegression, LogisticRegression
from sklearn.model_selection import KFold

from skmtl import Source, TransferEstimator
from skmtl.adaptation import TransLasso
from skmtl.adaptation.parameters.trans_lasso import _sizes

_rng = np.random.default_rng(3)
P, N, NS = 60, 40, 80
COEF = np.r_[np.full(6, 1.0), np.zeros(P - 6)]
SLOPES = {"near": COEF + np.r_[0.5, np.zeros(P - 1)], "far": _rng.normal(size=P), "same": COEF}
X, AT = _rng.normal(size=(N, P)), _rng.normal(size=(500, P))
Y, TRUTH = X @ COEF + _rng.normal(size=N), AT @ COEF
XS = _rng.normal(size=(3 * NS, P))
G = np.repeat(sorted(SLOPES), NS)
YS = np.concatenate([XS[G == k] @ SLOPES[k] + 3.0 * (k == "same") for k in sorted(SLOPES)])
YS += _rng.normal(size=3 * NS)
XD = _rng.normal(size=(4, N, P))
DRAWS = list(zip(XD, XD @ COEF + _rng.normal(size=(4, N)), strict=True))
SOURCE = Source(XS, YS, G)
del _rng  # a test draws from a generator of its own


def fit(estimator=None, source=SOURCE, adaptation=None, **params):
    adaptation = adaptation or TransLasso()
    model = TransferEstimator(estimator, source=source, adaptation=adaptation, **params)
    return model.fit(X, Y)


def miss(model):
    return np.mean((model.predict(AT) - TRUTH) ** 2)


def test_it_beats_the_lasso_of_the_target_and_of_all_rows():
    ours = TransferEstimator(LassoCV(), source=SOURCE, adaptation="trans_lasso")
    alone = np.mean([miss(LassoCV().fit(X, Y)) for X, Y in DRAWS])
    pooled = [miss(LassoCV().fit(np.vstack([XS, X]), np.r_[YS, Y])) for X, Y in DRAWS]
    assert np.mean([miss(ours.fit(X, Y)) for X, Y in DRAWS]) < 0.7 * min(alone, np.mean(pooled))
    model = fit(LassoCV())
    weight = dict(zip(model.transfer_report_["source"], model.source_weights_, strict=True))
    assert weight["far"] < 0.5 * weight["near"] <= weight["same"] + 1e-12
    by_error = np.argsort(model.transfer_report_["error"])
    assert model.transfer_report_["source"][by_error].tolist() == ["same", "near", "far"]


def test_harmful_sources_cost_little():
    far = G == "far"
    source = Source(XS[far], YS[far])
    ours = TransferEstimator(LassoCV(), source=source, adaptation="trans_lasso")
    alone = np.mean([miss(LassoCV().fit(X, Y)) for X, Y in DRAWS])
    assert np.mean([miss(ours.fit(X, Y)) for X, Y in DRAWS]) < 1.1 * alone
    assert ours.source_weights_[0] < 0.3


def test_every_candidate_is_two_lassos_and_the_average_is_theirs():
    cv = KFold(4)
    model = fit(LassoCV(), cv=cv)
    h = model.history_
    used = np.flatnonzero(h["share"])
    assert np.isclose(h["share"].sum(), 1.0) and len(used) > 1
    order = np.argsort(model.transfer_report_["error"])
    labels = np.array(sorted(SLOPES))
    scale = np.geomspace(1, 1 / 30, 10), np.geomspace(1, 1 / 8, 8)

    def lasso(Z, y, w, strengths, offset=0.0):
        strongest = np.abs((w * y) @ Z).max() / w.sum()
        options = dict(fit_intercept=False, tol=1e-9, max_iter=100_000)
        return [offset + Lasso(strongest * s, **options).fit(Z, y, w).coef_ for s in strengths]

    def candidate(i, rows, first, second):
        """Coefficients of the strengths of the first step, or of the second at one of the first."""
        Z, y, w = [X[rows] - X[rows].mean(0)], [Y[rows] - Y[rows].mean()], [np.ones(len(rows))]
        for k in labels[order[: h["n_sources"][i]]]:
            A, b = XS[G == k], YS[G == k]
            Z, y = [*Z, A - A.mean(0)], [*y, b - b.mean()]
            w.append(np.full(NS, h["weight"][i]))
        coefs = lasso(np.vstack(Z), np.concatenate(y), np.concatenate(w), first)
        if second is None:
            return coefs
        return lasso(Z[0], y[0] - Z[0] @ coefs[0], w[0], second, coefs[0])

    def error(i, first, second):
        missed = []
        for train, test in cv.split(X):
            coefs = np.array(candidate(i, train, first, second))
            level = Y[train].mean() - coefs @ X[train].mean(0)
            missed.append((Y[test][:, None] - X[test] @ coefs.T - level) ** 2)
        return np.concatenate(missed).mean(0)

    wanted = np.zeros(P)
    for i in used:
        errors = error(i, scale[0], None)
        strength, second = scale[0][[errors.argmin()]], None
        if h["difference"][i]:
            errors = error(i, strength, scale[1])
            second = scale[1][[errors.argmin()]]
        np.testing.assert_allclose(h["error"][i], errors.min(), rtol=1e-2)
        wanted += h["share"][i] * candidate(i, np.arange(N), strength, second)[0]
    np.testing.assert_allclose(model.estimator_.coef_, wanted, atol=5e-3)
    kept = h["share"] > 0
    share = h["error"] ** (-N / 4) * kept
    np.testing.assert_allclose(h["share"], share / share.sum())


def test_what_is_left_is_an_ordinary_estimator():
    for estimator, kind in ((LassoCV(), LassoCV), (None, Lasso), (LinearRegression(), Lasso)):
        model = fit(estimator)
        assert type(model.estimator_) is kind
        line = AT @ model.estimator_.coef_ + model.estimator_.intercept_
        np.testing.assert_allclose(model.predict(AT), line)
    flat = fit(Lasso(fit_intercept=False))
    assert flat.estimator_.intercept_ == 0.0
    assert (model.transfer_report_["dual_gap"] <= 1e-6).all()


def test_weights_are_rows():
    often, cv = np.arange(N) % 3, KFold(4)
    rows = np.repeat(np.arange(N), often)
    splits = list(cv.split(X))
    repeated = [tuple(np.flatnonzero(np.isin(rows, part)) for part in split) for split in splits]
    times = 1 + np.arange(3 * NS) % 2
    of_source = np.repeat(np.arange(3 * NS), times)
    weighted = TransferEstimator(
        source=Source(XS, YS, G, sample_weight=times), adaptation="trans_lasso", cv=splits
    ).fit(X, Y, often)
    twice = TransferEstimator(
        source=Source(XS[of_source], YS[of_source], G[of_source]), adaptation="trans_lasso",
        cv=repeated,
    ).fit(X[rows], Y[rows])  # fmt: skip
    np.testing.assert_allclose(weighted.history_["error"], twice.history_["error"], rtol=1e-6)
    np.testing.assert_allclose(weighted.predict(AT), twice.predict(AT), atol=1e-3)


def test_sizes_of_sets():
    assert _sizes(1) == {1} and _sizes(2) == {1, 2} and _sizes(20) == {20, 12, 7, 4, 2, 1}


def test_frames_and_levels():
    names = [f"f{i}" for i in range(P)]
    source = Source(pd.DataFrame(XS, columns=names), YS + 100.0)
    model = TransferEstimator(source=source, adaptation="trans_lasso", preprocessor="auto")
    assert model.fit(pd.DataFrame(X, columns=names), Y).score(
        pd.DataFrame(AT, columns=names), TRUTH
    ) > 0.5  # fmt: skip


def test_labels_that_do_not_vary():
    model = TransferEstimator(source=Source(XS, np.ones(3 * NS)), adaptation="trans_lasso")
    np.testing.assert_allclose(model.fit(X, np.full(N, 2.0)).predict(AT), 2.0)


def test_bad_input():
    bad = [
        (dict(adaptation=TransLasso(tol=0.0)), "tol=0.0 must be a number above 0"),
        (
            dict(adaptation=TransLasso(max_iter=0)),
            "max_iter=0 must be a whole number",
        ),
        (dict(estimator=ElasticNet()), "fits a lasso of its own.*got ElasticNet"),
        (dict(estimator=LogisticRegression()), "is for a regressor"),
    ]
    for params, match in bad:
        with pytest.raises(ValueError, match=match):
            fit(**params)
    with pytest.raises(ValueError, match="needs at least two; got n_samples=1"):
        TransferEstimator(source=SOURCE, adaptation="trans_lasso").fit(X[:1], Y[:1])


def test_sparse_rows():
    dense = fit()
    model = TransferEstimator(source=Source(sparse.csr_matrix(XS), YS, G), adaptation=TransLasso())
    model.fit(sparse.csr_matrix(X), Y, np.ones(N))
    np.testing.assert_allclose(model.predict(sparse.csr_matrix(AT)), dense.predict(AT), atol=1e-4)
