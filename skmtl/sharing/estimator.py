"""Any scikit-learn regressor as the part of the model that tasks share."""

from dataclasses import replace
from typing import Any, Literal

import numpy as np

from ..guard.stacking import StackedWeights
from .base import Sharing, SharingFit
from .learned.members import FittedMember, LearnedMember
from .learned.model import LearnedFit, LearnedModel
from .learned.wrapped import PerTask, Wrapped, check_regressor
from .pooling import PartialPooling

__all__ = ["SharedEstimator", "SharedLearner"]


class SharedLearner(Sharing):
    """Base class of structures with one learner for all tasks, and a part of its own for each.

    Subclasses have `own`, as `SharedEstimator` has it.
    """

    # Name of the learner in reports.
    _name = "estimator"

    def _learner(self):
        """Return the learner, with ``fit``, ``task`` and so on as `BoostedTrees` has them."""
        raise NotImplementedError

    def fit_rows(self, problem: Any) -> SharingFit:
        """Fit the learner, and the tasks' own parts on what it leaves over.

        Parameters
        ----------
        problem : RowProblem
            The data.

        Returns
        -------
        SharingFit
            The linear parts, with the learner.
        """
        return self._fit_rows(problem)

    def _fit_rows(self, problem):
        shared = LearnedMember(self._name, self._learner())
        refusal = shared.refusal(problem)
        if refusal is not None:
            raise ValueError(f"{type(self).__name__}: {refusal}.")
        shared.judge(problem, every_split=True)
        shared.finish(problem)
        held_out, unit = shared.held_out, problem.scale[-1]
        missing = np.isnan(held_out)  # rows that are in no test fold
        if missing.any():
            held_out[missing] = shared.model.predict(problem.rows.take(missing))
        structure = PartialPooling()
        if self.own != "linear":
            structure = PartialPooling(alpha_shared=np.inf, varying=[])
        linear = problem.fit_linear(structure, problem.y - unit * held_out)
        members = [FittedMember(self._name, shared.model, True)]
        # The first column, the linear models alone, has no weight: the estimator is always added.
        weights = StackedWeights(np.ones(1), np.ones((1, 1)), np.full(1, np.inf))
        tasks = np.ones((problem.n_tasks, 1))
        if self.own == "clone":
            base = problem.averaged(linear.held_out.nested) - problem.location[0]
            clones, weights, found = self._clones(problem, held_out + base / unit)
            if clones is not None:
                members, tasks = [*members, clones], found
        table = _always_added(np.vstack([tasks, np.eye(tasks.shape[1])[0]]))
        by_size = replace(weights, weights=_always_added(weights.weights))
        bare = replace(linear, held_out=None, report={})
        model = LearnedModel(
            bare, members, table, by_size, problem.location, problem.scale,
            np.full(len(members), np.inf),
        )  # fmt: skip
        return replace(linear, learned=LearnedFit(model, self._member_report(members, table)))

    def _clones(self, problem, predicted):
        """Return the clones of the tasks, if they get any weight, and weights by size and task."""
        base = np.tile(predicted, (len(problem.partitions[0].train), 1))
        clones = LearnedMember("clones", PerTask(self._learner()), base)
        clones.judge(problem, every_split=True)
        clones.finish(problem)
        errors = np.column_stack([predicted, clones.held_out]) - problem.target[:, None]
        live = np.isfinite(errors).all(axis=1)
        judged = errors[live], problem.weight[live], problem.rows.codes[live]
        weights = StackedWeights.learn(*judged, problem.n_tasks)
        if not weights.weights[:, 1].any():
            return None, replace(weights, weights=weights.weights[:, :1]), None
        rows = np.bincount(problem.rows.codes, problem.weight, minlength=problem.n_tasks)
        return clones.fitted(), weights, weights.of_tasks(rows, *judged)

    @staticmethod
    def _member_report(members, weights):
        """Return one row per member: its mean weight, and the tasks that use it."""
        return {
            "member": np.array([member.name for member in members], dtype=object),
            "weight": weights[:-1, 1:].mean(axis=0),
            "n_tasks": (weights[:-1, 1:] > 0).sum(axis=0),
            "weight_unseen": weights[-1, 1:],
        }


class SharedEstimator(SharedLearner):
    r"""A scikit-learn regressor for all tasks, with a part of its own for every task.

    The prediction for task :math:`t` is

    .. math:: f_t(x) = g(x) + h_t(x),

    where :math:`g` is the estimator, fitted on the rows of all tasks, and :math:`h_t` is fitted on
    what it leaves over, :math:`y_i - g_{-k(i)}(x_i)`, with predictions of rows by estimators that
    were fitted without them. As :math:`h_t` is guarded, it is zero where it would not help. The
    final :math:`g` is the mean of the estimators that were fitted in the splits of `cv`.

    Parameters
    ----------
    estimator : regressor
        Any scikit-learn regressor, or a Pipeline that ends in one. It sees the features with
        missing values and with codes of categories if it takes missing values, and otherwise the
        output of `preprocessor`.
    own : {"intercept", "linear", "clone"}, default="linear"
        What :math:`h_t` is: an intercept shrunk towards zero; the linear models of
        `PartialPooling`; or an intercept and a clone of the estimator that is fitted on the rows of
        the task (at least 10) and used at sizes of task where it is better.
    sees_task : bool, default=False
        Whether the estimator sees the task too, as one more column: the mean target of the task,
        shrunk and computed inside every fold, or the task as a category for histogram gradient
        boosting.

    Raises
    ------
    TypeError, ValueError
        In `fit`, if `estimator` is not a regressor, if weights differ but it takes none, and for
        ``cv=None``.

    See Also
    --------
    Auto : Adds a given estimator to its members and weighs all of them.

    Examples
    --------
    >>> from sklearn.ensemble import RandomForestRegressor
    >>> from skmtl import MultiTaskRegressor
    >>> from skmtl.datasets import load_grunfeld
    >>> from skmtl.sharing import SharedEstimator
    >>> X, y = load_grunfeld(return_X_y=True, as_frame=True)
    >>> sharing = SharedEstimator(RandomForestRegressor(20, random_state=0), own="intercept")
    >>> model = MultiTaskRegressor(sharing, task_column="firm").fit(X, y)
    >>> model.score(X, y) > 0.9
    True
    """

    def __init__(
        self,
        estimator: Any,
        own: Literal["intercept", "linear", "clone"] = "linear",
        *,
        sees_task: bool = False,
    ):
        self.estimator = estimator
        self.own = own
        self.sees_task = sees_task

    def check(self) -> None:
        """Raise an error for an estimator that is not a regressor, and for an unknown `own`."""
        check_regressor(self.estimator)
        if self.own not in ("intercept", "linear", "clone"):
            raise ValueError(f"own={self.own!r} is unknown; give 'intercept', 'linear' or 'clone'.")

    def _learner(self):
        if not self.sees_task:
            return Wrapped(self.estimator)
        takes_categories = hasattr(self.estimator, "categorical_features")
        return Wrapped(self.estimator, "category" if takes_categories else "encoded")


def _always_added(weights):
    """Return weights ``(n, 1 + n_members)`` of a first member that is added to the linear models.

    The given ones are those of further members, whose first column is for none of them.
    """
    none, always = np.zeros(len(weights)), np.ones(len(weights))
    return np.column_stack([none, always, weights[:, 1:]])
