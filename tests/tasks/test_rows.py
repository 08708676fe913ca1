"""The row form answers what the moments answer."""

import numpy as np
import pytest
from scipy import sparse

from skmtl.tasks import rows as room
from skmtl.tasks.moments import block_moments, moment_bytes
from skmtl.tasks.rows import TaskRows, prefers_rows
from skmtl.tasks.table import pack


def both_forms(form=np.asarray, weighted=False, n=60, p=5, n_tasks=7, n_blocks=3, seed=0):
    rng = np.random.default_rng(seed)
    X, y = rng.normal(size=(n, p)) + 2.0, rng.normal(size=n)
    codes = rng.integers(n_tasks, size=n)
    codes[(codes == 2) | (codes == n_tasks - 1)] = 1  # tasks without rows, the last too
    weight = rng.integers(0, 3, size=n).astype(float) if weighted else None
    table = pack(form(X), y, codes, n_tasks, weight)
    block = rng.integers(n_blocks, size=len(table.rows))
    return block_moments(table, block, n_blocks), TaskRows.of(table, block), table


def assert_same(moments, rows):
    """Equal answers to every question."""
    rng = np.random.default_rng(1)
    n_tasks, p = len(moments.weight), moments.n_features
    assert rows.n_features == p
    tolerance = {"rtol": 1e-9, "atol": 1e-9}
    np.testing.assert_allclose(rows.weight, moments.weight, **tolerance)
    np.testing.assert_allclose(rows.mean, moments.mean, **tolerance)
    for t in np.flatnonzero(moments.weight > 0):
        root = rows.root(t)
        np.testing.assert_allclose(root.T @ root, moments.scatter[t], **tolerance)
        assert len(root) <= max(p + 1, rows.offsets[t + 1] - rows.offsets[t])
    for ours, theirs in zip(rows.pooled(), moments.pooled(), strict=True):
        np.testing.assert_allclose(ours, theirs, **tolerance)
    coef, intercept = rng.normal(size=(n_tasks, p)), rng.normal(size=4)
    np.testing.assert_allclose(rows.gradient(coef), moments.gradient(coef), **tolerance)
    models = rng.normal(size=(4, p))
    np.testing.assert_allclose(
        rows.errors(models, intercept), moments.errors(models, intercept), **tolerance
    )
    slopes, intercepts = rng.normal(size=(n_tasks, 4, p)), rng.normal(size=(n_tasks, 4))
    grams = np.zeros((2, n_tasks, 4, 4))
    for gram, data in zip(grams, (rows, moments), strict=True):
        sse = data.add_error_grams(slopes, intercepts.copy(), gram)
        np.testing.assert_allclose(sse, np.einsum("tcc->tc", gram), **tolerance)
    np.testing.assert_allclose(*grams, **tolerance)
    factor = rng.uniform(0.5, 2.0, size=p)
    stretched = rows.stretched(factor), moments.stretched(factor)
    np.testing.assert_allclose(stretched[0].mean, stretched[1].mean, **tolerance)
    np.testing.assert_allclose(stretched[0].mean[:, :-1], rows.mean[:, :-1] * factor, **tolerance)
    np.testing.assert_allclose(*(part.errors(models, intercept) for part in stretched), **tolerance)


CHOSEN = [None, [True, True, True], [True, False, True], [False, True, False]]


@pytest.mark.parametrize("form", [np.asarray, sparse.csr_matrix])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("p", [1, 5, 30])  # tasks of more and of fewer rows than features
@pytest.mark.parametrize("chosen", CHOSEN, ids=str)
def test_merged(form, weighted, p, chosen):
    moments, rows, _ = both_forms(form, weighted, p=p)
    chosen = None if chosen is None else np.array(chosen)
    assert_same(moments.merge(chosen), rows.merge(chosen))


def test_chosen_tasks():
    moments, rows, _ = both_forms()
    tasks = np.array([5, 2, 0])
    assert_same(
        moments.merge(np.array([True, False, True]), tasks),
        rows.merge(np.array([True, False, True]), tasks),
    )
    assert_same(moments.merge().take(tasks), rows.merge().take(tasks))


def test_rescaled_twice():
    moments, rows, _ = both_forms()
    rng = np.random.default_rng(2)
    Z = rows.Z.copy()
    moments, rows = moments.merge(), rows.merge()
    for _ in range(2):
        centre, scale = rng.normal(size=6), rng.uniform(0.0, 3.0, size=6)
        moments.rescale(centre, scale)
        rows.rescale(centre, scale)
    assert_same(moments, rows)
    np.testing.assert_array_equal(rows.Z, Z)  # only the bookkeeping changes


def test_a_copy_is_rescaled_alone():
    _, rows, _ = both_forms()
    whole = rows.merge()
    before = whole.mean.copy()
    whole.copy().rescale(np.ones(6), np.full(6, 3.0))
    whole.merge().rescale(np.ones(6), np.full(6, 3.0))
    whole.take(np.arange(3)).rescale(np.ones(6), np.full(6, 3.0))
    np.testing.assert_array_equal(whole.mean, before)
    np.testing.assert_array_equal(whole.scale, np.ones(6))


def test_rescaled_before_or_after_the_choice():
    moments, rows, _ = both_forms()
    centre, scale = np.arange(6.0), np.linspace(0.5, 2.0, 6)
    chosen = np.array([True, False, True])
    early = rows.merge().rescale(centre, scale).merge(chosen)
    assert_same(moments.merge(chosen).rescale(centre, scale), early)


def test_the_larger_form_gives_way(monkeypatch):
    _, _, table = both_forms()
    assert not prefers_rows(table, 5)  # moments are small enough
    monkeypatch.setattr(room, "_MOMENT_BYTES", 0)
    assert prefers_rows(table, 5)
    _, _, long = both_forms(n=5000)
    assert moment_bytes(7 * 5, 5) < 8 * 5000 * 6
    assert not prefers_rows(long, 5)
