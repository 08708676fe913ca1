"""More features than rows: the same problem in the coordinates of the rows' own space."""

from dataclasses import dataclass, replace

import numpy as np

from .stack import as_dense
from .variation import Variation, task_squares

__all__ = ["RowSpace"]


@dataclass
class RowSpace:
    """A table in orthonormal coordinates of its standardised rows' span.

    Ridge penalties do not change under rotation and never leave the span of the rows, so with
    fewer rows than features it is enough to fit as many coordinates as there are rows.

    Attributes
    ----------
    table : TaskTable
        The table to fit; the caller's own where there is nothing to reduce.
    directions : ndarray of shape (n_features, rank) or None
        Of the coordinates, in the standardised features ``(X - centre) * scale``.
    squares : ndarray of shape (n_tasks, n_features) or None
        The features' about the tasks' means.
    """

    table: object
    directions: np.ndarray | None = None
    centre: np.ndarray | None = None
    scale: np.ndarray | None = None
    squares: np.ndarray | None = None

    @property
    def standardise(self):
        """Whether the table's features are still to be standardised."""
        return self.directions is None

    @classmethod
    def of(cls, table, within=False, trust=1.0):
        """Reduce where there are fewer rows than features.

        `within` standardises by the spread within tasks and by `trust`, as `Problem` does.
        """
        X = table.X
        used = np.unique(table.rows) if table.sample_weight is not None else None
        n_rows = X.shape[0] if used is None else len(used)
        if n_rows >= table.n_features:
            return cls(table)
        weight = np.bincount(table.rows, table.weights(), minlength=X.shape[0])
        share = weight / weight.sum()
        dense = as_dense(X)
        centre = share @ dense
        Z = dense - centre
        spread = np.sqrt(share @ Z**2)
        constant = spread <= 1e-12 * np.maximum(np.abs(centre), 1e-300)
        scale = np.where(constant, 0.0, 1.0 / np.where(constant, 1.0, spread))
        of_tasks = task_squares(table)
        if within:
            varies = np.where(constant, 0.0, spread**2)
            scale = Variation.of(*of_tasks).scale(varies, trust)
        Z *= scale
        live = weight > 0
        values, vectors = np.linalg.eigh(Z[live] @ Z[live].T)
        keep = values > values[-1] * len(values) * np.finfo(float).eps
        basis = (Z[live].T @ vectors[:, keep]) / np.sqrt(values[keep])
        if basis.shape[1] == 0:
            basis = np.zeros((table.n_features, 1))
        reduced = replace(table, X=np.ascontiguousarray(Z @ basis))
        return cls(reduced, basis, centre, scale, squares=of_tasks[2])

    def expand(self, fitted):
        """A `SharingFit` in the caller's features."""
        if self.directions is None:
            return fitted
        basis = self.directions * self.scale[:, None]
        coef, shared = fitted.coef @ basis.T, fitted.shared_coef @ basis.T
        return replace(
            fitted,
            coef=coef,
            intercept=fitted.intercept - coef @ self.centre,
            shared_coef=shared,
            shared_intercept=fitted.shared_intercept - shared @ self.centre,
            adapter=fitted.adapter.in_features(self),
            squares=self.squares,
        )
