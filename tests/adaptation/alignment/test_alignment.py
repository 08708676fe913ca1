"""Alignments: each against its closed form, what weights do, several sources, bad input."""

import pickle
import sys
import warnings
from importlib.util import find_spec

import numpy as np
import pandas as pd
import pytest
from scipy import linalg, sparse
from scipy.spatial.distance import cdist
from sklearn.ensemble import RandomForestClassifier
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge
from sklearn.model_selection import KFold
from sklearn.neighbors import KNeighborsRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skmtl import Source, TransferEstimator, Unlabeled
from skmtl.adaptation import BY_NAME, CORAL, TCA, OptimalTransport, Pooled, SubspaceAlignment

_rng = np.random.default_rng(5)
P = 4
MIX = np.eye(P) + 0.4 * _rng.normal(size=(P, P))
COEF = np.array([1.0, -2.0, 0.5, 1.5])
XS, XT = _rng.normal(size=(120, P)), _rng.normal(size=(40, P))
YS, YT = XS @ COEF + 0.1 * _rng.normal(size=120), XT @ COEF + 0.1 * _rng.normal(size=40)
XT = 3.0 * XT @ MIX + [5.0, 0.0, -1.0, 2.0]  # how the other device shows the same
AT = 3.0 * _rng.normal(size=(300, P)) @ MIX + [5.0, 0.0, -1.0, 2.0]
TRUTH = np.linalg.solve((3.0 * MIX).T, (AT - [5.0, 0.0, -1.0, 2.0]).T).T @ COEF
WEIGHTS = _rng.integers(1, 4, size=120), _rng.integers(1, 4, size=40)
del _rng  # a test draws from a generator of its own

NEEDS_POT = pytest.mark.skipif(find_spec("ot") is None, reason="no POT")
EACH = [
    CORAL(0.3, True, 2.0),
    CORAL(1.0, False, 2.0),
    SubspaceAlignment(3, 2.0),
    TCA(3, target_weight=2.0),
    TCA(3, "rbf", target_weight=2.0),
    pytest.param(OptimalTransport(0.3, tol=1e-12, target_weight=2.0), marks=NEEDS_POT),
]
each = pytest.mark.parametrize("adaptation", EACH, ids=lambda a: type(a).__name__)


def fitted(adaptation, X=XT, y=YT, estimator=None, source=None, weight=None, **params):
    source = Source(XS, YS) if source is None else source
    return TransferEstimator(estimator, source=source, adaptation=adaptation, **params).fit(
        X, y, weight
    )


def by_hand(tables, y_source, X, y, target_weight=2.0):
    """A ridge of aligned source rows and target rows."""
    rows = np.repeat([1 / target_weight, 1.0], [len(y_source), len(y)])
    return Ridge().fit(np.vstack([*tables, X]), np.concatenate([y_source, y]), rows)


# -------------------------------------------------------------------------------- closed forms


def coral(S, T, strength, means=True):
    """Algorithm 1 of the paper, with features in units of their own."""
    unit = np.sqrt((S.var(0) + T.var(0)) / 2)
    Z, V = (S - S.mean(0)) / unit, (T - T.mean(0)) / unit
    eye = strength * np.eye(S.shape[1])
    C_s, C_t = np.cov(Z.T, ddof=0) + eye, np.cov(V.T, ddof=0) + eye
    Z = Z @ np.linalg.inv(linalg.sqrtm(C_s).real) @ linalg.sqrtm(C_t).real
    return Z * unit + (T if means else S).mean(0)


@pytest.mark.parametrize("means", [True, False])
@pytest.mark.parametrize("strength", [0.0, 0.3, 1.0])
def test_coral_is_that_of_the_paper(strength, means):
    model = fitted(CORAL(strength, means, 2.0))
    wanted = by_hand([coral(XS, XT, strength, means)], YS, XT, YT)
    np.testing.assert_allclose(model.estimator_.coef_, wanted.coef_, rtol=1e-8)
    assert type(model.estimator_) is Ridge
    np.testing.assert_array_equal(model.source_weights_, [0.5])


def test_coral_without_regularization_gives_the_targets_moments():
    moved = coral(XS, XT, 0.0)
    np.testing.assert_allclose(moved.mean(0), XT.mean(0))
    np.testing.assert_allclose(np.cov(moved.T, ddof=0), np.cov(XT.T, ddof=0))


def subspaces(S, T, d):
    Z, V = StandardScaler().fit_transform(S), StandardScaler().fit_transform(T)
    P_s, P_t = (np.linalg.svd(A, full_matrices=False)[2][:d].T for A in (Z, V))
    return Z @ P_s @ (P_s.T @ P_t), V @ P_t


@pytest.mark.parametrize("d", [1, 3])
def test_subspaces_are_those_of_the_paper(d):
    model = fitted(SubspaceAlignment(d, 2.0))
    source, target = subspaces(XS, XT, d)
    wanted = by_hand([source], YS, target, YT)
    np.testing.assert_allclose(model.predict(XT), wanted.predict(target), rtol=1e-8)
    np.testing.assert_allclose(np.abs(model.estimator_[-1].coef_), np.abs(wanted.coef_), rtol=1e-8)


def transfer_components(S, T, d, kernel, mu, sizes=(120,)):
    """The paper's eigenproblem as it stands, in n x n matrices; L is a sum over sources."""
    center = (S.mean(0) + T.mean(0)) / 2
    unit = np.sqrt((S.var(0) + T.var(0)) / 2)
    Z = (np.vstack([S, T]) - center) / unit
    K = Z @ Z.T if kernel == "linear" else np.exp(-cdist(Z, Z, "sqeuclidean") / Z.shape[1])
    n_s, n = len(S), len(Z)
    L, H, start = np.zeros((n, n)), np.eye(n) - 1 / n, 0
    for size in sizes:
        pull = np.r_[np.zeros(n_s), np.full(n - n_s, -1 / (n - n_s))]
        pull[start : start + size] = 1 / size
        start += size
        L += size / n_s * np.outer(pull, pull)
    values, W = np.linalg.eig(np.linalg.solve(K @ L @ K + mu * np.eye(n), K @ H @ K))
    embedded = K @ W[:, np.argsort(-values.real)[:d]].real
    return embedded / embedded.std(0)


@pytest.mark.parametrize("mu", [0.1, 10.0])
@pytest.mark.parametrize("kernel", ["linear", "rbf"])
def test_components_are_those_of_the_paper(kernel, mu):
    model = fitted(TCA(3, kernel, regularization=mu, target_weight=2.0))
    embedded = transfer_components(XS, XT, 3, kernel, mu)
    wanted = by_hand([embedded[:120]], YS, embedded[120:], YT)
    np.testing.assert_allclose(model.predict(XT), wanted.predict(embedded[120:]), rtol=1e-7)
    kept = len(pickle.dumps(model.estimator_))
    assert kept < 3000 if kernel == "linear" else kept > XS.nbytes


@pytest.mark.parametrize("kernel", ["linear", "rbf"])
def test_components_of_several_sources(kernel):
    S = XS + np.repeat([[0.0], [2.0]], [90, 30], axis=0)
    source = Source(S, YS, np.repeat(["a", "b"], [90, 30]))
    model = fitted(TCA(3, kernel, target_weight=2.0), source=source)
    embedded = transfer_components(S, XT, 3, kernel, 1.0, (90, 30))
    wanted = by_hand([embedded[:120]], YS, embedded[120:], YT)
    np.testing.assert_allclose(model.predict(XT), wanted.predict(embedded[120:]), rtol=1e-7)


def sinkhorn(a, b, M, strength):
    K, u, v = np.exp(-M / strength), np.ones(len(a)), np.ones(len(b))
    for _ in range(5000):
        u = a / (K @ v)
        v = b / (K.T @ u)
    return u[:, None] * K * v


def transported(S, T, strength, classes=None, eta=0.0):
    unit = np.sqrt((S.var(0) + T.var(0)) / 2)
    M = cdist(S / unit, T / unit, "sqeuclidean")
    M /= M.mean()
    a, b = np.full(len(S), 1 / len(S)), np.full(len(T), 1 / len(T))
    bend = 0.0
    for _ in range(10 if eta else 1):
        plan = sinkhorn(a, b, M + eta * bend, strength)
        bend = np.zeros_like(M)
        for c in np.unique(classes) if eta else ():
            mine = classes == c
            bend[mine] = 0.5 * (plan[mine].sum(0) / b + 1e-3) ** -0.5
    return plan @ T / plan.sum(1, keepdims=True)


@NEEDS_POT
def test_transport_is_that_of_the_paper():
    model = fitted(OptimalTransport(0.3, tol=1e-13, target_weight=2.0))
    wanted = by_hand([transported(XS, XT, 0.3)], YS, XT, YT)
    np.testing.assert_allclose(model.estimator_.coef_, wanted.coef_, rtol=1e-8)


@NEEDS_POT
def test_transport_is_that_of_pot():
    import ot

    unit = np.sqrt((XS.var(0) + XT.var(0)) / 2)
    mean = cdist(XS / unit, XT / unit, "sqeuclidean").mean()
    theirs = ot.da.SinkhornTransport(reg_e=0.3 * mean, tol=1e-13, max_iter=5000)
    moved = theirs.fit_transform(Xs=XS / unit, Xt=XT / unit) * unit
    np.testing.assert_allclose(moved, transported(XS, XT, 0.3), rtol=1e-8)


@NEEDS_POT
def test_transport_of_classes():
    source, y = Source(XS, YS > 0), YT > 0
    exact = LogisticRegression(solver="newton-cholesky", tol=1e-12)
    model = fitted(OptimalTransport(0.3, 0.2, tol=1e-13, target_weight=1.0), XT, y, exact, source)
    moved = transported(XS, XT, 0.3, YS > 0, 0.2)
    wanted = exact.fit(np.vstack([moved, XT]), np.r_[YS > 0, y])
    np.testing.assert_allclose(model.estimator_.coef_, wanted.coef_, rtol=1e-7)
    plain = transported(XS, XT, 0.3)
    assert np.abs(moved - plain).max() > 0.1


@NEEDS_POT
def test_transport_with_a_row_far_away():
    far = np.vstack([XS, np.full((1, P), 1e3)])
    model = fitted(OptimalTransport(0.05, target_weight=1.0), source=Source(far, np.r_[YS, 0.0]))
    assert np.isfinite(model.predict(AT)).all()


@NEEDS_POT
def test_transport_says_when_it_has_not_converged():
    with pytest.warns(
        ConvergenceWarning, match=r"after 2 iterations.*tol=1e-10; increase max_iter"
    ):
        fitted(OptimalTransport(0.05, max_iter=2, tol=1e-10, target_weight=1.0))


# ------------------------------------------------------------------------------- what it is for


@pytest.mark.parametrize("strength", [0.0, 0.01])
def test_coral_finds_a_device_that_stretches(strength, rng):
    stretch = np.diag([3.0, 0.5, 1.0, 2.0])
    X = rng.normal(size=(400, P)) @ stretch + 7.0
    model = TransferEstimator(Ridge(), source=Source(XS, YS), adaptation=CORAL(strength)).fit(X)
    truth = (X - 7.0) @ np.linalg.inv(stretch) @ COEF
    assert model.score(X, truth) > 0.9 > 0.0 > Ridge().fit(XS, YS).score(X, truth)


def test_means_are_aligned_only_where_that_helps():
    device = fitted("coral", XS[:30] + 5.0, YS[:30], Ridge())
    assert best(device.history_)["align_means"]
    shifted = XS[:30] + 5.0  # the same law, other rows
    same = fitted("coral", shifted, shifted @ COEF, Ridge())
    assert not best(same.history_)["align_means"]


def test_rows_are_left_alone_where_that_is_best():
    history = fitted("coral", XS[:30] + 5.0, (XS[:30] + 5.0) @ COEF, Ridge()).history_
    assert np.unique(history["regularization"]).tolist() == [0.01, 1.0, np.inf]
    pooled = fitted("pooled", XS[:30] + 5.0, (XS[:30] + 5.0) @ COEF, Ridge()).history_
    same = ~history["align_means"] & (history["regularization"] == np.inf)
    np.testing.assert_allclose(history["error"][same], pooled["error"], rtol=1e-6)
    assert history["error"].min() == history["error"][same].min()


def best(history):
    first = int(np.argmin(history["error"]))
    return {name: values[first] for name, values in history.items()}


# --------------------------------------------------------------------- labels, weights, sources


@each
def test_without_labels(adaptation):
    model = TransferEstimator(source=Source(XS, YS), adaptation=adaptation).fit(XT)
    assert model.predict(AT).shape == (300,)
    np.testing.assert_array_equal(model.source_weights_, [1.0])
    assert model.history_ == {}
    labels = TransferEstimator(
        RandomForestClassifier(5, random_state=0), source=Source(XS, YS > 0), adaptation=adaptation
    )
    assert labels.fit(XT).predict_proba(AT).shape == (300, 2)


@each
def test_unlabeled_rows_are_target_rows_like_the_others(adaptation):
    every = fitted(adaptation)
    some = fitted(adaptation, XT[:25], YT[:25], unlabeled=Unlabeled(XT[25:]))
    none = TransferEstimator(source=Source(XS, YS), adaptation=adaptation).fit(XT)
    split = TransferEstimator(
        source=Source(XS, YS), adaptation=adaptation, unlabeled=Unlabeled(XT[25:])
    ).fit(XT[:25])
    np.testing.assert_allclose(split.predict(AT), none.predict(AT), rtol=1e-6)
    assert np.abs(some.predict(AT) - every.predict(AT)).max() > 1e-6
    if isinstance(adaptation, CORAL):
        moved = coral(XS, XT, adaptation.regularization, adaptation.align_means)
        wanted = by_hand([moved], YS, XT[:25], YT[:25])
        np.testing.assert_allclose(some.predict(AT), wanted.predict(AT), rtol=1e-8)


@each
def test_weights_are_repeated_rows(adaptation):
    of_source, of_target = WEIGHTS
    weighted = fitted(adaptation, source=Source(XS, YS, sample_weight=of_source), weight=of_target)
    repeated = fitted(
        adaptation, np.repeat(XT, of_target, axis=0), np.repeat(YT, of_target),
        source=Source(np.repeat(XS, of_source, axis=0), np.repeat(YS, of_source)),
    )  # fmt: skip
    np.testing.assert_allclose(weighted.predict(AT), repeated.predict(AT), rtol=1e-6)
    plain = fitted(adaptation)
    assert np.abs(weighted.predict(AT) - plain.predict(AT)).max() > 1e-3


@each
def test_order_of_rows_and_units_of_features_do_not_matter(adaptation, rng):
    one = fitted(adaptation, estimator=LinearRegression())
    order, unit = rng.permutation(120), np.array([0.1, 1.0, 20.0, 5.0])
    source = Source(XS[order] * unit, YS[order])
    two = fitted(adaptation, XT * unit, source=source, estimator=LinearRegression())
    np.testing.assert_allclose(one.predict(AT), two.predict(AT * unit), rtol=1e-6)


def test_sources_are_aligned_each_on_its_own():
    others = XS[:60] * [9.0, 1.0, 0.1, 1.0] + 3.0
    X, task = np.vstack([XS, others]), np.repeat(["a", "b"], [120, 60])
    y = np.r_[YS, YS[:60]]
    source = Source(X, y, task)
    model = fitted(CORAL(0.3, True, 2.0), source=source)
    wanted = by_hand([coral(XS, XT, 0.3), coral(others, XT, 0.3)], y, XT, YT)
    np.testing.assert_allclose(model.estimator_.coef_, wanted.coef_, rtol=1e-8)
    model = fitted(SubspaceAlignment(2, 2.0), source=source)
    (first, target), (second, _) = subspaces(XS, XT, 2), subspaces(others, XT, 2)
    wanted = by_hand([first, second], y, target, YT)
    np.testing.assert_allclose(model.predict(XT), wanted.predict(target), rtol=1e-8)
    for adaptation in (TCA(2), TCA(2, "rbf")):
        assert np.isfinite(fitted(adaptation, source=source).predict(AT)).all()
    assert fitted("coral", source=source).transfer_report_["source"].tolist() == ["a", "b"]


@each
def test_few_rows_and_a_constant_column(adaptation):
    X = np.hstack([XS, np.ones((120, 1))])
    X_few, task = np.vstack([X[:3], X[3:5], X[5:6]]), ["a", "a", "a", "b", "b", "c"]
    source = Source(X_few, YS[:6], task)
    target = np.hstack([XT, np.ones((40, 1))])
    model = fitted(adaptation, target[:4], YT[:4], source=source)
    assert np.isfinite(model.predict(target)).all()
    constant = fitted(adaptation, target, source=Source(np.ones((5, 5)), YS[:5]))
    assert np.isfinite(constant.predict(target)).all()


def test_one_target_row():
    assert np.isfinite(fitted("coral", XT[:1], YT[:1]).predict(AT)).all()
    with pytest.raises(ValueError, match=r"SubspaceAlignment needs target rows that differ.*= 1"):
        fitted("subspace_alignment", XT[:1], YT[:1])
    with pytest.raises(ValueError, match="TCA needs rows that differ"):
        fitted("tca", np.ones((3, P)), np.arange(3.0), source=Source(np.ones((2, P)), [1.0, 2.0]))


# ----------------------------------------------------------------------------------- the choice


def test_the_choice_by_hand():
    cv = KFold(4)
    model = fitted(SubspaceAlignment(), cv=cv)
    history = model.history_
    assert np.unique(history["n_components"]).tolist() == [1, 2, 3, 4]
    for d in (1, 4):
        source, target = subspaces(XS, XT, d)
        mine = history["n_components"] == d
        grid, error = history["target_weight"][mine], history["error"][mine]
        missed = []
        for train, test in cv.split(XT):
            ridge = by_hand([source], YS, target[train], YT[train], grid[1])
            missed.append((YT[test] - ridge.predict(target[test])) ** 2)
        np.testing.assert_allclose(np.concatenate(missed).mean(), error[1])
    chosen = best(history)
    fixed = fitted(SubspaceAlignment(int(chosen["n_components"]), float(chosen["target_weight"])))
    np.testing.assert_allclose(model.predict(AT), fixed.predict(AT))


def test_target_rows_are_weighed_as_by_pooled():
    # That of an infinite strength changes nothing.
    pooled = fitted(Pooled(), cv=KFold(4))
    aligned = fitted(CORAL(np.inf, False), cv=KFold(4))
    np.testing.assert_allclose(aligned.history_["error"], pooled.history_["error"], rtol=1e-6)
    np.testing.assert_allclose(aligned.predict(AT), pooled.predict(AT), rtol=1e-6)
    with pytest.raises(ValueError, match="needs sample_weight in fit, which estimator=KN"):
        fitted(CORAL(target_weight=2.5), estimator=KNeighborsRegressor())
    assert fitted("coral", estimator=KNeighborsRegressor()).score(XT, YT) > 0.5


def test_components_are_at_most_as_many_as_there_are():
    few = fitted(SubspaceAlignment(100, 1.0), XT[:3], YT[:3])
    assert few.estimator_[-1].coef_.shape == (2,)
    assert fitted(TCA(100, target_weight=1.0)).estimator_[-1].coef_.shape == (P,)
    alone = TransferEstimator(source=Source(XS, YS), adaptation="subspace_alignment").fit(XT)
    ratio = np.linalg.svd(StandardScaler().fit_transform(XT))[1] ** 2
    n = 1 + int(np.sum(np.cumsum(ratio) / ratio.sum() < 0.9))
    assert alone.estimator_[-1].coef_.shape == (n,)


# ------------------------------------------------------------------- tables, estimators, errors


@each
def test_sparse_rows(adaptation):
    dense = fitted(adaptation)
    source = Source(sparse.csr_array(XS), YS)
    thin = fitted(adaptation, sparse.csr_array(XT), source=source)
    np.testing.assert_allclose(thin.predict(AT), dense.predict(AT))
    np.testing.assert_allclose(thin.predict(sparse.csr_array(AT)), dense.predict(AT))


@each
def test_frames_pipelines_and_pickles(adaptation):
    names = list("abcd")
    frame, others = (pd.DataFrame(X, columns=names, copy=True) for X in (XT, XS))
    frame["kind"], others["kind"] = np.where(YT > 0, "x", "y"), np.where(YS > 0, "x", "y")
    frame.iloc[::7, 1] = np.nan
    model = TransferEstimator(
        source=Source(others[names[::-1] + ["kind"]], YS),
        adaptation=adaptation, preprocessor="auto",
    ).fit(frame, YT)  # fmt: skip
    again = pickle.loads(pickle.dumps(model.estimator_))
    np.testing.assert_array_equal(again.predict(frame), model.predict(frame))
    scaled = make_pipeline(StandardScaler(), LogisticRegression())
    labels = fitted(adaptation, XT, YT > 0, scaled, Source(XS, YS > 0))
    assert labels.predict_proba(AT).shape == (300, 2)
    assert labels.decision_function(AT).shape == (300,)


@each
def test_nothing_given_is_changed(adaptation):
    S, T = XS.copy(), XT.copy()
    fitted(adaptation, T, source=Source(S, YS))
    np.testing.assert_array_equal(S, XS)
    np.testing.assert_array_equal(T, XT)


@pytest.mark.parametrize(
    ("adaptation", "said"),
    [
        (CORAL(-1.0), "regularization=-1.0 must be 'auto' or a number from 0 to infinity"),
        (CORAL("much"), "regularization='much' must be"),
        (CORAL(align_means="yes"), "align_means='yes' must be 'auto', True or False"),
        (CORAL(target_weight=0.0), "target_weight=0.0 must be 'auto' or a number above 0"),
        (SubspaceAlignment(0), "n_components=0 must be 'auto' or a whole number of at least 1"),
        (SubspaceAlignment(2.5), "n_components=2.5 must be"),
        (TCA(True), "n_components=True must be"),
        (TCA(kernel="poly"), "kernel='poly' must be 'linear' or 'rbf'"),
        (TCA(gamma=0.0), "gamma=0.0 must be a number above 0"),
        (TCA(regularization=0.0), "regularization=0.0 must be a number above 0"),
        (OptimalTransport(0.0), "regularization=0.0 must be a number above 0"),
        (OptimalTransport(1.0, -1.0), "class_regularization=-1.0 must be a number of at least 0"),
        (OptimalTransport(1.0, max_iter=0), "max_iter=0 must be a whole number of at least 1"),
        (OptimalTransport(1.0, max_iter=2.5), "max_iter=2.5 must be a whole number"),
        (OptimalTransport(1.0, tol=-1), "tol=-1 must be a number above 0"),
        (OptimalTransport(1.0, 0.5), "class_regularization=0.5 is for classes, but estimator=Rid"),
    ],
)
def test_bad_parameters(adaptation, said):
    with pytest.raises(ValueError, match=said):
        fitted(adaptation)


def test_without_pot(monkeypatch):
    monkeypatch.setitem(sys.modules, "ot", None)
    with pytest.raises(ImportError, match=r"needs POT.*pip install skmtl\[ot\]"):
        fitted("optimal_transport")


def test_names():
    assert [BY_NAME[n] for n in ("coral", "subspace_alignment", "tca", "optimal_transport")] == [
        CORAL, SubspaceAlignment, TCA, OptimalTransport,
    ]  # fmt: skip


@each
def test_no_warnings(adaptation):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fitted(adaptation)
