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
        zeros = sparse.csr_matrix if sparse.issparse(X) else np.zeros
        blocks = []
        for k, factor in enumerate(self.factors):
            blocks.append(factor * X if factor else zeros(X.shape))
            if self.level and k:
                blocks.append(np.full((X.shape[0], 1), factor))
        return _joined(blocks)


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
        scores = [of_scores * scorer.scores(X) for scorer in self.scorers]
        return _joined([of_features * X, *scores])


def _joined(blocks):
    """Return blocks of columns as one table, sparse if the first is."""
    return sparse.hstack(blocks, format="csr") if sparse.issparse(blocks[0]) else np.hstack(blocks)
