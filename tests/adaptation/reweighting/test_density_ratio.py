"""KMM, KLIEP and RuLSIF: the papers' formulas, what weights and repeated rows do, what is told."""

import warnings

import numpy as np
import pandas as pd
import pytest
import reference
from scipy import sparse
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.neighbors import KNeighborsRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skmtl import Source, TransferEstimator, Unlabeled
from skmtl.adaptation import BY_NAME, KLIEP, KMM, RuLSIF
from skmtl.adaptation.reweighting import kliep, kmm, rulsif
from skmtl.adaptation.reweighting._gaussian import (
    distinct_rows,
    gaussian,
    kernel_means,
    median_distance,
)

_rng = np.random.default_rng(0)
XS, XT = _rng.normal(size=(80, 2)), _rng.normal([0.8, 0.0], 0.6, size=(50, 2))
COEF = np.array([1.0, -2.0])


def curve(X):
    return np.sin(2 * X[:, 0]) + X[:, 1]


YS, YT = curve(XS) + 0.1 * _rng.normal(size=80), curve(XT)
del _rng  # a test draws from a generator of its own
SOURCE = Source(XS, YS)
ALL = [KMM(), KLIEP(), RuLSIF()]
each = pytest.mark.parametrize("adaptation", ALL, ids=lambda a: type(a).__name__)


class Weights(Ridge):
    """Keeps the weights it was fitted with."""

    def fit(self, X, y, sample_weight=None):
        self.X_, self.weight_ = X, sample_weight
        return super().fit(X, y, sample_weight)


def fitted(adaptation, source=SOURCE, X=XT, y=None, estimator=None, weight=None, **params):
    estimator = Weights() if estimator is None else estimator
    model = TransferEstimator(estimator, source=source, adaptation=adaptation, **params)
    return model.fit(X, y, weight)


def ratios(adaptation, source=SOURCE, **how):
    """The weights of the source rows, zero where a row was left out."""
    model = fitted(adaptation, source, **how).estimator_
    order = {row.tobytes(): w for row, w in zip(model.X_, model.weight_, strict=True)}
    return np.array([order.get(row.tobytes(), 0.0) for row in source.X])


def test_names():
    named = {"kmm": KMM, "kliep": KLIEP, "rulsif": RuLSIF}
    assert named.items() <= BY_NAME.items()


# ---------------------------------------------------------------------------- the papers' formulas


def test_kmm_is_the_papers_quadratic_program():
    S, source = XS[:40], Source(XS[:40], YS[:40])
    K = reference.gaussian_kernel(S, S, 0.9)
    k = 40 * reference.gaussian_kernel(S, XT, 0.9).mean(axis=1)
    for top, eps in ((1000.0, "auto"), (3.0, 0.01), (1000.0, 0.0)):
        model = fitted(KMM(sigma=0.9, max_weight=top, eps=eps), source)
        b = ratios(KMM(sigma=0.9, max_weight=top, eps=eps), source)
        room = 1 - 1 / np.sqrt(40) if eps == "auto" else eps
        assert 0 <= b.min() and b.max() <= top and abs(b.mean() - 1) <= room + 1e-12
        limits = np.full(40, top), 40 * (1 - room), 40 * (1 + room)
        least = reference.dense_quadratic(K, k, *limits)[1]
        objective = 0.5 * b @ K @ b - k @ b
        assert objective <= least + 1e-8 * abs(least)
        np.testing.assert_allclose(model.history_["objective"][-1], objective)
        assert model.history_["gap"][-1] <= 1e-8 * abs(objective)
        assert (model.history_["sigma"] == 0.9).all()


def test_kmm_in_parts():
    whole = fitted(KMM(sigma=0.5)).history_
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        parts = fitted(KMM(sigma=0.5, max_rows=30)).history_
    np.testing.assert_allclose(parts["objective"][-1], whole["objective"][-1], rtol=1e-5)
    assert parts["objective"][-1] - whole["objective"][-1] <= parts["gap"][-1]


def test_kliep_is_the_papers_maximum():
    sigma = 0.6
    r = ratios(KLIEP(sigma=sigma))
    np.testing.assert_allclose(r.mean(), 1.0)
    means = reference.gaussian_kernel(XS, XT, sigma).mean(axis=0)
    A = reference.gaussian_kernel(XT, XT, sigma) / means
    p = reference.mixture_by_em(A, np.ones(50), 20_000)
    history = fitted(KLIEP(sigma=sigma)).history_
    np.testing.assert_allclose(history["objective"], np.log(A @ p).mean(), atol=1e-4)
    assert history["objective"] >= np.log(A @ p).mean() - 1e-8 and history["gap"] <= 1e-8
    by_em = reference.gaussian_kernel(XS, XT, sigma) @ (p / means)
    np.testing.assert_allclose(r, by_em, atol=0.15)


@pytest.mark.parametrize("alpha", [0.0, 0.3])
def test_rulsif_is_the_papers_closed_form(alpha):
    r = ratios(RuLSIF(alpha=alpha, sigma=0.6, regularization=0.05))
    wanted = reference.relative_ratio(XS, XT, XT, 0.6, 0.05, alpha)
    np.testing.assert_allclose(r, wanted, atol=1e-10)
    assert (wanted > 0).all() or (r == 0).any()


def test_rulsif_without_a_penalty():
    r = ratios(RuLSIF(alpha=0.2, sigma=2.0, regularization=0.0))
    assert np.isfinite(r).all() and r.max() < 10


def test_ratios_are_near_the_true_one():
    """Of normal densities, one of which is narrower."""
    wide = np.random.default_rng(1)
    S, T = wide.normal(size=(600, 1)), wide.normal(0.5, 0.7, size=(600, 1))
    true = np.exp(0.5 * S[:, 0] ** 2 - 0.5 * ((S[:, 0] - 0.5) / 0.7) ** 2) / 0.7
    relative = true / (0.5 * true + 0.5)
    source = Source(S, S[:, 0])
    for adaptation, wanted, least in (
        (KMM(max_weight=5.0), true, 0.7),  # a weight a row, no smooth ratio: nearer to the sample
        (KLIEP(), true, 0.9),
        (RuLSIF(0.0), true, 0.9),
        (RuLSIF(0.5), relative, 0.9),
    ):
        r = ratios(adaptation, source, X=T)
        assert np.corrcoef(r, wanted)[0, 1] > least
        assert np.mean((r - wanted) ** 2) < (1.0 - least**2) * np.var(wanted)


# ------------------------------------------------------------------------------- what is chosen


def test_widths_are_chosen_by_rows_left_out():
    history = fitted(KLIEP()).history_
    assert len(history["sigma"]) == 9 and np.isfinite(history["score"]).all()
    both = np.vstack([XS, XT])
    distances = np.sqrt(((both[:, None] - both[None]) ** 2).sum(axis=2))
    median = np.median(distances[np.triu_indices(130, 1)])
    np.testing.assert_allclose(history["sigma"], median * np.geomspace(0.125, 8.0, 9))
    best = history["sigma"][np.argmax(history["score"])]
    np.testing.assert_allclose(ratios(KLIEP()), ratios(KLIEP(sigma=best)))
    np.testing.assert_allclose(fitted(KMM()).history_["sigma"], median)


def test_width_and_strength_are_chosen_together():
    history = fitted(RuLSIF()).history_
    assert len(history["score"]) == 81
    i = np.argmin(history["score"])
    chosen = RuLSIF(sigma=history["sigma"][i], regularization=history["regularization"][i])
    np.testing.assert_allclose(ratios(RuLSIF()), ratios(chosen), rtol=1e-6)
    half = fitted(RuLSIF(sigma=0.5)).history_
    assert len(half["score"]) == 9 and np.isfinite(half["score"]).all()
    assert np.isnan(fitted(chosen).history_["score"]).all()


def test_the_score_of_rulsif_by_hand():
    S, w, _ = distinct_rows(XS, None)
    T, v, _ = distinct_rows(XT, None)
    model, seed = RuLSIF(alpha=0.3), np.random.RandomState(0)
    folds = [rulsif.deal_folds(n, 5, seed) for n in (80, 50)]
    H, h = model._moments(S, w, folds[0], T, v, folds[1], T[:7], 0.7, 5)
    score = rulsif._held_out(H, h, np.array([0.1]))[0]
    wanted = 0.0
    for fold in range(5):
        near = [gaussian(rows, T[:7], 0.7) for rows in (S, T)]
        train = [K[own != fold] for K, own in zip(near, folds, strict=True)]
        test = [K[own == fold] for K, own in zip(near, folds, strict=True)]
        A = 0.7 * train[0].T @ train[0] / 64 + 0.3 * train[1].T @ train[1] / 40
        theta = np.linalg.solve(A + 0.1 * np.eye(7), train[1].mean(axis=0))
        at = [K @ theta for K in test]
        wanted += 0.7 * (at[0] ** 2).mean() / 2 + 0.3 * (at[1] ** 2).mean() / 2 - at[1].mean()
    np.testing.assert_allclose(score, wanted / 5)


@each
def test_one_target_row_has_nothing_to_judge_by(adaptation):
    model = fitted(adaptation, X=XT[:1])
    assert len(np.unique(model.history_["sigma"])) == 1
    assert fitted(adaptation, Source(XS[:1], YS[:1])).estimator_.weight_.shape == (1,)


def test_centres_are_drawn():
    few = [fitted(KLIEP(n_centers=5, sigma=1.0), random_state=seed).history_ for seed in (0, 0, 1)]
    values = [h["objective"][0] for h in few]
    assert (
        values[0] == values[1] != values[2]
        and max(values) < fitted(KLIEP(sigma=1.0)).history_["objective"]
    )


# ---------------------------------------------------------------------- rows, weights and sources


@each
def test_the_order_of_rows_does_not_matter(adaptation):
    plain = ratios(adaptation)
    order = np.random.default_rng(3).permutation(80)
    mixed = ratios(adaptation, Source(XS[order], YS[order]), X=XT[::-1])
    np.testing.assert_allclose(mixed, plain[order], rtol=1e-8, atol=1e-10)


@each
def test_integer_weights_are_repeated_rows(adaptation):
    often, often_t = np.arange(80) % 3, 1 + np.arange(50) % 2
    weighted = Source(XS, YS, sample_weight=often)
    repeated = Source(np.repeat(XS, often, axis=0), np.repeat(YS, often))
    twice = np.repeat(XT, often_t, axis=0), np.repeat(YT, often_t)
    one = fitted(adaptation, weighted, y=YT, weight=often_t)
    two = fitted(adaptation, repeated, *twice)
    np.testing.assert_allclose(one.estimator_.coef_, two.estimator_.coef_, rtol=1e-8)
    np.testing.assert_allclose(one.source_weights_, two.source_weights_, rtol=1e-8)
    for name in ("effective_rows", "largest_ratio"):
        np.testing.assert_allclose(one.transfer_report_[name], two.transfer_report_[name])


@each
def test_target_rows_count_where_they_have_labels(adaptation):
    adaptation = type(adaptation)(target_weight=3.0)
    plain, labelled = fitted(adaptation), fitted(adaptation, y=YT)
    n = len(plain.estimator_.weight_)
    np.testing.assert_array_equal(labelled.estimator_.weight_[:n], plain.estimator_.weight_)
    np.testing.assert_array_equal(labelled.estimator_.weight_[n:], np.full(50, 3.0))
    np.testing.assert_allclose(labelled.source_weights_, plain.source_weights_ / 3.0)
    some = fitted(adaptation, X=XT[:9], y=YT[:9], unlabeled=Unlabeled(XT[9:]))
    np.testing.assert_allclose(some.estimator_.weight_[:-9], plain.estimator_.weight_)
    more = fitted(adaptation, X=XT[:9], unlabeled=Unlabeled(XT[9:]))
    np.testing.assert_allclose(more.estimator_.weight_, plain.estimator_.weight_)


@each
def test_sources_are_weighed_as_one_and_told_apart(adaptation):
    near = np.where(XS[:, 0] > 0.3, "near", "far")
    model = fitted(adaptation, Source(XS, YS, near))
    far, close = model.source_weights_
    assert close > 1.3 * far > 0
    order = np.argsort(near, kind="stable")
    r = ratios(adaptation)[order]
    n_far = (near == "far").sum()
    np.testing.assert_allclose([r[:n_far].mean(), r[n_far:].mean()], [far, close], rtol=1e-6)
    report = model.transfer_report_
    effective = [part.sum() ** 2 / (part @ part) for part in (r[:n_far], r[n_far:])]
    np.testing.assert_allclose(report["effective_rows"], effective, rtol=1e-6)
    np.testing.assert_allclose(report["largest_ratio"], [r[:n_far].max(), r[n_far:].max()])


@each
def test_it_helps_a_line_that_cannot_be_right_everywhere(adaptation):
    plain = Ridge().fit(XS, YS).score(XT, YT)
    assert fitted(adaptation).score(XT, YT) > plain + 0.04


@each
def test_the_same_rows_are_weighed_alike(adaptation):
    r = ratios(adaptation, X=XS)
    np.testing.assert_allclose(r, 1.0, atol=0.35)


# --------------------------------------------------------------------- tables, classes, bad input


@each
def test_tables_of_all_kinds(adaptation):
    frame = pd.DataFrame(XS, columns=["a", "b"]).assign(kind=np.where(XS[:, 1] > 0, "p", "q"))
    target = pd.DataFrame(XT, columns=["a", "b"]).assign(kind=np.where(XT[:, 1] > 0, "p", "q"))
    model = TransferEstimator(
        source=Source(frame, YS), adaptation=adaptation, preprocessor="auto"
    ).fit(target)
    assert model.predict(target).shape == (50,)
    plain = fitted(adaptation, estimator=Ridge(solver="lsqr", tol=1e-10)).predict(XT)
    for kind in (sparse.csr_matrix, sparse.csr_array):
        thin = Source(kind(XS), YS)
        found = fitted(adaptation, thin, kind(XT), estimator=Ridge(solver="lsqr", tol=1e-10))
        np.testing.assert_allclose(found.predict(XT), plain, rtol=2e-2, atol=2e-2)


@each
def test_classes(adaptation):
    names = np.where(YS > 0, "yes", "no")
    model = fitted(adaptation, Source(XS, names), estimator=LogisticRegression())
    assert list(model.classes_) == ["no", "yes"]
    assert np.mean(model.predict(XT) == np.where(YT > 0, "yes", "no")) > 0.7
    both = fitted(adaptation, Source(XS, names), XT, np.where(YT > 0, "yes", "no"),
                  estimator=make_pipeline(StandardScaler(), LogisticRegression()))  # fmt: skip
    np.testing.assert_allclose(both.predict_proba(XT).sum(axis=1), 1.0)


BAD = [
    (KMM(sigma=0.0), "sigma=0.0 must be 'auto' or a number above 0"),
    (KMM(sigma="scale"), "sigma='scale' must be"),
    (KMM(max_weight=1.0), "max_weight=1.0 must be a number above 1"),
    (KMM(eps=1.0), "eps=1.0 must be 'auto' or a number of at least 0 and below 1"),
    (KMM(eps=-0.1), "eps=-0.1"),
    (KMM(max_rows=1), "max_rows=1 must be a whole number of at least 2"),
    (KMM(tol=0.0), "tol=0.0"),
    (KMM(target_weight=0.0), "target_weight=0.0"),
    (KLIEP(n_centers=0), "n_centers=0 must be a whole number of at least 1"),
    (KLIEP(n_centers=2.5), "n_centers=2.5"),
    (KLIEP(tol=-1.0), "tol=-1.0"),
    (KLIEP(sigma=np.nan), "sigma=nan"),
    (RuLSIF(alpha=1.0), "alpha=1.0 must be a number of at least 0 and below 1"),
    (RuLSIF(alpha=True), "alpha=True"),
    (RuLSIF(regularization=-1.0), "regularization=-1.0 must be 'auto' or a number of at least 0"),
    (RuLSIF(n_centers="all"), "n_centers='all'"),
]


@pytest.mark.parametrize(("adaptation", "said"), BAD, ids=str)
def test_bad_parameters(adaptation, said):
    with pytest.raises(ValueError, match=said):
        fitted(adaptation)


@each
def test_an_estimator_without_weights_is_refused(adaptation):
    with pytest.raises(ValueError, match="weights rows.*KNeighborsRegressor does not support"):
        fitted(adaptation, estimator=KNeighborsRegressor())


def test_target_rows_out_of_reach():
    for adaptation in (KLIEP(sigma=0.01), RuLSIF(sigma=0.01)):
        with pytest.raises(ValueError, match="larger sigma.*preprocessor="):
            fitted(adaptation, X=XT + 50.0)
    for adaptation in ALL:  # a width of the rows' own always reaches
        assert fitted(adaptation, X=XT + 50.0).estimator_.weight_.max() > 0


def test_an_end_too_early_is_said(monkeypatch):
    from skmtl.solvers import mixture, quadratic

    def early(solve, **limit):
        return lambda *args, **kwargs: solve(*args, **{**kwargs, **limit})

    monkeypatch.setattr(kliep, "solve_mixture", early(mixture.solve_mixture, max_iter=1))
    with pytest.warns(ConvergenceWarning, match="KLIEP: the duality gap is .*above tol=1.0e-08; g"):
        fitted(KLIEP(sigma=0.5))
    slow = early(quadratic.solve_in_parts, max_rounds=0)
    monkeypatch.setattr(kmm, "solve_in_parts", slow)
    with pytest.warns(
        ConvergenceWarning, match="KMM: the duality gap is .*of the objective.*max_r"
    ):
        fitted(KMM(sigma=0.5, max_rows=20))


def test_nothing_is_printed_but_what_is_asked_for(capsys):
    fitted(KLIEP(), verbose=1)
    said = capsys.readouterr().out
    assert "evaluating 9 widths of the kernel in 5 folds" in said and "fitting on 80 rows" in said


# ------------------------------------------------------------------------------------ the kernels


def test_kernels_and_their_means(rng):
    A, B = rng.normal(size=(7, 3)) + 1e3, rng.normal(size=(5, 3)) + 1e3
    wanted = reference.gaussian_kernel(A, B, 0.7)
    np.testing.assert_allclose(gaussian(A, B, 0.7), wanted, rtol=1e-9)
    weight = rng.uniform(size=5)
    np.testing.assert_allclose(kernel_means(A, B, weight, 0.7), wanted @ weight / weight.sum())
    thin = sparse.csr_matrix(A - 1e3), sparse.csr_matrix(B - 1e3)
    np.testing.assert_allclose(gaussian(*thin, 0.7), wanted, rtol=1e-8)
    many = rng.normal(size=(500, 3))
    K = gaussian(many, many, 0.7)
    np.testing.assert_allclose(K, gaussian(many, many.copy(), 0.7), rtol=1e-10)
    np.testing.assert_allclose(K, K.T, rtol=1e-10)
    assert (K <= 1.0).all()


@pytest.mark.parametrize("kind", [np.array, sparse.csr_matrix])
def test_distinct_rows(kind):
    X = kind([[1.0, 0.0], [-0.0, 2.0], [1.0, -0.0], [0.0, 2.0], [3.0, 0.0]])
    rows, weight, place = distinct_rows(X, np.array([1.0, 2.0, 3.0, 4.0, 5.0]))
    rows = rows.toarray() if sparse.issparse(rows) else rows
    dense = X.toarray() if sparse.issparse(X) else X
    np.testing.assert_array_equal(rows[place], dense)
    assert len(rows) == 3 and sorted(weight) == [4.0, 5.0, 6.0]
    np.testing.assert_array_equal(distinct_rows(X, None)[1], np.bincount(place))


def test_the_median_of_many_rows_is_of_some(rng):
    many = [rng.normal(size=(3000, 2)), rng.normal(size=(2, 2))]
    got = [median_distance(many, np.random.RandomState(seed)) for seed in (0, 0, 1)]
    assert got[0] == got[1] != got[2] and np.allclose(got, np.sqrt(4 * np.log(2)), rtol=0.1)
    assert median_distance([np.ones((1, 2)), np.ones((1, 2))], np.random.RandomState(0)) == 1.0
