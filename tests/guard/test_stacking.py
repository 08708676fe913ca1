"""Convex weights of members, against slow twins."""

import numpy as np
import pytest
import reference
from scipy.optimize import minimize

from skmtl.guard.stacking import (
    RowLosses,
    SquaredErrors,
    StackedWeights,
    simplex_weights,
    unseen_blend,
)
from skmtl.losses import LOG_LOSS, SQUARED_ERROR


def errors_of(rng, n_tasks=10, rows=40, scales=(1.0, 0.7, 0.8)):
    """Return errors of members, of which the first is worse, and the tasks of the rows."""
    sizes = rng.integers(3, rows, size=n_tasks)
    codes = np.repeat(np.arange(n_tasks), sizes)
    return rng.normal(size=(len(codes), len(scales))) * scales, codes


@pytest.mark.parametrize("n_members", [1, 2, 3, 6])
def test_simplex_weights_are_optimal(rng, n_members):
    root = rng.normal(size=(30, n_members)) * rng.uniform(0.5, 2.0, n_members)
    gram = root.T @ root
    found = simplex_weights(gram)
    assert found.sum() == pytest.approx(1.0) and (found >= 0).all()
    # Optimal on the simplex: the gradient is smallest, and equal, where the weights are positive.
    gradient = gram @ found
    assert gradient[found > 0] == pytest.approx(
        np.full((found > 0).sum(), gradient.min()), rel=1e-4
    )
    start = np.full(n_members, 1.0 / n_members)
    slow = minimize(
        lambda w: w @ gram @ w, start, bounds=[(0, 1)] * n_members,
        constraints={"type": "eq", "fun": lambda w: w.sum() - 1},
    )  # fmt: skip
    assert found @ gram @ found <= slow.fun * (1 + 1e-5)


def test_no_error_at_all_is_for_the_first():
    np.testing.assert_array_equal(simplex_weights(np.zeros((3, 3))), [1.0, 0.0, 0.0])


@pytest.mark.parametrize("n_tasks", [3, 12])
def test_weights_are_those_of_the_twin(rng, n_tasks):
    errors, codes = errors_of(rng, n_tasks)
    weight = rng.uniform(0.5, 2.0, len(codes))
    found = StackedWeights.learn(SquaredErrors(errors, weight, codes, n_tasks))
    size, weights = reference.stacked_weights(errors, weight, codes, n_tasks)
    np.testing.assert_allclose(found.size, size)
    np.testing.assert_allclose(found.weights, weights, atol=1e-6)


def test_only_what_is_better_by_a_standard_error_is_used(rng):
    errors, codes = errors_of(rng, 30, 60)
    used = StackedWeights.learn(SquaredErrors(errors, np.ones(len(codes)), codes, 30))
    assert (used.weights[:, 0] < 0.5).all() and (used.advantage > 2.0).all()
    alike = errors[:, [0]] + 1e-3 * rng.normal(size=(len(codes), 2))
    unused = StackedWeights.learn(SquaredErrors(alike, np.ones(len(codes)), codes, 30))
    np.testing.assert_array_equal(unused.weights[:, 0], 1.0)


def test_sizes_are_weighed_apart(rng):
    """The second member is better in large tasks, the first one in small tasks."""
    sizes = np.repeat([5, 200], [40, 10])
    codes = np.repeat(np.arange(50), sizes)
    large = np.repeat(sizes == 200, sizes)
    errors = rng.normal(size=(len(codes), 2))
    errors[:, 1] *= np.where(large, 0.5, 2.0)
    found = StackedWeights.learn(SquaredErrors(errors, np.ones(len(codes)), codes, 50))
    assert found.at(np.array([5.0]))[0, 0] > 0.7
    assert found.at(np.array([200.0]))[0, 1] > 0.6
    # Sizes beyond those that were seen have the weights of the nearest.
    np.testing.assert_array_equal(found.at(np.array([1e6])), found.at(np.array([200.0])))


def test_a_task_that_a_blend_would_hurt_uses_the_first_member(rng):
    codes = np.repeat(np.arange(20), 50)
    errors = rng.normal(size=(1000, 2)) * [1.0, 0.5]
    errors[codes == 7] *= [0.3, 10.0]
    weight = np.ones(1000)
    held_out = SquaredErrors(errors, weight, codes, 20)
    tasks = StackedWeights.learn(held_out).of_tasks(np.full(20, 50.0), held_out)
    np.testing.assert_array_equal(tasks[7], [1.0, 0.0])
    assert (np.delete(tasks, 7, axis=0)[:, 1] > 0.5).all()


def scores_of(rng, n_tasks, n_scores):
    """Return scores of members, of which the second one is best, and classes drawn from it."""
    codes = np.repeat(np.arange(n_tasks), rng.integers(20, 60, size=n_tasks))
    good = 2.0 * rng.normal(size=(len(codes), n_scores))
    noisy = 0.5 * good + rng.normal(size=good.shape)
    scores = np.stack([noisy, good, -good], axis=1)
    if n_scores == 1:
        target = (good + rng.logistic(size=good.shape) > 0).astype(float)
    else:
        drawn = (good + rng.gumbel(size=good.shape)).argmax(axis=1)
        target = np.eye(n_scores)[drawn]
    return scores, target, codes


@pytest.mark.parametrize("n_scores", [1, 3])
@pytest.mark.parametrize("n_tasks", [3, 12])
def test_weights_of_scores_are_those_of_the_twin(rng, n_tasks, n_scores):
    scores, target, codes = scores_of(rng, n_tasks, n_scores)
    weight = rng.uniform(0.5, 2.0, len(codes))
    held_out = RowLosses(scores, target, LOG_LOSS, weight, codes, n_tasks)
    found = StackedWeights.learn(held_out)
    size, weights = reference.stacked_log_loss_weights(scores, target, weight, codes, n_tasks)
    np.testing.assert_allclose(found.size, size)
    np.testing.assert_allclose(found.weights, weights, atol=1e-3)


def test_losses_of_squared_errors_are_their_special_case(rng):
    errors, codes = errors_of(rng)
    weight, target = rng.uniform(0.5, 2.0, len(codes)), rng.normal(size=(len(codes), 1))
    squares = SquaredErrors(errors, weight, codes, 10)
    rows = RowLosses((errors + target)[:, :, None], target, SQUARED_ERROR, weight, codes, 10)
    kernel = rng.uniform(size=10)
    start = np.full(3, 1 / 3)
    np.testing.assert_allclose(rows.step(start, kernel), squares.step(start, kernel), atol=1e-5)
    np.testing.assert_allclose(2.0 * rows.losses(start), squares.losses(start))


def test_left_out_tasks_count_the_same_for_an_unseen_one(rng):
    """The second member is better on one large task, and worse on all others."""
    sizes = np.r_[2000, np.full(9, 20)]
    codes = np.repeat(np.arange(10), sizes)
    errors = rng.normal(size=(len(codes), 2))
    errors[:, 1] *= np.where(codes == 0, 0.1, 3.0)
    found = unseen_blend(SquaredErrors(errors, np.ones(len(codes)), codes, 10))
    assert found[0] > 0.8
    errors[:, 1] = 0.5 * rng.normal(size=len(codes))
    found = unseen_blend(SquaredErrors(errors, np.ones(len(codes)), codes, 10))
    assert found[1] > 0.5


@pytest.mark.parametrize("n_tasks", [1, 2])
def test_few_left_out_tasks_are_judged_by_their_rows(rng, n_tasks):
    codes = np.arange(200) % n_tasks
    codes.sort()
    errors = rng.normal(size=(200, 1)) * [1.0, 0.5]
    assert unseen_blend(SquaredErrors(errors, np.ones(200), codes, n_tasks))[1] > 0.5
    errors = np.abs(errors[:, [0]]) * [1.0, 0.999]  # not by two standard errors
    errors[:100] *= [1.0, 0.5]
    errors[100:] *= [1.0, 1.5]
    assert unseen_blend(SquaredErrors(errors, np.ones(200), codes, n_tasks))[0] == 1.0


@pytest.mark.parametrize("n_scores", [0, 1, 3])
def test_a_member_can_gain_unless_a_step_towards_it_clearly_harms(rng, n_scores):
    """The slopes are those of finite differences, of squared errors and of log-losses."""
    scores, target, codes = scores_of(rng, 4, max(n_scores, 1))
    scores[:, :2] *= 0.4  # so that a step away from them harms at once
    weight = rng.uniform(0.5, 2.0, len(codes))
    if not n_scores:
        target = 2.5 * scores[:, 1] + 0.5 * rng.normal(size=target.shape)

    def rows_of(columns):
        if n_scores:
            return RowLosses(columns, target, LOG_LOSS, weight, codes, 4)
        return SquaredErrors(columns[:, :, 0] - target, weight, codes, 4)

    others, all_rows = rows_of(scores[:, :2]), rows_of(scores)
    blend, near = others.best(np.ones(4))
    step = 1e-6
    towards = np.append((1.0 - step) * blend, step)
    slopes = (all_rows.losses(towards) - others.losses(blend)) / step
    np.testing.assert_allclose(others.slopes(blend, rows_of(scores[:, 2:])), slopes, atol=1e-3)
    increase = near[codes] * weight * slopes
    wanted = increase.sum() <= np.sqrt(sum(increase**2))
    assert others.can_gain(rows_of(scores[:, 2:])) == wanted
    assert not wanted  # this member is the opposite of the best one
    better = scores[:, [1]] + 0.3 * (target - LOG_LOSS.means(scores[:, 1]))[:, None]
    if not n_scores:
        better = 0.5 * (scores[:, [1]] + target[:, None])
    assert others.can_gain(rows_of(better))


def test_sizes_are_those_of_the_tasks_not_of_their_held_out_rows(rng):
    """As of large tables, of which one split is judged."""
    codes = np.repeat(np.arange(20), 20)
    errors = rng.normal(size=(len(codes), 2)) * [1.0, 0.5]
    size = np.full(20, 100.0)
    found = StackedWeights.learn(SquaredErrors(errors, np.ones(len(codes)), codes, 20, size))
    np.testing.assert_allclose(np.log(found.size), np.log(100.0), atol=0.13)


def test_large_tasks_say_nothing_about_small_ones(rng):
    """However many they are: the second member is better in small tasks only, by little."""
    sizes = np.repeat([5, 3000], [30, 10])
    codes = np.repeat(np.arange(40), sizes)
    errors = rng.normal(size=(len(codes), 2))
    errors[:, 1] *= np.where(np.repeat(sizes == 5, sizes), 0.6, 30.0)
    found = StackedWeights.learn(SquaredErrors(errors, np.ones(len(codes)), codes, 40))
    assert found.at(np.array([5.0]))[0, 1] > 0.5
    assert found.at(np.array([3000.0]))[0, 1] < 0.01


def test_a_few_small_tasks_beside_large_ones_need_two_standard_errors():
    """Chance would otherwise give a learner weight in many a table with a few new tasks."""
    sizes, ten = np.repeat([10, 700], [4, 8]), np.array([10.0])
    codes, used = np.repeat(np.arange(12), sizes), []
    small = np.repeat(sizes == 10, sizes)
    for seed in range(60):
        rng = np.random.default_rng(seed)
        first = rng.normal(size=len(codes))
        errors = np.column_stack([first, first + 0.2 * rng.normal(size=len(codes))])
        beside = StackedWeights.learn(SquaredErrors(errors, np.ones(len(codes)), codes, 12))
        alone = StackedWeights.learn(SquaredErrors(errors[small], np.ones(40), codes[small], 4))
        used.append([model.at(ten)[0, 0] < 1.0 for model in (beside, alone)])
        clear = np.where(small[:, None], errors * [1.0, 0.3], errors)
        found = StackedWeights.learn(SquaredErrors(clear, np.ones(len(codes)), codes, 12))
        assert found.at(ten)[0, 1] > 0.5
    in_few_beside, in_few_alone = np.mean(used, axis=0)
    assert in_few_beside < 0.5 * in_few_alone
