"""FeatureAugmentation and PredictionFeature: tables by hand, limits, what comes out."""

import pickle

import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from sklearn.base import clone
from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor
from sklearn.linear_model import (
    Lasso,
    LinearRegression,
    LogisticRegression,
    Perceptron,
    PoissonRegressor,
    Ridge,
    RidgeClassifier,
)  # fmt: skip
from sklearn.model_selection import KFold
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor
from sklearn.pipeline import Pipeline
from sklearn.svm import LinearSVC

from skmtl import Source, TransferEstimator
from skmtl.adaptation import BY_NAME, FeatureAugmentation, PredictionFeature

_rng = np.random.default_rng(3)
COEF = np.array([1.0, -2.0, 0.5])
XS, X, AT = _rng.normal(size=(90, 3)), _rng.normal(size=(20, 3)), _rng.normal(size=(200, 3))
TASK = np.repeat(["a", "b"], [50, 40])
YS = np.r_[XS[:50] @ COEF, 1.0 - XS[50:] @ COEF] + 0.3 * _rng.normal(size=90)
Y = X @ (COEF + 0.3) + 0.5 + 0.3 * _rng.normal(size=20)
SOURCE = Source(XS, YS, TASK)
LABELS, L = Source(XS, YS > 0, TASK), Y > 0
THREE = Source(XS, np.digitize(YS, [-1, 1]), TASK)
WEIGHTS = _rng.integers(1, 4, size=90), _rng.integers(1, 4, size=20)
del _rng  # a test draws from a generator of its own
EXACT = LogisticRegression(solver="newton-cholesky", tol=1e-12)
both = pytest.mark.parametrize("kind", [FeatureAugmentation, PredictionFeature])


def fitted(adaptation, estimator=None, source=SOURCE, X=X, y=Y, weight=None, **params):
    return TransferEstimator(estimator, source=source, adaptation=adaptation, **params).fit(
        X, y, weight
    )


def scores(model, X):
    return (model.decision_function if hasattr(model, "decision_function") else model.predict)(X)


# -------------------------------------------------------------------------------- blocks by hand


def blocks(X, domain, common, own, level):
    """Common columns, those of the target (0), and of the sources (1, 2)."""
    parts = [common * X]
    for k in range(3):
        mine = (domain == k)[:, None]
        columns = np.hstack([X, np.ones((len(X), 1))]) if level else X
        parts.append(own * mine * columns)
    return np.hstack(parts)


DOMAIN = np.r_[np.ones(50, int), np.full(40, 2), np.zeros(20, int)]
TARGET = np.zeros(200, int)


@pytest.mark.parametrize("level", [True, False])
@pytest.mark.parametrize("scale", [0.2, 1.0, 5.0])
def test_blocks_by_hand(scale, level):
    factors = min(scale, 1.0), min(1.0 / scale, 1.0)
    table = blocks(np.vstack([XS, X]), DOMAIN, *factors, level)
    later = blocks(AT, TARGET, *factors, level)
    for estimator, source, y in (
        (Ridge(), SOURCE, Y),
        (LinearRegression(fit_intercept=False), SOURCE, Y),
        (Lasso(0.01, tol=1e-10), SOURCE, Y),
        (EXACT, LABELS, L),
        (EXACT, THREE, np.digitize(Y, [-1, 1])),
        (RidgeClassifier(), LABELS, L),
        (KNeighborsRegressor(), SOURCE, Y),
    ):
        wanted = clone(estimator).fit(table, np.concatenate([source.y, y]))
        model = fitted(FeatureAugmentation(scale, level), estimator, source, y=y)
        np.testing.assert_allclose(scores(model, AT), scores(wanted, later), rtol=1e-7)
        if hasattr(model.estimator_, "coef_"):
            assert type(model.estimator_) is type(estimator)
            assert model.estimator_.coef_.shape[-1] == model.estimator_.n_features_in_ == 3
            fresh = clone(model.estimator_).fit(X, y)  # an ordinary estimator
            assert fresh.coef_.shape[-1] == 3
        else:
            assert isinstance(model.estimator_, Pipeline)


def test_other_estimators_keep_the_blocks():
    source, y = Source(XS, np.exp(YS), TASK), np.exp(Y)
    for estimator in (PoissonRegressor(), RandomForestRegressor(9, random_state=0)):
        model = fitted(FeatureAugmentation(1.0), estimator, source, y=y)
        table = blocks(np.vstack([XS, X]), DOMAIN, 1.0, 1.0, True)
        wanted = clone(estimator).fit(table, np.r_[np.exp(YS), y])
        later = blocks(AT, TARGET, 1.0, 1.0, True)
        np.testing.assert_allclose(model.predict(AT), wanted.predict(later))
        again = pickle.loads(pickle.dumps(model.estimator_))
        np.testing.assert_array_equal(again.predict(AT), model.predict(AT))


@both
def test_at_zero_it_is_independent(kind):
    for estimator, source, y in ((Ridge(), SOURCE, Y), (EXACT, LABELS, L)):
        model = fitted(kind(0.0), estimator, source, y=y)
        np.testing.assert_array_equal(scores(model, AT), scores(clone(estimator).fit(X, y), AT))
        assert model.source_weights_.tolist() == [0.0, 0.0]
    near = fitted(kind(1e-9))
    np.testing.assert_allclose(near.predict(AT), Ridge().fit(X, Y).predict(AT), atol=0.2)


def test_at_infinity_blocks_are_pooled():
    pooled = Ridge().fit(np.vstack([XS, X]), np.r_[YS, Y])
    np.testing.assert_allclose(fitted(FeatureAugmentation(np.inf)).predict(AT), pooled.predict(AT))
    near = fitted(FeatureAugmentation(1e9))
    np.testing.assert_allclose(near.predict(AT), pooled.predict(AT), rtol=1e-5)
    assert near.source_weights_.tolist() == [1.0, 1.0]


# --------------------------------------------------------------------------- predictions by hand


def said(estimator, source, method, X):
    """What the sources' models say, with mean zero and variance one over their rows."""
    columns = []
    for k in range(2):
        rows = slice(*source.offsets[k : k + 2])
        model = clone(estimator).fit(source.X[rows], source.y[rows])
        ours, theirs = (getattr(model, method)(A).reshape(len(A), -1) for A in (X, source.X[rows]))
        if method == "predict_proba" and ours.shape[1] == 2:
            ours, theirs = ours[:, 1:], theirs[:, 1:]
        columns.append((ours - theirs.mean(0)) / theirs.std(0))
    return np.hstack(columns)


@pytest.mark.parametrize("scale", [0.2, 1.0, 5.0, np.inf])
def test_predictions_by_hand(scale):
    theirs, own = min(scale, 1.0), min(1.0 / scale, 1.0)
    logits, chances = "decision_function", "predict_proba"
    three = np.digitize(Y, [-1, 1])
    for estimator, source, y, response, method, plain in (
        (Ridge(), SOURCE, Y, "auto", "predict", True),
        (LinearRegression(fit_intercept=False), SOURCE, Y, "auto", "predict", True),
        (KNeighborsRegressor(), SOURCE, Y, "auto", "predict", False),
        (EXACT, LABELS, L, "auto", logits, True),
        (EXACT, LABELS, L, chances, chances, False),
        (EXACT, THREE, three, logits, logits, True),
        (EXACT, THREE, three, chances, chances, False),
        (LinearSVC(random_state=0, tol=1e-10, max_iter=100_000), LABELS, L, "auto", logits, True),
        (KNeighborsClassifier(), LABELS, L, "auto", chances, False),
    ):
        if scale == np.inf and isinstance(estimator, LinearRegression):
            continue  # columns of zeros
        model = fitted(PredictionFeature(scale, response), estimator, source, y=y)
        tables = [np.hstack([own * A, theirs * said(estimator, source, method, A)])
                  for A in (X, AT)]  # fmt: skip
        wanted = clone(estimator).fit(tables[0], y)
        ask = chances if isinstance(estimator, KNeighborsClassifier) else None
        ours, reference = (
            getattr(m, ask)(A) if ask else scores(m, A)
            for m, A in ((model, AT), (wanted, tables[1]))
        )
        np.testing.assert_allclose(ours, reference, rtol=1e-6, atol=1e-8)
        if plain:
            assert type(model.estimator_) is type(estimator)
            assert model.estimator_.coef_.shape[-1] == 3
        else:
            assert isinstance(model.estimator_, Pipeline)


def test_labels_of_the_source_may_be_in_other_units():
    one = fitted(PredictionFeature(3.0))
    two = fitted(PredictionFeature(3.0), source=Source(XS, 5.0 - 1e4 * YS, TASK))
    # Only the sources' own penalty does not change with the units, and it is linear.
    np.testing.assert_allclose(one.predict(AT), two.predict(AT))
    three = fitted(PredictionFeature(3.0), source=Source(XS, 1e4 * YS, TASK), y=1e4 * Y)
    np.testing.assert_allclose(1e4 * one.predict(AT), three.predict(AT))


def test_a_source_of_one_class_says_nothing():
    labels = YS > 0
    labels[TASK == "b"] = True
    model = fitted(PredictionFeature(2.0), EXACT, Source(XS, labels, TASK), y=L)
    first = fitted(PredictionFeature(2.0), EXACT, Source(XS[:50], labels[:50]), y=L)
    np.testing.assert_allclose(model.predict_proba(AT), first.predict_proba(AT))
    assert model.source_weights_.tolist() == [1.0, 0.0]
    nothing = fitted("prediction_feature", EXACT, Source(XS, np.ones(90, bool)), y=L)
    np.testing.assert_allclose(nothing.predict_proba(AT), EXACT.fit(X, L).predict_proba(AT))
    assert nothing.source_weights_.tolist() == [0.0]


def test_a_source_that_is_always_wrong_is_useful(rng):
    X, y = rng.normal(size=(15, 20)), None
    coef = rng.normal(size=20)
    XS, AT = rng.normal(size=(300, 20)), rng.normal(size=(500, 20))
    y = X @ coef + rng.normal(size=15)
    opposite = Source(XS, -(XS @ coef) + rng.normal(size=300))
    model = fitted("prediction_feature", source=opposite, X=X, y=y)
    assert model.score(AT, AT @ coef) > 0.9 > Ridge().fit(X, y).score(AT, AT @ coef)
    told = fitted("feature_augmentation", source=opposite, X=X, y=y)
    assert told.score(AT, AT @ coef) > Ridge().fit(X, y).score(AT, AT @ coef) - 0.1


# ------------------------------------------------------------------------------------ the choice


@both
def test_the_choice_by_hand(kind):
    cv = KFold(4)
    for estimator, source, y in ((Ridge(), SOURCE, Y), (EXACT, LABELS, L)):
        model = fitted(kind(), estimator, source, y=y, cv=cv, n_jobs=2)
        grid, error = model.history_["scale"], model.history_["error"]
        assert grid[0] == np.inf and grid[-1] == 0.0 and len(grid) == 7
        for scale in (np.inf, 1.0, 0.0):
            missed = []
            for train, test in cv.split(X):
                fixed = fitted(kind(scale), estimator, source, X[train], y[train])
                if estimator is EXACT:
                    p = fixed.predict_proba(X[test])
                    missed.append(-np.log(p[np.arange(len(test)), y[test].astype(int)]))
                else:
                    missed.append((y[test] - fixed.predict(X[test])) ** 2)
            wanted = np.concatenate(missed).mean()
            np.testing.assert_allclose(error[list(grid).index(scale)], wanted, rtol=1e-6)
        fixed = fitted(kind(grid[np.argmin(error)]), estimator, source, y=y)
        np.testing.assert_allclose(scores(model, AT), scores(fixed, AT))


def test_target_rows_that_lack_classes():
    one = np.ones(20, bool)
    model = fitted("feature_augmentation", EXACT, LABELS, y=one)
    assert 0.0 not in model.history_["scale"] and model.predict_proba(AT).shape == (200, 2)
    rare = np.arange(20) > 0
    model = fitted("prediction_feature", EXACT, LABELS, y=rare, cv=KFold(5))
    assert len(model.history_["error"]) == 7
    with pytest.raises(ValueError, match="y has one class only, True, but the adaptation Pred"):
        fitted("prediction_feature", EXACT, LABELS, y=one)
    assert fitted("feature_augmentation", X=X[:1], y=Y[:1]).history_ == {}


# --------------------------------------------------------------------- weights, tables, bad input


@both
@pytest.mark.parametrize("scale", [0.0, 2.0, np.inf])
def test_weights_are_repeated_rows(kind, scale):
    of_source, of_target = WEIGHTS
    source = Source(XS, YS, TASK, sample_weight=of_source)
    weighted = fitted(kind(scale), source=source, weight=of_target)
    repeated = fitted(
        kind(scale),
        source=Source(*(np.repeat(A, of_source, axis=0) for A in (XS, YS, TASK))),
        X=np.repeat(X, of_target, axis=0), y=np.repeat(Y, of_target),
    )  # fmt: skip
    np.testing.assert_allclose(weighted.predict(AT), repeated.predict(AT))
    plain = fitted(kind(scale))
    assert np.abs(plain.predict(AT) - weighted.predict(AT)).max() > 1e-3
    of_target = np.where(np.arange(20) < 5, 0, of_target)
    some = fitted(kind(scale), source=source, weight=of_target)
    rest = fitted(kind(scale), source=source, X=X[5:], y=Y[5:], weight=of_target[5:])
    np.testing.assert_allclose(some.predict(AT), rest.predict(AT))


@both
@pytest.mark.parametrize("estimator", [Ridge(tol=1e-12), KNeighborsRegressor()])
def test_sparse_rows(kind, estimator):
    thin, thin_source = sparse.csr_array(X), Source(sparse.csr_array(XS), YS, TASK)
    for scale in (0.0, 2.0, np.inf):
        dense = fitted(kind(scale), estimator)
        model = fitted(kind(scale), estimator, thin_source, thin)
        np.testing.assert_allclose(model.predict(AT), dense.predict(AT), rtol=1e-6)
        np.testing.assert_allclose(model.predict(sparse.csr_array(AT)), model.predict(AT))


@both
def test_sparse_rows_stay_sparse(kind):
    class Spy(Ridge):
        def fit(self, X, y, sample_weight=None):
            assert sparse.issparse(X) and X.format == "csr"
            return super().fit(X, y, sample_weight)

    fitted(kind(), Spy(), Source(sparse.csr_array(XS), YS, TASK), sparse.csr_array(X))


@both
def test_frames_and_what_is_deployed(kind):
    frame, others = (pd.DataFrame(A.copy(), columns=list("pqr")) for A in (X, XS))
    frame["kind"], others["kind"] = np.where(Y > 0, "x", "y"), np.where(YS > 0, "x", "y")
    frame.iloc[::7, 1] = np.nan
    source = Source(others[["kind", "r", "q", "p"]], YS, TASK)
    model = fitted(kind(), source=source, X=frame, preprocessor="auto")
    again = pickle.loads(pickle.dumps(model.estimator_))
    np.testing.assert_array_equal(again.predict(frame), model.predict(frame))
    labels = fitted(kind(), RandomForestClassifier(9, random_state=0), LABELS, y=L)
    assert labels.predict_proba(AT).shape == (200, 2)
    assert labels.estimator_.classes_.tolist() == [False, True]


@both
def test_order_of_source_rows_does_not_matter(kind, rng):
    order = rng.permutation(90)
    shuffled = fitted(kind(), source=Source(XS[order], YS[order], TASK[order]))
    np.testing.assert_allclose(shuffled.predict(AT), fitted(kind()).predict(AT))


@pytest.mark.parametrize(
    ("adaptation", "said"),
    [
        (FeatureAugmentation(-1.0), "scale=-1.0 must be 'auto' or a number from 0 to infinity"),
        (FeatureAugmentation(np.nan), "scale=nan must be"),
        (PredictionFeature("much"), "scale='much' must be"),
        (PredictionFeature(True), "scale=True must be"),
        (FeatureAugmentation(1.0, "no"), "own_level='no' must be True or False"),
        (PredictionFeature(1.0, "predict"), "response_method='predict' must be 'auto', 'deci"),
    ],
)
def test_bad_parameters(adaptation, said):
    with pytest.raises(ValueError, match=said):
        fitted(adaptation)


@both
def test_labels_are_needed(kind):
    with pytest.raises(ValueError, match=f"{kind.__name__} requires y to be passed"):
        TransferEstimator(source=SOURCE, adaptation=kind()).fit(X)


def test_responses_that_the_estimator_has_not():
    with pytest.raises(
        ValueError, match="needs predict_proba, which estimator=Perceptron does not have"
    ):
        fitted(PredictionFeature(1.0, "predict_proba"), Perceptron(), LABELS, y=L)
    assert fitted("prediction_feature", Perceptron(), LABELS, y=L).score(X, L) > 0.5
    wide = "response_method='decision_function' needs decision_function, which .*KNeighbors"
    with pytest.raises(ValueError, match=wide):
        fitted(PredictionFeature(1.0, "decision_function"), KNeighborsClassifier(), LABELS, y=L)


def test_names():
    assert BY_NAME["feature_augmentation"] is FeatureAugmentation
    assert BY_NAME["prediction_feature"] is PredictionFeature
