"""Gaussian kernels between rows, their widths, and distinct rows."""

import numpy as np
from scipy import sparse
from scipy.spatial.distance import pdist
from sklearn.metrics.pairwise import euclidean_distances
from sklearn.utils.extmath import row_norms, safe_sparse_dot

from ... import kernels
from ..._compat import take_rows
from ...tasks.stack import stack_rows

__all__ = ["combine", "distinct_rows", "gaussian", "kernel_means", "median_distance", "row_blocks"]

_MOST_ROWS = 300  # rows for the median of distances
_BLOCK = 1 << 17  # entries of a block of a kernel matrix, which should fit the cache


def distinct_rows(X, weight):
    """Return each distinct row once, in an order that does not depend on that of X.

    Parameters
    ----------
    X : {ndarray, csr matrix} of shape (n_rows, n_features)
    weight : ndarray of shape (n_rows,) or None

    Returns
    -------
    rows : {ndarray, csr matrix} of shape (n_distinct, n_features)
    weight : ndarray of shape (n_distinct,)
        The sum over equal rows.
    of_row : ndarray of shape (n_rows,)
        The position of each row of X among the distinct rows.
    """
    if sparse.issparse(X):
        X = sparse.csr_matrix(X, copy=True)
        X.sum_duplicates()
        X.eliminate_zeros()
        spans = zip(X.indptr[:-1], X.indptr[1:], strict=True)
        keys = np.array(
            [X.indices[a:b].tobytes() + b"|" + X.data[a:b].tobytes() for a, b in spans],
            dtype=object,
        )
    else:
        X = np.ascontiguousarray(X + 0.0)  # no -0.0
        keys = X.view(np.dtype((np.void, X.dtype.itemsize * X.shape[1]))).ravel()
    _, first, of_row = np.unique(keys, return_index=True, return_inverse=True)
    return take_rows(X, first), np.bincount(of_row, weight, minlength=len(first)), of_row


def gaussian(A, B, sigma):
    """Return ``exp(-|a - b|^2 / (2 sigma^2))`` for the rows of A and B, ``(len(A), len(B))``.

    If both are the same object, only half of the matrix is computed.
    """
    scale = 1.0 / sigma
    if sparse.issparse(A) or sparse.issparse(B):
        K = safe_sparse_dot(A * scale, (B * scale).T, dense_output=True)
        K -= 0.5 * row_norms(A * scale, squared=True)[:, None]
        K -= 0.5 * row_norms(B * scale, squared=True)
        K = np.ascontiguousarray(K)
        kernels.exponential.exponentiate(K.reshape(-1))
        return K
    same = A is B
    A, B = _lift(A, B, scale)
    K = np.empty((len(A), len(B)))
    for block in row_blocks(*K.shape):
        if not same:
            _multiply(A[block], B, K[block])
            continue
        part = _multiply(A[block], B[block.start :])
        K[block, block.start :] = part
        K[block.stop :, block] = part[:, len(part) :].T
    return K


def _lift(A, B, scale):
    """Return rows whose products are the logarithms of the kernel's values."""
    centre = A.mean(axis=0)  # centring reduces rounding errors of distances
    same = A is B
    A = (A - centre) * scale
    B = A if same else (B - centre) * scale
    squares = [-0.5 * row_norms(rows, squared=True) for rows in (A, B)]
    A = np.column_stack([A, squares[0], np.ones(len(A))])
    return A, np.column_stack([B, np.ones(len(B)), squares[1]])


def _multiply(A, B, out=None):
    """Return the kernel's values for rows of `_lift`, written to `out` if it is given."""
    out = np.matmul(A, B.T, out=out)
    kernels.exponential.exponentiate(out.reshape(-1))
    return out


def row_blocks(n, n_columns):
    """Return slices of ``range(n)`` such that blocks with `n_columns` columns stay small."""
    step = max(1, _BLOCK // n_columns)
    return [slice(i, min(i + step, n)) for i in range(0, n, step)]


def combine(A, B, sigma, values):
    """Return ``gaussian(A, B, sigma) @ values``, computed in blocks."""
    blocks = row_blocks(A.shape[0], B.shape[0])
    if sparse.issparse(A) or sparse.issparse(B):
        return np.concatenate([gaussian(A[block], B, sigma) @ values for block in blocks])
    A, B = _lift(A, B, 1.0 / sigma)
    K = np.empty((blocks[0].stop, len(B)))
    return np.concatenate(
        [_multiply(A[block], B, K[: block.stop - block.start]) @ values for block in blocks]
    )


def kernel_means(A, B, weight, sigma):
    """Return the weighted means of the kernel over the rows of B."""
    return combine(A, B, sigma, weight / weight.sum())


def median_distance(tables, random_state):
    """Return the median distance of two different rows of all tables together.

    Parameters
    ----------
    tables : list of {ndarray, csr matrix}
        Each of distinct rows; if there are more than 300 rows in total, 300 are drawn.
    random_state : numpy.random.RandomState

    Returns
    -------
    float
        Positive; 1 if all rows are equal.
    """
    n_rows = np.array([table.shape[0] for table in tables])
    if n_rows.sum() > _MOST_ROWS:
        n_drawn = np.maximum(n_rows * _MOST_ROWS // n_rows.sum(), 1)
        drawn = [
            random_state.choice(n, m, replace=False) for n, m in zip(n_rows, n_drawn, strict=True)
        ]
        tables = [table[rows] for table, rows in zip(tables, drawn, strict=True)]
    rows = stack_rows(tables)
    if sparse.issparse(rows):
        distances = euclidean_distances(rows)[np.triu_indices(rows.shape[0], 1)]
    else:
        distances = pdist(rows)
    distances = distances[distances > 0.0]
    return float(np.median(distances)) if len(distances) else 1.0
