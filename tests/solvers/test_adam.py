"""Adam: the update, early stopping, and the result of a run that fails or is interrupted."""

import numpy as np
import pytest
from sklearn.exceptions import ConvergenceWarning

from skmtl.solvers.adam import adam, steps_along


def bowl(centre=3.0):
    def gradient(x, step, out):
        out[:] = 2 * (x - centre)
        return float(((x - centre) ** 2).sum())

    return gradient


def loss_at(centre):
    return lambda x: {"held_out_loss": float(((x - centre) ** 2).sum()), "twice": 2 * x[:2]}


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_update(dtype):
    rng = np.random.default_rng(0)
    gradients = rng.normal(size=(5, 4)).astype(dtype)

    def gradient(x, step, out):
        out[:] = gradients[step]
        return 0.0

    start = rng.normal(size=4).astype(dtype)
    result = adam(start, steps_along(gradient, 0.1), max_iter=5, check_every=2)
    x, m, v = start.astype(np.float64), 0.0, 0.0
    for t, g in enumerate(gradients.astype(np.float64), 1):
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g**2
        x = x - 0.1 * m / (1 - 0.9**t) / (np.sqrt(v / (1 - 0.999**t)) + 1e-8)
    np.testing.assert_allclose(result.x, x, atol=1e-11 if dtype == np.float64 else 1e-5)
    assert result.x.dtype == dtype and result.n_iter == 5 and result.stopped == "max_iter"
    assert result.history["step"].tolist() == [0, 2, 4, 5]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_running_mean_is_returned(dtype):
    gradients = np.random.default_rng(0).normal(size=(40, 4)).astype(dtype)

    def gradient(x, step, out):
        out[:] = gradients[step]
        return 0.0

    start, average = np.ones(4, dtype), 1.0
    for t in range(1, 41):
        x = adam(start, steps_along(gradient, 0.1), max_iter=t).x.astype(np.float64)
        keep = min(0.7, t / (t + 30))
        average = keep * average + (1 - keep) * x
    seen = []

    def held_out(x):
        seen.append(x.copy())
        return {"held_out_loss": -len(seen)}

    for options in ({}, {"held_out": held_out}):
        result = adam(start, steps_along(gradient, 0.1, 0.7), max_iter=40, **options)
        np.testing.assert_allclose(result.x, average, atol=1e-11 if dtype == np.float64 else 1e-6)
        assert result.x.dtype == dtype and (result.x != x).all()
    np.testing.assert_array_equal(seen[-1], result.x)


def test_a_running_mean_is_nearer_than_noisy_steps():
    noise = np.random.default_rng(0).normal(size=(6_000, 50))

    def gradient(x, step, out):
        out[:] = 2 * (x - 3.0) + 4 * noise[step]
        return 0.0

    ends = [
        adam(np.zeros(50), steps_along(gradient, 0.05, average), max_iter=6_000).x
        for average in (0.0, 0.998)
    ]
    last, mean = (np.abs(x - 3.0).mean() for x in ends)
    assert mean < 0.5 * last


def test_the_start_is_not_modified():
    start = np.zeros(3)
    result = adam(start, steps_along(bowl(), 0.1), max_iter=300)
    np.testing.assert_allclose(result.x, 3.0, atol=1e-3)
    assert (start == 0).all()


def test_stops_when_the_held_out_loss_rises_and_keeps_the_best():
    result = adam(
        np.zeros(3), steps_along(bowl(), 0.01), max_iter=10_000, held_out=loss_at(1.0),
        check_every=10, patience=3,
    )  # fmt: skip
    history = result.history
    best = history["held_out_loss"].argmin()
    assert result.stopped == "no_change" and result.n_iter == history["step"][best] + 30
    np.testing.assert_allclose(((result.x - 1.0) ** 2).sum(), history["held_out_loss"][best])
    assert history["held_out_loss"][-1] > history["held_out_loss"][best]
    assert history["twice"].shape == (len(history["step"]), 2)
    assert np.isnan(history["train_loss"][0]) and np.isfinite(history["train_loss"][1:]).all()


def test_tol_is_the_least_improvement_that_counts():
    ends = [
        adam(
            np.zeros(1), steps_along(bowl(), 0.1), max_iter=5_000, held_out=loss_at(3.0),
            check_every=10, patience=2, tol=tol,
        ).n_iter
        for tol in (0.0, 1.0)
    ]  # fmt: skip
    assert ends[1] < ends[0]


def test_ctrl_c_keeps_the_best():
    def gradient(x, step, out):
        if step == 25:
            raise KeyboardInterrupt
        return bowl()(x, step, out)

    with pytest.warns(UserWarning, match="Interrupted after step 20"):
        result = adam(
            np.zeros(1), steps_along(gradient, 0.1), max_iter=100, held_out=loss_at(3.0),
            check_every=10,
        )  # fmt: skip
    assert result.stopped == "interrupted" and result.n_iter == 20
    np.testing.assert_allclose((result.x[0] - 3.0) ** 2, result.history["held_out_loss"][-1])


def test_overflow_keeps_the_best():
    def gradient(x, step, out):
        out[:] = np.nan if step >= 15 else 1.0
        return float(x[0])

    with pytest.warns(ConvergenceWarning, match="between steps 10 and 20"):
        result = adam(np.zeros(1), steps_along(gradient, 0.1), max_iter=100, check_every=10)
    assert result.stopped == "diverged" and result.n_iter == 10
    assert np.isfinite(result.x).all() and result.x[0] < 0


def test_progress_is_told():
    said = []
    adam(
        np.zeros(1), steps_along(bowl(), 0.1), max_iter=20, held_out=loss_at(3.0), check_every=10,
        progress=said.append,
    )  # fmt: skip
    assert len(said) == 2 and said[0].startswith("step 10: train loss ")
    assert "held out loss" in said[1]


def test_a_function_may_stop_the_run():
    seen = []

    def stop(entry):
        seen.append(entry["step"])
        return entry["step"] == 20

    result = adam(np.zeros(1), steps_along(bowl(), 0.1), max_iter=100, check_every=10, stop=stop)
    assert seen == [10, 20] and result.n_iter == 20 and result.stopped == "callback"
