"""Parts of the fits with learners: columns, rows that were held out, folds."""

import numpy as np
import pytest
from sklearn.ensemble import HistGradientBoostingRegressor

from skmtl import MultiTaskRegressor
from skmtl.sharing import PartialPooling
from skmtl.sharing.learned.design import Design, Rows, TargetMeans
from skmtl.sharing.learned.learners import BoostedTrees, SmoothRidge
from skmtl.tasks.table import pack

N_TASKS = 6


def rows_of(rng, n=120, levels=300):
    view = np.column_stack([rng.normal(size=n), rng.integers(levels, size=n).astype(float)])
    view[0] = np.nan
    codes = rng.integers(N_TASKS, size=n)
    return Rows(view.copy(), view, codes), rng.normal(size=n) + codes, rng.uniform(0.5, 2.0, n)


def test_target_means_are_shrunk_group_means(rng):
    _, target, weight = rows_of(rng)
    levels = rng.integers(-1, 4, size=len(target))
    found = TargetMeans.learn(levels, target, weight, 5)
    overall = np.average(target[levels >= 0], weights=weight[levels >= 0])
    m = found.prior_rows
    for level in range(4):
        own = levels == level
        mean, total = np.average(target[own], weights=weight[own]), weight[own].sum()
        wanted = (total * mean + m * overall) / (total + m)
        assert found.values[level] == pytest.approx(wanted)
    assert found.values[4:] == pytest.approx([overall, overall])  # no rows, and unknown
    own = levels == 2
    assert found.of_new_level(target[own], weight[own]) == pytest.approx(found.values[2])


def test_encoded_columns_of_a_block_come_from_the_other_blocks(rng):
    rows, target, weight = rows_of(rng)
    blocks = rng.integers(4, size=len(target))
    design = Design(np.array([0, 300]), N_TASKS, "encoded")
    M = design.fit(rows, target, weight, blocks)
    changed = target + 100.0 * (blocks == 2)
    other = Design(np.array([0, 300]), N_TASKS, "encoded").fit(rows, changed, weight, blocks)
    np.testing.assert_array_equal(M[blocks == 2], other[blocks == 2])
    assert (M[blocks != 2, 2] != other[blocks != 2, 2]).all()
    assert not design.categorical.any()
    unseen = design.transform(Rows(rows.X, rows.view, np.full(len(target), -1)))
    assert np.ptp(unseen[:, 2]) == 0.0
    assert (design.transform(rows, 7.0)[:, 2] == 7.0).all()


def test_tasks_are_categories_up_to_the_limit_of_trees(rng):
    rows, target, weight = rows_of(rng, levels=9)
    few = Design(np.array([0, 9]), 254, "category")
    M = few.fit(rows, target, weight, np.zeros(len(target)))
    np.testing.assert_array_equal(M[:, 2], rows.codes)
    assert few.categorical.tolist() == [False, True, True]
    many = Design(np.array([0, 9]), 255, "category")
    many.fit(rows, target, weight, np.arange(len(target)) % 2)
    assert many.categorical.tolist() == [False, True, False]


def test_boosting_with_weights_is_boosting_on_bins(rng):
    """Few distinct values are binned alike with and without weights."""
    M = rng.integers(40, size=(500, 3)).astype(float)
    M[rng.random(M.shape) < 0.1] = np.nan
    target = np.nan_to_num(M[:, 0]) / 10 + rng.normal(size=500)
    weight = rng.integers(1, 4, size=500).astype(float)
    none = np.zeros(3, dtype=bool)
    found = BoostedTrees().fit(M, none, target, weight, 30, 0).predict(M)
    plain = HistGradientBoostingRegressor(max_iter=30, early_stopping=False, random_state=0)
    wanted = plain.fit(M, target, sample_weight=weight).predict(M)
    np.testing.assert_allclose(found, wanted, atol=1e-10)


def test_a_smooth_ridge_is_flat_outside_and_takes_gaps(rng):
    M = np.column_stack([rng.normal(size=(300, 2)), rng.integers(3, size=300), np.ones(300)])
    M[:20, 1] = np.nan
    categorical = np.array([False, False, True, False])
    target = np.sin(2 * M[:, 0])
    model = SmoothRidge().fit(M, categorical, target, np.ones(300), None, 0)
    assert np.mean((model.predict(M) - target) ** 2) < 0.1 * target.var()
    far = np.array([[9.0, 0.0, 0.0, 1.0], [99.0, 0.0, 0.0, 1.0]])
    assert model.predict(far)[0] == model.predict(far)[1]
    flat = SmoothRidge().fit(np.ones((9, 1)), np.array([False]), np.arange(9.0), np.ones(9), 0, 0)
    assert not flat.predict(np.ones((2, 1))).any()


@pytest.mark.jit
@pytest.mark.parametrize("factor", [1.0, 1e3])
def test_nested_predictions_do_not_see_the_rows_they_must_not(rng, factor):
    """Labels of the held-out rows of a split change none of the split's predictions."""
    X, codes = rng.normal(size=(200, 2)), rng.integers(N_TASKS, size=200)
    y = (X @ rng.normal(size=2) + codes + 0.3 * rng.normal(size=200)) * factor ** (codes % 2)
    fold = rng.permutation(200) % 4
    cv = [(np.flatnonzero(fold != k), np.flatnonzero(fold == k)) for k in range(4)]
    table = pack(X, y, codes, N_TASKS)

    def nested(y):
        found = {}

        class Spy(PartialPooling):
            def fit_rows(self, problem):
                structure = PartialPooling(alpha=3.0, alpha_shared=1.0)
                fitted = problem.fit_linear(structure, nested_splits=4)
                found.update(problem=problem, held_out=fitted.held_out)
                raise StopIteration

        with pytest.raises(StopIteration):
            MultiTaskRegressor(Spy(), cv=cv, target_scale="table").fit(X, y, task=codes)
        order = np.lexsort((found["problem"].y, found["problem"].rows.X[:, 0]))
        return found["held_out"].nested[:, order, 0]

    order = np.argsort(X[:, 0])
    first, changed = nested(y), nested(y + 50.0 * factor * (fold == 1))
    gap = np.abs(first - changed)
    assert gap[1].max() < 1e-8 * np.abs(y).max()
    assert gap[0, (fold == 2)[order]].min() > 1e-3
    # Held-out rows of a split are predicted by the model of its training rows.
    training = np.flatnonzero(fold != 1)
    model = MultiTaskRegressor(PartialPooling(alpha=3.0, alpha_shared=1.0), cv=None)
    assert table.n_tasks == N_TASKS
    model.fit(X[training], y[training], task=codes[training])
    wanted = model.predict(X, task=codes)[order]
    near = np.corrcoef(first[1, (fold == 1)[order]], wanted[(fold == 1)[order]])[0, 1]
    assert near > 0.99
