"""The part of the multi-task estimators that deals with grouping columns."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from sklearn.base import is_classifier

from ..sharing.auto import Auto
from ..sharing.strengths import check_strength
from ..tasks.columns import as_table
from ..tasks.features import FeatureColumns
from ..tasks.groupings import Groupings, LevelEffects
from ..tasks.rows import prefers_rows

__all__ = ["GroupingsMixin"]


class GroupingsMixin:
    """Read ``grouping_columns``, and fit and add the effects of their levels."""

    # Of models that were pickled before these were parameters.
    grouping_columns: Any = None
    fold_column: Any = None
    _level_effects = None

    def _listed_groupings(self):
        """Return the grouping columns as `find_columns` takes them; None without any."""
        columns = self.grouping_columns
        return list(columns) if isinstance(columns, Mapping) else columns

    def _find_columns(self, X):
        return FeatureColumns.find(
            as_table(X), self.task_column, self.exclude_columns, self.categorical_columns,
            self._listed_groupings(), self.fold_column,
        )  # fmt: skip

    def _read_groupings(self, X, y):
        """Return the `Groupings` and `Levels` of the rows of fit; None for both without any."""
        listed = self._listed_groupings()
        if listed is None:
            return None, None
        given = self._given_strengths()
        structure = self._structure()
        if hasattr(structure, "fit_rows") and not isinstance(structure, Auto):
            raise ValueError(
                f"grouping_columns={listed!r} is for linear models and 'auto', but "
                f"sharing={self.sharing!r}; choose one of these, or set grouping_columns=None."
            )
        if getattr(self, "keep_moments", False):
            raise ValueError(
                f"grouping_columns={listed!r} needs all rows at once, but keep_moments=True is for "
                "partial_fit; set keep_moments=False, or grouping_columns=None."
            )
        if is_classifier(self) and len(np.unique(y)) > 2:
            raise ValueError(
                f"grouping_columns={listed!r} is for two classes, but y has "
                f"{len(np.unique(y))}; set grouping_columns=None."
            )
        if y.ndim == 2:
            raise ValueError(
                f"grouping_columns={listed!r} needs a 1-D y, one row per label, but y has "
                f"{y.shape[1]} columns; give the tasks by task_column, or set "
                "grouping_columns=None."
            )
        if self.cv is None and None in given[0] + given[1]:
            raise ValueError(
                f"grouping_columns={listed!r}: strengths that are 'auto' need cross-validation, "
                "but cv=None; give a dict from columns to numbers, or set cv=5."
            )
        return Groupings.from_rows(as_table(X), listed, tuple(map(_is_pair, self._strengths())))

    def _strengths(self):
        """Return the strength of every grouping column as it was given, or a pair with slopes."""
        columns = self.grouping_columns
        if not isinstance(columns, Mapping):
            return ["auto"] * (1 if np.ndim(columns) == 0 else len(columns))
        for column, strength in columns.items():
            for one in strength if _is_pair(strength) else [strength]:
                check_strength(f"the strength of grouping_columns[{column!r}]", one)
        return list(columns.values())

    def _given_strengths(self):
        """Return the strengths of the columns and of their slopes, None for those to be tuned."""
        given = self._strengths()
        intercepts = [s[0] if _is_pair(s) else s for s in given]
        slopes = [s[1] for s in given if _is_pair(s)]
        return tuple(
            [None if isinstance(s, str) else float(s) for s in part]
            for part in (intercepts, slopes)
        )

    def _check_beside_groupings(self, structure, restriction, table):
        """Return what the groupings are, in words, or raise for what the joint solver lacks.

        Raises
        ------
        ValueError
            For slopes that are restricted, and for too many features.
        """
        listed = self._listed_groupings()
        what, remedy = f"grouping_columns={listed!r}", "grouping_columns=None"
        if listed is None:
            what, remedy = "the levels above the tasks", "sharing='partial_pooling'"
        some_vary = restriction.varies is not None and restriction.varies.any()
        if some_vary or restriction.positive is not None:
            raise ValueError(
                f"{what}: slopes some of which are the same in every task (varying=) or have a "
                "sign (positive=, negative=) cannot be fitted beside the effects of groupings; set "
                "these to None (or varying=[] for no slopes of the tasks' own), or "
                f"{remedy}."
            )
        if prefers_rows(table, 1):
            raise ValueError(
                f"{what}: products of {table.n_features} features in {table.n_tasks} tasks take "
                "too much memory; select or reduce the features, for example by exclude_columns."
            )
        return what

    def _store_groupings(self, fitted):
        """Set the attributes of the grouping columns, or remove those of an earlier fit."""
        crossed = fitted.crossed
        for name in ("grouping_effects_", "grouping_strengths_"):
            self.__dict__.pop(name, None)
        self._level_effects = None
        if crossed is None or crossed.groupings is None:
            return
        groupings = crossed.groupings
        n = len(groupings.columns)  # those of levels above the tasks precede them
        start = len(crossed.effects) - n
        effects = crossed.effects_in_units(slice(start, None))
        variances, inference = (), fitted.inference
        if fitted.residual_scale is not None and inference is not None:
            of_columns = crossed.strengths[start : start + n] / crossed.unit
            variances = tuple((inference.noise**2 / np.maximum(of_columns, 1e-6)).tolist())
        self._level_effects = LevelEffects(groupings, effects, variances)
        strengths = (crossed.strengths / crossed.unit).tolist()
        of_slopes = crossed.of_slopes[start:] / crossed.unit
        self.grouping_strengths_, self.grouping_effects_ = {}, {}
        for g, column in enumerate(groupings.columns):
            values, has_slopes = effects[g], effects[g].ndim == 2
            strength = strengths[start + g]
            self.grouping_strengths_[column] = (
                (strength, float(of_slopes[g])) if has_slopes else strength
            )
            self.grouping_effects_[column] = {
                "level": groupings.labels[g].classes,
                "effect": values[:, 0] if has_slopes else values,
                "n_samples": crossed.level_weight[start + g],
            }
            if has_slopes:
                self.grouping_effects_[column]["slopes"] = values[:, 1:]

    def _with_effects(self, model):
        """Return the model of a task, which adds the effects of levels like this estimator."""
        model._level_effects = self._level_effects
        return model

    def _level_offset(self, X, rows):
        """Return the sums of the effects of the rows' levels; zero without grouping columns."""
        return 0.0 if self._level_effects is None else self._level_effects.of_rows(X, rows.X)


def _is_pair(strength):
    """Return whether a strength is a pair: of the intercepts of levels, and of their slopes."""
    return isinstance(strength, (tuple, list)) and len(strength) == 2
