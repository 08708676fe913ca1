"""Gaussian kernels between rows, how wide they are, and rows that do not depend on order."""

import numpy as np
from scipy import sparse
from scipy.spatial.distance import pdist
from sklearn.metrics.pairwise import euclidean_distances
from sklearn.utils.extmath import row_norms, safe_sparse_dot

from ... import kernels
from ..._compat import take_rows
from ...tasks.stack import stack_rows

__all__ = ["combine", "distinct_rows", "gaussian", "kernel_means", "median_distance", "row_blocks"]

_MOST_ROWS = 300  # for the median of distances
_BLOCK = 1 << 17  # entries of a kernel matrix that are made at a time: what a cache holds


def distinct_rows(X, weight):
    """Every different row once, in an order of their own.

    Parameters
    ----------
    X : {ndarray, csr matrix} of shape (n_rows, n_features)
    weight : ndarray of shape (n_rows,) or None

    Returns
    -------
    rows : {ndarray, csr matrix} of shape (n_distinct, n_features)
    weight : ndarray of shape (n_distinct,)
        Summed.
    place : ndarray of shape (n_rows,)
        Which of them each row is.
    """
    if sparse.issparse(X):
        X = sparse.csr_matrix(X, copy=True)
        X.sum_duplicates()
        X.eliminate_zeros()
        spans = zip(X.indptr[:-1], X.indptr[1:], strict=True)
        keys = [X.indices[a:b].tobytes() + b"|" + X.data[a:b].tobytes() for a, b in spans]
        keys = np.array(keys, dtype=object)
    else:
        X = np.ascontiguousarray(X + 0.0)  # no -0.0
        keys = X.view(np.dtype((np.void, X.dtype.itemsize * X.shape[1]))).ravel()
    _, first, place = np.unique(keys, return_index=True, return_inverse=True)
    return take_rows(X, first), np.bincount(place, weight, minlength=len(first)), place


def gaussian(A, B, sigma):
    """``exp(-|a - b|^2 / (2 sigma^2))`` for the rows of A and B, ``(len(A), len(B))``.

    Only half of it is worked out where both are the same object.
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
    """Rows whose products are the logarithms of the kernel's values."""
    centre = A.mean(axis=0)  # distances lose fewer digits
    same = A is B
    A = (A - centre) * scale
    B = A if same else (B - centre) * scale
    squares = [-0.5 * row_norms(rows, squared=True) for rows in (A, B)]
    A = np.column_stack([A, squares[0], np.ones(len(A))])
    return A, np.column_stack([B, np.ones(len(B)), squares[1]])


def _multiply(A, B, out=None):
    """The kernel's values for rows of `_lift`, written to `out` if there is one."""
    out = np.matmul(A, B.T, out=out)
    kernels.exponential.exponentiate(out.reshape(-1))
    return out


def row_blocks(n, n_columns):
    """Slices of ``range(n)``, of so many that a block of a matrix with `n_columns` stays small."""
    step = max(1, _BLOCK // n_columns)
    return [slice(i, min(i + step, n)) for i in range(0, n, step)]


def combine(A, B, sigma, values):
    """``gaussian(A, B) @ values``, in blocks."""
    blocks = row_blocks(A.shape[0], B.shape[0])
    if sparse.issparse(A) or sparse.issparse(B):
        return np.concatenate([gaussian(A[block], B, sigma) @ values for block in blocks])
    A, B = _lift(A, B, 1.0 / sigma)
    K = np.empty((blocks[0].stop, len(B)))
    return np.concatenate(
        [_multiply(A[block], B, K[: block.stop - block.start]) @ values for block in blocks]
    )


def kernel_means(A, B, weight, sigma):
    """Weighted means over the rows of B."""
    return combine(A, B, sigma, weight / weight.sum())


def median_distance(tables, random_state):
    """The median distance of two different rows of all tables together.

    Parameters
    ----------
    tables : list of {ndarray, csr matrix}
        Of distinct rows each; of many rows together, 300 are drawn.
    random_state : numpy.random.RandomState

    Returns
    -------
    float
        Above zero; 1 where all rows are the same.
    """
    n_rows = np.array([table.shape[0] for table in tables])
    n_drawn = n_rows
    if n_rows.sum() > _MOST_ROWS:
        n_drawn = np.maximum(n_rows * _MOST_ROWS // n_rows.sum(), 1)
        rows = [
            random_state.choice(n, m, replace=False) for n, m in zip(n_rows, n_drawn, strict=True)
        ]
        tables = [table[rows] for table, rows in zip(tables, rows, strict=True)]
    rows = stack_rows(tables)
    if sparse.issparse(rows):
        distances = euclidean_distances(rows)[np.triu_indices(rows.shape[0], 1)]
    else:
        distances = pdist(rows)
    distances = distances[distances > 0.0]
    return float(np.median(distances)) if len(distances) else 1.0
