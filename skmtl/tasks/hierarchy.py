"""Levels above the tasks: stores stand in regions, and regions in countries."""

from dataclasses import dataclass

import numpy as np

from .encode import LabelColumns, TaskLabels, label_columns
from .groupings import Levels

__all__ = ["TaskLevels", "nested_columns"]


@dataclass(frozen=True)
class TaskLevels:
    """Groups of tasks on one or several levels, from coarse to fine.

    Attributes
    ----------
    names : list
        Names of the levels.
    labels : list of TaskLabels
        Groups of each level.
    parents : int ndarray of shape (n_tasks, n_levels)
        Group of every task on each level.
    outer : list of int ndarray of shape (n_groups, n_coarser)
        Groups of the coarser levels that contain the groups of each level.
    depths : tuple of int or None
        Numbers of columns of the tasks' labels that name a group of each level; None if a mapping
        names the groups.
    known : TaskLabels or None
        Tasks of the mapping, in fit or not.
    known_groups : int ndarray of shape (n_known, n_levels) or None
        Their groups; -1 for those without a task in fit.
    """

    names: list
    labels: list
    parents: np.ndarray
    outer: list
    depths: tuple | None = None
    known: TaskLabels | None = None
    known_groups: np.ndarray | None = None

    @classmethod
    def of_columns(cls, labels, names, depths=None):
        """Return the levels that the first columns of the tasks' labels name.

        Parameters
        ----------
        labels : TaskLabels
            Labels of the tasks, which are tuples.
        names : list
            Names of the columns.
        depths : sequence of int, optional
            Numbers of columns that name a group of each level; by default all numbers but that of
            all columns.
        """
        depths = tuple(range(1, len(names)) if depths is None else depths)
        read = [TaskLabels.from_rows(_first(labels.classes, depth)) for depth in depths]
        groups = np.column_stack([codes for _, codes in read])
        parts = [part for part, _ in read]
        listed = [names[depth - 1] for depth in depths]
        return cls(listed, parts, groups, _outer(parts, groups), depths)

    @classmethod
    def of_mapping(cls, groups, labels):
        """Return the levels that a mapping from tasks to groups names.

        Parameters
        ----------
        groups : mapping
            From labels of tasks to labels of groups, or to tuples of these from coarse to fine. It
            may contain tasks that are not in fit.
        labels : TaskLabels
            Labels of the tasks.

        Raises
        ------
        ValueError
            If a task has no group, or if tuples differ in length.
        """
        if any(isinstance(value, list) for value in groups.values()):
            raise ValueError(
                f"groups={_shown(groups)} of TaskTree has lists as values; use tuples, from coarse "
                "to fine."
            )
        listed = [value if isinstance(value, tuple) else (value,) for value in groups.values()]
        widths = {len(value) for value in listed}
        if len(widths) != 1 or 0 in widths:
            raise ValueError(
                f"groups={_shown(groups)} of TaskTree must give every task one group, or a tuple "
                "of the same number of groups, from coarse to fine."
            )
        known, order = TaskLabels.from_rows(list(groups), "groups of TaskTree")
        of_class = _inverse(order)
        if known.kind != labels.kind:
            raise ValueError(
                f"groups={_shown(groups)} of TaskTree has keys of kind {known.kind}, but the task "
                f"labels are of kind {labels.kind}, such as {labels.classes[:1].tolist()[0]!r}; "
                "use the labels of the tasks as keys."
            )
        positions = known.encode(_as_rows(labels.classes))
        if (positions < 0).any():
            missing = labels.classes[positions < 0].tolist()
            raise ValueError(
                f"groups of TaskTree has no group for {len(missing)} of {len(labels)} tasks, such "
                f"as {missing[0]!r}; give every task a group."
            )
        width, parts, columns = widths.pop(), [], []
        for depth in range(1, width + 1):
            rows = [value[0] if depth == 1 else value[:depth] for value in listed]
            part, codes = TaskLabels.from_rows(rows, "the values of groups of TaskTree")
            in_fit = np.zeros(len(part), dtype=bool)
            in_fit[codes[of_class][positions]] = True
            used = np.where(in_fit, np.cumsum(in_fit) - 1, -1)
            part, _ = TaskLabels.from_rows(_as_rows(part.classes[in_fit]))
            parts.append(part)
            columns.append(used[codes])
        of_known = np.column_stack(columns)[of_class]
        names = ["group"] if width == 1 else [f"group_{i + 1}" for i in range(width)]
        parents = of_known[positions]
        return cls(names, parts, parents, _outer(parts, parents), None, known, of_known)

    @property
    def sizes(self):
        """Number of groups on each level."""
        return tuple(map(len, self.labels))

    def take(self, tasks):
        """Return the groups ``(n_taken, n_levels)`` of some tasks."""
        return self.parents[tasks]

    def levels(self, codes, parents, slopes):
        """Return the `Levels` of rows whose tasks have these codes and groups.

        `slopes` says for every level whether its groups have slopes.
        """
        return Levels(parents[codes], self.sizes, None, slopes, tuple(parents.T))

    def of_labels(self, labels):
        """Return the groups ``(n_rows, n_levels)`` of the labels of rows; -1 if they are unknown.

        `labels` are as `TaskLabels.encode` takes them: one per row.
        """
        if self.known is not None:
            codes = self.known.encode(labels)
            return np.vstack([self.known_groups, np.full(len(self.names), -1)])[codes]
        columns = label_columns(labels)
        out = []
        for part, depth in zip(self.labels, self.depths, strict=True):
            some = LabelColumns(columns.columns[:depth], columns.names[:depth])
            first = f"column {columns.names[0]} of the task column"
            known = part.encode(columns.columns[0], first) if depth == 1 else part.encode(some)
            out.append(known)
        return np.column_stack(out)

    def inner_sums(self, values):
        """Return sums over each group and the groups that contain it, from one array per level.

        Parameters
        ----------
        values : list of ndarray of shape (n_groups, k)
        """
        out = []
        for own, outer in zip(values, self.outer, strict=True):
            more = (coarse[outer[:, g]] for g, coarse in enumerate(values[: outer.shape[1]]))
            out.append(own + sum(more))
        return out


def nested_columns(labels):
    """Return the numbers of columns whose last one is nested in a later column.

    Parameters
    ----------
    labels : TaskLabels
        Labels of the tasks, which are tuples.

    Returns
    -------
    list of int
        Empty if columns merely cross.
    """
    columns = [TaskLabels.from_rows(list(c))[1] for c in zip(*labels.classes, strict=True)]
    found = []
    for depth, own in enumerate(columns[:-1], start=1):
        n_own = own.max() + 1
        for later in columns[depth:]:
            n_pairs = len(np.unique(later * n_own + own))
            if n_pairs == later.max() + 1 and 1 < n_own < n_pairs:
                found.append(depth)
                break
    return found


def _outer(parts, groups):
    """Return the groups of coarser levels of every group, from those of the tasks."""
    out = []
    for level, part in enumerate(parts):
        first = np.zeros(len(part), dtype=np.int64)
        first[groups[:, level]] = np.arange(len(groups))
        out.append(groups[first, :level])
    return out


def _first(classes, depth):
    """Return the first parts of labels that are tuples."""
    return [label[0] if depth == 1 else label[:depth] for label in classes.tolist()]


def _as_rows(classes):
    """Return labels in the form that `TaskLabels` takes."""
    return classes.tolist() if isinstance(classes[0], tuple) else classes


def _inverse(order):
    out = np.empty(len(order), dtype=np.int64)
    out[order] = np.arange(len(order))
    return out


def _shown(groups):
    items = list(groups.items())
    more = ", ..." if len(items) > 3 else ""
    return "{" + ", ".join(f"{k!r}: {v!r}" for k, v in items[:3]) + more + "}"
