"""Prediction sets of classifiers, from out-of-fold probabilities."""

import pickle
import warnings
from pathlib import Path

import numpy as np
import pytest
import reference
from sklearn.base import clone
from sklearn.exceptions import InconsistentVersionWarning
from sklearn.linear_model import LogisticRegression
from sklearn.tree import DecisionTreeClassifier

from skmtl import MultiTaskClassifier
from skmtl.base import UnknownTaskWarning
from skmtl.guard.prediction_sets import LEVELS, SetThresholds, label_scores, label_sets
from skmtl.sharing import PartialPooling, Pooled, SharedEstimator, TaskTree

OLD = Path(__file__).parent / "pickles" / "0.1" / "multitask_classifier.pickle"


def draw(n_tasks=30, rows=30, n_classes=2, seed=0, own=0.4, scale=0.0, bent=False, later=100):
    """Return training rows and many test rows: tasks differ in levels, slopes and their noise."""
    rng = np.random.default_rng(seed)
    k = n_classes if n_classes > 2 else 1
    slopes = rng.normal(size=(k, 3)) + own * rng.normal(size=(n_tasks, k, 3))
    slopes *= np.exp(scale * rng.normal(size=n_tasks))[:, None, None]
    level = rng.normal(size=(n_tasks, k))

    def sample(n):
        task = np.repeat(np.arange(n_tasks), n)
        X = rng.normal(size=(len(task), 3))
        scores = np.einsum("ij,ikj->ik", X, slopes[task]) + level[task]
        if bent:
            scores = scores + 2.5 * (np.abs(X[:, :1]) - 0.8) * np.where(np.arange(k) % 2, -1, 1)
        if k == 1:
            return X, (scores[:, 0] + rng.logistic(size=len(X)) > 0).astype(int), task
        return X, (scores + rng.gumbel(size=scores.shape)).argmax(axis=1), task

    return sample(rows), sample(later)


def inside(model, X, y, task=None, coverage=0.9):
    """Return which labels are in their sets, after checks of the sets."""
    options = {} if task is None else {"task": task}
    sets = model.predict_set(X, coverage, **options)
    assert sets.dtype == bool and sets.shape == (len(X), len(model.classes_))
    top = np.searchsorted(model.classes_, model.predict(X, **options))
    assert sets[np.arange(len(X)), top].all()
    return sets[np.arange(len(X)), np.searchsorted(model.classes_, y)]


# ---------------------------------------------------------------------------------- statistics


def some_scores(seed, ties=False):
    """Return scores of eight tasks, of which one has no rows and one has a single one."""
    rng = np.random.default_rng(seed)
    codes = np.repeat(np.arange(8), [12, 0, 1, 40, 5, 30, 3, 9])
    scores = rng.beta(1.0, 3.0, size=len(codes)) ** (1.0 + seed % 3 * codes / 4.0)
    scores = np.round(scores, 1) if ties else scores
    order = rng.permutation(len(codes))
    return scores[order], codes[order], rng.choice([0.5, 1.0, 2.0], size=len(codes))


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("ties", [False, True])
def test_thresholds_are_those_of_the_twin(seed, ties):
    scores, codes, weight = some_scores(seed, ties)
    found = SetThresholds.learn(scores, codes, weight, 8, (scores, codes, weight))
    pooled, tasks, unseen = [], [], []
    for level in LEVELS:
        of_all, of_tasks = reference.set_thresholds(level, scores, codes, weight, 8)
        pooled.append(of_all)
        tasks.append(of_tasks)
        unseen.append(reference.unseen_threshold(level, scores, codes, weight))
    np.testing.assert_array_equal(found.pooled, pooled)
    np.testing.assert_array_equal(found.tasks, np.maximum.accumulate(tasks, axis=0).T)
    np.testing.assert_array_equal(found.unseen, unseen)
    np.testing.assert_array_equal(found.tasks[1], found.pooled)  # the task without rows
    if seed % 3 and not ties:
        assert (found.tasks != found.pooled).any()


def test_one_task_has_the_quantile_of_split_conformal_sets(rng):
    scores = rng.random(99)
    found = SetThresholds.learn(scores, np.zeros(99, dtype=int), np.ones(99), 1)
    at = found.at(0.9, np.zeros(1, dtype=int))
    assert at[0] == np.sort(scores)[89]  # the 90th of 99 + 1
    few = SetThresholds.learn(scores[:8], np.zeros(8, dtype=int), np.ones(8), 1)
    assert few.at(0.9, np.zeros(1, dtype=int))[0] == 1.0  # nine rows are needed


def test_tasks_that_agree_are_pooled_and_others_are_not(rng):
    codes = np.repeat(np.arange(10), 400)
    alike = rng.random(4000)
    found = SetThresholds.learn(alike, codes, np.ones(4000), 10)
    np.testing.assert_allclose(found.at(0.9, np.arange(10)), 0.9, atol=0.03)
    other = alike * (codes + 1.0) / 10.0
    found = SetThresholds.learn(other, codes, np.ones(4000), 10)
    np.testing.assert_allclose(found.at(0.9, np.arange(10)), 0.09 * np.arange(1, 11), atol=0.035)


def test_a_task_with_few_rows_has_mainly_the_scores_of_all(rng):
    codes = np.r_[np.repeat(np.arange(10), 100), np.full(2, 10)]
    scores = np.r_[rng.random(1000), [0.01, 0.02]]
    found = SetThresholds.learn(scores, codes, np.ones(len(codes)), 11)
    assert abs(found.at(0.9, np.array([10]))[0] - 0.9) < 0.05


def test_coverages_between_those_that_are_kept(rng):
    scores, codes, weight = some_scores(1)
    found = SetThresholds.learn(scores, codes, weight, 8)
    grid = np.linspace(0.001, 0.999, 333)
    values = np.array([found.at(c, np.arange(-1, 8)) for c in grid])
    assert (np.diff(values, axis=0) >= -1e-15).all()
    at = np.array([found.at(c, np.arange(8)) for c in LEVELS])
    np.testing.assert_allclose(at.T, found.tasks, rtol=1e-12)
    assert (found.at(1e-12, np.arange(8)) < 1e-9).all()
    np.testing.assert_allclose(found.at(1.0 - 1e-12, np.arange(8)), 1.0, atol=1e-8)


def test_weights_are_counts(rng):
    scores, codes, weight = some_scores(2)
    weight = rng.integers(1, 4, size=len(codes)).astype(float)
    repeated = np.repeat(np.arange(len(codes)), weight.astype(int))
    one = SetThresholds.learn(scores, codes, weight, 8, (scores, codes, weight))
    ones = scores[repeated], codes[repeated], np.ones(len(repeated))
    other = SetThresholds.learn(*ones, 8, ones)
    for name in ("tasks", "pooled", "unseen"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))


def test_scores_of_labels_and_sets():
    p = np.array([[0.2, 0.5, 0.3], [0.9, 0.06, 0.04]])
    np.testing.assert_allclose(label_scores(p, np.array([2, 0])), [0.7, 0.1])
    np.testing.assert_allclose(label_scores(p[:, :1], np.array([1, 0])), [0.8, 0.9])
    sets = label_sets(p, p.argmax(axis=1), np.array([0.75, 0.05]))
    np.testing.assert_array_equal(sets, [[False, True, True], [True, False, False]])


# ------------------------------------------------------------------------------------ coverage


@pytest.mark.jit
@pytest.mark.parametrize("coverage", [0.8, 0.9])
@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("scale", [0.0, 0.8])
def test_coverage_of_linear_models(n_classes, coverage, scale):
    """The rows are covered, and so are most tasks, which differ in how hard they are."""
    found, sizes = [], []
    for seed in range(4):
        (X, y, task), later = draw(n_classes=n_classes, seed=seed, scale=scale)
        model = MultiTaskClassifier("partial_pooling").fit(X, y, task=task)
        found.append(np.bincount(later[2], inside(model, *later, coverage)) / 100)
        sizes.append(model.predict_set(later[0], coverage, task=later[2]).sum(axis=1).mean())
    # With two classes, labels that are predicted alone may be right more often than that.
    assert coverage - 0.025 < np.mean(found) < coverage + (0.07 if n_classes == 2 else 0.04)
    assert np.quantile(found, 0.1) > coverage - 0.13
    assert np.mean(sizes) < n_classes - 0.4


@pytest.mark.jit
@pytest.mark.parametrize("n_classes", [2, 3])
def test_coverage_of_learners(n_classes):
    (X, y, task), later = draw(20, 60, n_classes, bent=True)
    model = MultiTaskClassifier().fit(X, y, task=task)
    assert (model.member_report_["weight"][1:] > 0).any()
    covered = inside(model, *later)
    assert 0.87 < covered.mean() < 0.95
    assert model.predict_set(later[0], task=later[2]).sum(axis=1).mean() < n_classes - 0.3
    with pytest.warns(UnknownTaskWarning):
        sets = model.predict_set(later[0], task=np.full(len(later[0]), 77))
    assert sets.shape == (len(later[0]), n_classes)
    one = model.for_task(4)
    rows = later[2] == 4
    np.testing.assert_array_equal(
        one.predict_set(later[0][rows]), model.predict_set(later[0][rows], task=later[2][rows])
    )


STRUCTURES = {
    "estimator": SharedEstimator(LogisticRegression()),
    "clones": SharedEstimator(DecisionTreeClassifier(min_samples_leaf=5), own="clone"),
    "hidden layers": "hidden_layers",
    "independent": "independent",
    "pooled": "pooled",
    "fixed": PartialPooling(alpha=3.0, alpha_shared=1.0),
    "varying": PartialPooling(varying=[0]),
}


@pytest.mark.jit
@pytest.mark.parametrize(
    "name",
    [pytest.param(n, marks=pytest.mark.slow if n == "hidden layers" else ()) for n in STRUCTURES],
)
def test_coverage_of_other_structures(name):
    (X, y, task), later = draw(12, 60)
    model = MultiTaskClassifier(STRUCTURES[name], random_state=0).fit(X, y, task=task)
    # The mean of the trees of all folds is better than each of them, whose scores decide.
    assert 0.86 < inside(model, *later).mean() < (0.975 if name == "clones" else 0.96)


@pytest.mark.jit
def test_clones_have_scores_of_their_own():
    """Tasks without anything in common, so that the clones get weight."""
    rng = np.random.default_rng(0)
    task = np.repeat(np.arange(6), 150)
    X = rng.normal(size=(900, 3))
    y = (X[np.arange(900), task % 3] * np.where(task < 3, 1, -1) > 0).astype(int)
    y = np.where(rng.random(900) < 0.1, 1 - y, y)
    sharing = SharedEstimator(DecisionTreeClassifier(min_samples_leaf=10), own="clone")
    train = np.arange(900) % 3 > 0
    model = MultiTaskClassifier(sharing).fit(X[train], y[train], task=task[train])
    assert model.member_report_["weight"][-1] > 0
    assert 0.85 < inside(model, X[~train], y[~train], task[~train]).mean() < 0.97


@pytest.mark.jit
def test_coverage_beside_groupings_and_levels(rng):
    task, student = np.repeat(np.arange(20), 60), rng.integers(40, size=1200)
    X = np.column_stack([task // 5, task, student, rng.normal(size=(1200, 2))])
    level = rng.normal(size=4)[task // 5] + 0.5 * rng.normal(size=20)[task]
    score = X[:, 3] + level + rng.normal(size=40)[student]
    y = (score + rng.logistic(size=1200) > 0).astype(int)
    train = np.arange(1200) % 2 == 0
    crossed = MultiTaskClassifier(
        "partial_pooling", task_column=1, grouping_columns=[2], exclude_columns=[0]
    )
    tree = MultiTaskClassifier(TaskTree(), task_column=[0, 1], exclude_columns=[2])
    for model in (crossed, tree):
        covered = inside(model.fit(X[train], y[train]), X[~train], y[~train])
        assert 0.86 < covered.mean() < 0.95
        one = model.for_task(model.tasks_[3])
        mine = X[~train][:, 1] == 3
        np.testing.assert_array_equal(
            one.predict_set(X[~train][mine]), model.predict_set(X[~train][mine])
        )


@pytest.mark.jit
@pytest.mark.parametrize("n_classes", [2, 3])
def test_coverage_of_unseen_and_new_tasks(n_classes):
    """The thresholds of known tasks would be wrong: models of unseen tasks know less."""
    unseen, others, adapted = [], [], []
    for seed in range(4):
        (X, y, task), (A, b, at) = draw(60, 40, n_classes, seed=seed, own=0.8, later=60)
        known, new = task < 40, at >= 40
        model = MultiTaskClassifier("partial_pooling").fit(X[known], y[known], task=task[known])
        with pytest.warns(UnknownTaskWarning):
            unseen.append(inside(model, A[new], b[new], at[new]).mean())
            p = model.predict_proba(A[new], task=at[new])
        pooled = np.interp(0.9, LEVELS, model._set_thresholds.pooled)
        others.append((1.0 - p[np.arange(len(p)), b[new]] <= pooled).mean())
        for t in range(40, 60):
            rows, labels = A[at == t], b[at == t]
            adapted.append(inside(model.adapt(rows[:10], labels[:10]), rows[10:], labels[10:]))
    assert abs(np.mean(unseen) - 0.9) < 0.03
    assert np.abs(np.array(unseen) - 0.9).mean() < np.abs(np.array(others) - 0.9).mean()
    assert 0.88 < np.mean(adapted) < 0.96


@pytest.mark.jit
def test_tasks_of_one_class():
    rng = np.random.default_rng(0)
    task = np.repeat(np.arange(60), 108)
    X = rng.normal(size=(6480, 2))
    level = -1.5 + 1.2 * rng.normal(size=60)
    y = (X.sum(axis=1) + level[task] + rng.logistic(size=6480) > 0).astype(int)
    train = np.tile(np.arange(108) < 8, 60)
    never = np.bincount(task[train], y[train]) == 0
    assert never.sum() > 5
    model = MultiTaskClassifier("partial_pooling").fit(X[train], y[train], task=task[train])
    covered = inside(model, X[~train], y[~train], task[~train])
    assert 0.88 < covered.mean() < 0.95
    assert covered[never[task[~train]]].mean() > 0.85


@pytest.mark.jit
def test_coverage_refers_to_weighted_rows():
    """With class weights, the sets cover rows that have these weights."""
    (X, y, task), (A, b, at) = draw(20, 80, seed=3)
    rare, later = (y == 0) | (np.arange(len(y)) % 4 == 0), (b == 0) | (np.arange(len(b)) % 4 == 0)
    model = MultiTaskClassifier("partial_pooling", class_weight="balanced")
    model.fit(X[rare], y[rare], task=task[rare])
    covered = inside(model, A[later], b[later], at[later])
    of_class = [covered[b[later] == c].mean() for c in (0, 1)]
    assert abs(np.mean(of_class) - 0.9) < 0.04


# ---------------------------------------------------------------------------------- invariances


def same_sets(one, other, rows, task):
    np.testing.assert_allclose(
        one._set_thresholds.tasks, other._set_thresholds.tasks, rtol=1e-5, atol=1e-7
    )
    np.testing.assert_allclose(
        one._set_thresholds.unseen, other._set_thresholds.unseen, rtol=1e-5, atol=1e-7
    )
    for coverage in (0.5, 0.9, 0.93):
        sets = [model.predict_set(rows, coverage, task=task) for model in (one, other)]
        assert (sets[0] != sets[1]).mean() < 1e-3  # but for rounding


@pytest.mark.jit
@pytest.mark.parametrize("sharing", ["partial_pooling", "auto"])
def test_order_of_rows_and_jobs_change_nothing(sharing, rng):
    (X, y, task), (A, _, at) = draw(12, 50, bent=sharing == "auto")
    model = MultiTaskClassifier(sharing).fit(X, y, task=task)
    order = rng.permutation(len(y))
    other = MultiTaskClassifier(sharing, n_jobs=2).fit(X[order], y[order], task=task[order])
    same_sets(model, other, A, at)


@pytest.mark.parametrize("sharing", ["partial_pooling", "auto"])
def test_weights_stand_for_copies(sharing, rng):
    (X, y, task), (A, _, at) = draw(8, 25)
    weight = rng.integers(1, 4, size=len(y))
    one = MultiTaskClassifier(sharing).fit(X, y, sample_weight=weight, task=task)
    rows = np.repeat(np.arange(len(y)), weight)
    other = MultiTaskClassifier(sharing).fit(X[rows], y[rows], task=task[rows])
    same_sets(one, other, A, at)


def test_scores_come_from_models_without_the_rows(rng):
    """The thresholds are those of models that are fitted in the folds by hand."""
    (X, y, task), _ = draw(4, 50)
    fold = rng.permutation(len(y)) % 4
    splits = [(np.flatnonzero(fold != f), np.flatnonzero(fold == f)) for f in range(4)]
    model = MultiTaskClassifier(Pooled(alpha=1e-3), cv=splits).fit(X, y, task=task)
    p = np.empty((len(y), 2))
    for train, test in splits:
        p[test] = LogisticRegression(C=np.inf).fit(X[train], y[train]).predict_proba(X[test])
    wanted = SetThresholds.learn(1.0 - p[np.arange(len(y)), y], task, np.ones(len(y)), 4)
    np.testing.assert_allclose(model._set_thresholds.pooled, wanted.pooled, atol=0.01)
    np.testing.assert_allclose(model._set_thresholds.tasks, wanted.tasks, atol=0.03)


# ---------------------------------------------------------------------------------------- tools


@pytest.mark.parametrize("n_classes", [2, 3])
def test_for_task_has_the_sets_of_the_task(n_classes):
    (X, y, task), (A, _, at) = draw(6, 40, n_classes, scale=0.8)
    names = np.array(["no", "perhaps", "yes"])[-n_classes:]
    model = MultiTaskClassifier("partial_pooling").fit(X, names[y], task=task)
    for t in range(6):
        for coverage in (0.5, 0.9):
            np.testing.assert_array_equal(
                model.for_task(t).predict_set(A[at == t], coverage),
                model.predict_set(A, coverage, task=at)[at == t],
            )
    few, many = (model.predict_set(A, c, task=at) for c in (0.6, 0.95))
    assert (few <= many).all() and few.sum() < many.sum()


def test_without_tasks_with_a_task_column_and_with_tasks_without_rows():
    (X, y, task), (A, b, at) = draw(6, 40)
    plain = MultiTaskClassifier("partial_pooling").fit(X, y)
    assert 0.85 < inside(plain, A, b).mean() < 0.97
    column = MultiTaskClassifier("partial_pooling", task_column=0)
    column.fit(np.column_stack([task, X]), y)
    model = MultiTaskClassifier("partial_pooling").fit(X, y, task=task)
    np.testing.assert_array_equal(
        column.predict_set(np.column_stack([at, A])), model.predict_set(A, task=at)
    )
    model.fit(X, y, sample_weight=(task != 2).astype(float), task=task)
    found = model._set_thresholds
    np.testing.assert_array_equal(found.tasks[2], found.unseen)
    assert inside(model, A, b, at).mean() > 0.85


def test_pickles():
    (X, y, task), (A, b, at) = draw(6, 40)
    model = MultiTaskClassifier("partial_pooling").fit(X, y, task=task)
    copy = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(copy.predict_set(A, task=at), model.predict_set(A, task=at))
    for one in (model.for_task(1), model.adapt(A[:9], b[:9])):
        copy = pickle.loads(pickle.dumps(one))
        np.testing.assert_array_equal(copy.predict_set(A), one.predict_set(A))
        assert len(pickle.dumps(one)) < 3000
    sizes = []
    for rows in (40, 400):
        (X, y, task), _ = draw(6, rows)
        sizes.append(len(pickle.dumps(MultiTaskClassifier("pooled").fit(X, y, task=task))))
    assert sizes[1] < sizes[0] + 1000  # no row is kept


@pytest.mark.skipif(np.__version__ < "2", reason="numpy 1 cannot load arrays pickled by numpy 2")
def test_an_old_model_has_no_sets():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", InconsistentVersionWarning)
        model = pickle.loads(OLD.read_bytes())
    X = np.zeros((2, 3))
    for ask in (
        lambda: model.predict_set(np.column_stack([["market"] * 2, X.astype(object)])),
        lambda: model.for_task("market").predict_set(X),
        lambda: model.adapt(X + [[1.0], [2.0]], model.classes_[:2]).predict_set(X),
    ):
        with pytest.raises(ValueError, match="by an earlier version; set cv=5 and fit again"):
            ask()


def test_without_validation_there_are_no_sets():
    (X, y, task), _ = draw(6, 40)
    model = MultiTaskClassifier(PartialPooling(alpha=1.0, alpha_shared=1.0), cv=None)
    model.fit(X, y, task=task)
    for ask in (
        lambda: model.predict_set(X, task=task),
        lambda: model.for_task(0).predict_set(X),
        lambda: model.adapt(X[:5], y[:5]).predict_set(X),
    ):
        with pytest.raises(ValueError, match="fitted with cv=None, .*; set cv=5"):
            ask()
    model.set_params(cv=3).fit(X, y, task=task).predict_set(X, task=task)
    model.set_params(cv=None).fit(X, y, task=task)
    with pytest.raises(ValueError, match="cv=None"):
        model.predict_set(X, task=task)


@pytest.mark.parametrize("coverage", [0.0, 1.0, 90, -0.5, "most", None, True, np.nan])
def test_coverage_is_a_share(coverage):
    (X, y, task), _ = draw(6, 40)
    model = MultiTaskClassifier("pooled").fit(X, y, task=task)
    for ask in (
        lambda: model.predict_set(X, coverage, task=task),
        lambda: model.for_task(0).predict_set(X, coverage),
    ):
        with pytest.raises(ValueError, match="coverage=.* must be a number between 0 and 1"):
            ask()


def test_other_errors_are_those_of_predict():
    (X, y, task), _ = draw(6, 40)
    model = MultiTaskClassifier("pooled", handle_unknown="error").fit(X, y, task=task)
    with pytest.raises(ValueError, match="no task was given"):
        model.predict_set(X)
    with pytest.raises(ValueError, match="never seen in fit"):
        model.predict_set(X, task=task + 100)
    with pytest.raises(ValueError, match="features"):
        model.predict_set(X[:, :2], task=task)
    with pytest.raises(AttributeError, match="not fitted"):
        clone(model).predict_set(X, task=task)
