"""Columns that next to no rows make up, and the evidence for their slopes."""

import numpy as np
import pytest
import reference
from scipy import sparse

from skmtl.tasks import evidence
from skmtl.tasks.copies import settle
from skmtl.tasks.keys import row_keys
from skmtl.tasks.moments import block_moments
from skmtl.tasks.table import pack


def table_of(columns, y, codes, kind=np.asarray, weight=None):
    return pack(kind(np.column_stack(columns)), y, codes, codes.max() + 1, weight)


def rare(rng, n, n_rows, size=1e-4):
    out = np.zeros(n)
    out[rng.permutation(n)[:n_rows]] = size * rng.uniform(1.0, 2.0, size=n_rows)
    return out


@pytest.mark.parametrize("kind", [np.asarray, sparse.csr_matrix])
@pytest.mark.parametrize(("n", "n_rows"), [(20, 1), (80, 1), (600, 1), (600, 4)])
def test_a_column_of_next_to_no_rows_gets_no_slope_without_evidence(n, n_rows, kind, rng):
    codes, x, noise = np.arange(n) % 6, rng.normal(size=n), rng.uniform(-1.5, 1.5, size=n)
    few = rare(rng, n, n_rows)
    settled = settle(table_of([x, few], x + noise, codes, kind))
    assert settled.trust.tolist() == [1.0, 0.0]
    certain = x + noise + few / few.max() * 50.0
    assert settle(table_of([x, few], certain, codes, kind)).trust.tolist() == [1.0, 1.0]


def test_a_column_of_few_rows_is_pulled_as_one_of_few(rng):
    n = 600
    codes, x, few = np.arange(n) % 6, rng.normal(size=n), np.zeros(n)
    few[rng.permutation(n)[:8]] = 1.0
    settled = settle(table_of([x, few], x + rng.normal(size=n), codes))
    share = 8 / n
    tail = (1.0 - share) ** 3 / share / (1.0 - share) + share**2 / (1.0 - share)  # Bernoulli's
    assert settled.trust == pytest.approx([1.0, np.sqrt(30.0 / tail)], rel=1e-3)


@pytest.mark.parametrize("n", [150, 1000])
def test_a_column_that_outliers_make_up_keeps_its_slope(n, rng):
    codes, x = np.arange(n) % 6, rng.normal(size=n)
    income = np.exp(3.0 * rng.normal(size=n))
    income[0] = 100.0 * income.max()  # one row makes it up
    for y in (0.5 * income + rng.normal(size=n), np.log(income) + rng.normal(size=n)):
        assert settle(table_of([x, income], y, codes)).trust.tolist() == [1.0, 1.0]
    y = (np.log(income) + rng.logistic(size=n) > 0.0).astype(float)
    assert settle(table_of([x, income], y, codes), classes=True).trust.tolist() == [1.0, 1.0]
    assert settle(table_of([x, income], x + rng.uniform(size=n), codes)).trust[1] == 0.0


def test_a_row_of_a_rare_class_is_no_evidence(rng):
    n = 1000
    codes, x, few = np.arange(n) % 6, rng.normal(size=n), np.zeros(n)
    few[0] = 1e-4
    y = (np.arange(n) < 5).astype(float)
    assert settle(table_of([x, few], y, codes), classes=True).trust[1] == 0.0
    few[:5] = 1e-4  # five rows of five
    assert settle(table_of([x, few], y, codes), classes=True).trust[1] == 1.0


def test_the_level_of_one_task_is_no_evidence(rng):
    n, n_tasks = 1200, 300
    codes, x = np.arange(n) % n_tasks, rng.normal(size=n)
    level = np.where(np.arange(n_tasks) == 7, 1e-4, 0.0)[codes]
    y = 3.0 * rng.uniform(-1.5, 1.5, size=n_tasks)[codes] + rng.normal(size=n)
    assert settle(table_of([x, level], y, codes)).trust.tolist() == [1.0, 0.0]


def test_a_row_of_many_targets_is_one_row(rng):
    n, n_tasks = 100, 8
    x, few = rng.normal(size=n), np.zeros(n)
    few[3] = 1.0
    off = np.where(np.arange(n) == 3, 4.0, 0.0)  # in all targets
    y = (x + off)[:, None] + rng.uniform(-1.5, 1.5, size=(n, n_tasks))
    table = pack(np.column_stack([x, few]), y, None, n_tasks)
    assert settle(table).trust.tolist() == [1.0, 0.0]


@pytest.mark.parametrize("seed", range(5))
def test_moments_give_the_same_result(seed):
    rng = np.random.default_rng(seed)
    n, codes = 600, rng.integers(6, size=600)
    columns = [rare(rng, n, k) for k in (1, 2, 4, 10)]
    y = sum(rng.choice([0.0, 30.0]) * c / c.max() for c in columns) + rng.uniform(-1, 1, size=n)
    table = settle(table_of(columns, y, codes, weight=rng.uniform(0.5, 2.0, size=n))).table
    tails = row_keys(table.X, table.y, table.sample_weight, table.rows)[2]
    by_rows = evidence.trust(table, tails)
    moments = block_moments(table).merge()
    np.testing.assert_allclose(evidence.trust_of_moments(moments, tails), by_rows, rtol=1e-9)


@pytest.mark.parametrize("classes", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_evidence_is_that_of_its_twin(seed, classes):
    rng = np.random.default_rng(seed)
    n, codes = 300, rng.integers(5, size=300)
    columns = [rare(rng, n, k) for k in (1, 2, 3, 3)] + [np.exp(3.0 * rng.normal(size=n))]
    columns.append(rng.normal(size=n))
    y = sum(rng.normal() * 3.0 * c / c.max() for c in columns) + rng.normal(size=n)
    y = np.digitize(y, [0.0, 1.5]).astype(float) if classes else y
    table = table_of(columns, y, codes, weight=rng.uniform(0.5, 2.0, size=n))
    tails = row_keys(table.X, table.y, table.sample_weight, table.rows)[2]
    for limit in (0.5, 2.0, 10.0):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(evidence, "_EVIDENCE", limit)
            got = evidence.trust(table, tails, classes)
        wanted = reference.trust(table, classes, 5.0, 0.01, 1.25, 30.0, limit)
        np.testing.assert_allclose(got, wanted, rtol=1e-6)
