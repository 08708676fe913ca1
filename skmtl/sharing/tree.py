r"""Partial pooling along a tree: tasks are drawn to their group, and groups to what all share."""

import numbers
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from .pooling import PartialPooling
from .strengths import check_strength

__all__ = ["LevelModels", "Strangers", "TaskTree"]

_LEVEL_NAMES = "alpha_levels", "alpha_levels_intercept"


class TaskTree(PartialPooling):
    r"""One linear model per task, shrunk towards that of its group, and groups towards the whole.

    Stores stand in regions, and regions in countries. With :math:`g_l(t)` the group of task t on
    level l, from coarse to fine, it minimises

    .. math:: \sum_t \sum_{i \in t} w_i \Bigl(y_i - a - x_i'm
              - \sum_l \bigl(b_{g_l(t)} + x_i'c_{g_l(t)}\bigr) - a_t - x_i'v_t\Bigr)^2
              + \lambda_m \|m\|^2 + \sum_l \sum_g \bigl(\beta_l\, b_g^2 + \gamma_l \|c_g\|^2\bigr)
              + \lambda_a \sum_t a_t^2 + \lambda_v \sum_t \|v_t\|^2

    on standardised features; a classifier minimises the log-loss plus half of the penalties. The
    groups are named by the first columns of ``task_column=["region", "store"]``, or by `groups`.
    With a single task column and no `groups` this is `PartialPooling`.

    Strengths that are "auto" are those that predict held-out rows best. The tree is then guarded
    against the flat model, in which all tasks are drawn to the whole: it is used if it predicts
    held-out rows of known tasks and left-out tasks no worse. In ``task_report_``, *independent* and
    *pooled* are those of the flat model.

    A new task in a known group starts from the model of the group, in `predict` and in `adapt`.

    Parameters
    ----------
    alpha, alpha_intercept, alpha_shared : "auto" or float, default="auto"
        :math:`\lambda_v`, :math:`\lambda_a` and :math:`\lambda_m` in rows, as in `PartialPooling`.
    alpha_levels : "auto", float or sequence of these, default="auto"
        :math:`\gamma_l`, strength in rows that shrinks the slopes of groups; a sequence has one
        strength per level, from coarse to fine. Infinity: groups differ in their intercepts only.
    alpha_levels_intercept : "auto", float or sequence of these, default="auto"
        :math:`\beta_l`, strength in rows that shrinks the intercepts of groups. "auto" is the value
        of `alpha_levels` if that is a number.
    groups : mapping, default=None
        From the label of every task to that of its group, or to a tuple of groups from coarse to
        fine. It may contain tasks that are not in `fit`, whose groups `predict` then knows. None:
        the first columns of the task column.

    Raises
    ------
    ValueError
        In `fit`, for an invalid strength, for another number of strengths than levels, and for a
        task that `groups` does not contain.

    See Also
    --------
    PartialPooling : The flat model.

    References
    ----------
    Gelman, A. and Hill, J. (2007). Data Analysis Using Regression and Multilevel/Hierarchical
    Models. Cambridge University Press. :doi:`10.1017/CBO9780511790942`

    Goldstein, H. (2011). Multilevel Statistical Models. Wiley. :doi:`10.1002/9780470973394`

    Examples
    --------
    >>> from skmtl import MultiTaskRegressor
    >>> from skmtl.sharing import TaskTree
    >>> model = MultiTaskRegressor(TaskTree(), task_column=["region", "store"])
    >>> TaskTree(groups={"store 1": "north", "store 2": "south"}).alpha_levels
    'auto'
    """

    varying = positive = negative = None

    def __init__(
        self,
        alpha: float | Literal["auto"] = "auto",
        *,
        alpha_intercept: float | Literal["auto"] = "auto",
        alpha_shared: float | Literal["auto"] = "auto",
        alpha_levels: float | Literal["auto"] | Sequence[Any] = "auto",
        alpha_levels_intercept: float | Literal["auto"] | Sequence[Any] = "auto",
        groups: Mapping[Any, Any] | None = None,
    ):
        self.alpha = alpha
        self.alpha_intercept = alpha_intercept
        self.alpha_shared = alpha_shared
        self.alpha_levels = alpha_levels
        self.alpha_levels_intercept = alpha_levels_intercept
        self.groups = groups

    def check(self) -> None:
        """Raise a ValueError for an invalid strength, and for groups that are not a mapping."""
        for name in ("alpha", "alpha_intercept", "alpha_shared"):
            check_strength(name, getattr(self, name))
        for name in _LEVEL_NAMES:
            for strength in _listed(getattr(self, name)):
                check_strength(name, strength)
        if self.groups is not None and not (isinstance(self.groups, Mapping) and self.groups):
            raise ValueError(
                f"groups= of TaskTree is a {type(self.groups).__name__}, but must be a mapping "
                "from the tasks to their groups (of a pandas Series, .to_dict()), or None for "
                "groups in the first columns of task_column."
            )

    def _strength_names(self):
        return ["alpha", "alpha_intercept", "alpha_shared"]

    def level_strengths(self, n_levels: int) -> tuple[list[float | None], list[float | None]]:
        """Return the strengths of the levels, None for those to be tuned.

        Parameters
        ----------
        n_levels : int
            Number of levels above the tasks.

        Returns
        -------
        intercepts, slopes : list of (float or None)
            One per level.

        Raises
        ------
        ValueError
            For another number of strengths.
        """
        slopes = self._of_levels("alpha_levels", n_levels)
        if isinstance(self.alpha_levels_intercept, str):
            return slopes.copy(), slopes
        return self._of_levels("alpha_levels_intercept", n_levels), slopes

    def _of_levels(self, name, n_levels):
        """Return the strengths of a parameter, one per level."""
        values = _listed(getattr(self, name))
        if len(values) not in (1, n_levels):
            raise ValueError(
                f"{name}={getattr(self, name)!r} has {len(values)} strengths, but the number of "
                f"levels above the tasks is {n_levels}; give one strength per level, or a single "
                "one."
            )
        values = values * n_levels if len(values) == 1 else values
        return [None if isinstance(value, str) else float(value) for value in values]


def _listed(strength):
    """Return strengths as a list; a single one as a list of one."""
    if isinstance(strength, (str, numbers.Number)) or np.ndim(strength) == 0:
        return [strength]
    return list(strength)


@dataclass
class LevelModels:
    """What the groups of every level add to the models of their tasks, for features as given.

    Attributes
    ----------
    levels : TaskLevels
    effects : list of ndarray of shape (n_groups, 1 + n_features)
        Intercepts and slopes of the groups of each level.
    strengths : ndarray of shape (n_levels, 2)
        Strengths on intercepts and slopes, in rows.
    """

    levels: object
    effects: list
    strengths: np.ndarray

    @classmethod
    def of(cls, levels, crossed, n_levels, n_features):
        """Return the models of the first groupings of `CrossedEffects`, for `n_features`."""
        strengths = np.column_stack([crossed.strengths[:n_levels], crossed.of_slopes[:n_levels]])
        effects = [
            own if own.ndim == 2 else np.pad(own[:, None], ((0, 0), (0, n_features)))
            for own in crossed.effects_in_units(slice(n_levels))
        ]
        return cls(levels, effects, strengths / crossed.unit)

    @classmethod
    def none(cls, levels, n_features):
        """Return models without effects."""
        effects = [np.zeros((size, 1 + n_features)) for size in levels.sizes]
        return cls(levels, effects, np.full((len(effects), 2), np.inf))

    @property
    def has_slopes(self):
        """Whether the groups of any level have slopes."""
        return bool(np.isfinite(self.strengths[:, 1]).any())

    def totals(self):
        """Return for each level the sums over groups and the groups that contain them."""
        return self.levels.inner_sums(self.effects)

    def of_groups(self, groups):
        """Return the sums ``(n, 1 + n_features)`` of the effects of groups on all levels.

        Parameters
        ----------
        groups : int ndarray of shape (n, n_levels)
            -1 for groups that are not known, which have no effects.
        """
        parts = zip(self.effects, groups.T, strict=True)
        return sum(np.append(own, np.zeros_like(own[:1]), axis=0)[g] for own, g in parts)

    def of_rows(self, groups):
        """Return the models of the different groups of rows, and the position of every row."""
        different, position = np.unique(groups, axis=0, return_inverse=True)
        return self.of_groups(different), position.ravel()

    def added(self, coef, intercept, groups):
        """Return slopes ``(n, n_features)`` and intercepts with those of groups ``(n, n_levels)``.

        There is no axis of score sets, as levels are for a single one.
        """
        more = self.of_groups(groups)
        return coef + more[:, 1:], intercept + more[:, 0]


@dataclass
class Strangers:
    """What is known of new tasks in groups that are not known, from a fit without levels.

    Errors on left-out tasks of a fit with levels are those of tasks in known groups.

    Attributes
    ----------
    adapter : Adapter
        Fits models of new tasks whose groups may differ from the known ones.
    std_ratio : float
        Standard deviation of errors over that of new tasks in known groups, at least one.
    set_thresholds : SetThresholds or None
    """

    adapter: object
    std_ratio: float
    set_thresholds: object

    @classmethod
    def of(cls, flat, tree):
        """Return it from a `SharingFit` without levels, and that with levels."""
        ratio, scales = 1.0, (flat.residual_scale, tree.residual_scale)
        if None not in scales and scales[1].unseen_std > 0.0:
            ratio = max(1.0, scales[0].unseen_std / scales[1].unseen_std)
        return cls(flat.adapter, ratio, flat.set_thresholds)
