"""The guard with members that are not linear models: it uses only the interface of `Member`."""

import numpy as np
import pytest
from sklearn.ensemble import RandomForestRegressor
from sklearn.linear_model import LinearRegression

from skmtl.guard.guard import Guard
from skmtl.guard.judge import Judged
from skmtl.guard.member import Member
from skmtl.guard.shares import Shares

N_SPLITS = 4


class Rows:
    """A problem that evaluates predictions of rows, for members of any kind."""

    def __init__(self, X, y, task):
        self.X, self.y, self.task = X, y, task
        self.n_tasks = task.max() + 1
        self.fold = np.arange(len(y)) % N_SPLITS

    def by_task(self, values, rows):
        return np.array([values[self.task[rows] == t].sum(axis=0) for t in range(self.n_tasks)])

    def judge(self, members):
        errors, rows = [], []
        gram = np.zeros((self.n_tasks, *2 * [sum(map(len, members))]))
        for split in range(N_SPLITS):
            test = np.flatnonzero(self.fold == split)
            train = np.flatnonzero(self.fold != split)
            predicted = np.column_stack([member.models(train, split)(test) for member in members])
            gap = self.y[test, None] - predicted
            errors.append(self.by_task(gap**2, test))
            gram += self.by_task(gap[:, :, None] * gap[:, None], test)
            rows.append(self.by_task(np.ones(len(test)), test))
        return Judged(np.array(errors), np.array(rows), gram, 1.0)

    def sample(self, most):
        return np.arange(self.n_tasks)[:most]

    def left_out_errors(self, left):
        errors, rows = [], []
        for t, group in zip(left.tasks, left.group, strict=True):
            mine = np.flatnonzero(self.task == t)
            predicted = np.column_stack([shared(mine) for shared in left.unseen[group]])
            errors.append(((self.y[mine, None] - predicted) ** 2).sum(axis=0))
            rows.append(len(mine))
        return np.array(errors), np.array(rows, dtype=float)

    def left_out_weights(self, errors, rows):
        return np.eye(errors.shape[1])[np.argmin(errors.sum(axis=0))]

    def few_shot_scores(self, member, left, judged):
        return None


class Learner(Member):
    """One scikit-learn regressor, for all tasks or one per task."""

    def __init__(self, problem, estimator, per_task=False, spent=1.0):
        self.problem, self.estimator, self.spent = problem, estimator, spent
        self.per_task = per_task
        self.are_pooled = np.array([not per_task])

    def __len__(self):
        return 1

    def log_prior(self, rows):
        return np.array([-0.05 * self.spent])

    def fit(self, rows):
        return self.estimator.fit(self.problem.X[rows], self.problem.y[rows]).predict

    def models(self, train, split):
        if not self.per_task:
            predict = self.fit(train)
            return lambda rows: predict(self.problem.X[rows])[:, None]

        def each(rows):
            out, task = np.empty((len(rows), 1)), self.problem.task
            for t in np.unique(task[rows]):
                predict = self.fit(train[task[train] == t])
                out[task[rows] == t, 0] = predict(self.problem.X[rows[task[rows] == t]])
            return out

        return each

    def left_out(self, tasks, group):
        models = np.empty((group.max() + 1, 1), dtype=object)
        for g in range(len(models)):
            known = np.flatnonzero(np.isin(self.problem.task, tasks[group != g]))
            estimator = self.fit(known).__self__
            models[g, 0] = lambda rows, one=estimator: one.predict(self.problem.X[rows])
        return models, models


def bent(rng, own):
    """Return tasks that share an interaction, except for some with a linear response."""
    task = np.repeat(np.arange(12), 40)
    X = rng.uniform(-1.0, 1.0, size=(len(task), 2))
    y = np.where(task < own, X[:, 0], 2.0 * np.sign(X[:, 0] * X[:, 1]))
    return X, y + 0.1 * rng.normal(size=len(y)), task


@pytest.fixture(name="fitted")
def _fitted(rng):
    problem = Rows(*bent(rng, own=2))
    members = [
        Learner(problem, RandomForestRegressor(30, random_state=0)),
        Learner(problem, LinearRegression(), per_task=True),
        Learner(problem, LinearRegression()),
    ]
    allowed = np.array([[True, True, True], [False, True, False], [False, False, True]])
    return Guard(problem, members, allowed), allowed, problem


def test_a_forest_serves_the_tasks_that_bend_and_own_models_the_others(fitted):
    guard, allowed, _ = fitted
    own = guard.shares[0].tasks
    np.testing.assert_allclose(own.sum(axis=1), 1.0)
    assert (own[:2, 1] > 0.9).all() and (own[2:, 0] > 0.9).all()
    assert (guard.shares[1].tasks == [0.0, 1.0, 0.0]).all()
    report = guard.report(allowed[1:], np.ones(13))
    assert list(report["used"][:-1]) == ["independent"] * 2 + ["shared"] * 10
    best = np.minimum(report["error_independent"], report["error_pooled"])[:-1]
    assert (report["error_shared"][:-1] < 1.1 * best).all()
    assert (report["error_shared"][2:-1] < 0.5 * best[2:]).all()


def test_errors_in_the_report_are_those_of_the_blends(fitted):
    guard, allowed, problem = fitted
    report = guard.report(allowed[1:], np.ones(13))
    predicted = np.empty((len(problem.y), 3))
    for split in range(N_SPLITS):
        train, test = np.flatnonzero(problem.fold != split), np.flatnonzero(problem.fold == split)
        for c, member in enumerate(guard.members):
            predicted[test, c] = member.models(train, split)(test)[:, 0]
    blend = np.einsum("ic,ic->i", guard.shares[0].tasks[problem.task], predicted)
    error = [((problem.y - blend)[problem.task == t] ** 2).mean() for t in range(12)]
    optimism = report["error_shared"][:-1] - error
    assert (optimism >= -1e-10).all() and optimism.mean() < 0.1 * np.mean(error)
    pooled = ((problem.y - predicted[:, 2]) ** 2).reshape(12, 40).mean(axis=1)
    np.testing.assert_allclose(report["error_pooled"][:-1], pooled, rtol=1e-10)


def test_a_task_never_seen_has_the_error_of_tasks_left_out(fitted):
    guard, allowed, problem = fitted
    report = guard.report(allowed[1:], np.ones(13))
    errors, rows = problem.left_out_errors(guard.left)
    chosen = np.argmin(errors.sum(axis=0))
    assert guard.shares[0].unseen.tolist() == np.eye(3)[chosen].tolist()
    assert report["error_shared"][-1] == pytest.approx(errors[:, chosen].sum() / rows.sum())
    assert report["error_pooled"][-1] == pytest.approx(errors[:, 2].sum() / rows.sum())
    assert np.isnan(report["error_independent"][-1])


def test_one_task_cannot_be_left_out(rng):
    X, y, task = bent(rng, own=0)
    problem = Rows(X[:40], y[:40], task[:40])
    members = [Learner(problem, LinearRegression()), Learner(problem, LinearRegression(), True)]
    guard = Guard(problem, members, np.array([[True, True], [False, True], [True, False]]))
    report = guard.report(np.array([[False, True], [True, False]]), np.ones(2))
    assert np.isnan(report["error_shared"][-1]) and np.isfinite(report["error_shared"][0])


def test_small_shares_are_removed():
    shares = Shares(np.array([[0.995, 0.005], [0.5, 0.5]]), np.array([0.999, 0.001]), [True, True])
    pruned = shares.pruned()
    np.testing.assert_allclose(pruned.tasks, [[1.0, 0.0], [0.5, 0.5]])
    np.testing.assert_allclose(pruned.unseen, [1.0, 0.0])
    np.testing.assert_allclose(pruned.take(slice(1, 2)).tasks, [[0.0], [0.5]])
    assert pruned.for_new_tasks()[1] is None
