"""Parts of the fits with learners: columns, rows that were held out, folds."""

from types import SimpleNamespace

import numpy as np
import pytest
import reference
from scipy.special import softmax
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.tree import DecisionTreeClassifier

from skmtl import MultiTaskClassifier, MultiTaskRegressor
from skmtl.losses import LOG_LOSS, SQUARED_ERROR
from skmtl.sharing import PartialPooling
from skmtl.sharing.learned.design import Design, Rows, TargetMeans, content_order
from skmtl.sharing.learned.learners import BoostedTrees, Probabilities, SmoothRidge
from skmtl.sharing.learned.members import scores_of
from skmtl.sharing.learned.model import _NewTask
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


def columns_of(rng, n=90):
    """Numbers with gaps, codes, a constant, and two columns that differ by their rows alone."""
    target, weight = rng.normal(size=n), rng.uniform(0.5, 2.0, n)
    M = rng.normal(size=(n, 7)) + 0.3 * target[:, None]
    M[rng.random(n) < 0.2, 1] = np.nan
    M[:, 2] = rng.integers(4, size=n)
    M[:, 3] = 1.0
    M[:, 4:6] = 0.0
    target[:4], weight[:4] = 0.5, 1.0
    M[0, 4] = M[1, 5] = 1.0
    return M, np.arange(7) == 2, target, weight


def test_columns_are_sorted_by_what_is_in_them(rng):
    M, categorical, target, weight = columns_of(rng)
    order = content_order(M, categorical, target, weight)
    assert order.tolist() == reference.content_order(M, categorical, target, weight)
    assert order[-1] == 2  # categories come last
    for _ in range(5):
        other = rng.permutation(7)
        found = content_order(M[:, other], categorical[other], target, weight)
        assert other[found].tolist() == order.tolist()
    numbers = np.where(categorical, 1.0, rng.uniform(0.1, 9.0, 7) * rng.choice([-1, 1], 7))
    moved = M * numbers + np.where(categorical, 0.0, 3.0)
    assert content_order(moved, categorical, target, weight).tolist() == order.tolist()


def test_a_design_that_sorts_hands_over_the_same_columns(rng):
    rows, target, weight = rows_of(rng, levels=9)
    target = target + rows.view[:, 1]  # the category explains much
    levels, blocks = np.array([0, 9]), np.zeros(len(target))
    plain, sorting = (Design(levels, N_TASKS, "encoded", sorts_columns=s) for s in (False, True))
    M, N = (design.fit(rows, target, weight, blocks) for design in (plain, sorting))
    np.testing.assert_array_equal(M[:, sorting.order], N)
    np.testing.assert_array_equal(plain.transform(rows)[:, sorting.order], sorting.transform(rows))
    assert sorting.categorical.tolist() == plain.categorical[sorting.order].tolist()
    assert sorting.order.tolist() != [0, 1, 2]


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


@pytest.mark.jit
def test_nested_scores_hardly_depend_on_the_labels_they_must_not_see(rng):
    """They are rough solutions, from a start that has seen all labels."""
    X, codes = rng.normal(size=(400, 2)), rng.integers(N_TASKS, size=400)
    y = X @ rng.normal(size=2) + rng.normal(size=N_TASKS)[codes] + rng.logistic(size=400) > 0
    fold = rng.permutation(400) % 4
    cv = [(np.flatnonzero(fold != k), np.flatnonzero(fold == k)) for k in range(4)]

    def nested(y):
        found = {}

        class Spy(PartialPooling):
            def fit_rows(self, problem):
                structure = PartialPooling(alpha=30.0, alpha_shared=1.0)
                fitted = problem.fit_linear(structure, nested_splits=4)
                found.update(X=problem.rows.X[:, 0], held_out=fitted.held_out)
                raise StopIteration

        with pytest.raises(StopIteration):
            MultiTaskClassifier(Spy(), cv=cv).fit(X, y, task=codes)
        return found["held_out"].nested[:, np.argsort(found["X"]), 0]

    order = np.argsort(X[:, 0])
    first, changed = nested(y), nested(y ^ (fold == 1))
    gap = np.abs(first - changed)
    assert np.median(gap[1]) < 0.1 * np.median(gap[0, (fold == 2)[order]])
    # Every row of a split has a score, by its held-out model or by one without its own block.
    assert np.isfinite(first).all()


@pytest.mark.parametrize("loss", [SQUARED_ERROR, LOG_LOSS])
@pytest.mark.parametrize("prior_rows", [0.5, 20.0])
def test_offset_of_a_new_task_is_that_of_the_twin(rng, loss, prior_rows):
    n = 12
    y = rng.integers(2, size=n).astype(float)
    weight, scores = rng.integers(1, 4, size=n).astype(float), rng.normal(size=(n, 1))
    sampled = 0.7 if loss is LOG_LOSS else 0.0

    class NoAdapter:
        def relative(self, weight):
            return weight

        def representative(self, y, weight):
            return weight

        def sampling(self, y, weight):
            return np.array([sampled]), None

    model = SimpleNamespace(
        linear=SimpleNamespace(adapter=NoAdapter()), loss=loss, location=np.zeros(1),
        scale=np.ones(1),
    )  # fmt: skip
    new = _NewTask(model, None, y, weight, {})
    offset, error = new.offset(scores, prior_rows, True)
    wanted = reference.new_task_offset(
        scores[:, 0], y, weight, prior_rows, sampled, loss is LOG_LOSS
    )
    np.testing.assert_allclose([offset[0], error], wanted)
    assert new.offset(scores, prior_rows, False)[0] == 0.0


def test_scores_of_probabilities_are_bounded_log_odds():
    proba = np.array([[0.25, 0.75], [0.0, 1.0]])
    found = scores_of(proba)
    np.testing.assert_allclose(found[:, 0], [np.log(3.0), np.log(1e3)], rtol=1e-2)
    np.testing.assert_allclose(scores_of(np.array([1.5, 2.0])), [[1.5], [2.0]])
    three = scores_of(np.array([[0.2, 0.3, 0.5]]))
    np.testing.assert_allclose(softmax(three, axis=1), [[0.2, 0.3, 0.5]])


def test_a_classifier_that_lacks_a_class_gives_it_no_probability(rng):
    target = np.array([0.0, 2.0, 0.0, 2.0])
    tree = DecisionTreeClassifier().fit(np.arange(4.0)[:, None] % 2, target)
    found = Probabilities.of(lambda: tree, target, 3).predict(np.array([[0.0], [1.0]]))
    np.testing.assert_array_equal(found, [[1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
    only = Probabilities.of(None, np.ones(4), 3).predict(np.zeros((2, 1)))
    np.testing.assert_array_equal(only, [[0.0, 1.0, 0.0]] * 2)
