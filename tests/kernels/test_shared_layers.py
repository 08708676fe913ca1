"""The kernels of shared hidden layers against their twin, and against finite differences."""

import itertools

import numpy as np
import pytest
import reference

from skmtl.kernels import mlp
from skmtl.kernels import shared_layers as kernel

SIZES = [(3, 5), (3, 6, 4), (2, 9, 7, 3)]
N_TASKS = 3


class Problem:
    """A batch of rows with up to three labels each, and random parameters, in float64."""

    def __init__(self, sizes, activation, rng, n=7, weight=None):
        self.sizes, self.activation = np.array(sizes), activation
        self.width = sizes[-1] + 1
        n_layers = kernel.n_layer_parameters(self.sizes)
        self.x = 0.7 * rng.normal(size=n_layers + (N_TASKS + 1) * self.width)
        self.X = rng.normal(size=(n, sizes[0]))
        self.losses = np.array([0, 1, 0])
        self.labels = []
        for row in range(n):
            for t in rng.permutation(N_TASKS)[: 1 + row % N_TASKS]:
                y = rng.integers(2) if self.losses[t] else rng.normal()
                self.labels.append((row, t, float(y), 1.0 + rng.integers(3)))
        self.tasks = kernel.Tasks(
            self.losses, rng.uniform(0.5, 2.0, N_TASKS), rng.uniform(0.0, 0.3, N_TASKS)
        )
        self.settings = kernel.Settings(self.sizes, activation, 0.05, 0.8, np.zeros(5))

    def samples(self):
        rows = np.array([label[0] for label in self.labels])
        starts = np.searchsorted(rows, np.arange(len(self.X) + 1)).astype(np.int32)
        codes = np.array([label[1] for label in self.labels], np.int32)
        return kernel.Samples(self.X, starts, codes, np.array([one[2:] for one in self.labels]))

    def state(self, x=None):
        x = self.x.copy() if x is None else x
        return kernel.State(x, np.zeros((3, len(x))), np.ones(N_TASKS + 1, np.int64))

    def gradient(self, chosen=None):
        """The gradient, zero for tasks without labels, the sum of losses, and losses by task."""
        chosen = np.arange(len(self.X)) if chosen is None else chosen
        space = kernel.workspace(self.sizes, len(chosen), len(self.x), N_TASKS, np.float64)
        sums = np.zeros(N_TASKS)
        total, n_seen = kernel.batch_gradient(
            self.samples(), (chosen, 0, len(chosen)), self.tasks, self.state(), self.settings,
            space, sums,
        )  # fmt: skip
        out = space.grad.copy()
        absent = np.setdiff1d(np.arange(N_TASKS), space.seen[0, :n_seen])
        out[-N_TASKS * self.width :].reshape(N_TASKS, self.width)[absent] = 0.0
        return out, total, sums

    def loss(self, x):
        return reference.shared_layers_loss(
            x, tuple(self.sizes), self.activation == mlp.TANH, self.X, self.labels,
            list(zip(*self.tasks, strict=True)), self.settings.decay, self.settings.factor,
        )  # fmt: skip


@pytest.mark.parametrize("activation, atol", [(mlp.RELU, 1e-12), (mlp.TANH, 5e-6)])
@pytest.mark.parametrize("sizes", SIZES)
def test_gradient(sizes, activation, atol, rng):
    """By the twin; the kernel's tanh is an approximation."""
    problem = Problem(sizes, activation, rng)
    found, _, _ = problem.gradient()
    np.testing.assert_allclose(found, reference.complex_step(problem.loss, problem.x), atol=atol)
    for j in range(0, len(found), 5):
        step = np.zeros(len(found))
        step[j] = 1e-5
        moved = problem.loss(problem.x + step) - problem.loss(problem.x - step)
        assert abs(moved / 2e-5 - found[j]) < 1e-5


@pytest.mark.parametrize("activation, atol", [(mlp.RELU, 1e-12), (mlp.TANH, 1e-5)])
def test_losses(activation, atol, rng):
    problem = Problem(SIZES[1], activation, rng)
    _, total, sums = problem.gradient()
    np.testing.assert_allclose(total, sums @ problem.tasks.precision, rtol=1e-12)
    tasks, settings = problem.tasks, problem.settings
    problem.tasks = tasks._replace(decay=np.zeros(N_TASKS))
    problem.settings = settings._replace(decay=0.0)
    wanted = problem.loss(problem.x) * len(problem.X) / settings.factor
    np.testing.assert_allclose(total, wanted, atol=len(problem.labels) * atol)


def test_a_batch_is_made_of_the_chosen_rows(rng):
    problem, chosen = Problem(SIZES[1], mlp.RELU, rng), np.array([4, 1, 0])
    found = problem.gradient(chosen)
    where = {row: i for i, row in enumerate(chosen)}
    problem.labels = sorted((where[r], *rest) for r, *rest in problem.labels if r in where)
    problem.X = problem.X[chosen]
    for one, other in zip(found, problem.gradient(), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-12)


def test_weights_are_numbers_of_labels(rng):
    """A label of weight two acts as two labels, and a row with its labels twice as weight two."""
    problem = Problem(SIZES[1], mlp.RELU, rng)
    wanted = problem.gradient()
    labels = problem.labels
    problem.labels = [(*label[:3], 1.0) for label in labels for _ in range(int(label[3]))]
    for one, other in zip(problem.gradient(), wanted, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-12)
    n = len(problem.X)
    problem.X = np.vstack([problem.X, problem.X])
    problem.labels = labels + [(row + n, *rest) for row, *rest in labels]
    grad, total, sums = problem.gradient()
    np.testing.assert_allclose(grad, wanted[0], atol=1e-12)  # for twice the weight, factor is half
    np.testing.assert_allclose(total, 2.0 * wanted[1])
    np.testing.assert_allclose(sums, 2.0 * wanted[2])


def test_training_is_adam_with_late_heads(rng):
    """Deviations of tasks without labels in a batch stay, and their steps are not counted."""
    problem = Problem(SIZES[0], mlp.RELU, rng)
    problem.settings = problem.settings._replace(constants=np.array([0.01, 0.9, 0.999, 1e-8, 0.5]))
    x, state = problem.x.copy(), problem.state()
    state.counts[:] = 0
    order, edges = np.array([0, 5, 3, 2, 6, 4, 1]), np.array([0, 1, 4, 7])  # row 0 has one label
    space = kernel.workspace(problem.sizes, 3, len(x), N_TASKS, np.float64)
    kernel.train(
        order, edges, problem.samples(), problem.tasks, state, problem.settings, space,
        np.zeros(N_TASKS),
    )  # fmt: skip
    mean, square, average = np.zeros_like(x), np.zeros_like(x), np.zeros_like(x)
    task = np.full(len(x), N_TASKS)  # which count a parameter belongs to
    task[-N_TASKS * problem.width :] = np.repeat(np.arange(N_TASKS), problem.width)
    counts, n_layers = np.zeros(N_TASKS + 1), len(x) - N_TASKS * problem.width
    for a, b in itertools.pairwise(edges):
        problem.x = x
        g = problem.gradient(order[a:b])[0]
        present = np.append(
            [any(row in order[a:b] and t == u for row, u, *_ in problem.labels) for t in range(3)],
            True,
        )
        counts += present
        on, step = present[task], counts[task]
        mean[on], square[on] = (0.9 * mean + 0.1 * g)[on], (0.999 * square + 0.001 * g**2)[on]
        with np.errstate(divide="ignore", invalid="ignore"):
            root = np.sqrt(square / (1 - 0.999**step)) + 1e-8
            moved = x - 0.01 * mean / (1 - 0.9**step) / root
        x = np.where(on, moved, x)
        keep = np.minimum(0.5, step / (step + 30))
        average = np.where(on, keep * average + (1 - keep) * x, average)
    assert (counts[:-1] < 3).any() and n_layers > 0
    np.testing.assert_allclose(state.counts, counts)
    np.testing.assert_allclose(state.x, x, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(state.moments[2], average, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("activation", [mlp.RELU, mlp.TANH])
def test_hidden_units(activation, dtype, rng):
    problem = Problem(SIZES[2], activation, rng, n=11)
    x, X = problem.x.astype(dtype), (3.0 * problem.X).astype(dtype)
    out, space = np.empty((11, 3), dtype), kernel.workspace(problem.sizes, 4, 1, 1, dtype)
    kernel.hidden_units(x, X, problem.settings, space, out)
    wanted = reference.embedded(
        problem.x, SIZES[2], activation == mlp.TANH, False, 3.0 * problem.X
    )  # fmt: skip
    np.testing.assert_allclose(out, wanted, atol=2e-5 if dtype == np.float32 else 2e-6)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_tanh_and_nan(dtype):
    """The approximation over its whole range; NaN stays."""
    sizes, X = np.array([1, 1]), np.linspace(-12.0, 12.0, 5_001, dtype=dtype)[:, None]
    X[7] = np.nan
    settings = kernel.Settings(sizes, mlp.TANH, 0.0, 0.0, np.zeros(5))
    out = np.empty_like(X)
    space = kernel.workspace(sizes, 64, 1, 1, dtype)
    kernel.hidden_units(np.array([1.0, 0.0], dtype), X, settings, space, out)
    np.testing.assert_allclose(out, np.tanh(X), atol=4e-7)
    assert np.isnan(out[7]).all()
    kernel.hidden_units(
        np.array([1.0, 0.0], dtype), X, settings._replace(activation=mlp.RELU), space, out
    )
    np.testing.assert_array_equal(out, np.maximum(X, 0.0))
