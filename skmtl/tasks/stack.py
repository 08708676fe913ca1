"""Tables one below the other."""

import sys

import numpy as np
from scipy import sparse

from .encode import column_names

__all__ = ["stack_rows"]


def stack_rows(tables):
    """Rows of tables with the same columns, one table below the other.

    Parameters
    ----------
    tables : list of {data frame, ndarray, sparse matrix}
        Frames of one library, or no frames at all.

    Returns
    -------
    data frame, ndarray or csr matrix
        The table itself, where only one has rows.

    Raises
    ------
    TypeError
        For frames of several libraries, or of one that is neither pandas nor polars.
    """
    tables = [table for table in tables if table.shape[0]] or tables[:1]
    if len(tables) == 1:
        return tables[0]
    if any(sparse.issparse(table) for table in tables):
        return sparse.vstack([sparse.csr_matrix(table) for table in tables], format="csr")
    if column_names(tables[0]) is None:
        return np.concatenate(tables)
    library = {frame_library(table) for table in tables}
    if library == {"pandas"}:
        return sys.modules["pandas"].concat(tables, ignore_index=True)
    if library == {"polars"}:
        return sys.modules["polars"].concat(tables, how="vertical_relaxed")
    raise TypeError(
        f"data frames of {' and '.join(sorted(library))} cannot be joined; give all of them as "
        "pandas frames, or all as polars frames."
    )


def frame_library(frame):
    """The name of the library of a data frame; of the base class's where it is a subclass."""
    modules = [c.__module__.partition(".")[0] for c in type(frame).__mro__]
    known = [name for name in modules if name in ("pandas", "polars")]
    return known[0] if known else modules[0]
