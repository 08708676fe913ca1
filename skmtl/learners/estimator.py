"""Any scikit-learn estimator beside the closed-form learners."""

from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from .._validation import check_learner
from ..guard.few_shot import BlendWeights, JudgedRows
from ._blended import MEMBERS, Blended, ClonedHeads, PooledEstimator, pooled_heads, with_scores
from ._fitted import EstimatorScores, FittedEstimator, digests
from ._held_out import episodes
from .base import LabelledTasks, Learner
from .closed_form import Auto

__all__ = ["WithEstimator"]

# Clones are not tried in further folds if their advantage is below this share of the required one.
_HOPEFUL = 0.25
# Number of rows, of each of two classes, on which the estimator is tried.
_N_TRIED = 200


class WithEstimator(Learner):
    r"""The default learner, and any scikit-learn classifier or regressor beside it.

    A new task's model is the blend

    .. math:: f_t = v_0(n) f^\text{default}_t + v_1(n) f^\text{shared}_t + v_2(n) f^\text{own}_t

    of probabilities or predicted numbers, with weights :math:`v(n)`, not negative and with sum one,
    that depend on the number n of labelled rows of the task.

    - *default*: the model of `Auto`.
    - *shared*: the estimator g is fitted on the rows of all tasks, without the task. Its log-odds
      (or prediction) are a further feature, on which the task's head of `Auto` is fitted, so that
      a task has its own intercept and slopes, shrunk towards shared ones. As g is to be used on
      tasks it has not seen, it is fitted once per fold of tasks, and a task of `fit` uses the
      one that was fitted without it; new tasks use the mean. Numbers are fitted without the
      deviations of the tasks' own models in *default*, such as levels, which would be noise to g
      (one step of the method of Hajjem et al. 2014). There is no such member if each task has its
      own classes.
    - *own*: a clone of the estimator, fitted on the rows of the task alone. It is left out where
      it cannot be fitted, as with labelled rows of a single class.

    The weights are learned from held-out tasks, by log-loss or squared error. Those of *shared* and
    *own* are zero unless the blend is better than without by more than two standard errors over
    tasks (with few tasks, the corresponding quantile of Student's distribution). If both are
    zero, results are those of `Auto`.

    The estimator sees standardised features after preprocessing, and standardised numbers as its
    target. Parameters named ``random_state`` that are None are set.

    Parameters
    ----------
    estimator : classifier or regressor
        Any scikit-learn classifier with ``predict_proba``, or any regressor.

    Raises
    ------
    TypeError, ValueError
        In `fit`, if `estimator` is no classifier (or regressor), has no ``predict_proba``, or takes
        no weights although weights differ.

    See Also
    --------
    skmtl.sharing.SharedEstimator : An estimator for all tasks of a table.
    skmtl.inspection.MemberReportDisplay : A picture of the members' errors and weights.

    References
    ----------
    Hajjem, A., Bellavance, F. and Larocque, D. (2014). Mixed-effects random forest for clustered
    data. Journal of Statistical Computation and Simulation 84(6).
    :doi:`10.1080/00949655.2012.741599`

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.ensemble import RandomForestRegressor
    >>> from skmtl import MetaLearnerRegressor
    >>> from skmtl.learners import WithEstimator
    >>> rng = np.random.default_rng(0)
    >>> X, task = rng.uniform(-3, 3, size=(600, 1)), np.repeat(np.arange(30), 20)
    >>> y = np.sin(2 * X[:, 0]) + rng.normal(size=30)[task] + 0.1 * rng.normal(size=600)
    >>> model = MetaLearnerRegressor(WithEstimator(RandomForestRegressor(30, random_state=0)))
    >>> new = model.fit(X, y, task=task).adapt([[0.0], [1.0], [2.0]], [1.0, 1.9, 0.2])
    >>> bool(abs(new.predict([[-1.0]])[0] - 0.1) < 0.4)
    True
    """

    # Number of episodes per fold on which members are judged, and of those with clones.
    _n_episodes, _n_cloned = 150, 40

    def __init__(self, estimator: Any) -> None:
        self.estimator = estimator

    def _learn(self, tasks, random_state, progress):
        check_learner(self.estimator, tasks.ways is not None)
        default, folds = Auto()._learn_and_hold_out(tasks, random_state, progress)
        fit = partial(
            FittedEstimator.fit, self.estimator, seed=int(random_state.randint(2**31 - 1))
        )
        shared, of_folds, reasons = None, [None] * len(folds), {}
        if tasks.own_classes:
            reasons["shared"] = "each task has its own classes"
        elif folds:
            progress("fitting the estimator to the tasks of each fold")
            shared, of_folds = _pool(fit, folds, random_state, progress)
            if shared is None:
                reasons["shared"] = "the training tasks of a fold have a single class"
        if shared is None:
            _try_on_some_rows(fit, tasks)
        progress("judging the estimator on held-out tasks")
        parts, n_cloned = [], self._n_cloned
        for fold, of_fold in zip(folds, of_folds, strict=True):
            drawn = episodes(fold.held, self._n_episodes, random_state)
            if not len(drawn[2]):  # no task has two rows
                continue
            parts.append(_judge(fit, fold, of_fold, drawn, n_cloned, random_state))
            hopeful = BlendWeights.learn(JudgedRows.join(parts), _HOPEFUL)
            if not hopeful.weights[:, 2].any():
                n_cloned = 0  # clones take longer than all else
        if not parts:
            reasons = dict.fromkeys(MEMBERS[1:], "there are no other tasks to judge it on")
        weights = self._weigh(JudgedRows.join(parts))
        used = (weights.weights > 0).any(axis=0)
        return Blended(
            default, weights, shared if used[1] else None, fit if used[2] else None, reasons
        )

    @staticmethod
    def _weigh(held_out):
        return BlendWeights.learn(held_out)


class _AutoWithScores(Auto):
    """The candidates of `Auto` on all features, and on the last ones alone."""

    def __init__(self, n_scores):
        self.n_scores = n_scores

    def _candidates(self, tasks, random_state):
        last = np.arange(tasks.n_features - self.n_scores, tasks.n_features)
        alone = _with_columns(tasks, last)
        return [
            *super()._candidates(tasks, random_state),
            *(_OnSomeFeatures(c, last) for c in super()._candidates(alone, random_state)),
        ]


def _with_columns(tasks, columns):
    prior_rows = None if tasks.prior_rows is None else tasks.prior_rows[columns]
    return replace(
        tasks, X=np.ascontiguousarray(tasks.X[:, columns]), prior_rows=prior_rows,
        inverse_kurtosis=None,
    )  # fmt: skip


@dataclass
class _OnSomeFeatures:
    """A candidate that uses some of the features.

    Attributes
    ----------
    candidate : GaussianPrior or ClassMeans
    columns : ndarray
    """

    candidate: object
    columns: np.ndarray

    @property
    def cost(self):
        return self.candidate.cost

    def heads(self, tasks):
        """Return heads of all features, as `GaussianPrior.heads` does."""
        return self._widened(tasks, self.candidate.heads(_with_columns(tasks, self.columns)))

    def heads_and_left_out(self, tasks, offset=0.0, shift=None):
        """Return what `GaussianPrior.heads_and_left_out` does."""
        part = _with_columns(tasks, self.columns)
        heads, left_out = self.candidate.heads_and_left_out(part, offset, shift)
        return self._widened(tasks, heads), left_out

    def _widened(self, tasks, heads):
        out = np.zeros((*heads.shape[:2], 1 + tasks.n_features))
        out[:, :, 0] = heads[:, :, 0]
        out[:, :, 1 + self.columns] = heads[:, :, 1:]
        return out


def _pool(fit, folds, random_state, progress):
    """Learn heads on the scores of an estimator that is fitted to the tasks of each fold.

    Returns
    -------
    shared : PooledEstimator or None
        None if the training tasks of a fold have a single class.
    of_folds : list of (callable or None)
        For each fold, what adapts `shared`, learned without its tasks, to `LabelledTasks`.
    """
    splits = [(_without_deviations(fold), fold.held) for fold in folds]
    scores = EstimatorScores.learn(fit, splits)
    if scores is None:
        return None, [None] * len(folds)
    held = [with_scores(fold.held, scores(fold.held.X, k)) for k, fold in enumerate(folds)]
    others = [LabelledTasks.join(held[:k] + held[k + 1 :]) for k in range(len(held))]
    heads, of_folds = _AutoWithScores(scores.width)._learn_and_hold_out(
        LabelledTasks.join(held), random_state, progress, list(zip(others, held, strict=True))
    )
    keys = np.concatenate([digests(fold.held) for fold in folds])
    fold_of = np.repeat(np.arange(len(folds)), [fold.held.n_tasks for fold in folds])
    keys, first = np.unique(keys, return_index=True)
    return PooledEstimator(heads, scores, keys, fold_of[first]), [
        partial(pooled_heads, fold.knowledge, scores, fold=k) for k, fold in enumerate(of_folds)
    ]


def _without_deviations(fold):
    """Return the training tasks; numbers without the deviations of the tasks' own linear models.

    These deviations from the model of an unseen task, mostly levels, are noise to an estimator
    that does not see the task.
    """
    tasks = fold.train
    if tasks.ways is not None:
        return tasks
    unseen = tasks.take([0]).select_rows(np.zeros(tasks.sizes[0], dtype=bool))
    own = fold.knowledge.adapt(tasks).predict(tasks.X, tasks.codes)
    common = fold.knowledge.adapt(unseen).predict(tasks.X, np.zeros_like(tasks.codes))
    return replace(tasks, y=tasks.y - (own - common))


def _try_on_some_rows(fit, tasks):
    """Fit the estimator once, so that an error is raised rather than taken for too few rows.

    Classes are joined to two, and rows are repeated if there are few. Weights differ if those of a
    task do.
    """
    if tasks.ways is None:
        y, groups = tasks.y, [np.arange(len(tasks.y))]
    else:
        y = np.minimum(tasks.y, 1)
        groups = [np.flatnonzero(y == c) for c in (0, 1)]
        if not all(map(len, groups)):
            return
    rows = np.concatenate([np.resize(rows, _N_TRIED) for rows in groups])
    weight = np.ones(len(rows))
    lightest = np.full(tasks.n_tasks, np.inf)
    np.minimum.at(lightest, tasks.codes, tasks.weight)
    if (tasks.weight > (1.0 + 1e-9) * lightest[tasks.codes]).any():
        weight[0] = 2.0
    fit(tasks.X[rows], y[rows], weight)


def _judge(fit, fold, adapt_shared, drawn, n_cloned, random_state):
    """Return `JudgedRows` predictions of the members on episodes of a fold's held-out tasks."""
    support, query, task = drawn
    adapted = [fold.knowledge.adapt(support), None, None]
    if adapt_shared is not None:
        adapted[1] = adapt_shared(support)
    cloned = np.sort(random_state.permutation(support.n_tasks)[:n_cloned])
    adapted[2] = ClonedHeads.fit(fit, support, np.isin(np.arange(support.n_tasks), cloned))
    values = np.full((len(query.y), len(MEMBERS)), np.nan)
    for m, heads in enumerate(adapted):
        if heads is not None:
            values[:, m] = _values(heads.predict(query.X, query.codes), query)
    tried = np.isin(query.codes, cloned)
    failed = tried & ~adapted[2].fitted[query.codes]
    values[failed, 2] = values[failed, 0]  # such a task falls back to the default
    values[~tried, 2] = np.nan
    group = task
    if support.own_classes:
        group = np.unique(support.labels, axis=0, return_inverse=True)[1].ravel()
    return JudgedRows(
        values, query.weight, query.codes, support.sums(support.weight), group,
        query.ways is None,
    )  # fmt: skip


def _values(predicted, query):
    """Return the probabilities of the labels; for numbers, the errors."""
    if query.ways is None:
        return query.y - predicted
    return np.exp(predicted[np.arange(len(query.y)), query.y])
