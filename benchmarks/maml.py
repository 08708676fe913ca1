"""MAML's kernels: exactness, speed and quality on the sinusoid, beside JAX in the same run.

The sinusoid is Finn et al. 2017, 5.1: y = A sin(x - b) with A in [0.1, 5], b in [0, pi], x in
[-5, 5], raw units; a network 1-40-40-1 (relu), 10 support and 10 query rows, one inner step of
rate 0.01 on the mean squared error, 25 tasks a meta-batch, Adam at 1e-3, float32. Needs nothing
but our own dependencies; without JAX its figures are left out.

Run ``python benchmarks/maml.py --help``.
"""

from __future__ import annotations

import threads  # isort: skip  before numpy loads
import argparse
import itertools
import os
import subprocess
import sys
import tempfile
import time
from functools import partial

import numpy as np
import sections

SIZES = (1, 40, 40, 1)
INNER_RATE, N_TASKS, SHOTS = 0.01, 25, 10
ORDERS = {"second order": 2, "first order": 1}
LEARN2LEARN = 33.0  # its outer steps a second, second order, on the reference machine


def load_jax():
    """Return jax on one thread, or None with the reason printed."""
    flags = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
    os.environ.setdefault("XLA_FLAGS", flags)
    try:
        import jax
    except ImportError as error:
        print(f"  JAX is left out: {error}")
        return None
    return jax


def sinusoid(n_tasks, n_rows, rng):
    """Return x and y of shape (n_tasks, n_rows, 1)."""
    amplitude = rng.uniform(0.1, 5.0, (n_tasks, 1, 1)).astype(np.float32)
    phase = rng.uniform(0.0, np.pi, (n_tasks, 1, 1)).astype(np.float32)
    x = 10.0 * rng.random((n_tasks, n_rows, 1), dtype=np.float32) - np.float32(5.0)
    return x, amplitude * np.sin(x - phase)


def packed(x, y):
    """Return rows as our kernels take them, every row of a task of equal weight."""
    from skmtl.kernels import mlp

    n_tasks, n_rows, _ = x.shape
    weight = np.full(n_tasks * n_rows, 1.0 / n_rows, x.dtype)
    offsets = np.arange(n_tasks + 1) * n_rows
    X, target = (np.ascontiguousarray(a).reshape(-1, a.shape[2]) for a in (x, y))
    return mlp.Rows(X, target, weight, np.full(n_tasks, y.shape[2]), offsets)


def episodes(n_tasks, rng):
    """Return support and query rows of fresh tasks."""
    x, y = sinusoid(n_tasks, 2 * SHOTS, rng)
    return packed(x[:, :SHOTS], y[:, :SHOTS]), packed(x[:, SHOTS:], y[:, SHOTS:])


def our_training(order, seed=0):
    """Return a function of the number of outer steps, which returns the trained network."""
    from skmtl.learners._network import Network
    from skmtl.learners.gradient import meta_train

    start = Network.random(
        SIZES, 0, 0, 0, INNER_RATE, np.dtype("float32"), np.random.RandomState(seed)
    )
    rng = np.random.default_rng(seed)

    def train(n_steps, **options):
        return meta_train(
            start, lambda n: episodes(n, rng), order=order, inner_steps=1, learning_rate=1e-3,
            max_iter=n_steps, meta_batch_size=N_TASKS, **options,
        )[0]  # fmt: skip

    return train


# ------------------------------------------------------------------------------------------------
# JAX


def jax_layers(theta, sizes):
    """Return the (W, b) of a flat vector."""
    layers, start = [], 0
    for q, m in itertools.pairwise(sizes):
        both = theta[start : start + (q + 1) * m].reshape(q + 1, m)
        layers.append((both[:-1], both[-1]))
        start += (q + 1) * m
    return layers


def jax_loss(jax, layers, tanh, classes, X, target, weight):
    """Return a task's loss."""
    for i, (W, b) in enumerate(layers):
        X = X @ W + b
        if i < len(layers) - 1:
            X = jax.numpy.tanh(X) if tanh else jax.nn.relu(X)
    if classes:
        return -(weight[:, None] * target * jax.nn.log_softmax(X)).sum()
    return (weight[:, None] * (X - target) ** 2).sum()


def jax_training(jax, first_order, n_steps):
    """Return a compiled function of a key that takes that many outer steps, data included."""
    jnp = jax.numpy
    weight = jnp.full(SHOTS, 1.0 / SHOTS)

    def task_loss(layers, x, y):
        def loss(at, part):
            return jax_loss(jax, at, False, False, x[part], y[part], weight)

        grad = jax.grad(loss)(layers, slice(None, SHOTS))
        if first_order:
            grad = jax.lax.stop_gradient(grad)
        moved = jax.tree.map(lambda p, g: p - INNER_RATE * g, layers, grad)
        return loss(moved, slice(SHOTS, None))

    def batch_loss(layers, key):
        a, b, c = jax.random.split(key, 3)
        amplitude = jax.random.uniform(a, (N_TASKS, 1, 1), minval=0.1, maxval=5.0)
        phase = jax.random.uniform(b, (N_TASKS, 1, 1), maxval=np.pi)
        x = jax.random.uniform(c, (N_TASKS, 2 * SHOTS, 1), minval=-5.0, maxval=5.0)
        y = amplitude * jnp.sin(x - phase)
        return jax.vmap(task_loss, (None, 0, 0))(layers, x, y).mean()

    def step(state, key):
        layers, m, v, t = state
        loss, g = jax.value_and_grad(batch_loss)(layers, key)
        t = t + 1
        m = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, m, g)
        v = jax.tree.map(lambda v, g: 0.999 * v + 0.001 * g * g, v, g)

        def move(p, m, v):
            root = jnp.sqrt(v / (1 - 0.999**t)) + 1e-8
            return p - 1e-3 * m / (1 - 0.9**t) / root

        return (jax.tree.map(move, layers, m, v), m, v, t), loss

    state = jax_start(jax)
    run = jax.jit(lambda key: jax.lax.scan(step, state, jax.random.split(key, n_steps)))
    return lambda: jax.block_until_ready(run(jax.random.PRNGKey(0)))


def jax_start(jax):
    """Return layers, both moments and the step before training."""
    rng = np.random.default_rng(0)
    layers = [
        (jax.numpy.asarray(rng.normal(0, np.sqrt(2 / q), (q, m)), "float32"), np.zeros(m, "f4"))
        for q, m in itertools.pairwise(SIZES)
    ]
    zeros = jax.tree.map(jax.numpy.zeros_like, layers)
    return layers, zeros, zeros, 0.0


# ------------------------------------------------------------------------------------------------
# Sections


def exactness(options):
    """Largest difference of losses and meta-gradients from JAX's in float64 (wanted 1e-10)."""
    jax = load_jax()
    if jax is None:
        return
    jax.config.update("jax_enable_x64", True)
    worst = 0.0
    cases = [
        (sizes, tanh, classes, n_steps, order, constant)
        for sizes in ((3, 5, 4, 3), (1, 40, 40, 2))
        for tanh in (0, 1)
        for classes in (0, 1)
        for n_steps, order, constant in ((1, 2, True), (1, 1, True), (1, 2, False), (3, 2, False))
    ]
    for case in cases:
        worst = max(worst, difference(jax, *case))
    jax.config.update("jax_enable_x64", False)
    print(f"  largest difference over {len(cases)} cases: {worst:.1e}   wanted <= 1e-10")


def difference(jax, sizes, tanh, classes, n_steps, order, constant):
    """Return the largest difference of one case, relative where values exceed 1."""
    from skmtl.kernels import meta_training as training
    from skmtl.kernels import mlp

    rng = np.random.default_rng(0)
    widths, n_tasks = np.array(sizes), 4
    counts = (widths[:-1] + 1) * widths[1:]
    theta = rng.normal(size=counts.sum()) * np.repeat(0.7 / np.sqrt(widths[:-1]), counts)
    rates = np.full(len(theta), 0.05) if constant else rng.uniform(0.0, 0.1, len(theta))

    def rows(n):
        x, y = rng.normal(size=(n_tasks, n, sizes[0])), rng.normal(size=(n_tasks, n, sizes[-1]))
        return (x, np.eye(sizes[-1])[y.argmax(2)]) if classes else (x, y)

    support, query = rows(6), rows(5)
    space = training.workspace(widths, n_tasks, n_tasks * 6, 6, n_steps, np.float64)
    grad, losses = np.empty_like(theta), np.empty(n_tasks)
    rate_grad = np.empty(0 if constant else len(theta))
    training.meta_gradient(
        training.Start(theta, rates), mlp.Net(widths, tanh, classes),
        training.Inner(n_steps, 0, order), training.Episodes(packed(*support), packed(*query)),
        space, grad, rate_grad, losses,
    )  # fmt: skip

    def task_loss(theta, rates, xs, ys, xq, yq):
        def loss(at, x, y):
            weight = np.full(len(x), 1.0 / len(x))
            return jax_loss(jax, jax_layers(at, sizes), tanh, classes, x, y, weight)

        for _ in range(n_steps):
            step = jax.grad(loss)(theta, xs, ys)
            theta = theta - rates * (jax.lax.stop_gradient(step) if order == 1 else step)
        return loss(theta, xq, yq)

    def mean_loss(theta, rates):
        each = jax.vmap(task_loss, (None, None, 0, 0, 0, 0))
        return each(theta, rates, *support, *query).mean()

    wanted = jax.jit(jax.value_and_grad(mean_loss, (0, 1)))(theta, rates)
    found = losses.mean(), (grad, rate_grad if len(rate_grad) else np.asarray(wanted[1][1]))
    pairs = [(found[0], wanted[0]), *zip(found[1], wanted[1], strict=True)]
    return max(float(np.max(np.abs(a - b) / np.maximum(1.0, np.abs(b)))) for a, b in pairs)


def speed(options):
    """Outer steps a second, data included, ours and JAX's in turn."""
    jax = load_jax()
    for name, order in ORDERS.items():
        functions = {"skmtl": partial(our_training(order), options.steps)}
        if jax is not None:
            functions["JAX jit+vmap+scan"] = jax_training(jax, order == 1, options.steps)
        for label, function in functions.items():
            start = time.perf_counter()
            function()
            print(f"  {name}, {label}: first call {time.perf_counter() - start:.2f} s")
        rates = {label: [] for label in functions}
        for _ in range(options.repeats):  # in turn: a slow spell of the machine hits both
            for label, function in functions.items():
                start = time.perf_counter()
                function()
                rates[label].append(options.steps / (time.perf_counter() - start))
        for label, found in rates.items():
            print(
                f"  {name}, {label}: {np.median(found):.0f} outer steps/s (best {max(found):.0f})"
            )
        if len(rates) == 2:
            ours, theirs = (np.array(found) for found in rates.values())
            print(f"  {name}, skmtl / JAX: {np.median(ours / theirs):.2f}   wanted > 1")
        if order == 2:
            ratio = np.median(rates["skmtl"]) / LEARN2LEARN
            print(f"  {name}, skmtl / learn2learn's {LEARN2LEARN:.0f}: {ratio:.0f}   wanted >= 45")


def startup(options):
    """Seconds of a process's first 25 outer steps, with an empty and with a filled numba cache."""
    code = (
        "import time, sys; sys.path.insert(0, 'benchmarks'); import maml\n"
        "from skmtl.learners import gradient; from skmtl.kernels import meta_training\n"
        "train = maml.our_training(2); start = time.perf_counter(); train(25)\n"
        "print(time.perf_counter() - start)"
    )
    root = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    with tempfile.TemporaryDirectory() as folder:
        environment = threads.environment() | {"NUMBA_CACHE_DIR": folder}
        for name, wanted in (("empty cache", ""), ("filled cache", "   wanted < 1.5")):
            done = subprocess.run(
                [sys.executable, "-c", code], cwd=root, env=environment, capture_output=True,
                text=True, check=True,
            )  # fmt: skip
            print(f"  first 25 steps, {name}: {float(done.stdout):.2f} s{wanted}")


def quality(options):
    """Test error on fresh tasks, 10 support rows: where training ends, and its best look.

    The best look is, as in the learners, by the loss on tasks of its own, every 250 steps.
    """
    wanted = "   wanted <= 0.39 / 0.145"
    validation = episodes(1_000, np.random.default_rng(20_000))

    def held_out(network):
        return {"held_out_loss": network.learning_curve(*validation, 1)[0][1].mean()}

    looks = {"held_out": held_out, "check_every": 250, "patience": options.outer_steps}
    x, y = sinusoid(options.tasks, SHOTS + 100, np.random.default_rng(10_000))
    rows = packed(x[:, :SHOTS], y[:, :SHOTS]), packed(x[:, SHOTS:], y[:, SHOTS:])
    print(f"  {options.outer_steps} outer steps, {options.tasks} tasks, MSE after 1 / 10 steps")
    for name, order in ORDERS.items():
        for seed in options.seeds:
            for label, extra in (("end", {}), ("best look", looks)):
                network = our_training(order, seed)(options.outer_steps, **extra)
                one, ten = network.learning_curve(*rows, 10)[0].mean(1)[[1, 10]]
                target = wanted if order == 2 else ""
                print(f"  {name}, seed {seed}, {label}: {one:.3f} / {ten:.3f}{target}", flush=True)


SECTIONS = {f.__name__: f for f in (exactness, speed, startup, quality)}


def parse_arguments():
    """Return the command line's options."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--only", nargs="+", default=list(SECTIONS), choices=SECTIONS)
    parser.add_argument("--threads", type=int, default=1, help="threads of BLAS and numba (1)")
    parser.add_argument("--steps", type=int, default=1000, help="outer steps timed at once (1000)")
    parser.add_argument("--repeats", type=int, default=9, help="turns of timing (9)")
    parser.add_argument("--outer-steps", type=int, default=15_000, help="of quality (15,000)")
    parser.add_argument("--tasks", type=int, default=2_000, help="test tasks of quality (2,000)")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="of quality")
    return parser.parse_args()


def main():
    """Run the chosen sections."""
    options = parse_arguments()
    print(f"threads: {threads.COUNT}")
    sections.run(SECTIONS, options.only, options)


if __name__ == "__main__":
    main()
