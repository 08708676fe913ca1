"""Rows in batches: what a call of `partial_fit` takes that adds moments only, and one that solves.

python benchmarks/streams.py                  # 10 features, 1,000 and 10,000 tasks: a minute
python benchmarks/streams.py --features 30
"""

import threads  # isort: skip  before numpy loads

import argparse

import numpy as np
from measuring import race

from skmtl import MultiTaskRegressor

ROWS_PER_TASK = 20  # before the first batch


def rows(rng, slopes, task):
    """Return features and labels of rows of the given tasks."""
    X = rng.normal(size=(len(task), slopes.shape[1]))
    return X, np.einsum("ij,ij->i", X, slopes[task]) + rng.normal(size=len(task))


def taken(model, batch, repeats):
    """Return the median seconds of calls that add moments only, and of calls that solve."""
    X, y, task = batch
    calls = {
        solve: lambda solve=solve: model.partial_fit(X, y, task=task, solve=solve)
        for solve in (False, True)
    }
    race(calls, 1)  # compiles
    return race(calls, repeats)


def main():
    """Print the medians of alternating calls."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--features", type=int, default=10)
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--threads", type=int, default=threads.COUNT, help="of BLAS and numba")
    args = parser.parse_args()
    rng = np.random.default_rng(0)
    print(f"{'tasks':>7} {'rows':>7} {'moments':>10} {'solved':>10} {'ratio':>6}")
    for n_tasks in (1_000, 10_000):
        slopes = 1.0 + 0.3 * rng.normal(size=(n_tasks, args.features))
        task = rng.permutation(np.repeat(np.arange(n_tasks), ROWS_PER_TASK))
        X, y = rows(rng, slopes, task)
        model = MultiTaskRegressor("partial_pooling").partial_fit(X, y, task=task, solve=False)
        for n_rows in (1_000, 10_000):
            task = rng.integers(n_tasks, size=n_rows)
            seconds = taken(model, (*rows(rng, slopes, task), task), args.repeats)
            print(
                f"{n_tasks:>7,} {n_rows:>7,} {1e3 * seconds[False]:>7.1f} ms"
                f" {1e3 * seconds[True]:>7.0f} ms {seconds[True] / seconds[False]:>6.0f}"
            )


if __name__ == "__main__":
    main()
