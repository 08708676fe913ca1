"""Logistic kernels against their readable twins."""

import numpy as np
import pytest
import reference

from skmtl.kernels import logistic as kernels

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


@pytest.mark.parametrize("scale", [0.0, 1.0, 10.0])
def test_working(scale):
    rng = np.random.default_rng(1)
    score, offset = scale * rng.normal(size=12), rng.normal(size=12)
    y, weight = rng.integers(2, size=12).astype(float), rng.uniform(0.5, 2.0, size=12)
    w, z, loss = np.empty(12), np.empty(12), np.empty(4)
    for a, b in ((0, 3), (3, 4)):
        kernels.working(a, b, OFFSETS, y, weight, score, offset, w, z, loss)
    wanted = reference.working(y, weight, score, offset, kernels._FLOOR)
    np.testing.assert_allclose(w, wanted[0], rtol=1e-9)  # limited by 1 - p, with p nearly 1
    np.testing.assert_allclose(w * (z - score), wanted[1], rtol=1e-8, atol=1e-12)
    by_task = [wanted[2][i:j].sum() for i, j in zip(OFFSETS[:-1], OFFSETS[1:], strict=True)]
    np.testing.assert_allclose(loss, by_task, rtol=1e-9)


def test_working_is_the_derivatives_of_the_loss():
    step, zero = 1e-5, np.zeros(12)
    score = np.linspace(-3.0, 3.0, 12)
    y, weight = (np.arange(12) % 2).astype(float), np.ones(12)
    each = np.arange(13)  # one task per row
    losses = []
    for moved in (-step, 0.0, step):
        w, z, loss = np.empty(12), np.empty(12), np.empty(12)
        kernels.working(0, 12, each, y, weight, score + moved, zero, w, z, loss)
        losses.append(loss.copy())
    kernels.working(0, 12, each, y, weight, score, zero, w, z, loss)
    np.testing.assert_allclose(-w * (z - score), (losses[2] - losses[0]) / (2 * step), atol=1e-8)
    second = (losses[2] - 2 * losses[1] + losses[0]) / step**2
    np.testing.assert_allclose(w, second, atol=1e-4)


@pytest.mark.parametrize("far", [-800.0, 800.0])
def test_far_scores_stay_finite(far):
    y, one = np.array([0.0, 1.0]), np.ones(2)
    w, z, loss = np.empty(2), np.empty(2), np.empty(2)
    kernels.working(0, 2, np.array([0, 1, 2]), y, one, np.full(2, far), np.zeros(2), w, z, loss)
    assert np.isfinite(w).all() and np.isfinite(z).all() and (w >= kernels._FLOOR).all()
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
