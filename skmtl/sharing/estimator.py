"""Any scikit-learn estimator as the part of the model that tasks share."""

from dataclasses import replace
from typing import Any, Literal

import numpy as np

from .._validation import check_learner
from ..guard.stacking import StackedWeights
from .base import Sharing, SharingFit
from .learned.by_loss import fit_by_loss
from .learned.members import FittedMember, LearnedMember, judge
from .learned.model import LearnedFit, LearnedInputs, LearnedModel
from .learned.wrapped import PerTask, Wrapped
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

    def _learner_for(self, problem):
        """Return the learner for the rows of a `RowProblem`."""
        return self._learner()

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
        self.check_kind(problem.n_classes > 0)
        shared = LearnedMember(self._name, self._learner_for(problem))
        refusal = shared.refusal(problem)
        if refusal is not None:
            raise ValueError(f"{type(self).__name__}: {refusal}.")
        judge(problem, shared)
        if problem.has_other_losses:
            return fit_by_loss(problem, shared, self._report_of_one(problem, shared))
        held_out = shared.held_out
        missing = np.isnan(held_out[:, 0])  # rows that are in no test fold
        if missing.any():
            held_out[missing] = shared.model.predict(problem.rows.take(missing))
        fit = self._fit_classes if problem.n_classes else self._fit_values
        return fit(problem, shared, held_out)

    def _fit_values(self, problem, shared, held_out):
        """Return the fit with linear models on the residuals of the learner."""
        unit, nested_splits = problem.scale[-1], 0 if self.own == "clone" else None
        structure = PartialPooling()
        if self.own != "linear":
            structure = PartialPooling(alpha_shared=np.inf, varying=[])
        target = problem.y - unit * held_out[:, 0]
        linear = problem.fit_linear(structure, target, nested_splits=nested_splits)
        members, weights = [], np.ones((problem.n_tasks + 1, 1))
        if self.own == "clone":
            base = problem.averaged(linear.held_out.nested) - problem.location[0]
            members, weights, _ = self._clones(problem, held_out + base / unit)
        # The first column, the linear models alone, has no weight: the estimator is always added.
        none, always = np.zeros(len(weights)), np.ones(len(weights))
        weights = np.column_stack([none, always, weights[:, 1:]])
        added = FittedMember(self._name, shared.model, True)
        return self._fitted(problem, linear, [added, *members], weights)

    def _fit_classes(self, problem, shared, held_out):
        """Return the fit with linear models whose features are the scores of the learner."""
        keeps_features, structure = self.own == "linear", PartialPooling()
        if not keeps_features:
            structure = PartialPooling(varying=[])
        linear = problem.fit_linear(
            structure, scores=held_out, keeps_features=keeps_features,
            nested_splits=0 if self.own == "clone" else None,
        )  # fmt: skip
        members, weights = [], np.ones((problem.n_tasks + 1, 1))
        if self.own == "clone":
            predicted = problem.averaged(linear.held_out.nested)
            members, weights, blend = self._clones(problem, predicted)
            if members:  # an unseen task has none
                unseen = linear.set_thresholds.unseen
                known = problem.set_thresholds(*blend)
                linear = replace(linear, set_thresholds=replace(known, unseen=unseen))
        inputs = LearnedInputs(shared.fitted(), keeps_features)
        return self._fitted(problem, linear, members, weights, inputs)

    @staticmethod
    def _report_of_one(problem, member):
        """Return the report of a member that is used alone."""
        return _member_report([member], np.ones((problem.n_tasks + 1, 1)))

    @staticmethod
    def _fitted(problem, linear, members, weights, inputs=None):
        # New tasks have the weights of an unseen one: there are no clones for them.
        by_size = StackedWeights(np.ones(1), weights[-1:], np.full(1, np.inf))
        model = LearnedModel(
            replace(linear, held_out=None, report={}), members, weights, by_size, problem.location,
            problem.scale, np.full(len(members), np.inf), problem.loss, inputs,
        )  # fmt: skip
        shown = weights[:, 1:]
        if inputs is not None:
            members = [inputs.member, *members]
            shown = np.column_stack([np.ones(len(weights)), shown])
        return replace(linear, learned=LearnedFit(model, _member_report(members, shown)))

    def _clones(self, problem, predicted):
        """Return the clones of the tasks, the weights of the tasks, and the blend.

        `predicted` are the scores of held-out rows without clones. The weights, of shape
        ``(n_tasks + 1, 1 or 2)``, are those of the shared part and of the clones. The blend is
        given by its scores of held-out rows, and a mask of these rows. Without clones in use, there
        are none, and no blend.
        """
        base = None
        if not problem.n_classes:
            base = np.tile(predicted, (len(problem.partitions[0].train), 1, 1))
        clones = LearnedMember("clones", PerTask(self._learner()), base is not None, base)
        judge(problem, clones)
        scores = np.stack([predicted, clones.held_out], axis=1)
        live = np.isfinite(scores).all(axis=(1, 2))
        held_out = problem.held_out(scores[live], live)
        weights = StackedWeights.learn(held_out).of_tasks(problem.task_rows, held_out)
        for _, estimator in clones.model.parts:
            without = np.setdiff1d(np.arange(problem.n_tasks), list(estimator.clones))
            weights[without] = [1.0, 0.0]
        if not weights[:, 1].any():
            return [], np.ones((problem.n_tasks + 1, 1)), None
        blend = np.einsum("imk,im->ik", scores[live], weights[held_out.codes])
        return [clones.fitted()], np.vstack([weights, [1.0, 0.0]]), (blend, live)

    def check_kind(self, classifier: bool) -> None:
        """Raise an error if the learner is not of the kind of the multi-task estimator.

        Parameters
        ----------
        classifier : bool
            Whether it has to be a classifier.
        """


class SharedEstimator(SharedLearner):
    r"""A scikit-learn estimator for all tasks, with a part of its own for every task.

    The prediction for task :math:`t` is

    .. math:: f_t(x) = g(x) + h_t(x),

    where :math:`g` is the estimator, fitted on the rows of all tasks, and :math:`h_t` is fitted on
    what it leaves over, :math:`y_i - g_{-k(i)}(x_i)`, with predictions of rows by estimators that
    were fitted without them. As :math:`h_t` is guarded, it is zero where it would not help. The
    final :math:`g` is the mean of the estimators that were fitted in the splits of `cv`.

    In a classification, :math:`f_t` and :math:`g` are log-odds, or one score per class, and

    .. math:: f_t(x) = a_t + b_t\, g(x) + h_t(x)

    is a logistic model with :math:`g_{-k(i)}(x_i)` as one more feature, which also corrects
    probabilities that are too close to 0 and 1.

    Parameters
    ----------
    estimator : regressor or classifier
        Any scikit-learn regressor, or classifier with probabilities in `MultiTaskClassifier`, or a
        Pipeline that ends in one. It sees the features with
        missing values and with codes of categories if it takes missing values, and otherwise the
        output of `preprocessor`.
    own : {"intercept", "linear", "clone"}, default="linear"
        What :math:`h_t` is: an intercept shrunk towards zero (with the same :math:`b` for all
        tasks); the linear models of `PartialPooling`; or an intercept and a clone of the estimator
        that is fitted on the rows of the task (at least 10) and used at sizes of task where it is
        better.
    sees_task : bool, default=False
        Whether the estimator sees the task too, as one more column: the mean target of the task,
        shrunk and computed inside every fold, or the task as a category for histogram gradient
        boosting.

    Raises
    ------
    TypeError, ValueError
        In `fit`, if `estimator` is not a regressor, or for classes not a classifier with
        ``predict_proba``; if weights differ but it takes none; and for ``cv=None``.

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
        """Raise a ValueError for an unknown `own`."""
        if self.own not in ("intercept", "linear", "clone"):
            raise ValueError(f"own={self.own!r} is unknown; give 'intercept', 'linear' or 'clone'.")

    def check_kind(self, classifier: bool) -> None:
        """Raise an error for an estimator that is not of the kind of the multi-task estimator.

        Parameters
        ----------
        classifier : bool
            Whether it must be a classifier, with probabilities, or a regressor.
        """
        check_learner(self.estimator, classifier)

    def _learner(self):
        if not self.sees_task:
            return Wrapped(self.estimator)
        takes_categories = hasattr(self.estimator, "categorical_features")
        return Wrapped(self.estimator, "category" if takes_categories else "encoded")


def _member_report(members, weights):
    """Return one row per member: its mean weight, and the tasks that use it.

    `weights` are those of the tasks and of an unseen one, ``(n_tasks + 1, n_members)``.
    """
    return {
        "member": np.array([member.name for member in members], dtype=object),
        "weight": weights[:-1].mean(axis=0),
        "n_tasks": (weights[:-1] > 0).sum(axis=0),
        "weight_unseen": weights[-1],
    }
