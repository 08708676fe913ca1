"""Predictions of linear models as columns of a lazy frame: a join and sums of products."""

from dataclasses import dataclass

import numpy as np

from ..losses import LOG_LOSS
from .frames import beside, collect

__all__ = ["Models", "mean_of"]

# Beginning of the names of columns that a query adds for a while.
_OURS = "skmtl_"


def mean_of(loss, score):
    """Return the prediction of a loss as an expression of the linear score."""
    if not loss.has_link:
        return score
    if loss is LOG_LOSS:
        return 1.0 / (1.0 + (score * -1.0).exp())
    return score.exp()


@dataclass(frozen=True)
class Models:
    """Linear models of tasks, and the query of their scores.

    Attributes
    ----------
    labels : list
        Labels of the tasks, tuples if several columns name the task.
    keys, features : list of narwhals.Expr
        The columns of the task and the features, as `keys_as` and `to_numbers` return them.
    coef : ndarray of shape (n_tasks + 1, n_features)
        The last row is for an unseen task, as in the next.
    intercept : ndarray of shape (n_tasks + 1,)
    residual_scale : ResidualScale or None
        For standard deviations.
    """

    labels: list
    keys: list
    features: list
    coef: np.ndarray
    intercept: np.ndarray
    residual_scale: object = None

    def columns(self):
        """Return the columns of a table of the models by name, ``(n_tasks + 1,)`` each."""
        out = {f"{_OURS}a": self.intercept}
        out |= {f"{_OURS}b{j}": column for j, column in enumerate(self.coef.T)}
        scale = self.residual_scale
        if scale is not None:
            out[f"{_OURS}std"] = np.append(scale.std, scale.unseen_std)
            if scale.out_of_range is not None:
                more = scale.out_of_range.shared + scale.out_of_range.own
                out |= {f"{_OURS}more{j}": column for j, column in enumerate(more.T)}
        return {name: np.array(values, dtype=np.float64) for name, values in out.items()}

    def add(self, frame, outputs):
        """Return a lazy frame with further columns.

        Parameters
        ----------
        frame : narwhals.LazyFrame
        outputs : callable
            Called with the scores and the standard deviations (None without), two expressions;
            returns a dict from names of columns to expressions.

        Raises
        ------
        ValueError
            If the frame has a column of such a name.
        """
        import narwhals as nw

        names = frame.collect_schema().names()
        made = outputs(nw.lit(0.0), nw.lit(0.0))
        lower = {name.lower() for name in made}
        taken = [n for n in names if n.lower() in lower or n.lower().startswith(_OURS)]
        if taken:
            raise ValueError(
                f"X, a lazy frame, has columns {taken}, whose names predict gives to its results "
                f"({', '.join(made)}, {_OURS}...); rename or drop them."
            )
        z = [column.alias(f"{_OURS}z{j}") for j, column in enumerate(self.features)]
        joined, models = self._joined(frame.with_columns(*z))
        score = models[f"{_OURS}a"]
        for j in range(len(z)):
            score = score + nw.col(f"{_OURS}z{j}") * models[f"{_OURS}b{j}"]
        std = None
        if self.residual_scale is not None:
            std = models[f"{_OURS}std"]
            if self.residual_scale.out_of_range is not None:
                std = std * (nw.lit(1.0) + self._excess(models)).sqrt()
        given = {"score": score} if std is None else {"score": score, "std": std}
        joined = joined.with_columns(*(e.alias(_OURS + name) for name, e in given.items()))
        found = outputs(nw.col(f"{_OURS}score"), None if std is None else nw.col(f"{_OURS}std"))
        return joined.select(*names, *(e.alias(name) for name, e in found.items()))

    def _excess(self, models):
        """Return the additional variance of rows out of range, relative to that of the noise."""
        import narwhals as nw

        limits, total = self.residual_scale.out_of_range, nw.lit(0.0)
        for j, (low, high) in enumerate(zip(limits.low, limits.high, strict=True)):
            z = nw.col(f"{_OURS}z{j}")
            above = nw.when(z > float(high)).then(z - float(high)).otherwise(0.0)
            beyond = nw.when(z < float(low)).then(float(low) - z).otherwise(above)
            total = total + beyond * beyond * models[f"{_OURS}more{j}"]
        return total

    def _joined(self, frame):
        """Return a frame with the models of the rows' tasks, and their columns as expressions."""
        import narwhals as nw

        columns = self.columns()
        if not self.keys:  # without tasks there is one model
            return frame, {name: nw.lit(float(values[0])) for name, values in columns.items()}
        table = self._labelled({name: values[:-1] for name, values in columns.items()})
        keys = [key.alias(f"{_OURS}key{k}") for k, key in enumerate(self.keys)]
        joined = frame.with_columns(*keys).join(
            beside(frame, table), how="left", left_on=[f"{_OURS}key{k}" for k in range(len(keys))],
            right_on=[f"{_OURS}label{k}" for k in range(len(keys))],
        )  # fmt: skip
        shared = {name: float(values[-1]) for name, values in columns.items()}
        return joined, {name: nw.col(name).fill_null(value) for name, value in shared.items()}

    def _labelled(self, columns):
        """Return a table of the models with the labels of the tasks."""
        is_tuple = isinstance(self.labels[0], tuple)
        parts = list(zip(*self.labels, strict=True)) if is_tuple else [self.labels]
        return {f"{_OURS}label{k}": list(part) for k, part in enumerate(parts)} | columns

    def count_unknown(self, frame):
        """Return the number of rows of tasks that have no model, by a query."""
        import narwhals as nw

        keys = [f"{_OURS}key{k}" for k in range(len(self.keys))]
        known = beside(frame, self._labelled({}))
        labels = [f"{_OURS}label{k}" for k in range(len(self.keys))]
        rows = frame.select(*(key.alias(name) for key, name in zip(self.keys, keys, strict=True)))
        query = rows.join(known, how="anti", left_on=keys, right_on=labels).select(nw.len())
        return int(collect(lambda: query, "rows of unknown tasks").item())
