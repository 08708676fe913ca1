"""Auto: which sources help, how much, and with which constant."""

import numpy as np
import pandas as pd
import pytest
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.compose import TransformedTargetRegressor
from sklearn.ensemble import HistGradientBoostingRegressor, RandomForestClassifier
from sklearn.linear_model import LassoCV, LogisticRegression, PoissonRegressor, Ridge
from sklearn.model_selection import KFold
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor
from sklearn.svm import LinearSVC

from skmtl import Source, TransferEstimator
from skmtl.adaptation import Auto
from skmtl.adaptation.evaluation import row_errors, sharpened_losses
from skmtl.adaptation.selection._ridge_screening import _sizes

_rng = np.random.default_rng(2)
P, N = 6, 24
COEF = _rng.normal(size=P)
X, AT = _rng.normal(size=(N, P)), _rng.normal(size=(400, P))
Y, TRUTH = X @ COEF + 0.5 * _rng.normal(size=N), AT @ COEF
LABELS = ["bad", "good", "moved", "near"]


def rows_of(rng, label, n=80):
    X = rng.normal(size=(n, P))
    slopes = {"bad": -COEF, "near": COEF + 0.1 * rng.normal(size=P)}.get(label, COEF)
    return X, X @ slopes + 7.0 * (label == "moved") + 0.5 * rng.normal(size=n)


PARTS = {label: rows_of(_rng, label) for label in LABELS}
del _rng  # a test draws from a generator of its own


def source_of(*labels, classes=False):
    X = np.vstack([PARTS[label][0] for label in labels])
    y = np.concatenate([PARTS[label][1] for label in labels])
    return Source(X, y > 0 if classes else y, np.repeat(labels, 80))


def fit(*labels, estimator=None, **params):
    classes = isinstance(estimator, (LogisticRegression, RandomForestClassifier, LinearSVC))
    source = source_of(*labels, classes=classes)
    return TransferEstimator(estimator, source=source, **params).fit(X, Y > 0 if classes else Y)


def miss(model):
    return np.mean((model.predict(AT) - TRUTH) ** 2)


def test_it_is_the_default():
    assert isinstance(TransferEstimator(source=source_of("good")).fit(X, Y).adaptation_, Auto)


# ---------------------------------------------------------------------------------- the promise


def test_good_sources_count_and_bad_ones_do_not():
    model = fit("bad", "good", "near")
    weight = dict(zip(model.transfer_report_["source"], model.source_weights_, strict=True))
    assert weight["bad"] < 1e-3 and weight["good"] > 0.3 and weight["near"] > 0.3
    assert miss(model) < 0.4 * miss(Ridge().fit(X, Y))
    assert miss(model) < 1.2 * miss(fit("good", "near"))


def test_harmful_sources_leave_the_target_alone():
    model = fit("bad")
    np.testing.assert_array_equal(model.source_weights_, [0.0])
    np.testing.assert_allclose(model.predict(AT), Ridge().fit(X, Y).predict(AT))


def test_a_level_of_its_own():
    with_shift, without = fit("moved"), fit("moved", adaptation=Auto(shift=False))
    np.testing.assert_allclose(with_shift.transfer_report_["shift"], [-7.0], atol=0.5)
    np.testing.assert_array_equal(without.transfer_report_["shift"], [0.0])
    assert miss(with_shift) < 0.2 * miss(without)


def test_classes():
    truth = AT @ COEF > 0
    alone = LogisticRegression().fit(X, Y > 0).score(AT, truth)
    model = fit("bad", "good", estimator=LogisticRegression())
    assert model.source_weights_[0] < 1e-3 < 0.1 < model.source_weights_[1]
    assert model.score(AT, truth) > alone
    assert "shift" in model.transfer_report_ and not model.transfer_report_["shift"].any()


# ----------------------------------------------------------------------------- what it does


def by_hand(weights, moved, rows, labels):
    """A ridge fitted on these target rows and on the sources, weighed and shifted."""
    parts = [PARTS[label] for label in labels]
    y = []
    for A, b in parts:
        of_source = Ridge().fit(A, b)
        y.append(b + moved * np.mean(Y[rows] - of_source.predict(X[rows])))
    w = np.r_[np.repeat(weights, 80), np.ones(len(rows))]
    Z = np.vstack([*(A for A, _ in parts), X[rows]])
    y = np.concatenate([*y, Y[rows]])
    return Ridge().fit(Z[w > 0], y[w > 0], w[w > 0])


def test_candidates_and_shares_by_hand():
    cv, labels = KFold(4), ["bad", "moved", "near"]
    model = fit(*labels, cv=cv)
    h = model.history_
    # A tenth of 24 target rows is 2.4: 80 rows of a source at 1, ..., 0.03; 160, 240 likewise.
    steps = {n: np.geomspace(1, 2.4 / (80 * n), 3) for n in (1, 2, 3)}
    np.testing.assert_array_equal(h["candidate"][:7], ["independent", *["bad"] * 6])
    np.testing.assert_allclose(h["weight"][1:7], np.repeat(steps[1], 2))
    np.testing.assert_allclose(h["weight"][-6:], np.repeat(steps[3], 2))
    assert (h["candidate"][-6:] == "pooled").all() and len(h["error"]) == 1 + 5 * 6
    best_alone = {s: h["error"][h["candidate"] == s].min() for s in labels}
    first_two = sorted(labels, key=best_alone.get)[:2]

    def error_of(weight, moved):
        missed = np.empty(N)
        for train, test in cv.split(X):
            missed[test] = Y[test] - by_hand(weight, moved, train, labels).predict(X[test])
        return np.mean(missed**2)

    errors, weights = [], []
    for name, step, moved in zip(h["candidate"], h["weight"], h["shifted"], strict=True):
        members = {"independent": [], "best 2": first_two, "pooled": labels}.get(name, [name])
        weights.append(np.array([step * (label in members) for label in labels]))
        errors.append(error_of(weights[-1], moved))
    np.testing.assert_allclose(h["error"], errors)
    share = np.array(errors) ** (-N / 4) * np.where(h["candidate"] == "independent", np.exp(-2), 1)
    share *= np.exp(0.5 * h["shifted"])
    share /= share.sum()
    np.testing.assert_allclose(h["share"], share)
    moved = share[h["shifted"]].sum() / share[1:].sum()
    # Their means in six powers, and the best of these.
    means = np.array(
        [(share @ np.array(weights) ** p) ** (1 / p) for p in (1, 0.7, 0.5, 0.35, 0.2, 0.1)]
    )
    means[means * 80 < 1e-3 * N] = 0.0
    judged = [N / 2 * np.log(error_of(mean, moved)) + 0.8 * k for k, mean in enumerate(means)]
    found = means[np.argmin(judged)]
    np.testing.assert_allclose(model.source_weights_, found)
    final = by_hand(found, moved, np.arange(N), labels)
    np.testing.assert_allclose(model.predict(AT), final.predict(AT))
    report = model.transfer_report_
    np.testing.assert_allclose(report["error"], [best_alone[s] for s in report["source"]])
    np.testing.assert_allclose(report["error_independent"], errors[0])


def test_trust_in_harm_is_judged_once_more():
    cv, n = KFold(4), 10
    model = fit_few(n, "bad", adaptation=Auto(shift=False), cv=cv)
    h = model.history_
    powers = np.array([1, 0.7, 0.5, 0.35, 0.2, 0.1])
    means = np.array([(h["share"] @ h["weight"] ** p) ** (1 / p) for p in powers])
    means[means * 80 < 1e-3 * n] = 0.0
    judged = []
    for k, mean in enumerate(means):
        missed = np.empty(n)
        for train, test in cv.split(X[:n]):
            missed[test] = Y[test] - by_hand([mean], 0.0, train, ["bad"]).predict(X[test])
        judged.append(n / 2 * np.log(np.mean(missed**2)) + 0.8 * k)
    assert np.argmin(judged) > 0 and means[np.argmin(judged)] < 0.5 * means[0]
    np.testing.assert_allclose(model.source_weights_, means[[np.argmin(judged)]])


def fit_few(n, *labels, **params):
    return TransferEstimator(Ridge(), source=source_of(*labels), **params).fit(X[:n], Y[:n])


def test_the_solver_of_a_ridge_does_not_matter():
    for labels in (["bad", "moved", "near"], ["near"]):
        plain, other = (
            fit(*labels, estimator=e, cv=KFold(4)) for e in (Ridge(), Ridge(solver="svd"))
        )
        np.testing.assert_array_equal(other.source_weights_, plain.source_weights_)
        np.testing.assert_allclose(other.predict(AT), plain.predict(AT))


def test_bold_and_wrong_is_not_excused():
    cv, y = KFold(4), (Y > 0).astype(int)
    model = fit("bad", estimator=LogisticRegression(), cv=cv)
    A, b = PARTS["bad"]
    losses = np.empty(N)
    for train, test in cv.split(X):
        own = LogisticRegression().fit(np.vstack([A, X[train]]), np.r_[b > 0, y[train]])
        losses[test] = row_errors(own, X[test], y[test], np.array([0, 1]))
    (pooled,) = np.flatnonzero(model.history_["weight"] == 1.0)
    error = model.history_["error"][pooled]
    np.testing.assert_allclose(error, np.minimum(losses, 5.0).mean(), rtol=1e-4)
    assert error > 1.0


def test_standard_error_of_the_difference():
    cv = KFold(4)
    model = fit("good", cv=cv)
    h = model.history_
    best = 1 + h["error"][1:].argmin()
    missed = np.empty((2, N))
    for train, test in cv.split(X):
        for i, (w, moved) in enumerate([(0.0, 0.0), (h["weight"][best], h["shifted"][best])]):
            missed[i, test] = Y[test] - by_hand([w], moved, train, ["good"]).predict(X[test])
    gap = missed[1] ** 2 - missed[0] ** 2
    wanted = gap.std(ddof=1) / np.sqrt(N)
    np.testing.assert_allclose(model.transfer_report_["standard_error"], [wanted])


def test_no_fit_sees_the_rows_that_judge_it():
    class Spy(RegressorMixin, BaseEstimator):
        n_fits = 0

        def fit(self, X, y, sample_weight=None):
            self.rows_ = {row.tobytes() for row in X}
            Spy.n_fits += 1
            return self

        def predict(self, X):
            assert not any(row.tobytes() in self.rows_ for row in X)
            return np.zeros(len(X))

    fit("good", "bad", estimator=Spy())
    assert 5 * 2 + 1 < Spy.n_fits <= 5 * 4 + 2


def test_sharpness():
    model = LogisticRegression().fit(X, Y > 0)
    p, y = model.predict_proba(AT), (TRUTH > 0).astype(int)
    losses = sharpened_losses(model, AT, y, np.array([0, 1]), (1.0, 3.0))
    wanted = row_errors(model, AT, y, np.array([0, 1]))
    np.testing.assert_allclose(losses[0], wanted, atol=1e-12)  # of log(1 - epsilon)
    wanted = p[np.arange(400), y] ** 3 / (p**3).sum(axis=1)
    np.testing.assert_allclose(losses[1], -np.log(wanted), atol=1e-12)


def test_sizes_of_sets():
    assert _sizes(1) == [] and _sizes(2) == [2] and _sizes(4) == [2, 3, 4]
    assert _sizes(9)[-2:] == [8, 9]
    sizes = _sizes(1000)
    assert sizes[-1] == 1000 and len(sizes) < 40 and (np.diff(sizes) > 0).all()


def test_jobs_and_order_of_sources_do_not_matter():
    one, two = fit("bad", "good", n_jobs=None), fit("good", "bad", n_jobs=2)
    np.testing.assert_allclose(one.source_weights_, two.source_weights_)
    np.testing.assert_allclose(one.predict(AT), two.predict(AT))


# -------------------------------------------------------------------- estimators of every kind


@pytest.mark.parametrize(
    "estimator",
    [HistGradientBoostingRegressor(max_iter=5), KNeighborsRegressor(3)],
)
def test_other_regressors(estimator):
    model = fit("bad", "good", estimator=estimator)
    assert model.source_weights_[0] < 0.1
    assert np.isfinite(model.predict(AT)).all()


def test_sets_where_the_estimator_takes_no_weights():
    model = fit("bad", "good", estimator=KNeighborsRegressor(3))
    assert set(model.history_["weight"]) == {0.0, 1.0}
    np.testing.assert_array_equal(model.source_weights_, [0.0, 1.0])
    target = Source(PARTS["good"][0], PARTS["good"][1] > 0)
    model = TransferEstimator(KNeighborsClassifier(3), source=target).fit(X, Y > 0)
    assert model.source_weights_ == [1.0]


@pytest.mark.parametrize("estimator", [RandomForestClassifier(5, random_state=0), LinearSVC()])
def test_other_classifiers(estimator):
    model = fit("bad", "good", estimator=estimator)
    assert model.source_weights_[0] < model.source_weights_[1]


def test_labels_that_cannot_be_shifted():
    source = Source(PARTS["good"][0], np.exp(PARTS["good"][1]))
    log = TransformedTargetRegressor(Ridge(), func=np.log, inverse_func=np.exp)
    for estimator in (log, PoissonRegressor()):
        model = TransferEstimator(estimator, source=source).fit(X, np.exp(Y))
        assert not model.history_["shifted"].any()
    boosting = HistGradientBoostingRegressor(loss="poisson", max_iter=2)
    low = Source(PARTS["good"][0], np.full(80, 1e-3))
    high = Source(PARTS["good"][0], np.exp(2 * PARTS["good"][1]))
    assert TransferEstimator(boosting, source=low).fit(X, np.exp(Y)).history_["shifted"].any()
    with pytest.warns(UserWarning, match=r"not tried.*non-negative.*Auto\(shift=False\)"):
        model = TransferEstimator(boosting, source=high).fit(X, np.ones(N))
    assert not model.history_["shifted"].any()


class Diverges(RegressorMixin, BaseEstimator):
    """A ridge, whose predictions are far off after a fit to few rows."""

    def __init__(self, times=1.0):
        self.times = times

    def fit(self, X, y, sample_weight=None):
        self.ridge_ = Ridge().fit(X, y, sample_weight)
        self.times_ = self.times if len(y) <= N else 1.0
        return self

    def predict(self, X):
        return self.times_ * self.ridge_.predict(X)


@pytest.mark.filterwarnings("ignore:overflow")
@pytest.mark.parametrize("times", [1e10, 1e200, np.inf, np.nan])
def test_a_candidate_that_diverges_does_not_hide_the_others(times):
    model = fit("bad", "good", estimator=Diverges(times))
    assert model.source_weights_[0] < 0.01 < 0.3 < model.source_weights_[1]
    assert miss(model) < 1.2 * miss(fit("bad", "good"))
    assert model.history_["share"].sum() == pytest.approx(1.0)


def test_probabilities_that_are_nan_lose():
    class Unsure(LogisticRegression):
        def predict_proba(self, X):
            return super().predict_proba(X) * (np.nan if len(self.seen_) <= N else 1.0)

        def fit(self, X, y, sample_weight=None):
            self.seen_ = y
            return super().fit(X, y, sample_weight)

    model = fit("bad", "good", estimator=Unsure())
    assert model.source_weights_[0] < 0.01 < 0.3 < model.source_weights_[1]
    assert model.history_["error"][0] == 5.0


@pytest.mark.parametrize("estimator", [KNeighborsRegressor(5), LassoCV(cv=3)])
def test_a_source_that_is_too_small_for_a_model(estimator):
    A, b = PARTS["good"]
    source = Source(A, b, np.where(np.arange(80) < 2, "few", "many"))
    model = TransferEstimator(estimator, source=source).fit(X, Y)
    assert np.isfinite(model.predict(AT)).all()
    assert model.source_weights_[1] > 0.1


def test_frames():
    names = [f"f{i}" for i in range(P)]
    frame = pd.DataFrame(X, columns=names).assign(kind=np.where(X[:, 0] > 0, "a", "b"))
    A, b = PARTS["good"]
    other = pd.DataFrame(A, columns=names).assign(kind=np.where(A[:, 0] > 0, "a", "b"))
    model = TransferEstimator(source=Source(other, b), preprocessor="auto").fit(frame, Y)
    assert model.source_weights_[0] > 0.1


# ------------------------------------------------------------------------------- few rows, classes


def test_a_single_row_cannot_judge():
    model = TransferEstimator(source=source_of("bad", "good")).fit(X[:1], Y[:1])
    np.testing.assert_array_equal(model.source_weights_, [1.0, 1.0])
    assert "error" not in model.transfer_report_ and model.history_ == {}


def test_target_of_one_class():
    rows = np.flatnonzero(Y > 0)
    source = source_of("bad", "good", classes=True)
    model = TransferEstimator(LogisticRegression(), source=source).fit(X[rows], Y[rows] > 0)
    assert "independent" not in model.history_["candidate"]
    assert "error_independent" not in model.transfer_report_
    assert model.predict_proba(AT).shape == (400, 2)
    assert model.score(AT, TRUTH > 0) > 0.6


def test_sources_of_one_class():
    A, b = PARTS["good"]
    source = Source(A, b > 0, np.where(b > 0, "high", "low"))
    model = TransferEstimator(LogisticRegression(), source=source).fit(X, Y > 0)
    assert model.score(AT, TRUTH > 0) > LogisticRegression().fit(X, Y > 0).score(AT, TRUTH > 0)


def test_a_fold_of_one_class_is_judged_as_the_others():
    # Without probabilities a wrong class costs 2, also where the fold's training rows show one.
    A, b = PARTS["good"]
    rows = np.array([Y.argmin(), Y.argmax()])
    model = TransferEstimator(LinearSVC(), source=Source(A, b > 0)).fit(X[rows], Y[rows] > 0)
    assert model.history_["error"][0] == 2.0  # each fold has the other's class only


@pytest.mark.parametrize("shift", ["yes", 1, None])
def test_bad_input(shift):
    with pytest.raises(ValueError, match=f"shift={shift!r} must be True .* or False"):
        fit("good", adaptation=Auto(shift=shift))


def test_perfect_labels():
    exact = Source(X, X @ COEF)
    model = TransferEstimator(Ridge(1e-9), source=exact).fit(X, X @ COEF)
    assert np.isfinite(model.history_["share"]).all() and np.isfinite(model.source_weights_).all()


def test_moments_far_from_zero_and_in_pieces(monkeypatch):
    source = Source(PARTS["good"][0] + 1e5, PARTS["good"][1] - 1e6)
    model = TransferEstimator(source=source).fit(X + 1e5, Y - 1e6)
    monkeypatch.setattr("skmtl.adaptation.selection._moments._ROWS_AT_ONCE", 7)
    monkeypatch.setattr("skmtl.adaptation.selection._moments._NUMBERS_AT_ONCE", 200)
    again = TransferEstimator(source=source).fit(X + 1e5, Y - 1e6)
    np.testing.assert_allclose(again.history_["error"], model.history_["error"], rtol=1e-6)
    near = TransferEstimator(source=source_of("good")).fit(X, Y)
    np.testing.assert_allclose(model.history_["error"], near.history_["error"], rtol=1e-4)
