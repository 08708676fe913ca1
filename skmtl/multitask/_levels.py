"""The part of the multi-task estimators that deals with levels above the tasks."""

import warnings
from dataclasses import dataclass, replace

import numpy as np
from sklearn.base import is_classifier

from ..losses import SQUARED_ERROR
from ..sharing.auto import Auto
from ..sharing.tree import TaskTree
from ..tasks.columns import as_table, has_columns
from ..tasks.encode import TaskLabels, is_single_label, read_labels
from ..tasks.hierarchy import TaskLevels, nested_columns
from ..tasks.rows import prefers_rows
from ..tasks.stack import linear_scores

__all__ = ["LevelsMixin"]


@dataclass
class KnownPart:
    """What is known of the scores of a new task before its rows are seen.

    Attributes
    ----------
    offset : ndarray of shape (n_rows,) or None
        Of the given rows: effects in grouping columns, and of the groups of the task.
    model : ndarray of shape (1 + n_features,) or None
        Intercept and slopes of the groups of the task.
    adapter : Adapter or None
        That of tasks in groups that are not known; None for the usual one.
    """

    offset: np.ndarray | None
    model: np.ndarray | None
    adapter: object = None

    def added_to(self, coef, intercept):
        """Return slopes and intercept with those of the groups."""
        if self.model is None:
            return coef, intercept
        return coef + self.model[1:], intercept + self.model[0]


class LevelsMixin:
    """Read the levels above the tasks, and predict new tasks in known groups."""

    _above = _strangers = None

    def _read_levels(self, solver, rows, y, table, losses):
        """Return the `TaskLevels` of all tasks; None for a flat model.

        Raises
        ------
        ValueError
            If `sharing` is a `TaskTree` that this table cannot have.
        """
        is_tree, labels = isinstance(solver, TaskTree), rows.labels
        several = labels is not None and isinstance(labels.kind, tuple)
        if is_tree and solver.groups is not None:
            above = self._levels_of_mapping(solver.groups, rows, y, table.n_tasks)
        elif is_tree and several:
            above = TaskLevels.of_columns(labels, self._level_names(labels))
        elif several and self._may_have_levels(y, table, losses):
            nested = nested_columns(labels)
            if not nested:
                return None
            above = TaskLevels.of_columns(labels, self._level_names(labels), nested)
        else:
            return None
        if is_tree:
            self._refuse_tree(y)
            solver.level_strengths(len(above.names))
            self._warn_of_order(above)
        return above

    @staticmethod
    def _warn_of_order(above):
        """Warn if every group of a level has a single task, as if levels were in reverse order."""
        n_tasks = len(above.parents)
        single = [n for n, size in zip(above.names, above.sizes, strict=True) if size == n_tasks]
        if single and n_tasks > 1:
            warnings.warn(
                f"every group of the level {single[0]!r} has a single task; name the levels from "
                "coarse to fine, such as task_column=['region', 'store'].",
                UserWarning,
                stacklevel=4,
            )

    def _may_have_levels(self, y, table, losses):
        """Return whether "auto" tries levels above the tasks."""
        if not isinstance(self._named_object(), Auto) or getattr(self, "keep_moments", False):
            return False
        able = losses.single is SQUARED_ERROR or getattr(losses.single, "has_link", False)
        if is_classifier(self):
            able = len(np.unique(y)) == 2
        return able and self.cv is not None and not prefers_rows(table, 1)

    def _refuse_tree(self, y):
        remedy = "set sharing='partial_pooling'"
        if getattr(self, "keep_moments", False):
            raise ValueError(
                "sharing=TaskTree needs all rows at once, but keep_moments=True is for "
                f"partial_fit; set keep_moments=False, or {remedy}."
            )
        if is_classifier(self) and len(np.unique(y)) > 2:
            raise ValueError(
                f"sharing=TaskTree is for two classes, but y has {len(np.unique(y))}; {remedy}."
            )

    def _levels_of_mapping(self, groups, rows, y, n_tasks):
        labels = rows.labels
        if labels is not None:
            return TaskLevels.of_mapping(groups, labels)
        names = rows.targets if y.ndim == 2 and rows.targets is not None else np.arange(n_tasks)
        labels, codes = TaskLabels.from_rows(names)  # tasks have the order of the columns of y
        above = TaskLevels.of_mapping(groups, labels)
        return replace(above, parents=above.parents[codes])

    def _level_names(self, labels):
        """Return the names of the columns of labels that are tuples."""
        n_columns = len(labels.kind)
        if isinstance(self.task_column, (list, tuple)):
            return list(self.task_column)
        return [f"level_{i + 1}" for i in range(n_columns)]

    def _given_of_levels(self, structure, n_levels):
        """Return given strengths of the levels' intercepts and of their slopes; None if tuned."""
        if not isinstance(structure, TaskTree):
            return [None] * n_levels, [None] * n_levels
        return structure.level_strengths(n_levels)

    def _store_levels(self, fitted, solver, sizes):
        """Set the attributes of the levels, or remove those of an earlier fit."""
        for name in ("level_coef_", "level_report_"):
            self.__dict__.pop(name, None)
        self._above, self._strangers = fitted.above, fitted.strangers
        if fitted.above is None:
            return
        above, levels = fitted.above, fitted.above.levels
        solver.alpha_levels_intercept_, solver.alpha_levels_ = above.strengths.T.copy()
        shared = np.append(fitted.shared_intercept, fitted.shared_coef)
        self.level_coef_ = {}
        for g, (name, models) in enumerate(zip(levels.names, above.totals(), strict=True)):
            groups, n_groups = levels.parents[:, g], len(models)
            self.level_coef_[name] = {
                "group": levels.labels[g].classes,
                "n_tasks": np.bincount(groups, sizes > 0, n_groups).astype(np.int64),
                "n_samples": np.bincount(groups, sizes, n_groups).astype(np.int64),
                "intercept": shared[0] + models[:, 0],
                "coef": shared[1:] + models[:, 1:],
            }

    def _coefficients_of_level(self, level):
        """Return the name of a level, its groups and their coefficients, the intercept first."""
        known = list(getattr(self, "level_coef_", {}))
        if level in known:
            about = self.level_coef_[level]
            return level, about["group"], np.column_stack([about["intercept"], about["coef"]])
        found = f"those of level_coef_ are {known}" if known else "the model has no levels"
        raise ValueError(
            f"level={level!r} is not a level above the tasks; {found}. Levels are fitted with "
            "sharing=TaskTree() and task_column=[...], from coarse to fine."
        )

    def _store_level_report(self, sizes):
        """Set ``level_report_``: the report, averaged over the rows of the tasks of each group."""
        if self._above is None or not self.task_report_:
            return
        levels, self.level_report_ = self._above.levels, {}
        for g, name in enumerate(levels.names):
            groups, n_groups = levels.parents[:, g], levels.sizes[g]
            about = self.level_coef_[name]
            table = {n: about[n] for n in ("group", "n_tasks", "n_samples")}
            for model in ("shared", "independent", "pooled"):
                error = self.task_report_[f"error_{model}"][:-1]
                known = np.isfinite(error)
                total = np.bincount(groups[known], (sizes * np.nan_to_num(error))[known], n_groups)
                rows = np.bincount(groups[known], sizes[known], n_groups)
                with np.errstate(divide="ignore", invalid="ignore"):
                    table[f"error_{model}"] = total / rows
            with np.errstate(divide="ignore", invalid="ignore"):
                for other in ("independent", "pooled"):
                    gain = 1.0 - table["error_shared"] / table[f"error_{other}"]
                    table[f"gain_over_{other}"] = gain
            self.level_report_[name] = table

    def _groups_of_rows(self, codes, labels):
        """Return the groups ``(n_rows, n_levels)`` of rows to predict; None without levels.

        Only those of tasks that are not in fit are needed; the models of the others contain them.
        """
        if self._above is None or not (codes < 0).any():
            return None
        if is_single_label(labels, self._labels):
            return np.repeat(self._above.levels.of_labels([labels]), len(codes), axis=0)
        return self._above.levels.of_labels(labels)

    def _known_of_unknown_tasks(self):
        if self._above is None:
            return super()._known_of_unknown_tasks()
        return "the model of their group if it is known, or else with what all tasks share"

    def _group_offset(self, rows):
        """Return what the groups of new tasks add to the scores of rows, before any learners."""
        if self._above is None or rows.groups is None:
            return 0.0
        new = np.flatnonzero(rows.codes < 0)
        models, position = self._above.of_rows(rows.groups[new])
        out = np.zeros(len(rows.codes))
        out[new] = linear_scores(rows.X[new], models[:, 1:], models[:, 0], position)[:, 0]
        if self._learned is not None:
            out *= self._learned.linear_share(self._learned.weights[-1:])[0]
        return out

    def _known_of_new(self, rows, X):
        """Return the `KnownPart` of the rows of a new task.

        The task is in a group if the rows name it, in the task column, and agree on it.
        """
        offset, model, is_known = None, None, self._above is None
        if self._level_effects is not None:
            offset = self._level_effects.of_rows(rows, X, optional=True)
        table = as_table(rows)
        if self._above is not None and self._names_tasks(table):
            labels = read_labels(table, self.task_column)
            groups = self._above.levels.of_labels(labels)
            agree = (groups == groups[:1]).all(axis=0)
            is_known = bool((agree & (groups[0] >= 0)).all())
            model = self._above.of_groups(np.where(agree, groups[0], -1)[None])[0]
            offset = (0.0 if offset is None else offset) + X @ model[1:] + model[0]
        adapter = None if is_known or self._strangers is None else self._strangers.adapter
        return KnownPart(offset, model, adapter)

    def _are_strange(self, rows):
        """Return which rows are of new tasks in groups that are not known; None without any."""
        if self._strangers is None or rows.groups is None:
            return None
        return (rows.codes < 0) & (rows.groups < 0).any(axis=1)

    def _names_tasks(self, table):
        """Return whether a table has the task column."""
        if self.task_column is None:
            return False
        if has_columns(table, self.task_column):
            return True
        names = self._columns.names
        return names is None and table.shape[1] == self.n_features_in_
