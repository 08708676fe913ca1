"""Kernels of Newton's method against their readable twins."""

import itertools

import numpy as np
import pytest
import reference

from skmtl.kernels import newton as kernels

OFFSETS = np.array([0, 4, 4, 5, 12])


def rows(p=3, seed=0):
    rng = np.random.default_rng(seed)
    X, order = rng.normal(size=(20, p)), rng.permutation(20)[:12]
    return X, order, rng.normal(size=(4, p)), rng.normal(size=4)


@pytest.mark.parametrize("p", [1, 3, 20])
def test_linear_scores(p):
    X, order, coef, intercept = rows(p)
    out = np.full(12, np.nan)
    for a, b in ((0, 2), (2, 4)):  # in two calls, as by threads
        kernels.linear_scores(a, b, X, order, OFFSETS, coef, intercept, out)
    codes = np.repeat(np.arange(4), np.diff(OFFSETS))
    np.testing.assert_allclose(out, (X[order] * coef[codes]).sum(1) + intercept[codes])


LOSSES = {
    "log_loss": kernels.LossCode(kernels.LOG_LOSS, 0.0, 0.0, 0.0),
    "poisson": kernels.LossCode(kernels.POISSON, 0.0, 0.0, 0.0),
    "gamma": kernels.LossCode(kernels.GAMMA, 0.0, 0.0, 0.0),
    "huber": kernels.LossCode(kernels.HUBER, 0.7, 0.0, 0.0),
    "quantile": kernels.LossCode(kernels.PINBALL, 0.8, 0.2, 0.0),
    "smoothed": kernels.LossCode(kernels.PINBALL, 0.8, 0.2, 0.5),
}


def working(loss, offsets, y, weight, score, offset, parts=None):
    """Return working weights, responses and losses, from one call or several."""
    out = kernels.Working(np.empty(len(y)), np.empty(len(y)), np.empty(len(offsets) - 1))
    for a, b in parts or [(0, len(offsets) - 1)]:
        kernels.working(a, b, offsets, loss, kernels.ScoredRows(y, weight, score, offset), out)
    return out.w, out.z, out.loss


def targets(name, rng, n=12):
    if name == "log_loss":
        return rng.integers(2, size=n).astype(float)
    if name == "poisson":
        return rng.poisson(2.0, size=n).astype(float)
    return rng.gamma(2.0, size=n) if name == "gamma" else 2.0 * rng.normal(size=n)


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("scale", [0.0, 1.0, 10.0])
def test_working(name, scale):
    rng = np.random.default_rng(1)
    score, offset = scale * rng.normal(size=12), rng.normal(size=12)
    y, weight = targets(name, rng), rng.uniform(0.5, 2.0, size=12)
    w, z, loss = working(LOSSES[name], OFFSETS, y, weight, score, offset, [(0, 3), (3, 4)])
    wanted = reference.working(name, LOSSES[name], y, weight, score, offset, kernels.FLOOR)
    np.testing.assert_allclose(w, wanted[0], rtol=1e-9)  # limited by 1 - p, with p nearly 1
    np.testing.assert_allclose(w * (z - score), wanted[1], rtol=1e-8, atol=1e-12)
    by_task = [wanted[2][i:j].sum() for i, j in itertools.pairwise(OFFSETS)]
    np.testing.assert_allclose(loss, by_task, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", LOSSES)
def test_working_is_the_derivatives_of_the_loss(name):
    """Or of a parabola that touches it from above."""
    rng, step, nothing = np.random.default_rng(3), 1e-5, np.zeros(12)
    score, weight, each = np.linspace(-3.0, 3.0, 12), np.ones(12), np.arange(13)  # a task per row
    y = targets(name, rng)
    losses = [
        working(LOSSES[name], each, y, weight, score + moved, nothing)[2]
        for moved in (-step, 0.0, step)
    ]
    w, z, here = working(LOSSES[name], each, y, weight, score, nothing)
    np.testing.assert_allclose(-w * (z - score), (losses[2] - losses[0]) / (2 * step), atol=1e-7)
    if name in ("log_loss", "poisson", "gamma"):
        second = (losses[2] - 2 * losses[1] + losses[0]) / step**2
        np.testing.assert_allclose(w, second, atol=2e-4)
        return
    for move in (-2.0, -0.3, 0.1, 1.0, 4.0):
        there = working(LOSSES[name], each, y, weight, score + move, nothing)[2]
        assert (there <= here - w * (z - score) * move + 0.5 * w * move**2 + 1e-12).all()


@pytest.mark.parametrize("far", [-800.0, 800.0])
def test_far_scores_stay_finite(far):
    y, one = np.array([0.0, 1.0]), np.ones(2)
    each = np.array([0, 1, 2])
    w, z, loss = working(LOSSES["log_loss"], each, y, one, np.full(2, far), np.zeros(2))
    assert np.isfinite(w).all() and np.isfinite(z).all() and (w >= kernels.FLOOR).all()
    np.testing.assert_allclose(np.sort(loss), [0.0, 800.0], atol=1e-9)


@pytest.mark.parametrize("p", [1, 3, 20])
def test_weighted_rows(p):
    X, order, _, _ = rows(p)
    factor = np.random.default_rng(2).normal(size=12)
    out = np.full((4, p), np.nan)
    for a, b in ((0, 2), (2, 4)):
        kernels.weighted_rows(a, b, X, order, OFFSETS, factor, out)
    wanted = reference.weighted_rows(X, order, OFFSETS, factor)
    np.testing.assert_allclose(out, wanted, rtol=1e-12, atol=1e-12)
