"""Hidden layers shared by all tasks, beside scikit-learn's perceptrons: accuracy and speed.

The family has tasks that are linear in the same two tanh layers. The arm is a robot's: the torques
of two joints from their angles, velocities and accelerations, a 2-D target. Both have noise; errors
are those of the noiseless function on new rows, as shares of its variance. The tasks "classes" are
those of the family with yes or no drawn by the scores as log-odds; errors are log-losses on new
rows beyond that of the true probabilities, in nats (Kullback-Leibler divergence).

Peers are one MLPRegressor or MLPClassifier per task and one for all rows, with a one-hot task or,
for the arm, two outputs. They have the same layers, standardised features and targets, and up to
2,000 epochs, with their default stopping and with early stopping; the better one on the test rows
counts. With torch installed, its epochs are timed, too.

All fits are of the solver, not of an estimator.

Run ``python benchmarks/hidden_layers.py --help``.
"""

from __future__ import annotations

import threads  # isort: skip  before numpy loads
import argparse
import time
import warnings

import numpy as np
import sections
from scipy.special import expit
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.preprocessing import StandardScaler

from skmtl.solvers.shared_layers import LOG_LOSS, fit_shared_layers

HIDDEN = (64, 32)
N_FEATURES, N_TEST = 10, 200
# Standard deviation of the log-odds of classes.
LOG_ODDS = 3.0

warnings.simplefilter("ignore", ConvergenceWarning)


# ------------------------------------------------------------------------------------------------
# Problems


def family(n, seed, n_tasks, noise=0.3):
    """Return rows of tasks that share two layers, and noiseless test rows: (X, codes, y) each."""
    rng = np.random.default_rng([1, seed])
    first = 1.5 / np.sqrt(N_FEATURES) * rng.normal(size=(N_FEATURES, 12))
    second = 2.0 / np.sqrt(12) * rng.normal(size=(12, 6))
    shifts = 0.5 * rng.normal(size=12), 0.5 * rng.normal(size=6)
    heads, levels = rng.normal(size=(n_tasks, 6)), rng.normal(size=n_tasks)

    def draw(m):
        X, codes = rng.normal(size=(n_tasks * m, N_FEATURES)), np.repeat(np.arange(n_tasks), m)
        Z = np.tanh(np.tanh(X @ first + shifts[0]) @ second + shifts[1])
        return X, codes, (Z * heads[codes]).sum(axis=1) + levels[codes]

    X, codes, y = draw(n)
    y = y + noise * y.std() * rng.normal(size=len(y))
    return (X, codes, y), draw(N_TEST)


def classes(n, seed, n_tasks):
    """Return rows of tasks of yes and no, and test rows with their probabilities of yes."""
    (X, codes, y), (X_test, codes_test, wanted) = family(n, seed, n_tasks, noise=0.0)
    rng, (centre, scale) = np.random.default_rng([3, seed]), (y.mean(), y.std() / LOG_ODDS)
    label = rng.random(len(y)) < expit((y - centre) / scale)
    return (X, codes, label.astype(float)), (X_test, codes_test, expit((wanted - centre) / scale))


def torques(q, v, a):
    """Return the torques of the joints of a two-link arm of point masses, in Nm."""
    m1, m2, l1, l2, g = 1.5, 1.0, 1.0, 0.8, 9.81
    cos, sin, both = np.cos(q[:, 1]), np.sin(q[:, 1]), np.cos(q.sum(axis=1))
    cross, square = m2 * l1 * l2, m2 * l2**2
    inertia = (m1 + m2) * l1**2 + square + 2.0 * cross * cos
    first = inertia * a[:, 0] + (square + cross * cos) * a[:, 1]
    first += (m1 + m2) * g * l1 * np.cos(q[:, 0]) + m2 * g * l2 * both
    first -= cross * sin * (2.0 * v[:, 0] * v[:, 1] + v[:, 1] ** 2)
    second = (square + cross * cos) * a[:, 0] + square * a[:, 1]
    second += m2 * g * l2 * both + cross * sin * v[:, 0] ** 2
    return np.column_stack([first, second])


def arm(n, seed, noise=0.1):
    """Return rows of the arm with noisy torques, and noiseless test rows: (X, Y) each."""
    rng = np.random.default_rng([2, seed])

    def draw(m):
        q = rng.uniform(-np.pi, np.pi, (m, 2))
        v, a = 1.5 * rng.normal(size=(m, 2)), 2.0 * rng.normal(size=(m, 2))
        return np.hstack([q, v, a]), torques(q, v, a)

    X, Y = draw(n)
    return (X, Y + noise * Y.std(axis=0) * rng.normal(size=Y.shape)), draw(10 * N_TEST)


# ------------------------------------------------------------------------------------------------
# Models


def perceptron(X, Y, X_test, early_stopping, seed):
    """Return predictions of an MLPRegressor on standardised features and targets."""
    features, target = StandardScaler().fit(X), StandardScaler().fit(Y)
    y = target.transform(Y)
    model = MLPRegressor(
        hidden_layer_sizes=HIDDEN, max_iter=2_000, early_stopping=early_stopping, random_state=seed
    ).fit(features.transform(X), y if y.shape[1] > 1 else y[:, 0])
    found = model.predict(features.transform(X_test)).reshape(len(X_test), -1)
    return target.inverse_transform(found)


def probabilities(X, y, X_test, early_stopping, seed):
    """Return probabilities of yes by an MLPClassifier on standardised features."""
    fewest = min(y.sum(), len(y) - y.sum())
    if not fewest:  # a perceptron needs two classes
        return np.full(len(X_test), (y.sum() + 0.5) / (len(y) + 1.0))
    features = StandardScaler().fit(X)
    # Its validation part has rows of both classes, or there is none.
    early_stopping = early_stopping and fewest > 1 and 0.1 * len(y) >= 2
    model = MLPClassifier(
        hidden_layer_sizes=HIDDEN, max_iter=2_000, early_stopping=early_stopping, random_state=seed
    ).fit(features.transform(X), y)
    return model.predict_proba(features.transform(X_test))[:, 1]


def divergence(found, wanted):
    """Return the mean Kullback-Leibler divergence of probabilities from the true ones."""
    found, wanted = (np.clip(p, 1e-12, 1.0 - 1e-12) for p in (found, wanted))
    yes = wanted * np.log(wanted / found)
    return float((yes + (1.0 - wanted) * np.log((1.0 - wanted) / (1.0 - found))).mean())


def share(found, wanted):
    """Return the mean squared error as a share of the variance, averaged over outputs."""
    return float((((found - wanted) ** 2).mean(axis=0) / wanted.var(axis=0)).mean())


def family_errors(n, seed, n_tasks):
    """Yield the name of a model, a function that fits it and returns its error."""
    (X, codes, y), (X_test, codes_test, wanted) = family(n, seed, n_tasks)
    one_hot, wanted = np.eye(n_tasks), wanted[:, None]

    def shared():
        model = fit_shared_layers(
            X, y, None, np.arange(n_tasks + 1) * n, hidden=HIDDEN, seed=seed
        )  # fmt: skip
        return share(model.predict(X_test, codes_test)[:, None], wanted)

    def independent(early_stopping):
        found = np.empty_like(wanted)
        for t in range(n_tasks):
            rows, test = codes == t, codes_test == t
            found[test] = perceptron(X[rows], y[rows, None], X_test[test], early_stopping, seed)
        return share(found, wanted)

    def pooled(early_stopping):
        both = np.hstack([X, one_hot[codes]]), np.hstack([X_test, one_hot[codes_test]])
        return share(perceptron(both[0], y[:, None], both[1], early_stopping, seed), wanted)

    return shared, independent, pooled


def classes_errors(n, seed, n_tasks):
    """Return the same functions for tasks of yes and no."""
    (X, codes, y), (X_test, codes_test, wanted) = classes(n, seed, n_tasks)
    one_hot = np.eye(n_tasks)

    def shared():
        model = fit_shared_layers(
            X, y, None, np.arange(n_tasks + 1) * n, losses=np.full(n_tasks, LOG_LOSS),
            hidden=HIDDEN, seed=seed,
        )  # fmt: skip
        return divergence(expit(model.predict(X_test, codes_test)), wanted)

    def independent(early_stopping):
        found = np.empty_like(wanted)
        for t in range(n_tasks):
            rows, test = codes == t, codes_test == t
            found[test] = probabilities(X[rows], y[rows], X_test[test], early_stopping, seed)
        return divergence(found, wanted)

    def pooled(early_stopping):
        both = np.hstack([X, one_hot[codes]]), np.hstack([X_test, one_hot[codes_test]])
        return divergence(probabilities(both[0], y, both[1], early_stopping, seed), wanted)

    return shared, independent, pooled


def arm_errors(n, seed, _):
    """Return the same functions for the arm."""
    (X, Y), (X_test, wanted) = arm(n, seed)

    def shared():
        model = fit_shared_layers(
            X, np.concatenate(Y.T), None, np.arange(3) * n, rows=np.tile(np.arange(n), 2),
            scale_by_task=True, hidden=HIDDEN, seed=seed,
        )  # fmt: skip
        return share(model.predict_all(X_test), wanted)

    def independent(early_stopping):
        found = [perceptron(X, Y[:, [j]], X_test, early_stopping, seed) for j in range(2)]
        return share(np.hstack(found), wanted)

    def pooled(early_stopping):
        return share(perceptron(X, Y, X_test, early_stopping, seed), wanted)

    return shared, independent, pooled


def timed(function, *arguments):
    """Return what a call returns, and its CPU seconds: other processes hardly disturb these."""
    start = time.process_time()
    return function(*arguments), time.process_time() - start


# ------------------------------------------------------------------------------------------------
# Sections


def accuracy(options):
    """Error as a share of the variance, mean over seeds (wanted: below both peers everywhere).

    Of classes it is the log-loss beyond that of the true probabilities.
    """
    problems = ("family", family_errors), ("arm", arm_errors), ("classes", classes_errors)
    for name, errors in problems:
        if name not in options.problems:
            continue
        for n in options.rows:
            found, seconds = np.empty((2, len(options.seeds), 3))
            for i, seed in enumerate(options.seeds):
                shared, independent, pooled = errors(n, seed, options.tasks)
                found[i, 0], seconds[i, 0] = timed(shared)
                for k, peer in enumerate((independent, pooled), 1):
                    both = [timed(peer, early_stopping) for early_stopping in (False, True)]
                    found[i, k], seconds[i, k] = min(both)
            mean, (ours, *theirs) = found.mean(axis=0), np.median(seconds, axis=0)
            print(
                f"  {name}, {n} rows per task: shared {mean[0]:.4f}, independent {mean[1]:.4f}, "
                f"pooled {mean[2]:.4f}; best peer / shared {min(mean[1:]) / mean[0]:.2f}   "
                f"wanted > 1; shared better in {(found[:, :1] < found[:, 1:]).all(1).sum()} of "
                f"{len(found)} seeds; seconds {ours:.2f}, {theirs[0]:.1f}, {theirs[1]:.1f}",
                flush=True,
            )


def torch_epoch(X, y, codes, n_tasks, batch_size):
    """Return a function that runs an epoch in torch, or None with the reason printed."""
    try:
        import torch
    except ImportError as error:
        print(f"  torch is left out: {error}")
        return None
    torch.set_num_threads(threads.COUNT)
    layers, width = [], X.shape[1]
    for m in HIDDEN:
        layers += [torch.nn.Linear(width, m), torch.nn.ReLU()]
        width = m
    body, heads = torch.nn.Sequential(*layers), torch.nn.Embedding(n_tasks, width + 1)
    adam = torch.optim.Adam([*body.parameters(), *heads.parameters()], 1e-3)
    X, y = (torch.tensor(a, dtype=torch.float32) for a in (X, y))
    codes = torch.tensor(codes)

    def epoch():
        order = torch.randperm(len(X))
        for rows in order.split(batch_size):
            adam.zero_grad()
            head = heads(codes[rows])
            scores = (body(X[rows]) * head[:, :-1]).sum(1) + head[:, -1]
            ((scores - y[rows]) ** 2).mean().backward()
            adam.step()

    return epoch


def speed(options):
    """Epochs per CPU second: ours with validation, MLPRegressor's and torch's without, in turn."""
    n_tasks, n = 100, 200
    (X, codes, y), _ = family(n, 0, n_tasks)
    X, y = StandardScaler().fit_transform(X), (y - y.mean()) / y.std()
    for batch_size in options.batch_sizes:
        runs = {}

        def ours(batch_size=batch_size):
            marks = []

            def mark(*_):
                marks.append(time.process_time())
                return len(marks) > options.epochs

            fit_shared_layers(
                X, y, None, np.arange(n_tasks + 1) * n, hidden=HIDDEN, batch_size=batch_size,
                callback=mark,
            )  # fmt: skip
            return (
                (len(marks) - 1) / (marks[-1] - marks[0]) * 0.9
            )  # of the rows, a tenth is held out

        def sklearn(dtype, batch_size=batch_size):
            data, model = X.astype(dtype), MLPRegressor(
                hidden_layer_sizes=HIDDEN, batch_size=batch_size, max_iter=options.epochs,
                n_iter_no_change=options.epochs,
            )  # fmt: skip
            target = y.astype(dtype)
            return options.epochs / timed(model.fit, data, target)[1]

        runs["skmtl"] = ours
        runs["MLPRegressor, double"] = lambda: sklearn(np.float64)
        runs["MLPRegressor, single"] = lambda: sklearn(np.float32)
        epoch = torch_epoch(X, y, codes, n_tasks, batch_size)
        if epoch is not None:
            runs["torch, single"] = lambda epoch=epoch: 1.0 / timed(epoch)[1]
        for run in runs.values():  # compile, and allocate
            run()
        found = {name: [] for name in runs}
        for _ in range(options.repeats):
            for name, run in runs.items():
                found[name].append(run())
        for name, values in found.items():
            line = f"  batches of {batch_size}, {name}: {np.median(values):.1f} epochs/s"
            if name != "skmtl":
                ratio = np.median(np.array(found["skmtl"]) / values)
                wanted = 2 if "torch" in name else 5
                line += f", skmtl / it {ratio:.1f}   wanted >= {wanted}"
            print(line, flush=True)


SECTIONS = {f.__name__: f for f in (accuracy, speed)}


def parse_arguments():
    """Return the command line's options."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--only", nargs="+", default=list(SECTIONS), choices=SECTIONS)
    parser.add_argument("--threads", type=int, default=1, help="threads of BLAS and numba (1)")
    parser.add_argument(
        "--problems", nargs="+", default=["family", "arm", "classes"], help="of accuracy"
    )
    parser.add_argument("--rows", type=int, nargs="+", default=[50, 200, 1000], help="per task")
    parser.add_argument("--tasks", type=int, default=20, help="tasks of the family (20)")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4], help="of accuracy")
    parser.add_argument("--batch-sizes", type=int, nargs="+", default=[200, 32], help="of speed")
    parser.add_argument("--epochs", type=int, default=5, help="timed at once (5)")
    parser.add_argument("--repeats", type=int, default=9, help="turns of timing (9)")
    return parser.parse_args()


def main():
    """Run the chosen sections."""
    options = parse_arguments()
    print(f"threads: {threads.COUNT}")
    sections.run(SECTIONS, options.only, options)


if __name__ == "__main__":
    main()
