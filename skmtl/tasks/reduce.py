"""Rotation of the features if there are more features than rows."""

from dataclasses import dataclass, replace

import numpy as np

from .stack import as_dense
from .variation import Variation, task_squares

__all__ = ["RowSpace"]


@dataclass
class RowSpace:
    """Table in orthonormal coordinates of the span of its standardised rows.

    Ridge penalties are invariant to rotation, and their solutions lie in the span of the rows. With
    fewer rows than features it is therefore enough to fit one coordinate per row.

    Attributes
    ----------
    table : TaskTable
        The table to fit; the caller's table if it has at least as many rows as features.
    directions : ndarray of shape (n_features, rank) or None
        Directions of the coordinates in the standardised features ``(X - centre) * scale``.
    centre, scale : ndarray of shape (n_features,) or None
    squares : ndarray of shape (n_tasks, n_features) or None
        Sums of squares of the features about the means of the tasks.
    """

    table: object
    directions: np.ndarray | None = None
    centre: np.ndarray | None = None
    scale: np.ndarray | None = None
    squares: np.ndarray | None = None

    @property
    def standardise(self):
        """Whether the features of the table are not yet standardised."""
        return self.directions is None

    @classmethod
    def of(cls, table, within=False, trust=1.0):
        """Reduce a table with fewer rows than features.

        `within` standardises by the standard deviation within tasks and by `trust`, as `Problem`.
        """
        X = table.X
        n_rows = X.shape[0] if table.sample_weight is None else len(np.unique(table.rows))
        if n_rows >= table.n_features:
            return cls(table)
        weight = np.bincount(table.rows, table.weights(), minlength=X.shape[0])
        share = weight / weight.sum()
        dense = as_dense(X)
        centre = share @ dense
        Z = dense - centre
        std = np.sqrt(share @ Z**2)
        constant = std <= 1e-12 * np.maximum(np.abs(centre), 1e-300)
        scale = np.where(constant, 0.0, 1.0 / np.where(constant, 1.0, std))
        task_weight, task_mean, squares = task_squares(table)
        if within:
            variation = Variation.of(task_weight, task_mean, squares)
            scale = variation.scale(np.where(constant, 0.0, std**2), trust)
        Z *= scale
        live = weight > 0
        values, vectors = np.linalg.eigh(Z[live] @ Z[live].T)
        keep = values > values[-1] * len(values) * np.finfo(float).eps
        basis = (Z[live].T @ vectors[:, keep]) / np.sqrt(values[keep])
        if basis.shape[1] == 0:
            basis = np.zeros((table.n_features, 1))
        reduced = replace(table, X=np.ascontiguousarray(Z @ basis))
        return cls(reduced, basis, centre, scale, squares)

    def expand(self, fitted):
        """Return a `SharingFit` with coefficients of the caller's features."""
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
            inference=fitted.inference and fitted.inference.in_features(len(self.scale)),
            held_out=fitted.held_out and fitted.held_out.in_features(basis, self.centre),
        )
