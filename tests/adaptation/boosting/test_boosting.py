"""TrAdaBoost, TrAdaBoost.R2 and its two-stage form: as the papers have them, on both roads."""

import pickle
import warnings

import numpy as np
import pandas as pd
import pytest
import reference
from scipy import sparse
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.ensemble import AdaBoostClassifier, HistGradientBoostingRegressor
from sklearn.kernel_ridge import KernelRidge
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge
from sklearn.model_selection import KFold, cross_val_score
from sklearn.neighbors import KNeighborsRegressor
from sklearn.svm import LinearSVC
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

from skmtl import Source, TransferEstimator
from skmtl.adaptation import BY_NAME, TrAdaBoost, TrAdaBoostR2, TwoStageTrAdaBoostR2
from skmtl.adaptation.boosting._boosted import weighted_median

_rng = np.random.default_rng(5)
COEF = np.array([1.0, -2.0, 0.5, 1.5])
XS, X, AT = _rng.normal(size=(60, 4)), 1.0 + _rng.normal(size=(14, 4)), _rng.normal(size=(40, 4))
TASK = np.repeat(["a", "b", "c"], 20)
MOVED = COEF + np.repeat([0.1, 0.6, -3.0], 20)[:, None]
YS, Y = (XS * MOVED).sum(1) + 0.3 * _rng.normal(size=60), X @ COEF + 0.3 * _rng.normal(size=14)
CS, C = np.digitize(YS, [-1.0, 1.0]), np.digitize(Y, [-1.0, 1.0])
WS, W = _rng.uniform(0.2, 2.0, 60), _rng.uniform(0.2, 2.0, 14)
del _rng  # a test draws from a generator of its own
SPLITS = list(KFold(3).split(X))
CLOSE = {"rtol": 1e-8, "atol": 1e-8}


class OtherRidge(Ridge):
    """A Ridge that is not exactly one, and takes the general road."""


def fitted(adaptation, estimator=None, ys=YS, y=Y, weights=None, **params):
    source = Source(XS, ys, TASK, None if weights is None else WS)
    model = TransferEstimator(estimator, source=source, adaptation=adaptation, **params)
    return model.fit(X, y, weights)


def initial(weights):
    return np.ones(74) if weights is None else np.concatenate([WS, W])


def means_of_sources(w, start):
    """Mean weights beside the target's."""
    ratio = [w[20 * s : 20 * s + 20].sum() / start[20 * s : 20 * s + 20].sum() for s in range(3)]
    return np.array(ratio) / (w[60:].sum() / start[60:].sum())


def test_names():
    assert BY_NAME["tradaboost"] is TrAdaBoost and BY_NAME["tradaboost_r2"] is TrAdaBoostR2
    assert BY_NAME["two_stage_tradaboost_r2"] is TwoStageTrAdaBoostR2


# ------------------------------------------------------------------------ the papers' algorithms


@pytest.mark.parametrize("weights", [None, W], ids=["", "weights"])
@pytest.mark.parametrize("n_rounds", [1, 2, 5, 10])
@pytest.mark.parametrize(
    "estimator",
    [Ridge(), Ridge(0.1, fit_intercept=False), LinearRegression(), OtherRidge(),
     KernelRidge(kernel="rbf", gamma=0.2)],
    ids=["ridge", "no intercept", "least squares", "general", "kernel"],
)  # fmt: skip
def test_r2_is_that_of_the_paper(estimator, n_rounds, weights):
    start = initial(weights)
    learners, votes, told, w = reference.tradaboost(estimator, (XS, YS), (X, Y), start, n_rounds)
    model = fitted(TrAdaBoostR2(n_rounds), estimator, weights=weights)
    boosted = model.estimator_
    assert len(boosted.estimators_) == len(learners)
    np.testing.assert_allclose(boosted.estimator_weights_, votes, **CLOSE)
    for ours, theirs in zip(boosted.estimators_, learners, strict=True):
        np.testing.assert_allclose(ours.predict(AT), theirs.predict(AT), **CLOSE)
    values = np.array([h.predict(AT) for h in learners])
    wanted = [reference.weighted_median(column, votes) for column in values.T]
    np.testing.assert_allclose(model.predict(AT), wanted, **CLOSE)
    error, share = np.array(told).T
    np.testing.assert_allclose(model.history_["error"], error, **CLOSE)
    np.testing.assert_allclose(model.history_["target_share"], share, **CLOSE)
    np.testing.assert_allclose(model.history_["beta"], error / (1 - error), **CLOSE)
    np.testing.assert_allclose(model.source_weights_, means_of_sources(w, start), **CLOSE)


@pytest.mark.parametrize("weights", [None, W], ids=["", "weights"])
@pytest.mark.parametrize("estimator", [Ridge(), LinearRegression(), OtherRidge()])
def test_two_stages_are_those_of_the_paper(estimator, weights):
    start = initial(weights)
    learners, votes, steps, errors = reference.two_stage_tradaboost(
        estimator, (XS, YS), (X, Y), start, 5, 4, SPLITS
    )
    model = fitted(TwoStageTrAdaBoostR2(5, 4), estimator, weights=weights, cv=SPLITS)
    boosted = model.estimator_
    np.testing.assert_allclose(model.history_["error"], errors, **CLOSE)
    np.testing.assert_allclose(boosted.estimator_weights_, votes, **CLOSE)
    for ours, theirs in zip(boosted.estimators_, learners, strict=True):
        np.testing.assert_allclose(ours.coef_, theirs.coef_, **CLOSE)
    values = np.array([h.predict(AT) for h in learners])
    wanted = [reference.weighted_median(column, votes) for column in values.T]
    np.testing.assert_allclose(model.predict(AT), wanted, **CLOSE)
    shares = [w[60:].sum() / w.sum() for w in steps]
    np.testing.assert_allclose(model.history_["target_share"], shares, **CLOSE)
    best = steps[int(np.argmin(errors))]
    np.testing.assert_allclose(model.source_weights_, means_of_sources(best, start), **CLOSE)


@pytest.mark.parametrize("weights", [None, W], ids=["", "weights"])
@pytest.mark.parametrize("n_rounds", [1, 2, 10])
@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize(
    "estimator",
    [
        LogisticRegression(),
        DecisionTreeClassifier(max_depth=2, random_state=0),
        LinearSVC(random_state=0),
    ],
)
def test_classifier_is_that_of_the_paper(estimator, n_classes, n_rounds, weights):
    cs, c = (CS, C) if n_classes == 3 else (CS > 1, C > 1)
    classes, start = np.unique(np.concatenate([cs, c])), initial(weights)
    learners, votes, told, w = reference.tradaboost(
        estimator, (XS, cs), (X, c), start, n_rounds, classes
    )
    model = fitted(TrAdaBoost(n_rounds), estimator, cs, c, weights)
    np.testing.assert_allclose(model.estimator_.estimator_weights_, votes, **CLOSE)
    counts = np.zeros((len(AT), len(classes)))
    for h, vote in zip(learners, votes, strict=True):
        counts += vote * (h.predict(AT)[:, None] == classes)
    np.testing.assert_array_equal(model.predict(AT), classes[counts.argmax(axis=1)])
    np.testing.assert_allclose(model.history_["error"], np.array(told)[:, 0], **CLOSE)
    np.testing.assert_allclose(model.source_weights_, means_of_sources(w, start), **CLOSE)


def test_the_share_of_every_step_and_the_ends():
    model = fitted(TwoStageTrAdaBoostR2(6))
    history = model.history_
    np.testing.assert_allclose(history["target_share"], np.linspace(14 / 74, 1.0, 6))
    assert history["beta"][0] == 1.0 and history["beta"][-1] == 0.0
    assert (np.diff(history["beta"]) < 0).sum() >= 1 and len(history["error"]) == 6


def test_the_last_step_is_the_target_alone():
    wrong = Source(XS, 100.0 - 30 * YS)
    two_stage = TwoStageTrAdaBoostR2(3, 4)
    model = TransferEstimator(source=wrong, adaptation=two_stage, cv=SPLITS).fit(X, Y)
    assert model.source_weights_ == [0.0] and np.argmin(model.history_["error"]) == 2
    nothing = (np.zeros((0, 4)), np.zeros(0))
    weights = np.full(14, 74 / 14)
    learners, votes = reference.adaboost_r2_of_target(Ridge(), nothing, (X, Y), weights, 4)
    values = np.array([h.predict(AT) for h in learners])
    wanted = [reference.weighted_median(column, votes) for column in values.T]
    np.testing.assert_allclose(model.predict(AT), wanted, **CLOSE)


# --------------------------------------------------------------------------------- both roads


@pytest.mark.parametrize("adaptation", [TrAdaBoostR2(), TwoStageTrAdaBoostR2(4, 5)])
@pytest.mark.parametrize("n_features", [1, 4, 90])
@pytest.mark.parametrize("alpha", [0.01, 10.0])
@pytest.mark.parametrize("fit_intercept", [True, False])
def test_normal_equations_and_the_general_road_agree(adaptation, n_features, alpha, fit_intercept):
    local = np.random.default_rng(n_features)
    tables = [5.0 + local.normal(size=(n, n_features)) for n in (60, 14, 30)]
    ys, y = (t[:, 0] - t[:, -1] ** 2 for t in tables[:2])
    source, predictions = Source(tables[0], ys, TASK), []
    for kind in (Ridge, OtherRidge):
        estimator = kind(alpha, fit_intercept=fit_intercept)
        model = TransferEstimator(estimator, source=source, adaptation=adaptation, cv=SPLITS)
        model.fit(tables[1], y)
        predictions.append((model.predict(tables[2]), model.source_weights_))
    for ours, theirs in zip(*predictions, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-7, atol=1e-7 * np.abs(theirs).max())


def test_jobs_do_not_matter():
    tree = DecisionTreeRegressor(max_depth=2, random_state=0)
    one, two = (fitted(TwoStageTrAdaBoostR2(3, 3), tree, n_jobs=n) for n in (None, 2))
    np.testing.assert_array_equal(one.history_["error"], two.history_["error"])


def test_sparse_rows():
    source = Source(sparse.csr_matrix(XS), YS)
    for adaptation in (TrAdaBoostR2(), TwoStageTrAdaBoostR2(3, 3)):
        model = TransferEstimator(Ridge(), source=source, adaptation=adaptation, cv=SPLITS)
        dense = TransferEstimator(source=Source(XS, YS), adaptation=adaptation, cv=SPLITS)
        wanted = dense.fit(X, Y).predict(AT)
        got = model.fit(sparse.csr_matrix(X), Y).predict(sparse.csr_matrix(AT))
        np.testing.assert_allclose(got, wanted, atol=0.05)


# --------------------------------------------------------------------------------- weights, order


@pytest.mark.parametrize(
    ("adaptation", "estimator"),
    [(TrAdaBoostR2(), Ridge()), (TwoStageTrAdaBoostR2(4, 4), Ridge()),
     (TrAdaBoostR2(), DecisionTreeRegressor(max_depth=3, random_state=0)),
     (TrAdaBoost(), LogisticRegression(solver="newton-cholesky", tol=1e-10))],
)  # fmt: skip
def test_whole_weights_are_repeated_rows(adaptation, estimator, rng):
    classifier = isinstance(adaptation, TrAdaBoost)
    ys, y = (CS, C) if classifier else (YS, Y)
    times_s, times = rng.integers(0, 4, 60), rng.integers(0, 3, 14)
    again = np.repeat(np.arange(14), times)
    train = [np.arange(14) % 3 != k for k in range(3)]
    cv = [(np.flatnonzero(t), np.flatnonzero(~t)) for t in train]
    cv_again = [(np.flatnonzero(t[again]), np.flatnonzero(~t[again])) for t in train]
    weighed = TransferEstimator(
        estimator, source=Source(XS, ys, TASK, times_s), adaptation=adaptation, cv=cv
    ).fit(X, y, times)
    rows = np.repeat(np.arange(60), times_s)
    repeated = TransferEstimator(
        estimator, source=Source(XS[rows], ys[rows], TASK[rows]), adaptation=adaptation, cv=cv_again
    ).fit(X[again], y[again])
    method = "decision_function" if classifier else "predict"
    at = AT
    if isinstance(estimator, DecisionTreeRegressor):
        # Of features that part a node's rows alike a tree takes any: elsewhere they may differ.
        at = np.vstack([XS[times_s > 0], X[times > 0]])
    np.testing.assert_allclose(
        getattr(weighed, method)(at), getattr(repeated, method)(at), atol=1e-8
    )
    np.testing.assert_allclose(weighed.source_weights_, repeated.source_weights_, rtol=1e-7)


@pytest.mark.parametrize("adaptation", [TrAdaBoostR2(), TwoStageTrAdaBoostR2(4, 4)])
def test_order_of_source_rows_and_units_of_y_do_not_matter(adaptation, rng):
    order = rng.permutation(60)
    params = {"adaptation": adaptation, "cv": SPLITS}
    model = TransferEstimator(source=Source(XS, YS), **params).fit(X, Y)
    mixed = TransferEstimator(source=Source(XS[order], YS[order]), **params).fit(X, Y)
    scaled = TransferEstimator(source=Source(XS, 1e5 * YS + 7), **params).fit(X, 1e5 * Y + 7)
    np.testing.assert_allclose(mixed.predict(AT), model.predict(AT), rtol=1e-7, atol=1e-8)
    np.testing.assert_allclose(scaled.predict(AT), 1e5 * model.predict(AT) + 7, rtol=1e-7)


# -------------------------------------------------------------------------------------- edge cases


class Fixed(BaseEstimator):
    """Predicts the first feature, whatever it is fitted on."""

    def fit(self, X, y, sample_weight=None):
        self.n_features_in_, self.classes_ = X.shape[1], np.unique(y)
        self.sum_ = sample_weight.sum()
        return self

    def predict(self, X):
        return X[:, 0]


class FixedRegressor(RegressorMixin, Fixed):
    pass


class FixedClassifier(ClassifierMixin, Fixed):
    pass


def test_a_first_learner_that_is_bad_is_kept_alone():
    flip, labels = np.arange(60.0) % 2, np.arange(14.0) % 2
    source = Source(flip[:, None], flip)
    model = TransferEstimator(FixedClassifier(), source=source, adaptation=TrAdaBoost(6))
    model.fit(labels[:, None], 1.0 - labels)  # the target is wrong throughout
    assert len(model.estimator_.estimators_) == 1 and model.estimator_.estimator_weights_ == [1.0]
    np.testing.assert_array_equal(model.history_["error"], [1.0])
    assert model.source_weights_ == [1.0]
    regressor = TransferEstimator(FixedRegressor(), source=source, adaptation=TrAdaBoostR2(6))
    regressor.fit(labels[:, None], 1.0 - labels)
    np.testing.assert_array_equal(regressor.predict([[0.3]]), [0.3])
    for n_rounds in (1, 4):
        two_stage = TwoStageTrAdaBoostR2(3, n_rounds)
        model = TransferEstimator(FixedRegressor(), source=source, adaptation=two_stage)
        model.fit(labels[:, None], 1.0 - labels)
        np.testing.assert_array_equal(model.predict([[0.3]]), [0.3])


def test_no_error_at_all():
    """Every learner has the largest vote, and weights stay; also where rounding is left."""
    exact = TransferEstimator(
        LinearRegression(), source=Source(XS, XS @ COEF), adaptation=TrAdaBoostR2()
    ).fit(X, X @ COEF)
    np.testing.assert_allclose(exact.predict(AT), AT @ COEF)
    np.testing.assert_array_equal(exact.history_["error"], np.zeros(10))
    np.testing.assert_allclose(exact.estimator_.estimator_weights_, -np.log(2.0**-52))
    np.testing.assert_allclose(exact.source_weights_, 1.0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        steps = TransferEstimator(
            LinearRegression(), source=Source(XS, XS @ COEF), adaptation=TwoStageTrAdaBoostR2(4)
        ).fit(X, X @ COEF)
    np.testing.assert_allclose(steps.predict(AT), AT @ COEF)
    np.testing.assert_allclose(steps.history_["target_share"], np.linspace(14 / 74, 1, 4))
    labels = TransferEstimator(
        DecisionTreeClassifier(random_state=0), source=Source(XS, CS), adaptation="tradaboost"
    ).fit(X, C)
    np.testing.assert_array_equal(labels.history_["error"], np.zeros(10))


def test_rows_that_are_fitted_exactly_are_scaled_down():
    X_flat = np.array([[0.0], [0.0], [1.0]])
    source = Source(np.repeat([[0.0], [1.0]], [30, 10], axis=0), np.repeat([0.0, 3.0], [30, 10]))
    adaptation = TwoStageTrAdaBoostR2(4, 2)
    model = TransferEstimator(FixedRegressor(), source=source, adaptation=adaptation)
    model.fit(X_flat, [0.0, 0.0, 1.0])
    np.testing.assert_allclose(model.history_["beta"], [1.0, 0.0, 0.0, 0.0], atol=1e-8)
    np.testing.assert_allclose(model.history_["target_share"], np.linspace(3 / 43, 1.0, 4))


def test_one_target_row():
    model = TransferEstimator(source=Source(XS, YS), adaptation=TwoStageTrAdaBoostR2(4))
    model.fit(X[:1], Y[:1])
    assert "error" not in model.history_ and model.source_weights_ == [1.0]
    TransferEstimator(source=Source(XS, YS), adaptation=TrAdaBoostR2()).fit(X[:1], Y[:1])
    TransferEstimator(source=Source(XS[:1], YS[:1]), adaptation="tradaboost_r2").fit(X, Y)


def test_classes_that_only_one_side_has():
    source = Source(XS, np.where(YS > 0, "up", "down"))
    model = TransferEstimator(LogisticRegression(), source=source, adaptation="tradaboost")
    model.fit(X, np.where(Y > 1, "up", "level"))
    assert model.classes_.tolist() == ["down", "level", "up"]
    assert model.predict_proba(AT).shape == (40, 3)


# -------------------------------------------------------------------------------------- predictors


def test_weighted_median():
    values = np.array([[3.0, 1.0], [1.0, 1.0], [2.0, 9.0]])
    np.testing.assert_array_equal(weighted_median(values, np.array([1.0, 1.0, 1.0])), [2.0, 1.0])
    np.testing.assert_array_equal(weighted_median(values, np.array([5.0, 1.0, 1.0])), [3.0, 1.0])
    np.testing.assert_array_equal(weighted_median(values[:2], np.array([1.0, 1.0])), [1.0, 1.0])
    np.testing.assert_array_equal(weighted_median(values, np.array([0.0, 1.0, 0.0])), [1.0, 1.0])


@pytest.mark.parametrize("n_classes", [2, 3])
def test_scores_are_those_of_AdaBoostClassifier(n_classes):
    cs, c = (CS, C) if n_classes == 3 else (CS > 1, C > 1)
    model = fitted("tradaboost", LogisticRegression(), cs, c).estimator_
    theirs = AdaBoostClassifier().fit(XS, cs)
    theirs.estimators_, theirs.estimator_weights_ = model.estimators_, model.estimator_weights_
    for method in ("predict", "decision_function", "predict_proba", "predict_log_proba"):
        got, wanted = getattr(model, method)(AT), getattr(theirs, method)(AT)
        np.testing.assert_allclose(got, wanted, atol=1e-10)


@pytest.mark.parametrize("name", ["tradaboost_r2", "two_stage_tradaboost_r2"])
def test_the_predictor_stands_alone(name):
    model = fitted(name).estimator_
    again = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(again.predict(AT), model.predict(AT))
    assert len(pickle.dumps(model)) < 10_000 and model.n_features_in_ == 4
    assert all(type(learner) is Ridge for learner in model.estimators_)
    by_hand = np.array([learner.predict(AT) for learner in model.estimators_])
    np.testing.assert_allclose(
        model.predict(AT), weighted_median(by_hand, model.estimator_weights_), rtol=1e-9
    )
    with pytest.raises(ValueError, match="X has 3 features, but BoostedRegressor is expecting 4"):
        model.predict(AT[:, :3])
    with pytest.raises(TypeError, match="BoostedRegressor comes fitted from TransferEstimator"):
        model.fit(X, Y)


def test_data_frames_are_prepared_inside():
    frame = pd.DataFrame(XS, columns=list("pqrs")).assign(where=TASK)
    source = Source(frame, YS, TASK)
    here = pd.DataFrame(X, columns=list("pqrs")).assign(where="a")
    for name in ("tradaboost_r2", "two_stage_tradaboost_r2"):
        model = TransferEstimator(source=source, adaptation=name, preprocessor="auto")
        model.fit(here, Y)
        assert model.estimator_.predict(here.iloc[:3]).shape == (3,)
        assert model.source_weights_.shape == (3,)
    plain = TransferEstimator(source=Source(frame[list("pqrs")], YS), adaptation="tradaboost_r2")
    got = plain.fit(here[list("pqrs")], Y).predict(here[list("pqrs")])
    same = TransferEstimator(source=Source(XS, YS), adaptation="tradaboost_r2").fit(X, Y)
    np.testing.assert_array_equal(got, same.predict(X))


def test_tables_that_only_the_learners_understand():
    """Gaps and categories of a data frame go to trees that take them."""
    frame = pd.DataFrame(XS, columns=list("pqrs")).assign(where=pd.Categorical(TASK))
    frame.loc[::7, "p"] = np.nan
    here = pd.DataFrame(X, columns=list("pqrs"))
    here = here.assign(where=pd.Categorical(["a"] * 14, ["a", "b", "c"]))
    trees = HistGradientBoostingRegressor(
        max_iter=3, min_samples_leaf=5, categorical_features="from_dtype"
    )
    for adaptation in (TrAdaBoostR2(3), TwoStageTrAdaBoostR2(2, 2)):
        model = TransferEstimator(trees, source=Source(frame, YS), adaptation=adaptation)
        boosted = model.fit(here, Y).estimator_
        assert boosted.feature_names_in_.tolist() == ["p", "q", "r", "s", "where"]
        np.testing.assert_array_equal(boosted.predict(here), model.predict(here))
        with pytest.raises(ValueError, match="feature names should match"):
            boosted.predict(here.rename(columns={"p": "z"}))
    stumps = DecisionTreeClassifier(max_depth=2, random_state=0)
    source = Source(frame[list("pqrs")], CS)
    model = TransferEstimator(stumps, source=source, adaptation="tradaboost")
    assert model.fit(here[list("pqrs")], C).estimator_.predict(here[list("pqrs")]).shape == (14,)


def test_gaps_get_an_error_with_the_remedy():
    gappy = np.where(XS > 2, np.nan, XS)
    model = TransferEstimator(source=Source(gappy, YS), adaptation="tradaboost_r2")
    with pytest.raises(ValueError, match='(?s)contains NaN.*preprocessor="auto"'):
        model.fit(X, Y)


def test_nothing_is_random_and_cross_validation_works():
    state = np.random.get_state()[1].copy()
    first, second = (fitted("two_stage_tradaboost_r2").predict(AT) for _ in range(2))
    np.testing.assert_array_equal(first, second)
    np.testing.assert_array_equal(np.random.get_state()[1], state)
    model = TransferEstimator(source=Source(XS, YS), adaptation="two_stage_tradaboost_r2")
    assert len(cross_val_score(model, X, Y, cv=3)) == 3


# --------------------------------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    ("adaptation", "message"),
    [
        (TrAdaBoost(0), "n_estimators=0 must be a whole number of at least 1"),
        (TrAdaBoostR2(2.0), "n_estimators=2.0 must be a whole number"),
        (TwoStageTrAdaBoostR2(1), "n_steps=1 must be a whole number of at least 2"),
        (TwoStageTrAdaBoostR2(3, True), "n_estimators=True must be"),
    ],
)
def test_bad_parameters(adaptation, message):
    with pytest.raises(ValueError, match=message):
        fitted(adaptation, LogisticRegression() if type(adaptation) is TrAdaBoost else None)


def test_what_they_need():
    with pytest.raises(ValueError, match="TrAdaBoost is for a classifier, but estimator=Ridge"):
        fitted("tradaboost")
    with pytest.raises(ValueError, match="TrAdaBoostR2 is for a regressor"):
        fitted("tradaboost_r2", LogisticRegression(), CS, C)
    with pytest.raises(ValueError, match="KNeighborsRegressor does not support sample_weight"):
        fitted("two_stage_tradaboost_r2", KNeighborsRegressor())
    with pytest.raises(ValueError, match="requires y to be passed"):
        TransferEstimator(source=Source(XS, YS), adaptation="tradaboost_r2").fit(X)
