"""What the multi-task faces share."""

import numbers

import numpy as np
from sklearn.base import BaseEstimator, clone, is_classifier
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from .. import sharing as sharing_room
from .._compat import HasMethods, StrOptions, check_columns
from .._jit import worker_pool
from ..base import TaskEstimator, check_weights
from ..sharing._restriction import UNRESTRICTED
from ..tasks.blocks import partitions
from ..tasks.encode import column_names, find_task_column
from ..tasks.reduce import RowSpace
from ..tasks.table import pack

__all__ = ["MultiTaskBase", "rowwise"]


class MultiTaskBase(TaskEstimator):
    """What the multi-task faces share: parameters, the packed table, and the fitted attributes."""

    _parameter_constraints: dict = {
        "sharing": [StrOptions(set(sharing_room.BY_NAME)), HasMethods(["fit_problem", "grid"])],
        "task_column": [str, numbers.Integral, None],
        "handle_unknown": [StrOptions({"shared", "error"})],
        "cv": ["cv_object", None],
        "n_jobs": [None, numbers.Integral],
        "random_state": ["random_state"],
        "verbose": ["verbose"],
    }

    def set_params(self, **params):
        """Set parameters; ``sharing__alpha`` and the like reach into the sharing object."""
        nested = [name for name in params if name.startswith("sharing__")]
        sharing = params.get("sharing", self.sharing)
        if nested and isinstance(sharing, str) and sharing in sharing_room.BY_NAME:
            name = sharing_room.BY_NAME[sharing].__name__
            raise ValueError(
                f"{nested[0]} cannot be set on sharing={sharing!r}, which is a string; pass the "
                f"object instead: sharing=skmtl.sharing.{name}()."
            )
        return super().set_params(**params)

    def _pack(self, X, y, sample_weight, task):
        """Validate, and sort the rows by task: ``(rows, y, codes, table)``."""
        rows, y = self._rows_to_fit(X, y, task)
        weight = check_weights(sample_weight, rows.X.shape[0])
        codes = np.zeros(len(y), dtype=np.int64) if rows.codes is None else rows.codes
        if y.ndim == 2:
            n_tasks = y.shape[1]
        else:
            n_tasks = 1 if rows.labels is None else len(rows.labels)
        return rows, y, codes, pack(rows.X, y, codes, n_tasks, weight)

    def _share(self, X, y, codes, table, make_problem):
        """Fit the sharing structure.

        `make_problem(space, partitions, pool)` states the problem on the packed table's row space.

        Returns
        -------
        solver : object
            The structure, which is not the caller's.
        fitted : SharingFit
            Of all tasks, those without rows included.
        """
        solver = self._make_sharing()
        restriction = self._restriction(solver, X, table.n_features)
        full = table.without_empty_tasks()
        space = RowSpace(full) if restriction else RowSpace.of(full)  # which mixes features
        parts = self._partitions(space.table, X, y, codes)
        with worker_pool(self.n_jobs) as pool:
            problem = make_problem(space, parts, pool)
            if restriction:
                problem.restrict(restriction)
            fitted = solver.fit_problem(problem)
        return solver, space.expand(fitted).spread(table.task_sizes() > 0)

    def _seed(self):
        if self.random_state is None:
            return 0
        return int(check_random_state(self.random_state).randint(2**31 - 1))

    def _partitions(self, table, X, y, codes):
        if self.cv is None:
            return []
        if len(table.rows) < 4:
            raise ValueError(
                f"Found {X.shape[0] if hasattr(X, 'shape') else len(X)} sample(s) "
                f"(n_samples = {len(table.rows)} with a label and weight), while tuning and the "
                "report need at least 4; with fewer, fix the strengths and set cv=None."
            )
        return partitions(
            table, self.cv, X=X, y=y, groups=codes, seed=self._seed(), stratify=is_classifier(self)
        )

    def _make_sharing(self):
        if isinstance(self.sharing, str):
            return sharing_room.BY_NAME[self.sharing]()
        solver = clone(self.sharing) if isinstance(self.sharing, BaseEstimator) else self.sharing
        if hasattr(solver, "check"):
            solver.check()
        return solver

    def _restriction(self, solver, X, n_features):
        """What the structure restricts of the slopes."""
        if not hasattr(solver, "restriction"):  # not one of `skmtl.sharing`
            return UNRESTRICTED
        return solver.restriction(self._feature_names(X, n_features))

    def _store(self, X, y, rows, solver, fitted, sizes):
        """Set the fitted attributes, all at once at the very end."""
        check_columns(self, X, reset=True)
        self._labels = rows.labels
        if y.ndim == 2:
            self._task_source = "target"
            self.tasks_ = np.arange(y.shape[1])
        elif rows.labels is None:
            self._task_source = "none"
            self.tasks_ = np.zeros(1, dtype=np.int64)
        else:
            self._task_source = "array" if self.task_column is None else "column"
            self.tasks_ = rows.labels.classes
        self.coef_, self.intercept_ = fitted.coef, fitted.intercept
        self.shared_coef_ = fitted.shared_coef
        self.shared_intercept_ = fitted.shared_intercept
        self.coef_feature_names_ = self._feature_names(X, fitted.coef.shape[-1])
        for name, value in fitted.strengths.items():
            setattr(solver, f"{name}_", value)
        self.sharing_ = solver
        self.history_ = fitted.history
        self.kkt_residual_ = fitted.kkt_residual
        self.n_iter_ = fitted.n_iter
        self.task_report_ = self._make_report(fitted.report, sizes)

    def _feature_names(self, X, n_features):
        names = column_names(X)
        if names is None:
            return np.array([f"x{i}" for i in range(n_features)], dtype=object)
        if self.task_column is not None:
            names.pop(find_task_column(X, self.task_column))
        return np.asarray(names, dtype=object)

    def _make_report(self, report, sizes):
        if not report:
            return {}
        table = {
            "task": np.r_[self.tasks_.astype(object), np.array([None], dtype=object)],
            "n_samples": np.r_[sizes, 0],
            **report,
        }
        with np.errstate(divide="ignore", invalid="ignore"):
            for other in ("independent", "pooled"):
                table[f"gain_over_{other}"] = 1.0 - table["error_shared"] / table[f"error_{other}"]
        return table

    def for_task(self, label):
        """The model of one task, as an ordinary fitted estimator.

        Parameters
        ----------
        label : str or int
            A label among ``tasks_``.

        Returns
        -------
        LinearTaskModel or LinearTaskClassifier
            Needs no task column (one present is ignored); small, fast on one row, picklable.

        Raises
        ------
        ValueError
            If the task was not seen in fit.
        """
        check_is_fitted(self)
        found = np.flatnonzero(self.tasks_ == label)
        if len(found) != 1:
            shown = ", ".join(map(repr, self.tasks_[:5].tolist()))
            raise ValueError(f"label={label!r} is not a task seen in fit, which are: {shown}, ...")
        t = int(found[0])
        names = self.coef_feature_names_ if hasattr(self, "feature_names_in_") else None
        return self._task_model(self.coef_[t], self.intercept_[t], names)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags

    def _task_model(self, coef, intercept, names):
        """An ordinary fitted estimator with one task's coefficients."""
        raise NotImplementedError


def rowwise(X, coef, codes):
    """``(X[i] @ coef[codes[i]])`` for every row."""
    if isinstance(X, np.ndarray):
        if len(codes) < 5 * len(coef):
            return np.einsum("ij,ij->i", X, coef[codes])
        out = np.empty(len(codes))
        order = np.argsort(codes, kind="stable")
        edges = np.searchsorted(codes[order], np.arange(-1, len(coef)))
        for code, (a, b) in enumerate(zip(edges[:-1], edges[1:], strict=True), start=-1):
            rows = order[a:b]
            out[rows] = X[rows] @ coef[code]
        return out
    return np.asarray(X.multiply(coef[codes]).sum(axis=1)).ravel()
