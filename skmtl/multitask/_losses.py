"""The part of the multi-task regressor that deals with losses other than the squared error."""

import functools

import numpy as np
from sklearn.utils import assert_all_finite, check_consistent_length
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted, column_or_1d

from .._typing import MatrixLike, NDArray
from .._validation import as_numbers, check_weights
from ..base import r2_over_tasks
from ..losses import LOG_LOSS, SQUARED_ERROR, Loss, TaskLosses
from ..losses.counts import LogLink
from ..losses.per_task import BY_NAME
from ..queries.frames import is_lazy
from ..sharing.joined import JoinedAdapter
from ..sharing.newton_problem import NewtonProblem
from ..sharing.tree import TaskTree
from ..task_models import BlendedTaskModel, LinearTaskModel, both_probabilities
from ..tasks.stack import linear_scores
from ..tasks.task_weights import is_mapping
from ._least_squares import problem_of
from ._separation import warn_of_separation

__all__ = ["LossMixin", "deviance_explained"]


class LossMixin:
    """Minimise losses of scores, and predict by their links."""

    loss: object = "squared_error"  # of models that were pickled before it was a parameter
    _fitted_loss: object = SQUARED_ERROR  # or `TaskLosses`, if tasks differ

    def _given_losses(self):
        """Return the losses that the parameter names, without unknown names."""
        given = self.loss.values() if is_mapping(self.loss) else [self.loss]
        found = [BY_NAME.get(one) if isinstance(one, str) else one for one in given]
        return [one for one in found if isinstance(one, Loss)]

    def _minimises_scores(self):
        """Return whether linear models minimise another loss than squares."""
        others = any(loss is not SQUARED_ERROR for loss in self._given_losses())
        return others and not getattr(self._named_object(), "mixes_losses", False)

    @property
    def _has_positive_targets(self):
        """Whether targets of all tasks are positive, as far as `loss` tells."""
        losses = () if is_mapping(self.loss) else self._given_losses()
        return any(isinstance(loss, LogLink) for loss in losses)

    def _has_probabilities(self):
        if "loss_" in vars(self):  # asking for it would solve for rows that wait
            return LOG_LOSS in self._task_losses().losses
        return LOG_LOSS in self._given_losses()

    def _predict_rows(self, rows, X):
        """Return predictions of rows, and their tasks: None for one column per task."""
        if self._learned is not None:
            prediction, codes = self._predict_learned(rows)
            prediction = prediction if codes is None else prediction[:, 0]
        elif self._task_source == "target":
            codes = None  # one column per task
            prediction = rows.X @ self.coef_.T + self.intercept_
        else:
            codes = np.zeros(rows.X.shape[0], dtype=np.int64) if rows.codes is None else rows.codes
            coef = np.vstack([self.coef_, self.shared_coef_])  # code -1 is the last row
            intercept = np.r_[self.intercept_, self.shared_intercept_]
            prediction = linear_scores(rows.X, coef, intercept, codes)[:, 0]
        prediction = prediction + self._level_offset(X, rows) + self._group_offset(rows)
        if hasattr(self._learned, "has_log_loss"):
            return prediction, codes  # which are means
        of_task = np.arange(prediction.shape[1]) if codes is None else codes
        return self._task_losses().means(prediction, of_task), codes

    def _std_of_rows(self, residual_scale, X, rows, codes):
        """Return the standard deviations of new labels, also where groups or levels are unknown."""
        std, strange = residual_scale.of_rows(rows.X, codes), self._are_strange(rows)
        if strange is not None:
            std[strange] *= self._strangers.std_ratio
        return std if self._level_effects is None else self._level_effects.widened(std, X)

    def _learned_task_model(self, blend, residual_scale):
        model = BlendedTaskModel._from_blend(
            blend, self._view, self._columns, self.preprocessor_, residual_scale
        )
        return self._with_effects(model)

    def _task_model(self, coef, intercept, residual_scale, loss=None):
        model = LinearTaskModel._from_coefficients(
            coef, intercept, self._columns, self.preprocessor_, residual_scale
        )
        model._loss = loss or self._loss
        return self._with_effects(model)

    @available_if(lambda model: model._has_probabilities())
    def predict_proba(self, X: MatrixLike, *, task: object = None) -> NDArray | list[NDArray]:
        """Return the probabilities of 0 and 1 for tasks with the log-loss.

        Parameters
        ----------
        X : {array-like, sparse matrix, data frame} of shape (n_samples, n_features)
            Rows to predict. A lazy frame is returned with columns "proba_0" and "proba_1".
        task : label or array-like of shape (n_samples,), default=None
            Task labels, as in `predict`.

        Returns
        -------
        ndarray of shape (n_samples, 2), or list of these
            Probabilities; NaN for rows of tasks with another loss. After a fit with a 2-D y, a list
            with one array per task.

        Raises
        ------
        ValueError
            For the same reasons as in `predict`.

        Examples
        --------
        >>> from skmtl import MultiTaskRegressor
        >>> from skmtl.datasets import load_grunfeld
        >>> X, y = load_grunfeld(return_X_y=True, as_frame=True)
        >>> invests_much = (y > y.median()).astype(float)
        >>> model = MultiTaskRegressor("partial_pooling", task_column="firm", loss="log_loss")
        >>> model.fit(X, invests_much).predict_proba(X).shape
        (220, 2)
        """
        return self._probabilities(X, task)

    def _probabilities(self, X, task):
        check_is_fitted(self)
        if is_lazy(X):
            return self._predict_proba_lazy(X, task, [0, 1])
        prediction, codes = self._predict_rows(self._rows_to_predict(X, task), X)
        losses = self._task_losses()
        has_probabilities = losses.of_kind(LOG_LOSS)
        if codes is None:
            columns = np.where(has_probabilities[:-1], prediction, np.nan).T
            return [both_probabilities(column) for column in columns]
        return both_probabilities(np.where(has_probabilities[codes], prediction, np.nan))

    def _check_losses(self, losses, solver):
        """Raise a ValueError for parameters that losses of linear models do not go with.

        Parameters
        ----------
        losses : TaskLosses
            Those of the tasks with rows.
        solver : object
            The sharing structure.
        """
        super()._check_losses(losses, solver)
        if losses.single is SQUARED_ERROR or getattr(solver, "mixes_losses", False):
            return
        several, of_squares = losses.single is None, SQUARED_ERROR in losses.losses
        beside = not several and losses.single.has_link  # levels, and other groupings
        reasons = {
            "keep_moments=True": (self.keep_moments, "keep_moments=False"),
            f"grouping_columns={self.grouping_columns!r}": (
                self.grouping_columns is not None and not beside, "grouping_columns=None",
            ),
            "target_scale='task'": (
                self.target_scale == "task" and not of_squares, "target_scale='auto'"
            ),
            "task_weight='uncertainty'": (
                isinstance(self.task_weight, str) and self.task_weight == "uncertainty"
                and not of_squares, "task_weight='balanced' or None",
            ),
            f"estimator={self.estimator!r}": (self.estimator is not None, "estimator=None"),
            "sharing=TaskTree": (
                isinstance(solver, TaskTree) and not beside, "sharing='partial_pooling'",
            ),
        }  # fmt: skip
        for given, (is_given, remedy) in reasons.items():
            if is_given:
                raise ValueError(
                    f"loss={self.loss!r} cannot be combined with {given}; set {remedy}, or "
                    "loss='squared_error'."
                )

    def _check_task_source(self, task, y):
        if self._has_positive_targets and y.ndim == 2 and y.shape[1] == 1:
            y = column_or_1d(y, warn=True)  # it has no tag of several outputs
        return super()._check_task_source(task, y)

    def _make_problem(self, progress, loss):
        """Return what makes the problem of a `TableFit` for tasks with a loss."""
        if loss is SQUARED_ERROR:
            return functools.partial(problem_of, progress)
        n_classes = 2 if loss is LOG_LOSS else 0

        def make(space, parts, executor, **kwargs):
            return NewtonProblem(
                space.table, n_classes, parts, self.tol, self.max_iter, loss, executor=executor,
                progress=progress, standardise=space.standardise, **kwargs,
            )  # fmt: skip

        return make

    def _warn_of_fit(self, table, fitted):
        if fitted.loss is SQUARED_ERROR:
            return
        self._warn_of_early_stop(fitted, 5, "residual")
        if fitted.loss is LOG_LOSS and fitted.learned is None:
            warn_of_separation(table, fitted, stacklevel=6)

    def _store_target(self, fitted):
        """Set what is known of the target: its scale, and the losses of the tasks."""
        self.target_scale_ = "table" if fitted.adapter.units is None else "task"
        self._fitted_loss = self.loss_ = loss = fitted.loss
        if isinstance(loss, TaskLosses):
            names = self.tasks_.tolist()
            self.loss_ = {name: loss.of_task(t) for t, name in enumerate(names)}

    def _task_losses(self):
        """Return the losses of all tasks and, last, of a task never seen."""
        if isinstance(self._fitted_loss, TaskLosses):
            return self._fitted_loss
        return TaskLosses((self._fitted_loss,), np.zeros(len(self.tasks_) + 1, dtype=np.int64))

    def _loss_at(self, t):
        return self._task_losses().of_task(t)

    def _adapter_of(self, loss):
        if not isinstance(self._adapter, JoinedAdapter):
            return self._adapter, self._fitted_loss
        loss, adapter = self._adapter.of(loss)
        return adapter, loss

    def _loss_of_new_task(self, loss):
        """Return the loss of a new task as a keyword argument, if the fit takes one.

        Raises
        ------
        ValueError
            For another loss than that of the fit, if all tasks have the same.
        """
        if loss is None:
            return {}
        check_is_fitted(self)
        single = self._task_losses().single
        if hasattr(self._learned, "has_log_loss") or single is None:
            return {"loss": loss}
        if loss not in (single, single.name):
            raise ValueError(
                f"loss={loss!r} of the new task, but all tasks of the fit have "
                f"{single.name!r}; leave out loss, or fit tasks with both losses by "
                "loss={task: name}."
            )
        return {}

    def _refuse_std(self):
        """Raise a ValueError if residuals have no scale because of the losses."""
        losses = self._task_losses()
        if SQUARED_ERROR in losses.losses or self._learned is not None:
            return
        names = " and ".join(repr(loss.name) for loss in losses.losses)
        raise ValueError(
            "return_std=True and predict_interval are for the squared error, but the model was "
            f"fitted with loss={names}; fit two models with loss=skmtl.losses.Quantile(0.05) and "
            "Quantile(0.95) for an interval."
        )

    def _score(self, y, prediction, codes, sample_weight):
        """Return the share of the deviance that predictions explain; of squares, R².

        `codes` are the tasks of the rows, None for a 2-D target.
        """
        losses = self._task_losses()
        if losses.single is SQUARED_ERROR:
            return r2_over_tasks(y, prediction, sample_weight)
        return deviance_explained(losses, y, prediction, codes, sample_weight)


def deviance_explained(losses, y, prediction, codes, sample_weight=None):
    """Return D², the share of the deviance that predictions explain.

    With several losses it is that of every loss, averaged with the weights of its rows. For a 2-D
    `y`, it is the mean over tasks, each over its labelled rows.

    Parameters
    ----------
    losses : TaskLosses
        With that of a task never seen, last.
    y, prediction : array-like of shape (n_samples,) or (n_samples, n_tasks)
    codes : ndarray of shape (n_samples,) or None
        Tasks of the rows, for a 1-D `y`.
    sample_weight : array-like of shape (n_samples,), optional
    """
    y, prediction = as_numbers(y, "y"), np.asarray(prediction)
    if y.ndim == 2 and y.shape[1] == 1 and prediction.ndim == 1:
        y = y[:, 0]
    if y.ndim == 1 and prediction.ndim == 2:
        y = y[:, None]
    check_consistent_length(y, prediction, sample_weight)
    weight = check_weights(sample_weight, len(y))
    weight = np.ones(len(y)) if weight is None else weight
    found, rows = [], []
    if y.ndim == 1:
        assert_all_finite(y, input_name="y")
        kind = losses.positions[codes]
        for k, loss in enumerate(losses.losses):
            own = (kind == k) & (weight > 0)
            if own.any():
                found.append(loss.explained(y[own], prediction[own], weight[own]))
                rows.append(weight[own].sum())
        return float(np.average(found, weights=rows)) if found else np.nan
    for t, (target, mean) in enumerate(zip(y.T, prediction.T, strict=True)):
        live = ~np.isnan(target) & (weight > 0)
        if live.sum() > 1:
            found.append(losses.of_task(t).explained(target[live], mean[live], weight[live]))
    return float(np.mean(found)) if found else np.nan
