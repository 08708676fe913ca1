"""Fitted transformers: what a predictor does to rows before its estimator sees them."""

import numpy as np
from scipy import sparse
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.metrics.pairwise import rbf_kernel

from ..tasks.stack import as_dense

__all__ = ["AppendPredictions", "KernelMap", "LinearMap", "RepeatColumns"]


class _Fitted(TransformerMixin, BaseEstimator):
    """Made by an adaptation, which knows all parameters: nothing is left to be fitted."""

    def fit(self, X, y=None):
        return self

    def __sklearn_is_fitted__(self):
        return True


class LinearMap(_Fitted):
    """``X @ components + offset``.

    Parameters
    ----------
    components : ndarray of shape (n_features, n_components)
    offset : ndarray of shape (n_components,)
    """

    def __init__(self, components, offset):
        self.components = components
        self.offset = offset

    def transform(self, X):
        return X @ self.components + self.offset


class KernelMap(_Fitted):
    """Components that are weighted sums of the kernel ``exp(-gamma |u - v|²)`` with known rows.

    Parameters
    ----------
    center, scale : ndarray of shape (n_features,)
        A row u is ``(x - center) / scale``.
    rows : ndarray of shape (n_rows, n_features)
        In these units.
    components : ndarray of shape (n_rows, n_components)
    gamma : float
    """

    def __init__(self, center, scale, rows, components, gamma):
        self.center = center
        self.scale = scale
        self.rows = rows
        self.components = components
        self.gamma = gamma

    def transform(self, X):
        X = as_dense(X)
        return rbf_kernel((X - self.center) / self.scale, self.rows, self.gamma) @ self.components


class RepeatColumns(_Fitted):
    """Columns of X once for every block, each block times a factor of its own.

    Parameters
    ----------
    factors : ndarray of shape (n_blocks,)
        Zero: a block of zeros.
    level : bool
        Whether every block but the first ends with a column of its factor.
    """

    def __init__(self, factors, level):
        self.factors = factors
        self.level = level

    def transform(self, X):
        n, p = X.shape
        width = p + self.level
        if sparse.issparse(X):
            blocks = []
            for k, factor in enumerate(self.factors):
                blocks.append(factor * X if factor else sparse.csr_matrix((n, p)))
                if self.level and k:
                    blocks.append(sparse.csr_matrix(np.full((n, 1), factor)))
            return sparse.hstack(blocks, format="csr")
        out = np.zeros((n, p + width * (len(self.factors) - 1)))
        out[:, :p] = self.factors[0] * X
        for k in np.flatnonzero(self.factors[1:]):
            start = p + k * width
            out[:, start : start + p] = self.factors[k + 1] * X
            out[:, start + p : start + width] = self.factors[k + 1]
        return out


class AppendPredictions(_Fitted):
    """Columns of X, and beside them what other models say of the row, in units of their own.

    Parameters
    ----------
    voices : list of Voice
    factors : (float, float)
        Of the columns of X, and of those of the models.
    """

    def __init__(self, voices, factors):
        self.voices = voices
        self.factors = factors

    def transform(self, X):
        said = [voice.said(X) for voice in self.voices]
        own, theirs = self.factors
        if sparse.issparse(X):
            return sparse.hstack([own * X, *(theirs * s for s in said)], format="csr")
        return np.hstack([own * X, *(theirs * s for s in said)])
