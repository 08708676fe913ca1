"""Weights of candidates by their errors, against the readable twins, and priors of strengths."""

import numpy as np
import pytest
import reference

from skmtl.guard import weights as rule
from skmtl.guard.judge import Judged
from skmtl.sharing.newton_problem import JudgedLosses, NewtonProblem
from skmtl.sharing.strengths import SQUARED, Grid


def errors(n_tasks=12, n_candidates=7, seed=0):
    """Held-out errors of candidates in tasks of very different sizes and noise levels."""
    rng = np.random.default_rng(seed)
    rows = np.round(10.0 ** rng.uniform(0, 3, size=n_tasks))
    rows[0] = 0.0
    level = rng.uniform(0.5, 2.0, size=(n_tasks, 1)) * rng.uniform(0.8, 1.3, size=n_candidates)
    return level * rows[:, None] * rng.uniform(0.9, 1.1, size=(n_tasks, n_candidates)), rows


CONSTANTS = {
    name: getattr(rule, f"_{name.upper()}")
    for name in ("others", "others_rows", "own", "size_width", "stray", "prior_tasks")
}


@pytest.mark.parametrize("seed", range(4))
def test_scores_and_weights(seed):
    sse, rows = errors(seed=seed)
    np.testing.assert_allclose(
        rule.noise_level(sse, rows), reference.noise_level(sse, rows), rtol=1e-12
    )
    scores = rule.log_scores(sse, rows)
    wanted = reference.log_scores(sse, rows, rule._NOISE_ROWS)
    np.testing.assert_allclose(scores, wanted, rtol=1e-10, atol=1e-10)
    prior = np.random.default_rng(seed).normal(size=scores.shape[1])
    unseen = rule.unseen_weights(scores, rows, prior)
    wanted = reference.unseen_weights(
        scores, rows, CONSTANTS["others"], CONSTANTS["others_rows"], prior
    )
    np.testing.assert_allclose(unseen, wanted, rtol=1e-9)
    for n_steps in (0, 1, 15):
        got, start = rule.task_weights(scores, rows, prior, n_steps)
        wanted = reference.task_weights(scores, rows, CONSTANTS, n_steps, prior)
        np.testing.assert_allclose(got, wanted, rtol=1e-8, atol=1e-12)
        # A new task with the scores of a known one gets its weights, up to the bins of sizes.
        t = int(np.argmax(rows))
        size = np.exp(start.size[-1] / 4)
        np.testing.assert_allclose(start.weights(scores[t], size), got[t], rtol=1e-8, atol=1e-12)
    np.testing.assert_allclose(got[0], unseen)  # a task without rows is like an unseen one
    np.testing.assert_allclose(
        rule.left_out_weights(sse[1:]), reference.left_out_weights(sse[1:]), rtol=1e-10
    )


def all_weights(sse, rows):
    scores = rule.log_scores(sse, rows)
    tasks = rule.task_weights(scores, rows)[0]
    return np.vstack([tasks, rule.unseen_weights(scores, rows), rule.left_out_weights(sse)])


@pytest.mark.parametrize("scale", [1e-12, 1e9])
def test_the_scale_of_the_errors_does_not_matter(scale):
    sse, rows = errors()
    np.testing.assert_allclose(
        all_weights(sse * scale, rows), all_weights(sse, rows), rtol=1e-6, atol=1e-12
    )


def test_weights_do_not_depend_on_the_order_of_tasks():
    sse, rows = errors()
    order = np.random.default_rng(0).permutation(len(rows))
    scores, shuffled = (
        rule.log_scores(sse, rows),
        rule.log_scores(sse[order], rows[order]),
    )
    np.testing.assert_allclose(
        rule.task_weights(shuffled, rows[order])[0],
        rule.task_weights(scores, rows)[0][order],
        rtol=1e-9,
    )


@pytest.mark.parametrize("n_rows", [0.0, 1.0, 1e6])
def test_weights_are_shares(n_rows):
    sse, _ = errors()
    rows = np.full(len(sse), n_rows)
    weights = all_weights(sse * n_rows, rows)
    assert (weights >= 0).all()
    np.testing.assert_allclose(weights.sum(1), 1.0)


def test_perfect_candidates_do_not_break_weights():
    rows = np.full(5, 10.0)
    sse = np.zeros((5, 3))
    assert np.isfinite(all_weights(sse, rows)).all()
    sse[:, 1:] = 1.0
    weights = all_weights(sse, rows)
    assert np.isfinite(weights).all() and (weights.argmax(1) == 0).all()


def test_a_task_in_other_units_does_not_set_the_noise_level():
    sse, rows = np.tile([100.0, 200.0], (9, 1)), np.full(9, 100.0)
    assert rule.noise_level(sse, rows) == 1.0
    sse[4] *= 1e6
    assert rule.noise_level(sse, rows) == 1.0


def test_the_noise_level_of_equal_tasks_does_not_depend_on_rounding():
    """Half of the tasks have half of the rows, whatever the unit of the weights."""
    rng = np.random.default_rng(0)
    for n_tasks in range(2, 40, 2):
        errors = np.sort(rng.uniform(0.5, 2.0, size=(n_tasks, 1)), axis=0)
        for unit in rng.uniform(0.1, 3.0, size=20):
            rows = np.full(n_tasks, unit)
            level = rule.noise_level(errors * unit, rows)
            assert level == pytest.approx(errors[n_tasks // 2 - 1, 0], rel=1e-9)


def test_tasks_of_negligible_weight_do_not_influence_the_others_and_follow_them():
    sse, rows = errors(seed=3)
    sse, rows = sse[1:], rows[1:]
    scores = rule.log_scores(sse, rows)
    wanted, _ = rule.task_weights(scores, rows)
    with_tiny = np.append(rows, 1e-8)
    tiny = np.vstack([scores, np.zeros(scores.shape[1])])
    weights, _ = rule.task_weights(tiny, with_tiny)
    np.testing.assert_allclose(weights[:-1], wanted, atol=0.05)
    smallest = wanted[np.argmin(rows)]
    assert np.abs(weights[-1] - smallest).sum() < 0.5 * np.abs(1 / len(smallest) - smallest).sum()
    balanced = rule.size_balanced_weights
    np.testing.assert_allclose(balanced(with_tiny)[:-1], balanced(rows), rtol=1e-6)


def test_better_candidates_weigh_more():
    sse, rows = np.tile([3.0, 1.0, 2.0], (6, 1)) * 50, np.full(6, 50.0)
    for weights in all_weights(sse, rows):
        assert weights[1] > weights[2] > weights[0]


def test_a_task_unlike_the_others_uses_other_candidates():
    rows = np.full(20, 100.0)
    sse = np.tile([100.0, 200.0], (20, 1))
    sse[7] = [400.0, 50.0]
    weights, _ = rule.task_weights(rule.log_scores(sse, rows), rows)
    assert weights[7, 1] > 0.99
    assert (np.delete(weights, 7, axis=0)[:, 0] > 0.99).all()


def test_a_task_with_few_rows_follows_the_others():
    """Three rows with other errors do not outweigh what helps tasks of the same size."""
    rows = np.full(40, 3.0)
    sse = np.tile([3.0, 6.0], (40, 1))
    sse[0] = [3.3, 3.0]
    weights, _ = rule.task_weights(rule.log_scores(sse, rows), rows)
    assert weights[0, 0] > 0.5


def test_every_size_of_task_has_the_same_weight():
    rng = np.random.default_rng(3)
    rows = np.r_[0.0, rng.permutation(np.r_[np.full(30, 3.0), np.full(5, 40.0), 41.0, 700.0])]
    got = rule.size_balanced_weights(rows)
    np.testing.assert_allclose(got, reference.size_balanced_weights(rows, rule._SIZE_WIDTH))
    np.testing.assert_allclose([got[rows == 3.0].sum(), got[rows == 700.0].sum()], 1 / 3)
    np.testing.assert_array_equal(rule.size_balanced_weights(np.zeros(3)), 0.0)


@pytest.mark.parametrize("repeats", [1.0, 2.0])
def test_scores_of_classes(repeats):
    rng = np.random.default_rng(4)
    rows = rng.integers(1, 9, size=(3, 12)).astype(float)
    rows[:, 5] = 0.0
    each = rng.uniform(0.2, 0.9, size=(3, 12, 6))
    expected = rng.uniform(0.2, 0.9, size=(3, 2, 12, 6)) * rows[:, None, :, None]
    given = each * rows[:, :, None], rows, expected, np.array([1, 4])
    judged = JudgedLosses(given[0], rows, None, repeats, expected=expected, pooled=given[3])
    scores, log_prior = judged.scores()
    wanted = reference.scores_of_classes(*given, rule._SIZE_WIDTH, repeats)
    np.testing.assert_allclose(scores, wanted[0], rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(log_prior, wanted[1], rtol=1e-10)
    loss = given[0].sum(axis=0)[rows.sum(axis=0) > 0]
    weights = NewtonProblem.left_out_weights(loss, rows.sum(axis=0)[rows.sum(axis=0) > 0])
    wanted = reference.left_out_weights_of_classes(loss, rows.sum(axis=0)[rows.sum(axis=0) > 0])
    np.testing.assert_allclose(weights, wanted, rtol=1e-10)


# ---------------------------------------------------------------------------------- the grid


def test_product_and_rows():
    grid = Grid.product([1.0, np.inf], [2.0], [0.1, 3.0])
    assert len(grid) == 4
    combos = {tuple(row) for row in grid.rows()[:, 1:]}
    assert combos == {(1.0, 2.0, 0.1), (1.0, 2.0, 3.0), (np.inf, 2.0, 0.1), (np.inf, 2.0, 3.0)}


def test_concatenate_is_a_sorted_union():
    a = Grid.product([1.0, np.inf], [2.0], [0.1])
    b = Grid.product([np.inf, 0.5], [2.0], [0.1])
    both = Grid.concatenate([a, b])
    assert list(both.slope) == [0.5, 1.0, np.inf]
    np.testing.assert_array_equal(both.isin(a), [False, True, True])
    np.testing.assert_array_equal(both.take(both.isin(b)).slope, [0.5, np.inf])


def test_levels_are_runs_of_equal_slope_strengths():
    grid = Grid.concatenate(
        [Grid.product([1.0, 2.0], [1.0, 3.0], [0.1]), Grid.product([2.0], [1.0], [0.1], scaling=1)]
    )
    levels = grid.levels
    assert [(scaling, slope) for scaling, slope, _ in levels] == [(0, 1.0), (0, 2.0), (1, 2.0)]
    covered = np.concatenate([np.arange(len(grid))[where] for *_, where in levels])
    np.testing.assert_array_equal(covered, np.arange(len(grid)))
    for scaling, slope, where in levels:
        assert (grid.slope[where] == slope).all() and (grid.scaling[where] == scaling).all()


def test_stronger_candidates_have_larger_prior_weights():
    grid = Grid.product(SQUARED.slopes, np.array([1.0]), SQUARED.ridges)
    shape = len(SQUARED.slopes), len(SQUARED.ridges)
    prior = grid.log_prior(5, 10.0).reshape(shape)
    assert (np.diff(prior, axis=0) > 0).all() and (np.diff(prior, axis=1) > 0).all()
    # The cost is that of effective parameters: small with many rows per parameter.
    spread = np.ptp(grid.log_prior(1, 10.0).reshape(shape), axis=0)
    assert (spread < 0.3 * np.ptp(prior, axis=0)).all()


def test_strengths_outside_the_grid_have_a_prior():
    outside = np.array([0.0, 1e-9, 1e9, np.inf])
    grid = Grid.product(outside, np.array([1.0]), outside)
    assert np.isfinite(grid.log_prior(5, 0.0)).all()
    assert np.isfinite(grid.log_prior(5, 10.0)).all()


def test_few_shot_scores_are_those_of_more_tasks():
    sse, rows = errors()
    scores = rule.log_scores(sse, rows)
    few_shot = scores[3:6], rows[3:6], np.full(3, 5.0)
    got, start = rule.task_weights(scores, rows, few_shot=few_shot)
    wanted, _ = rule.task_weights(scores, rows)
    assert got.shape == wanted.shape
    assert np.exp(start.size / 4).min() < 6 and start.n_tasks.sum() == (rows > 0).sum() + 3
    # They change the weights of tasks of about five rows, but hardly those of large tasks.
    assert np.abs(got[np.argmax(rows)] - wanted[np.argmax(rows)]).max() < 0.02
    only = rule.task_weights(scores[:0], rows[:0], few_shot=few_shot)
    assert only[1] is None


def test_outside_the_range_of_sizes_the_nearest_one_is_used():
    sse, rows = errors()
    _, start = rule.task_weights(rule.log_scores(sse, rows), rows)
    np.testing.assert_array_equal(start.at(1e9), start.at(np.exp(start.size[-1] / 4)))
    flat = rule.TaskPrior.untried(np.zeros(4))
    np.testing.assert_allclose(flat.at(7.0), 0.25)


def test_errors_without_a_split_and_optimism():
    rng = np.random.default_rng(5)
    sse, rows = rng.uniform(1, 2, size=(4, 6, 3)), rng.integers(1, 5, size=(4, 6)).astype(float)
    judged = Judged(sse, rows, None, 1.0)
    others = [np.delete(np.arange(4), split) for split in range(4)]
    for split, rest in enumerate(others):
        errors, weight = judged.without(split).totals()
        np.testing.assert_allclose(errors, sse[rest].sum(axis=0))
        np.testing.assert_allclose(weight, rows[rest].sum(axis=0))
    shares = rng.dirichlet(np.ones(3), size=6)
    chosen = [rng.dirichlet(np.ones(3), size=6) for _ in others]
    wanted = np.zeros(6)
    for t in range(6):
        for split, other in enumerate(chosen):
            wanted[t] += (other[t] - shares[t]) @ sse[split, t] / rows[:, t].sum()
    assert (wanted < 0).any() and (wanted > 0).any()
    gap = sum(judged.gap(split, shares, other) for split, other in enumerate(chosen))
    np.testing.assert_allclose(judged.optimism(gap), np.maximum(wanted, 0.0))
