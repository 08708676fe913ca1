"""Network kernels (`mlp`, `mlp_hessian`, `meta_training`) against twins, finite differences."""

import numpy as np
import pytest
import reference

from skmtl.kernels import meta_training as training
from skmtl.kernels import mlp

RELU, TANH, SQUARED, CLASSES = mlp.RELU, mlp.TANH, mlp.SQUARED, mlp.CROSS_ENTROPY
# No hidden layer, one, two; and two wide ones, whose own parameters need not be formed.
SIZES = [(3, 2), (2, 5, 2), (2, 5, 4, 3), (1, 12, 13, 2)]


def random_rows(sizes, loss, lengths, rng, dtype=np.float64):
    """Return weighted rows of ragged tasks with different numbers of classes."""
    offsets = np.append(0, np.cumsum(lengths))
    n, n_out = offsets[-1], sizes[-1]
    X, weight = rng.normal(size=(n, sizes[0])), rng.uniform(0.05, 0.3, n)
    ways, target = np.full(len(lengths), n_out), rng.normal(size=(n, n_out))
    if loss == CLASSES:
        ways = 2 + np.arange(len(lengths)) % (n_out - 1)
        target = np.eye(n_out)[rng.integers(1000, size=n) % np.repeat(ways, lengths)]
    X, target, weight = (a.astype(dtype) for a in (X, target, weight))
    return mlp.Rows(X, target, weight, ways, offsets)


def of_task(rows, t):
    X, target, weight, ways, offsets = rows
    part = slice(offsets[t], offsets[t + 1])
    return X[part], target[part], weight[part], ways[t]


class Problem:
    """Support and query rows of three tasks, initial parameters and rates."""

    def __init__(self, sizes, activation, loss, n_steps=1, *, constant=False, first=0, seed=0,
                 dtype=np.float64):  # fmt: skip
        rng = np.random.default_rng(seed)
        self.sizes, self.activation, self.loss = np.array(sizes), activation, loss
        self.n_steps, self.first, self.dtype = n_steps, first, dtype
        counts = (self.sizes[:-1] + 1) * self.sizes[1:]
        self.theta = (0.6 * rng.normal(size=counts.sum())).astype(dtype)
        rates = np.full(counts.sum(), 0.1) if constant else rng.uniform(0.0, 0.2, counts.sum())
        rates[: counts[:first].sum()] = 0.0
        self.rates = rates.astype(dtype)
        self.support = random_rows(sizes, loss, [3, 0, 5], rng, dtype)
        self.query = random_rows(sizes, loss, [4, 2, 1], rng, dtype)

    @property
    def net(self):
        return mlp.Net(self.sizes, self.activation, self.loss)

    def space(self):
        return training.workspace(self.sizes, 3, 8, 5, self.n_steps, self.dtype)

    def meta_gradient(self, order=training.SECOND_ORDER, learn_rates=False, theta=None):
        theta = self.theta if theta is None else theta
        grad, losses = np.empty_like(theta), np.empty(3)
        rate_grad = np.empty(len(theta) if learn_rates else 0, self.dtype)
        training.meta_gradient(
            training.Start(theta, self.rates), self.net,
            training.Inner(self.n_steps, self.first, order),
            training.Episodes(self.support, self.query), self.space(), grad, rate_grad, losses,
        )  # fmt: skip
        return losses, grad, rate_grad

    def twin(self, theta, rates, t):
        """Return the query loss of a task and its gradient at the last parameters."""
        return reference.mlp_query_loss(
            theta, rates, tuple(self.sizes), self.activation == TANH, self.loss == CLASSES,
            of_task(self.support, t), of_task(self.query, t), self.n_steps,
        )  # fmt: skip

    def twin_mean(self, theta, rates):
        return sum(self.twin(theta, rates, t)[0] for t in range(3)) / 3


@pytest.mark.parametrize("loss", [SQUARED, CLASSES])
@pytest.mark.parametrize("activation", [RELU, TANH])
@pytest.mark.parametrize("sizes", SIZES)
def test_losses_and_gradients(sizes, activation, loss):
    problem = Problem(sizes, activation, loss, n_steps=0)
    losses, grad, _ = problem.meta_gradient()
    twins = [problem.twin(problem.theta, problem.rates, t) for t in range(3)]
    np.testing.assert_allclose(losses, [twin[0] for twin in twins], rtol=1e-10)
    np.testing.assert_allclose(grad, np.mean([twin[1] for twin in twins], axis=0), atol=1e-10)


@pytest.mark.parametrize("n_steps", [1, 2, 3, 4])
@pytest.mark.parametrize("loss", [SQUARED, CLASSES])
@pytest.mark.parametrize("activation", [RELU, TANH])
@pytest.mark.parametrize("sizes", SIZES[1:3])
def test_second_order_and_rates(sizes, activation, loss, n_steps):
    problem = Problem(sizes, activation, loss, n_steps)
    losses, grad, rate_grad = problem.meta_gradient(learn_rates=True)
    wanted = [problem.twin(problem.theta, problem.rates, t)[0] for t in range(3)]
    np.testing.assert_allclose(losses, wanted, rtol=1e-10)
    by_theta = reference.complex_step(lambda x: problem.twin_mean(x, problem.rates), problem.theta)
    by_rates = reference.complex_step(lambda x: problem.twin_mean(problem.theta, x), problem.rates)
    np.testing.assert_allclose(grad, by_theta, atol=1e-10)
    np.testing.assert_allclose(rate_grad, by_rates, atol=1e-10)


@pytest.mark.parametrize("n_steps", [1, 2])
@pytest.mark.parametrize("loss", [SQUARED, CLASSES])
@pytest.mark.parametrize("activation", [RELU, TANH])
@pytest.mark.parametrize("sizes", [SIZES[0], SIZES[3]])
def test_one_rate_for_all(sizes, activation, loss, n_steps):
    problem = Problem(sizes, activation, loss, n_steps, constant=True)
    losses, grad, _ = problem.meta_gradient()
    by_theta = reference.complex_step(lambda x: problem.twin_mean(x, problem.rates), problem.theta)
    np.testing.assert_allclose(grad, by_theta, atol=1e-10)
    wanted = [problem.twin(problem.theta, problem.rates, t)[0] for t in range(3)]
    np.testing.assert_allclose(losses, wanted, rtol=1e-10)


def test_own_parameters_that_are_not_formed_are_found():
    low, by_layer = np.ones(3, dtype=bool), np.zeros(3)
    problem = Problem(SIZES[3], TANH, SQUARED, constant=True)
    sizes, rates = problem.sizes, problem.rates
    training._set_low_rank(1, 0, rates, sizes, 8, 7, 3, low, by_layer)
    assert low.tolist() == [False, True, False] and by_layer[1] == 0.1
    training._set_low_rank(2, 0, rates, sizes, 8, 7, 3, low, by_layer)
    assert not low.any()
    training._set_low_rank(1, 2, rates, sizes, 8, 7, 3, low, by_layer)
    assert not low.any()
    training._set_low_rank(1, 0, np.arange(len(rates)) / 100.0, sizes, 8, 7, 3, low, by_layer)
    assert not low.any()


@pytest.mark.parametrize("n_steps", [1, 3])
@pytest.mark.parametrize("first", [1, 2])
def test_layers_that_stay(first, n_steps):
    problem = Problem(SIZES[2], TANH, CLASSES, n_steps, first=first)
    _, grad, rate_grad = problem.meta_gradient(learn_rates=True)
    by_theta = reference.complex_step(lambda x: problem.twin_mean(x, problem.rates), problem.theta)
    by_rates = reference.complex_step(lambda x: problem.twin_mean(problem.theta, x), problem.rates)
    np.testing.assert_allclose(grad, by_theta, atol=1e-10)
    start = len(by_rates) - sum(W.size + b.size for W, b in layers_from(problem, first))
    np.testing.assert_allclose(rate_grad[start:], by_rates[start:], atol=1e-10)
    assert (rate_grad[:start] == 0).all()


def layers_from(problem, first):
    return reference.mlp_layers(problem.theta, tuple(problem.sizes))[first:]


@pytest.mark.parametrize("constant", [True, False])
@pytest.mark.parametrize("n_steps", [1, 2])
def test_first_order(n_steps, constant):
    problem = Problem(SIZES[3], TANH, CLASSES, n_steps, constant=constant)
    twins = [problem.twin(problem.theta, problem.rates, t)[1] for t in range(3)]
    for learn_rates in (False, True):
        _, grad, _ = problem.meta_gradient(training.FIRST_ORDER, learn_rates)
        np.testing.assert_allclose(grad, np.mean(twins, axis=0), atol=1e-10)


@pytest.mark.parametrize("n_steps", [2, 3])
def test_reptile_is_the_way_back(n_steps):
    problem = Problem(SIZES[2], TANH, SQUARED, n_steps, constant=True)
    ends = []
    for t in range(3):
        x = problem.theta
        for k in range(n_steps):
            rows = of_task(problem.query if k % 2 else problem.support, t)
            x = x - problem.rates * reference.mlp_loss(x, SIZES[2], True, False, rows)[1]
        ends.append(x)
    _, grad, _ = problem.meta_gradient(training.REPTILE)
    np.testing.assert_allclose(grad, problem.theta - np.mean(ends, axis=0), atol=1e-10)


@pytest.mark.parametrize("loss", [SQUARED, CLASSES])
@pytest.mark.parametrize("sizes", SIZES[1:])
def test_finite_differences(sizes, loss):
    problem, step = Problem(sizes, TANH, loss, 2, constant=True), 1e-5
    _, grad, _ = problem.meta_gradient()
    for j in range(0, len(grad), 7):
        around = []
        for sign in (-1, 1):
            theta = problem.theta.copy()
            theta[j] += sign * step
            around.append(problem.meta_gradient(theta=theta)[0].mean())
        assert abs((around[1] - around[0]) / (2 * step) - grad[j]) < 1e-6


@pytest.mark.parametrize("loss", [SQUARED, CLASSES])
@pytest.mark.parametrize("n_steps", [1, 2])
def test_single_precision(n_steps, loss):
    of = [
        Problem(SIZES[3], TANH, loss, n_steps, constant=True, dtype=dtype)
        for dtype in (np.float32, np.float64)
    ]
    (single, grad, rates), (double, wanted, wanted_rates) = (p.meta_gradient() for p in of)
    assert grad.dtype == np.float32
    np.testing.assert_allclose(single, double, rtol=1e-5)
    np.testing.assert_allclose(grad, wanted, atol=1e-5)
    np.testing.assert_allclose(rates, wanted_rates, atol=1e-5)


@pytest.mark.parametrize("n, q, m", [(1, 1, 1), (5, 7, 3), (6, 4, 9), (40, 30, 30), (200, 40, 6)])
def test_products(n, q, m):
    """Products of narrow, odd and large shapes; the last are computed by BLAS."""
    rng = np.random.default_rng(n)
    A, B, D = rng.normal(size=(n, q)), rng.normal(size=(q + 2, m)), rng.normal(size=(n, m))
    C = rng.normal(size=(n + 1, m))
    wanted = C + np.r_[np.zeros((1, m)), A @ B[2:]]
    mlp.times(A, 0, B, 2, C, 1, n, q)
    np.testing.assert_allclose(C, wanted, atol=1e-10)
    C, scratch = rng.normal(size=(n, q + 1)), np.empty(m * (q + 1))
    wanted = C + np.c_[D @ B[1 : q + 1].T, np.zeros(n)]
    mlp.times_transposed(D, 0, B, 1, C, 0, n, q, scratch)
    np.testing.assert_allclose(C, wanted, atol=1e-10)
    C = rng.normal(size=(q + 1, m))
    wanted = C + np.r_[np.zeros((1, m)), A.T @ D]
    mlp.transposed_times(A, 0, D, 0, C, 1, n, q)
    np.testing.assert_allclose(C, wanted, atol=1e-10)


def test_far_scores_stay_finite_and_nan_stays():
    F, D = np.array([[800.0, -800.0, 5.0], [-800.0, 800.0, 5.0]]), np.empty((2, 3))
    losses, target = np.empty(1), np.array([[0.0, 1.0, 0.0]] * 2)
    mlp.output(CLASSES, target, np.ones(2), np.array([2]), np.array([0, 2]), F, D, losses)
    assert losses[0] == 1600.0 and (F[:, 2] == 0).all() and (D[:, 2] == 0).all()
    Z = np.array([[np.nan, -1.0, 2.0]])
    mlp._activate(RELU, Z)
    np.testing.assert_array_equal(Z, [[np.nan, 0.0, 2.0]])


def test_training_steps_are_adam_on_the_meta_gradient():
    problem, batch = Problem(SIZES[1], TANH, SQUARED, 2), 3
    theta, rates = problem.theta.copy(), problem.rates.copy()
    constants = np.array([[0.01, 0.9, 0.999, 1e-8, 0.1]] * 2)
    moments = np.zeros((3, 2 * len(theta)))
    moments[2] = np.r_[theta, rates]
    losses = np.empty(2 * batch)
    twice = [
        mlp.Rows(
            *(np.concatenate([a, a]) for a in rows[:4]),
            np.append(rows.offsets, rows.offsets[1:] + rows.offsets[-1]),
        )
        for rows in (problem.support, problem.query)
    ]
    training.meta_train(
        2, training.Adam(moments, 0, constants), training.Start(theta, rates), True, problem.net,
        training.Inner(2, 0, training.SECOND_ORDER), training.Episodes(*twice), problem.space(),
        losses,
    )  # fmt: skip
    x = np.r_[problem.theta, problem.rates]
    mean, square, average = np.zeros_like(x), np.zeros_like(x), x
    for step in (1, 2):
        problem.theta, problem.rates = np.split(x, 2)
        value, *pieces = problem.meta_gradient(learn_rates=True)
        g = np.concatenate(pieces)
        mean, square = 0.9 * mean + 0.1 * g, 0.999 * square + 0.001 * g**2
        root = np.sqrt(square / (1 - 0.999**step)) + 1e-8
        x = x - 0.01 * mean / (1 - 0.9**step) / root
        keep = min(0.1, step / (step + 30))
        average = keep * average + (1 - keep) * x
        np.testing.assert_allclose(losses[batch * (step - 1) : batch * step], value, rtol=1e-10)
    np.testing.assert_allclose(np.r_[theta, rates], x, rtol=1e-10)
    np.testing.assert_allclose(moments[2], average, rtol=1e-10)
