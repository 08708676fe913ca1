"""Closed-form learners: they find what tasks share, and do no harm if these share nothing."""

import pickle
from dataclasses import replace

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from skmtl import MetaLearnerClassifier
from skmtl.learners import Auto, Hierarchical, Subspace
from skmtl.learners import _families as families
from skmtl.learners import _shared as shared_room
from skmtl.learners._held_out import few_shot, folds
from skmtl.learners._prior import ClassMeans, GaussianPrior
from skmtl.learners._scaling import Scaling
from skmtl.learners._shared import SharedPart, pooled_mean
from skmtl.learners.base import LabelledTasks
from skmtl.learners.closed_form import LinearHeads, _noise_of


def quiet(text):
    """Ignore progress."""


def tasks_of(X, y, ways=None, shared=True, labels=None, weight=None):
    """Return tasks of equal size from ``X (n_tasks, n, p)`` and ``y (n_tasks, n)``."""
    n_tasks, n, p = X.shape
    return LabelledTasks(
        X.reshape(-1, p), y.ravel(), np.ones(n_tasks * n) if weight is None else weight,
        np.arange(n_tasks + 1) * n, None if ways is None else np.full(n_tasks, ways), shared,
        labels,
    )  # fmt: skip


def few_directions(n_tasks, n, seed, p=15, rank=2, classes=True):
    rng = np.random.default_rng(seed)
    basis = np.linalg.qr(np.random.default_rng(99).normal(size=(p, rank)))[0]
    w = 3.0 * rng.normal(size=(n_tasks, rank)) @ basis.T
    X = rng.normal(size=(n_tasks, n, p))
    eta = np.einsum("tnp,tp->tn", X, w)
    if classes:
        return X, (rng.random(eta.shape) < 1 / (1 + np.exp(-eta))).astype(np.int64)
    return X, eta + rng.normal(size=eta.shape)


def own_classes(n_tasks, n, classes, seed, p=6, way=2):
    """Return tasks with `way` of the classes, whose means differ in no common direction."""
    means = 2.0 * np.random.default_rng(5).normal(size=(12, p))
    rng = np.random.default_rng(seed)
    labels = np.sort([rng.choice(classes, way, replace=False) for _ in range(n_tasks)], axis=1)
    y = np.tile(np.arange(n) % way, (n_tasks, 1))
    X = means[np.take_along_axis(labels, y, 1)] + rng.normal(size=(n_tasks, n, p))
    return tasks_of(X, y, way, False, labels)


def log_loss(adapted, X, y):
    codes = np.repeat(np.arange(X.shape[0]), X.shape[1])
    log = adapted.predict(X.reshape(len(codes), -1), codes)
    return -log[np.arange(len(codes)), y.ravel()].mean()


def squared_error(adapted, X, y):
    codes = np.repeat(np.arange(X.shape[0]), X.shape[1])
    return ((adapted.predict(X.reshape(len(codes), -1), codes) - y.ravel()) ** 2).mean()


def learned(learner, tasks, seed=0):
    return learner.learn(tasks, np.random.RandomState(seed), quiet)


def from_scratch(tasks):
    best = GaussianPrior("independent", np.zeros((1, 16)), np.eye(16))
    return LinearHeads(best.heads(tasks), tasks.ways)


@pytest.fixture(scope="module")
def classes_tables():
    X, y = few_directions(250, 12, 0)
    rng = np.random.default_rng(1)
    basis = np.linalg.qr(np.random.default_rng(99).normal(size=(15, 2)))[0]
    w = 3.0 * rng.normal(size=(60, 2)) @ basis.T
    rows = rng.normal(size=(60, 68, 15))
    eta = np.einsum("tnp,tp->tn", rows, w)
    y_all = (rng.random(eta.shape) < 1 / (1 + np.exp(-eta))).astype(np.int64)
    return tasks_of(X, y, 2), tasks_of(rows[:, :8], y_all[:, :8], 2), rows[:, 8:], y_all[:, 8:]


@pytest.mark.parametrize("learner", [Subspace(), Hierarchical(), Auto()], ids=str)
def test_few_directions_are_found(learner, classes_tables):
    train, known, X, y = classes_tables
    found = log_loss(learned(learner, train).adapt(known), X, y)
    assert found < 0.8 * log_loss(from_scratch(known), X, y)


def test_the_rank_is_counted(classes_tables):
    train, draw = classes_tables[0], np.random.RandomState
    shared = SharedPart.of(train)
    priors = families.subspace(train, draw(0), shared)
    ranks = {p.root.shape[1] for p in priors}
    assert min(ranks) == 1 + 2  # of the intercept and of the subspace
    assert families.subspace(train, draw(0), shared, rank=4)[0].root.shape[1] == 1 + 4


@pytest.mark.parametrize("learner", [Subspace(), Hierarchical(), Auto()], ids=str)
def test_numbers(learner):
    X, y = few_directions(300, 30, 0, classes=False)
    train, known = tasks_of(X[:240, :12], y[:240, :12]), tasks_of(X[240:, :8], y[240:, :8])
    found = squared_error(learned(learner, train).adapt(known), X[240:, 8:], y[240:, 8:])
    alone = squared_error(from_scratch(known), X[240:, 8:], y[240:, 8:])
    assert found < 0.5 * alone


@pytest.mark.parametrize("factor", [1e-6, 1e6])
def test_predictions_follow_the_scale_of_the_target(factor):
    X, y = few_directions(60, 10, 0, classes=False)
    tasks = tasks_of(X, y)
    scaled = replace(tasks, y=factor * tasks.y)
    plain = learned(Hierarchical(), tasks).adapt(tasks).heads
    other = learned(Hierarchical(), scaled).adapt(scaled).heads
    np.testing.assert_allclose(other, factor * plain, rtol=1e-6, atol=1e-8 * factor)


def test_tasks_that_share_nothing_are_left_alone():
    rng = np.random.default_rng(0)
    w = 2.0 * rng.normal(size=(140, 4))
    X = rng.normal(size=(140, 80, 4))
    eta = np.einsum("tnp,tp->tn", X, w)
    y = (rng.random(eta.shape) < 1 / (1 + np.exp(-eta))).astype(np.int64)
    train, known = tasks_of(X[:100, :40], y[:100, :40], 2), tasks_of(X[100:, :20], y[100:, :20], 2)
    found = log_loss(learned(Auto(), train).adapt(known), X[100:, 20:], y[100:, 20:])
    losses = []
    for v in (0.3, 1.0, 3.0, 10.0):
        prior = GaussianPrior("independent", np.zeros((1, 5)), np.sqrt(v) * np.eye(5))
        losses.append(
            log_loss(LinearHeads(prior.heads(known), known.ways), X[100:, 20:], y[100:, 20:])
        )
    assert found < 1.03 * min(losses)


def test_what_a_few_classes_teach_is_not_forced_on_others():
    """With four classes seen and eight new ones, it is about as accurate as from scratch."""
    train, known = own_classes(80, 20, range(4), 0), own_classes(60, 30, range(4, 12), 1)
    shown = known.select_rows(np.tile(np.arange(30) < 8, 60))
    asked = known.select_rows(np.tile(np.arange(30) >= 8, 60))
    adapted = learned(Auto(), train).adapt(shown)
    right = adapted.predict(asked.X, asked.codes).argmax(1) == asked.y
    prior = GaussianPrior("independent", np.zeros((2, 7)), np.eye(7))
    scratch = LinearHeads(prior.heads(shown), shown.ways)
    base = scratch.predict(asked.X, asked.codes).argmax(1) == asked.y
    assert right.mean() > base.mean() - 0.01


@pytest.mark.parametrize("shared", [True, False])
def test_any_rows_will_do(shared):
    """Tasks without rows, of one class only, of unequal sizes and numbers of classes."""
    if shared:
        X, y = few_directions(40, 12, 0)
        train = tasks_of(X, y, 2)
    else:
        train = own_classes(40, 12, range(6), 0, p=15)
    knowledge = learned(Auto(), train)
    rng = np.random.default_rng(0)
    sizes = np.array([0, 1, 5, 9])
    ways = np.array([2, 2, 2, 2 if shared else 3])
    y = np.array([0, *[1] * 5, *np.arange(9) % ways[3]])
    tasks = LabelledTasks(
        rng.normal(size=(15, 15)), y, np.ones(15), np.append(0, np.cumsum(sizes)), ways, shared,
        None, np.ones(15),
    )  # fmt: skip
    adapted = knowledge.adapt(tasks)
    X = rng.normal(size=(40, 15))
    log = adapted.predict(X, np.repeat(np.arange(4), 10))
    np.testing.assert_allclose(np.exp(log).sum(1), 1.0)
    assert np.isfinite(log[:, :2]).all()
    assert (np.isinf(log[:30, 2:]).all()) and np.isfinite(log[30:]).all()
    assert log[20:30].argmax(1).mean() > 0.5  # five rows of class 1


def test_each_task_is_adapted_to_alone():
    X, y = few_directions(50, 12, 0)
    train = tasks_of(X, y, 2)
    knowledge = learned(Auto(), train)
    together = knowledge.adapt(train)
    for t in (0, 17):
        alone = knowledge.adapt(train.take([t]))
        np.testing.assert_allclose(alone.heads[0], together.heads[t], rtol=1e-8, atol=1e-10)
        np.testing.assert_array_equal(together.take([t]).heads[0], together.heads[t])


def test_it_is_reproducible_and_small():
    X, y = few_directions(50, 12, 0)
    first, second = (learned(Auto(), tasks_of(X, y, 2), 3) for _ in range(2))
    known = tasks_of(X[:5], y[:5], 2)
    np.testing.assert_array_equal(first.adapt(known).heads, second.adapt(known).heads)
    assert len(pickle.dumps(first.adapt(known))) < 3000


def test_weights_count_rows():
    X, y = few_directions(40, 6, 0)
    train = tasks_of(X, y, 2)
    knowledge = learned(Subspace(), train)
    once = np.array([2.0, 1, 1, 1, 1, 1])
    weighted = replace(train.take([0]), weight=once)
    twice = LabelledTasks(
        np.vstack([X[0][:1], X[0]]), np.r_[y[0][0], y[0]], np.ones(7), np.array([0, 7]),
        np.array([2]),
    )  # fmt: skip
    # Leaving out a row of weight two leaves out both copies, so the averages differ a little.
    one = knowledge.candidates[0].heads(weighted)
    np.testing.assert_allclose(one, knowledge.candidates[0].heads(twice), rtol=1e-6, atol=1e-9)


def test_em_raises_the_evidence_of_numbers():
    X, y = few_directions(80, 6, 0, p=5, classes=False)
    tasks = tasks_of(X, y)

    def evidence(mean, covariance):
        total = 0.0
        for rows, labels in zip(X, y, strict=True):
            A = np.column_stack([np.ones(len(rows)), rows])
            V = np.eye(len(rows)) + A @ covariance @ A.T
            gap = labels - A @ mean[0]
            total -= 0.5 * (np.linalg.slogdet(V)[1] + gap @ np.linalg.solve(V, gap))
        return total

    mean, covariance = np.zeros((1, 6)), np.eye(6)
    shared = SharedPart(mean, mean[:, 1:], 1.0, False, None)
    reached = [evidence(mean, covariance)]
    for _ in range(5):
        mean, covariance = families.expectation_maximisation(
            tasks, shared, mean, covariance, "diagonal", n_steps=1
        )
        reached.append(evidence(mean, covariance))
    assert (np.diff(reached) > -1e-2).all() and reached[-1] > reached[0] + 1.0


def test_prototypes_leave_rows_out_exactly():
    tasks = own_classes(3, 8, range(6), 0)
    candidate = ClassMeans("prototypes", np.full(6, 0.7))
    _, left_out = candidate.heads_and_left_out(tasks)
    for i in (0, 5, 11):
        t = tasks.codes[i]
        others = np.ones(len(tasks.y), dtype=bool)
        others[i] = False
        heads = candidate.heads(tasks.select_rows(others))
        own = tasks.X[i] @ heads[t, tasks.y[i], 1:] + heads[t, tasks.y[i], 0]
        # The row remains in the task's mean, which counts as a tenth of a row of each class.
        assert abs(left_out[i, tasks.y[i]] - own) < 0.05 * abs(own) + 0.05


def test_folds_hold_out_whole_classes():
    tasks = own_classes(60, 12, range(8), 0, way=3)
    for train, held in folds(tasks, 3, np.random.RandomState(0)):
        seen, new = (set(part.labels[part.labels >= 0]) for part in (train, held))
        assert seen and new and not seen & new
        for part in (train, held):
            assert (part.sizes > 0).all() and (part.ways >= 2).all()
            assert (part.y < part.ways[part.codes]).all()


def test_episodes_split_the_rows_of_tasks():
    tasks = own_classes(20, 30, range(6), 0, way=2)
    known, asked = few_shot(tasks, 1000, np.random.RandomState(0))
    assert set(known.sizes) == {2, 5, 10, 24}
    np.testing.assert_array_equal(known.sizes + asked.sizes, 30)
    for t in range(known.n_tasks):
        rows = slice(known.offsets[t], known.offsets[t + 1])
        counts = np.bincount(known.y[rows], minlength=2)
        assert np.ptp(counts) <= 1  # classes take turns
    assert few_shot(tasks, 7, np.random.RandomState(0))[0].n_tasks == 7


def test_bad_rank():
    for rank in (0, 1.5, True, "many", np.ones(2), np.array("auto"), None, [3], np.bool_(True)):
        with pytest.raises(ValueError, match="rank="):
            Subspace(rank=rank).check()


def test_intercepts_that_vary_beside_shared_slopes():
    rng = np.random.default_rng(0)
    codes = np.repeat(np.arange(80), 30)
    level = rng.normal(size=80)
    X = rng.normal(size=(2400, 3))
    X[:, 0] += level[codes]  # the slope between tasks differs from that within
    score = 1.5 * level[codes] - X[:, 0] + X[:, 1]
    y = (score + rng.logistic(size=2400) > 0).astype(int)
    offsets = np.arange(81) * 30
    tasks = LabelledTasks(X, y, np.ones(2400), offsets, np.full(80, 2))
    pooled = pooled_mean(tasks)
    found = families.intercepts(tasks, SharedPart.of(tasks))[1]
    np.testing.assert_allclose(found.mean[0, 1:], [-1.0, 1.0, 0.0], atol=0.25)
    assert abs(pooled[0, 1] + 1.0) > 0.4
    assert 1.0 < found.root[0, 0] ** 2 < 4.0 and not found.root[1:].any()
    numbers = replace(tasks, y=score + rng.normal(size=2400), ways=None)
    shared = SharedPart.of(numbers)
    np.testing.assert_allclose(shared.mean[0, 1:], [-1, 1, 0], atol=0.1)
    # With centres, these explain the levels: the slope is 1.5 - 1 along the first feature.
    for some, error in ((tasks, 0.3), (numbers, 0.15)):
        shared = SharedPart.of(replace(some, prior_rows=Scaling.of(some).prior_rows))
        np.testing.assert_allclose(shared.mean[0, 1:], [-1, 1, 0], atol=error)
        np.testing.assert_allclose(shared.between[0, 0], 0.5, atol=error)
        assert shared.variance < 0.3


# ---------------------------------------------------------------------- within and between tasks


def uneven(seed=0, p=3, spread=(0.0, 1.0, 20.0)):
    """Return tasks of several sizes whose means differ more or less; the last one is empty."""
    rng = np.random.default_rng(seed)
    sizes = np.array([1, 4, 9, 30, 17, 6, 0])
    codes = np.repeat(np.arange(7), sizes)
    X = rng.normal(size=(len(codes), p)) + np.array(spread) * rng.normal(size=(7, p))[codes]
    y = X @ [1.0, -2.0, 0.5] + 3.0 * rng.normal(size=7)[codes] + 0.5 * rng.normal(size=len(codes))
    weight = rng.integers(1, 4, len(codes)).astype(float)
    return LabelledTasks(X, y, weight, np.append(0, np.cumsum(sizes)))


def test_the_scaling_is_that_of_an_analysis_of_variance():
    tasks = uneven()
    tasks = replace(tasks, X=np.column_stack([tasks.X, 1.0 * tasks.codes, np.full(67, 2.0)]))
    found = Scaling.of(tasks)
    groups = [np.flatnonzero(tasks.codes == t) for t in range(6)]
    n = np.array([tasks.weight[g].sum() for g in groups])
    for j in range(3):
        x = tasks.X[:, j]
        mean = np.array([np.average(x[g], weights=tasks.weight[g]) for g in groups])
        inside = sum(
            (tasks.weight[g] * (x[g] - m) ** 2).sum() for g, m in zip(groups, mean, strict=True)
        )
        inside /= n.sum() - 6
        outside = (n * (mean - np.average(x, weights=tasks.weight)) ** 2).sum() - 5 * inside
        outside /= n.sum() - (n**2).sum() / n.sum()
        np.testing.assert_allclose(found.scale[j], np.sqrt(inside), rtol=1e-10)
        wanted = inside / outside if outside > 1e-6 * inside else np.inf
        np.testing.assert_allclose(found.prior_rows[j], wanted, rtol=1e-10)
    assert found.prior_rows[2] < 0.05
    # Constant within tasks: on the scale of the table, and without task-specific slopes.
    deviation = np.sqrt(np.cov(tasks.codes, aweights=tasks.weight, ddof=0))
    np.testing.assert_allclose(found.scale[3:], [deviation, 1.0], rtol=1e-10)
    np.testing.assert_array_equal(found.prior_rows[3:], 0.0)
    inner = found(tasks)
    gaps = inner.X - inner.centres()[inner.codes]
    np.testing.assert_allclose(gaps[:, 3:], 0.0, atol=1e-12)
    # Means of tasks with few rows are shrunk to the mean of the table.
    drawn = found.prior_rows[1] / (tasks.weight[0] + found.prior_rows[1])
    np.testing.assert_allclose(inner.centres()[0, 1], (1 - drawn) * inner.X[0, 1], rtol=1e-10)
    np.testing.assert_array_equal(inner.centres()[6], 0.0)
    kurtosis = np.array([
        np.average(g**4, weights=tasks.weight) / np.average(g**2, weights=tasks.weight) ** 2
        for g in (tasks.X - tasks.means(tasks.X)[tasks.codes])[:, :3].T
    ])  # fmt: skip
    assert found.inverse_kurtosis is None and np.ptp(np.log(kurtosis)) < np.log(2)
    rare = replace(tasks, X=np.column_stack([tasks.X[:, :2], np.arange(67) == 25]))
    inverse_kurtosis = Scaling.of(rare).inverse_kurtosis
    np.testing.assert_allclose(
        inverse_kurtosis[1] / inverse_kurtosis[0], kurtosis[0] / kurtosis[1], rtol=1e-10
    )
    assert (
        inverse_kurtosis[2] < 0.2 * inverse_kurtosis[:2].min()
        and abs(inverse_kurtosis.mean() - 1.0) < 1e-12
    )
    heads = np.random.default_rng(1).normal(size=(7, 1, 6))
    there = heads[inner.codes, 0, 0] + (inner.X * heads[inner.codes, 0, 1:]).sum(axis=1)
    back = found.restore(heads)
    here = back[tasks.codes, 0, 0] + (tasks.X * back[tasks.codes, 0, 1:]).sum(axis=1)
    np.testing.assert_allclose(here, there * found.unit, rtol=1e-10)


def test_heads_about_a_centre_are_ridge_fits_of_deviations():
    tasks = replace(uneven(), prior_rows=np.array([np.inf, 1.0, 0.01]))
    rng = np.random.default_rng(1)
    mean, between = rng.normal(size=(1, 4)), rng.normal(size=(1, 3))
    root = rng.normal(size=(4, 4))
    root[0] *= 30.0  # levels are hardly shrunk
    found, left_out = GaussianPrior("x", mean, root, between=between).heads_and_left_out(tasks)
    centres = tasks.centres()

    def fit(t, rows):
        C = tasks.X[rows] - centres[t]
        A = np.column_stack([np.ones(len(C)), C])
        base = mean[0, 0] + centres[t] @ between[0] + C @ mean[0, 1:]
        precision = np.linalg.inv(root @ root.T)
        w = np.linalg.solve(
            A.T @ (tasks.weight[rows, None] * A) + precision,
            A.T @ (tasks.weight[rows] * (tasks.y[rows] - base)),
        )
        slopes = mean[0, 1:] + w[1:]
        return mean[0, 0] + w[0] + centres[t] @ (between[0] - slopes), slopes

    for t in range(6):
        rows = np.flatnonzero(tasks.codes == t)
        intercept, slopes = fit(t, rows)
        np.testing.assert_allclose(found[t, 0], [intercept, *slopes], rtol=1e-6, atol=1e-6)
        once = rows[tasks.weight[rows] == 1.0]
        for i in once[: 0 if len(rows) == 1 else 3]:
            intercept, slopes = fit(t, rows[rows != i])
            np.testing.assert_allclose(
                left_out[i, 0], intercept + tasks.X[i] @ slopes, rtol=1e-5, atol=1e-5
            )
    # The slopes of a task without rows depend on how far features differ between tasks.
    share = 1.0 / (1.0 + tasks.prior_rows)
    wanted = mean[0, 1:] + share * (between[0] - mean[0, 1:])
    np.testing.assert_allclose(found[6, 0], [mean[0, 0], *wanted], rtol=1e-10)


@pytest.mark.parametrize("free", [True, False])
def test_a_level_unlike_all_others_is_not_drawn_to_them(free):
    tasks = replace(uneven(), prior_rows=np.zeros(3))
    zero, root = np.zeros((1, 4)), np.diag([1.0, 2.0, 2.0, 2.0])
    prior = GaussianPrior("x", zero, root, between=zero[:, 1:], free=free)
    far = replace(tasks, y=tasks.y + 1e5 * (tasks.codes == 2))
    plain, moved = (prior.heads(some) for some in (tasks, far))
    rows = tasks.codes == 2
    errors = [
        ((some.y - some.X @ heads[2, 0, 1:] - heads[2, 0, 0])[rows] ** 2).mean()
        for some, heads in ((tasks, plain), (far, moved))
    ]
    assert errors[1] < 1.05 * errors[0]
    np.testing.assert_array_equal(np.delete(moved, 2, axis=0), np.delete(plain, 2, axis=0))
    # However little levels vary, the level of this task is estimated, without a left-out row.
    stiff = GaussianPrior("x", zero, np.diag([0.01, 2.0, 2.0, 2.0]), between=zero[:, 1:])
    flat = replace(far, prior_rows=np.full(3, np.inf))
    loose = GaussianPrior(
        "x", zero, np.diag([100.0, 2.0, 2.0, 2.0]), between=zero[:, 1:], free=True
    )
    for a, b in zip(stiff.heads_and_left_out(flat), loose.heads_and_left_out(flat), strict=True):
        chosen = np.array([2]) if len(a) == 7 else rows
        np.testing.assert_allclose(a[chosen], b[chosen], rtol=1e-2, atol=0.02)
    # The variance of levels is estimated from the levels.
    assert prior.posterior(far)[2][0, 0] > 1e9


# --------------------------------------------------------------------- evidence and weights


def test_the_unit_of_numbers_is_the_noise():
    """The noise is not the residual of the pooled model if tasks differ by far more than noise."""
    X, y = few_directions(60, 40, 0, p=5, classes=False)
    tasks = tasks_of(X, y)
    best = 0.0
    for rows, labels in zip(X, y, strict=True):
        A = np.column_stack([np.ones(40), rows])
        hat = np.diag(A @ np.linalg.pinv(A))
        miss = labels - A @ np.linalg.lstsq(A, labels, rcond=None)[0]
        best += ((miss / (1 - hat)) ** 2).mean() / 60
    assert 1.0 < best < 1.3 and y.var() > 10.0
    np.testing.assert_allclose(_noise_of(tasks), np.sqrt(best), rtol=0.03)


def test_candidates_are_judged_for_as_many_rows_as_were_known():
    X, y = few_directions(30, 60, 1, p=4, classes=False)
    prior = learned(Hierarchical(), tasks_of(X, y)).prior
    known = np.array([2, 5, 10, 20, 48])  # then 58, 55, 50, 40 and 12 rows were predicted
    np.testing.assert_array_equal(prior.size, np.round(4 * np.log(known)))
    mean = prior.rows / prior.n_tasks
    np.testing.assert_allclose(mean, 60 - known)


def test_own_classes_weigh_by_what_is_learned_and_count_so_many_rows():
    tasks = own_classes(300, 24, range(4), 0)
    knowledge = learned(Auto(), tasks)
    costs = [candidate.cost for candidate in knowledge.candidates]
    n_sharp = len(knowledge.prior.log_prior) // len(costs)
    np.testing.assert_array_equal(knowledge.prior.log_prior, -np.repeat(costs, n_sharp))
    assert max(costs) > 0.0
    assert knowledge.prior.rows.sum() <= 300 * 4 * (1 + 1e-9)  # 300 rows per class


def test_the_spread_within_classes_of_two_rows_each():
    tasks = own_classes(100, 4, range(6), 0)
    (candidate,) = families.prototypes(tasks)
    np.testing.assert_allclose(candidate.precision, 1.0, rtol=0.15)


def test_slopes_that_do_not_differ_have_no_moments():
    X = np.random.default_rng(2).normal(size=(200, 6, 4))
    tasks = tasks_of(X, np.zeros((200, 6)))
    noise = np.random.default_rng(3).normal(size=(1200, 1))
    values, _ = families.slope_moments(tasks, noise)
    assert abs(values.sum()) < 0.5  # the squares of the rows sum to 4
    slopes = 2.0 * np.random.default_rng(4).normal(size=200)[tasks.codes]
    values, vectors = families.slope_moments(tasks, (tasks.X[:, 1] * slopes)[:, None])
    assert values[0] > 5.0 * np.abs(values[1:]).max() and abs(vectors[1, 0]) > 0.95


def few_classes(rng, means, classes, n):
    y = np.repeat(classes, n)
    return means[y] + rng.normal(size=(len(y), means.shape[1])), y


def test_what_a_few_classes_teach_is_judged_on_others():
    """It is about as accurate as the best of several models from scratch on unseen classes."""
    losses = []
    for seed in range(4):
        rng = np.random.default_rng(seed)
        means = 0.4 * rng.normal(size=(34, 20))
        parts = [few_classes(rng, means, rng.permutation(4)[:2], 10) for _ in range(20)]
        X, y = (np.concatenate(part) for part in zip(*parts, strict=True))
        model = MetaLearnerClassifier(random_state=0, shared_classes=False)
        model.fit(X, y, task=np.repeat(np.arange(20), 20))
        for _ in range(40):
            classes = 4 + rng.permutation(30)[:2]
            support = few_classes(rng, means, classes, 5)
            A, b = few_classes(rng, means, classes, 20)
            plain = [LogisticRegression(C=c).fit(*support) for c in (0.01, 0.1, 1.0)]
            p = [m.predict_proba(A) for m in (model.adapt(*support), *plain)]
            losses.append([-np.log(q[np.arange(40), (b == max(classes)) * 1]).mean() for q in p])
    ours, *scratch = np.mean(losses, axis=0)
    assert ours < 1.15 * min(scratch)


def test_labels_that_nothing_tells_are_not_told():
    """A task's own weights depend on leave-one-out errors: fitted labels would be no evidence."""
    rng = np.random.default_rng(6)
    X, y = few_directions(60, 30, 7, p=15)
    knowledge = learned(Auto(), tasks_of(X, y, 2))
    noise = tasks_of(rng.normal(size=(60, 12, 15)), rng.integers(0, 2, size=(60, 12)), 2)
    A, b = rng.normal(size=(60, 50, 15)), rng.integers(0, 2, size=(60, 50))
    assert log_loss(knowledge.adapt(noise), A, b) < 1.0


@pytest.mark.parametrize("n_classes", [2, 3])
def test_one_model_of_many_rows_is_that_of_the_kernel(n_classes, rng, monkeypatch):
    X, task = rng.normal(size=(400, 4)), np.repeat(np.arange(8), 50)
    scores = X @ rng.normal(size=(4, n_classes)) + rng.gumbel(size=(400, n_classes))
    y, weight = scores.argmax(axis=1), rng.uniform(0.5, 2.0, size=400)
    offsets = np.append(0, np.cumsum(np.bincount(task)))
    tasks = LabelledTasks(X, y, weight, offsets, ways=np.full(8, n_classes))
    offset = rng.normal(size=(400, 1 if n_classes == 2 else 3))
    wanted = shared_room.pooled_mean(tasks, 0.7, offset)
    monkeypatch.setattr(shared_room, "_MANY_ROWS", 1)
    got = shared_room.pooled_mean(tasks, 0.7, offset)
    np.testing.assert_allclose(got, wanted, rtol=1e-6, atol=1e-7)
