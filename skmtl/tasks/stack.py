"""Stacking of tables, and products of their rows with the coefficients of tasks."""

import itertools
import sys

import numpy as np
from scipy import sparse

from .columns import frame_library, stack_frames

__all__ = ["as_dense", "linear_scores", "rowwise", "stack_rows"]


def as_dense(X):
    """Convert a sparse matrix to an array; return an array unchanged."""
    return X.toarray() if hasattr(X, "toarray") else X


def rowwise(X, coef, codes):
    """Return ``X[i] @ coef[codes[i]]`` for every row i."""
    if isinstance(X, np.ndarray):
        if len(codes) < 5 * len(coef):
            return np.einsum("ij,ij->i", X, coef[codes])
        out = np.empty(len(codes))
        order = np.argsort(codes, kind="stable")
        edges = np.searchsorted(codes[order], np.arange(-1, len(coef) + 1))
        for code, (start, stop) in enumerate(itertools.pairwise(edges), start=-1):
            rows = order[start:stop]
            out[rows] = X[rows] @ coef[code]
        return out
    return np.asarray(X.multiply(coef[codes]).sum(axis=1)).ravel()


def linear_scores(X, coef, intercept, codes):
    """Return the scores ``(n_rows, n_scores)`` of rows under the linear models of their tasks.

    Parameters
    ----------
    X : {ndarray, csr matrix} of shape (n_rows, n_features)
    coef : ndarray of shape (n_models, [n_scores,] n_features)
    intercept : ndarray of shape (n_models, [n_scores])
    codes : ndarray of shape (n_rows,)
        Model of each row; -1 is the last one.
    """
    if coef.ndim == 2:
        return (rowwise(X, coef, codes) + intercept[codes])[:, None]
    scores = [rowwise(X, coef[:, k], codes) for k in range(coef.shape[1])]
    return np.column_stack(scores) + intercept[codes]


def stack_rows(tables):
    """Stack tables with the same columns.

    Parameters
    ----------
    tables : list of {data frame, ndarray, sparse matrix}
        Frames of one library, or no frames at all.

    Returns
    -------
    data frame, ndarray or csr matrix
        The table itself if only one has rows.

    Raises
    ------
    TypeError
        For frames of several libraries.
    """
    tables = [table for table in tables if table.shape[0]] or tables[:1]
    if len(tables) == 1:
        return tables[0]
    if any(sparse.issparse(table) for table in tables):
        return sparse.vstack([sparse.csr_matrix(table) for table in tables], format="csr")
    if isinstance(tables[0], np.ndarray):
        return np.concatenate(tables)
    library = {frame_library(table) for table in tables}
    if len(library) > 1:
        raise TypeError(
            f"data frames of {' and '.join(sorted(library))} cannot be joined; convert all of them "
            "to frames of one library."
        )
    if library == {"pandas"}:
        return _stack_pandas(sys.modules["pandas"], tables)
    if library == {"polars"}:
        return _stack_polars(sys.modules["polars"], tables)
    return stack_frames(tables)


def _stack_pandas(pandas, frames):
    """Stack pandas frames; categories are united, because concat would turn them into objects."""
    frames = [frame.copy(deep=False) for frame in frames]
    for name in frames[0].columns:
        types = [frame[name].dtype for frame in frames]
        if all(isinstance(t, pandas.CategoricalDtype) for t in types) and len(set(types)) > 1:
            joined = types[0].categories
            for t in types[1:]:
                joined = joined.append(t.categories.difference(joined, sort=False))
            for frame in frames:
                frame[name] = frame[name].astype(pandas.CategoricalDtype(joined))
    return pandas.concat(frames, ignore_index=True)


def _stack_polars(polars, frames):
    """Stack polars frames; the categories of enums are united."""
    casts = []
    for name in frames[0].columns:
        types = [frame.schema[name] for frame in frames]
        if all(isinstance(t, polars.Enum) for t in types) and len(set(types)) > 1:
            enum = polars.Enum(list(dict.fromkeys(c for t in types for c in t.categories)))
            casts.append(polars.col(name).cast(polars.String).cast(enum))
    return polars.concat([frame.with_columns(casts) for frame in frames], how="vertical_relaxed")
