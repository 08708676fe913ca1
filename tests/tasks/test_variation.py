"""Variances of features within tasks and between them."""

import numpy as np
import pytest
from scipy import sparse

from skmtl.tasks.moments import block_moments
from skmtl.tasks.rows import TaskRows
from skmtl.tasks.table import pack
from skmtl.tasks.variation import Variation, task_squares


def table_of(seed=0, n=400, n_tasks=40, levels=(0.0, 3.0, 1.0), kind=np.asarray):
    rng = np.random.default_rng(seed)
    codes = rng.integers(n_tasks, size=n)
    X = rng.normal(size=(n, 3)) * [1.0, 0.5, 0.0] + (rng.normal(size=(n_tasks, 3)) * levels)[codes]
    X[rng.uniform(size=(n, 3)) < 0.3] = 0.0
    return pack(kind(X), rng.normal(size=n), codes, n_tasks, rng.uniform(0.5, 2.0, size=n))


@pytest.mark.parametrize("kind", [np.asarray, sparse.csr_matrix])
def test_squares_of_tasks_are_those_of_their_rows(kind):
    table = table_of(kind=kind)
    X = table.X.toarray() if sparse.issparse(table.X) else table.X
    weight, mean, squares = task_squares(table)
    for t in range(table.n_tasks):
        rows = slice(table.offsets[t], table.offsets[t + 1])
        w, Z = table.sample_weight[rows], X[table.rows[rows]]
        np.testing.assert_allclose(weight[t], w.sum(), rtol=1e-9)
        centre = np.average(Z, axis=0, weights=w)
        np.testing.assert_allclose(mean[t], centre, rtol=1e-9, atol=1e-9)
        np.testing.assert_allclose(squares[t], w @ (Z - centre) ** 2, rtol=1e-9, atol=1e-9)
    for form in (block_moments(table).merge(), TaskRows.of(table).merge()):
        np.testing.assert_allclose(form.feature_squares(), squares, rtol=1e-7, atol=1e-7)


def test_variances_are_those_of_a_random_effects_model():
    """Unbiased: on average over draws what the data were drawn from."""
    within, between = [], []
    for seed in range(60):
        rng = np.random.default_rng(seed)
        codes = np.repeat(np.arange(30), rng.integers(2, 12, size=30))
        X = rng.normal(size=(len(codes), 1)) + 2.0 * rng.normal(size=30)[codes, None]
        variation = Variation.of(*task_squares(pack(X, X[:, 0], codes, 30, None)))
        within.append(variation.within[0])
        between.append(variation.between[0])
    for values, wanted in ((within, 1.0), (between, 4.0)):
        assert abs(np.mean(values) - wanted) < 3.5 * np.std(values) / np.sqrt(60)


def test_a_centre_is_the_best_guess_of_a_tasks_true_mean():
    rng = np.random.default_rng(0)
    truth, n = 2.0 * rng.normal(size=4000), rng.integers(1, 9, size=4000)
    mean = truth + rng.normal(size=4000) / np.sqrt(n)
    guess = Variation(np.ones(1), np.full(1, 4.0)).centres(n.astype(float), mean[:, None])[:, 0]
    assert ((guess - truth) ** 2).mean() < 0.95 * ((mean - truth) ** 2).mean()
    slope = (guess @ truth) / (guess @ guess)  # a guess that is too bold, or too timid, has another
    assert abs(slope - 1.0) < 0.03


def test_scales():
    variation = Variation(np.array([1.0, 0.0, 0.0, 0.0]), np.array([99.0, 4.0, 1.0, 0.0]))
    variance = np.array([100.0, 4.0, 1.0, 0.0])
    np.testing.assert_allclose(variation.scale(variance), [1.0, 0.5, 1.0, 0.0])
    trust = np.array([0.5, 0.0, 1.0, 1.0])
    np.testing.assert_allclose(variation.scale(variance, trust), [0.5, 0.0, 1.0, 0.0])


@pytest.mark.parametrize("shift", [0.0, 1e4])
@pytest.mark.parametrize("kind", [np.asarray, sparse.csr_matrix])
def test_what_is_constant_within_tasks_up_to_rounding_varies_not_at_all_there(kind, shift):
    rng = np.random.default_rng(0)
    codes = rng.integers(20, size=300)
    level = 0.1 * rng.integers(1, 7, size=20) + shift
    X = np.column_stack([level[codes], rng.normal(size=300)])
    table = pack(kind(X), rng.normal(size=300), codes, 20, rng.uniform(0.1, 3.0, size=300))
    variation = Variation.of(*task_squares(table))
    assert variation.within[0] == 0.0 < variation.within[1]
    assert variation.between[0] == pytest.approx(level.var(ddof=1), rel=1e-6)


def test_what_is_constant_within_tasks_turns_about_its_own_value():
    mean = np.array([[1.0], [-2.0]])
    variation = Variation(np.zeros(1), np.ones(1))
    np.testing.assert_array_equal(variation.centres(np.array([1.0, 5.0]), mean), mean)
    centres, anchors = variation.places(True, np.array([1.0, 5.0]), mean)
    np.testing.assert_array_equal(anchors, centres)  # its slope is one between tasks
