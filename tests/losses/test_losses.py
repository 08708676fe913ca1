"""Losses, against explicit formulas and finite differences."""

import copy
import pickle

import numpy as np
import pytest
from scipy.special import log_softmax, softmax

from skmtl.losses import LOG_LOSS, SQUARED_ERROR
from skmtl.losses.per_task import BY_NAME

CASES = [(SQUARED_ERROR, 1), (SQUARED_ERROR, 3), (LOG_LOSS, 1), (LOG_LOSS, 2), (LOG_LOSS, 4)]


def draw(loss, n_scores, rng, n=20):
    scores = 3.0 * rng.normal(size=(n, n_scores))
    if loss is SQUARED_ERROR:
        return scores, rng.normal(size=scores.shape)
    if n_scores == 1:
        return scores, rng.integers(0, 2, size=scores.shape).astype(float)
    return scores, np.eye(n_scores)[rng.integers(0, n_scores, size=n)]


@pytest.mark.parametrize(("loss", "n_scores"), CASES)
def test_values_by_hand(loss, n_scores, rng):
    scores, target = draw(loss, n_scores, rng)
    if loss is SQUARED_ERROR:
        wanted = 0.5 * ((scores - target) ** 2).sum(axis=1)
    elif n_scores == 1:
        p = 1.0 / (1.0 + np.exp(-scores[:, 0]))
        wanted = -np.log(np.where(target[:, 0] == 1.0, p, 1.0 - p))
    else:
        wanted = -(target * log_softmax(scores, axis=1)).sum(axis=1)
    np.testing.assert_allclose(loss.value(scores, target), wanted, rtol=1e-10)


@pytest.mark.parametrize(("loss", "n_scores"), CASES)
def test_derivatives_by_finite_differences(loss, n_scores, rng):
    scores, target = draw(loss, n_scores, rng)
    moved, h = rng.normal(size=scores.shape), 1e-5
    up, down = scores + h * moved, scores - h * moved
    slope = (loss.value(up, target) - loss.value(down, target)) / (2.0 * h)
    gradient = loss.gradient(scores, target)
    np.testing.assert_allclose((gradient * moved).sum(axis=1), slope, rtol=1e-6, atol=1e-8)
    bend = (loss.gradient(up, target) - loss.gradient(down, target)) / (2.0 * h)
    np.testing.assert_allclose(loss.curve(loss.means(scores), moved), bend, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize(("loss", "n_scores"), CASES)
def test_any_axis(loss, n_scores, rng):
    scores, target = draw(loss, n_scores, rng)
    np.testing.assert_allclose(
        loss.value(scores.T, target.T, axis=0), loss.value(scores, target), rtol=1e-13
    )
    np.testing.assert_allclose(
        loss.gradient(scores.T, target.T, axis=0).T, loss.gradient(scores, target), atol=1e-15
    )


def test_probabilities(rng):
    scores = 50.0 * rng.normal(size=(30, 3))
    np.testing.assert_allclose(
        np.exp(LOG_LOSS.log_probabilities(scores)), softmax(scores, axis=1), atol=1e-15
    )
    odds = rng.normal(size=(30, 1))
    p = np.exp(LOG_LOSS.log_probabilities(odds))
    np.testing.assert_allclose(p[:, 1:], LOG_LOSS.means(odds), rtol=1e-14)
    np.testing.assert_allclose(p.sum(axis=1), 1.0, rtol=1e-14)


def test_scores_without_bound():
    assert LOG_LOSS.value(np.array([[800.0]]), np.array([[1.0]]))[0] == 0.0
    assert LOG_LOSS.value(np.array([[-800.0]]), np.array([[1.0]]))[0] == 800.0
    log = LOG_LOSS.log_probabilities(np.array([[0.0, 900.0, -np.inf]]))  # beyond a task's classes
    np.testing.assert_array_equal(log, [[-900.0, 0.0, -np.inf]])


@pytest.mark.parametrize("name", BY_NAME)
def test_copies_are_the_loss_itself(name):
    """As the package compares losses by identity; those with parameters by their values."""
    loss = BY_NAME[name]
    for copied in (pickle.loads(pickle.dumps(loss)), copy.deepcopy(loss)):
        assert copied == loss and (
            copied is loss or name in ("huber", "absolute_error", "quantile")
        )
