"""Independent and Pooled: what a target row counts, and how that is chosen."""

import checks
import numpy as np
import pytest
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.compose import TransformedTargetRegressor
from sklearn.dummy import DummyRegressor
from sklearn.ensemble import StackingRegressor, VotingRegressor
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import KFold
from sklearn.neighbors import KNeighborsRegressor

from skmtl import Source, TransferEstimator
from skmtl.adaptation import (
    BY_NAME,
    Independent,
    Pooled,
)  # fmt: skip
from skmtl.adaptation.evaluation import row_errors
from skmtl.tasks.targets import align_classes

_rng = np.random.default_rng(1)
COEF = np.array([1.0, -2.0, 0.5])
XS, X, AT = _rng.normal(size=(200, 3)), _rng.normal(size=(20, 3)), _rng.normal(size=(500, 3))
NOISE = 0.3
YS, Y = XS @ COEF + NOISE * _rng.normal(size=200), X @ COEF + NOISE * _rng.normal(size=20)
del _rng  # a test draws from a generator of its own


def pooled(target_weight="auto", estimator=None, source=None, **params):
    source = Source(XS, YS) if source is None else source
    return TransferEstimator(estimator, source=source, adaptation=Pooled(target_weight), **params)


def test_names():
    assert BY_NAME["independent"] is Independent and BY_NAME["pooled"] is Pooled


@pytest.mark.parametrize("weight", [0.5, 1.0, 8.0])
def test_a_target_row_counts_for_so_many_source_rows(weight):
    model = pooled(weight).fit(X, Y)
    rows = np.concatenate([np.full(200, 1 / weight), np.ones(20)])
    by_hand = Ridge().fit(np.vstack([XS, X]), np.concatenate([YS, Y]), rows)
    np.testing.assert_allclose(model.estimator_.coef_, by_hand.coef_)
    np.testing.assert_array_equal(model.source_weights_, [1 / weight])
    assert model.history_ == {}


def test_limits():
    alone, together = Ridge().fit(X, Y), Ridge().fit(np.vstack([XS, X]), np.concatenate([YS, Y]))
    np.testing.assert_allclose(pooled(1e9).fit(X, Y).predict(AT), alone.predict(AT), rtol=1e-5)
    np.testing.assert_allclose(pooled(1.0).fit(X, Y).predict(AT), together.predict(AT))


def test_the_choice_by_hand():
    cv = KFold(4)
    model = pooled(cv=cv).fit(X, Y)
    grid, error = model.history_["target_weight"], model.history_["error"]
    assert grid[0] == 1.0 and np.isclose(grid[-1], 200 / 2) and len(grid) == 5
    np.testing.assert_allclose(np.diff(np.log(grid)), np.log(grid[1]))
    for weight, wanted in zip(grid, error, strict=True):
        missed = []
        for train, test in cv.split(X):
            fixed = pooled(weight).fit(X[train], Y[train])
            missed.append((Y[test] - fixed.predict(X[test])) ** 2)
        np.testing.assert_allclose(np.concatenate(missed).mean(), wanted)
    assert model.source_weights_ == [1 / grid[np.argmin(error)]]
    fixed = pooled(grid[np.argmin(error)]).fit(X, Y)
    np.testing.assert_allclose(model.predict(AT), fixed.predict(AT))


def test_it_chooses_to_share_what_helps_and_not_what_harms():
    truth = AT @ COEF

    def miss(model):
        return np.mean((model.fit(X, Y).predict(AT) - truth) ** 2)

    alone = miss(Ridge())
    assert miss(pooled()) < 0.5 * alone
    wrong = Source(XS, -YS)
    assert miss(pooled(1.0, source=wrong)) > 10 * alone
    assert miss(pooled(source=wrong)) < miss(pooled(1.0, source=wrong)) / 10


def test_jobs_do_not_matter():
    one, two = pooled(n_jobs=None).fit(X, Y), pooled(n_jobs=2).fit(X, Y)
    np.testing.assert_array_equal(one.history_["error"], two.history_["error"])


def test_classes_are_judged_by_log_loss():
    source, y = Source(XS, YS > 0), Y > 0
    cv = KFold(4)
    model = pooled(estimator=LogisticRegression(), source=source, cv=cv).fit(X, y)
    losses = []
    for train, test in cv.split(X):
        p = pooled(1.0, LogisticRegression(), source).fit(X[train], y[train]).predict_proba(X[test])
        losses.append(-np.log(p[np.arange(len(test)), y[test].astype(int)]))
    np.testing.assert_allclose(model.history_["error"][0], np.concatenate(losses).mean())


# ------------------------------------------------------------- estimators that take no weights


class Mean(RegressorMixin, BaseEstimator):
    """The mean of y; takes no weights."""

    def fit(self, X, y):
        self.mean_, self.n_rows_ = y.mean(), len(y)
        return self

    def predict(self, X):
        return np.full(len(X), self.mean_)


def test_target_rows_are_repeated_where_the_estimator_takes_no_weights():
    model = pooled(3, Mean()).fit(X, Y)
    assert model.estimator_.n_rows_ == 200 + 3 * 20
    weighted = pooled(3, DummyRegressor()).fit(X, Y)
    np.testing.assert_allclose(model.predict(X), weighted.predict(X))
    chosen = pooled(estimator=Mean()).fit(X, Y)
    grid = chosen.history_["target_weight"]
    np.testing.assert_array_equal(grid, np.rint(grid))
    assert pooled(1, Mean()).fit(X, Y).estimator_.n_rows_ == 220
    assert pooled(2, KNeighborsRegressor()).fit(X, Y).score(X, Y) > 0.5


@pytest.mark.parametrize("weight", [0.5, 2.5])
def test_rows_are_repeated_a_whole_number_of_times(weight):
    with pytest.raises(ValueError, match="needs sample_weight in fit, which estimator=Mean.*whole"):
        pooled(weight, Mean()).fit(X, Y)


def test_estimators_that_hand_weights_on():
    voting = VotingRegressor([("a", Ridge(0.1)), ("b", Ridge(10.0))])
    model = pooled(5.0, voting).fit(X, Y)
    parts = [pooled(5.0, ridge).fit(X, Y).predict(AT) for _, ridge in voting.estimators]
    np.testing.assert_allclose(model.predict(AT), np.mean(parts, axis=0))
    assert pooled(2.0, StackingRegressor([("a", Ridge())])).fit(X, Y).score(X, Y) > 0.8
    near = VotingRegressor([("a", KNeighborsRegressor())])
    with pytest.raises(TypeError) as raised:
        pooled(5.0, near).fit(X, Y)
    if checks.SKLEARN >= (
        1,
        7,
    ):  # which refuses before anything is fitted, so that we can add a note
        assert "TransferEstimator within VotingRegressor rather than" in raised.value.__notes__[0]
    assert pooled(1, near).fit(X, Y).score(X, Y) > 0.5


def test_a_transformed_target_is_weighed():
    log = {"func": np.log, "inverse_func": np.exp}
    source = Source(XS, np.exp(YS))
    model = pooled(5.0, TransformedTargetRegressor(Ridge(), **log), source).fit(X, np.exp(Y))
    np.testing.assert_allclose(np.log(model.predict(AT)), pooled(5.0).fit(X, Y).predict(AT))
    assert len(pooled(estimator=TransformedTargetRegressor()).fit(X, Y).history_["error"]) > 1


# --------------------------------------------------------------------------------- judging rows


def test_scores_of_some_classes():
    have, wanted = np.array(["b", "d"]), np.array(["a", "b", "d"])
    two = align_classes(np.array([[0.2, 0.8]]), have, wanted, 0.0)
    np.testing.assert_array_equal(two, [[0.0, 0.2, 0.8]])
    one = align_classes(np.array([1.5]), have, wanted, -9.0)
    np.testing.assert_array_equal(one, [[-9.0, -1.5, 1.5]])


def test_a_class_that_the_model_does_not_know_costs_much():
    model = LogisticRegression().fit(X, Y > 0)
    errors = row_errors(model, X[:2], np.array([2, 1]), np.array([0, 1, 2]))
    assert np.isclose(errors[0], -np.log(np.finfo(float).eps)) and errors[1] < 5
