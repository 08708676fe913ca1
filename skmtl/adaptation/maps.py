"""Fitted transformers that a predictor applies to rows before its estimator sees them."""

import numpy as np
from scipy import sparse
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.metrics.pairwise import rbf_kernel

from ..tasks.stack import as_dense

__all__ = ["AppendPredictions", "KernelMap", "LinearMap", "RepeatColumns"]


class _FixedMap(TransformerMixin, BaseEstimator):
    """A transformer all of whose parameters an adaptation sets; fit does nothing."""

    def fit(self, X, y=None):
        return self

    def __sklearn_is_fitted__(self):
        return True


class LinearMap(_FixedMap):
    """The map ``X @ components + offset``.

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


class KernelMap(_FixedMap):
    """Components that are weighted sums of kernels ``exp(-gamma |u - v|²)`` at given rows v.

    Parameters
    ----------
    center, scale : ndarray of shape (n_features,)
        u is ``(x - center) / scale``.
    rows : ndarray of shape (n_rows, n_features)
        The rows v, in the same units as u.
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


class RepeatColumns(_FixedMap):
    """The columns of X once per block, multiplied by the factor of the block.

    Parameters
    ----------
    factors : ndarray of shape (n_blocks,)
        Zero: a block of zeros.
    level : bool
        Whether every block but the first ends with a constant column, its factor.
    """

    def __init__(self, factors, level):
        self.factors = factors
        self.level = level

    def transform(self, X):
        n, p = X.shape
        if sparse.issparse(X):
            blocks = []
            for k, factor in enumerate(self.factors):
                blocks.append(factor * X if factor else sparse.csr_matrix((n, p)))
                if self.level and k:
                    blocks.append(sparse.csr_matrix(np.full((n, 1), factor)))
            return sparse.hstack(blocks, format="csr")
        # Written in place: joining blocks would copy them once more.
        width = p + self.level
        out = np.zeros((n, p + width * (len(self.factors) - 1)))
        out[:, :p] = self.factors[0] * X
        for k in np.flatnonzero(self.factors[1:]):
            start = p + k * width
            out[:, start : start + p] = self.factors[k + 1] * X
            out[:, start + p : start + width] = self.factors[k + 1]
        return out


class AppendPredictions(_FixedMap):
    """The columns of X, followed by the scaled scores of other models.

    Parameters
    ----------
    scorers : list of SourceScorer
    factors : (float, float)
        Factors of the columns of X and of the scores.
    """

    def __init__(self, scorers, factors):
        self.scorers = scorers
        self.factors = factors

    def transform(self, X):
        of_features, of_scores = self.factors
        blocks = [of_features * X, *(of_scores * scorer.scores(X) for scorer in self.scorers)]
        return sparse.hstack(blocks, format="csr") if sparse.issparse(X) else np.hstack(blocks)
