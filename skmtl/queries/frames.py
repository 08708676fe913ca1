"""Lazy frames of any engine that narwhals speaks: columns, results, and joins with small tables."""

import warnings
from contextlib import contextmanager

import numpy as np

from ..tasks.columns import frame_library

__all__ = ["QueryError", "beside", "collect", "engine_of", "is_lazy", "prototype", "read_lazy"]

_PLAIN = ("pandas", "numpy", "scipy")


class QueryError(RuntimeError):
    """A query on a lazy frame failed; the message has the engine's own."""


def is_lazy(X):
    """Return whether `X` is a lazy frame, whose rows are not in memory."""
    # Of the class, because the columns of a lazy frame may take a query.
    if isinstance(X, (np.ndarray, list, tuple)) or not hasattr(type(X), "columns"):
        return False
    library = frame_library(X)
    if library in _PLAIN or (library == "polars" and hasattr(type(X), "shape")):
        return False
    return type(_wrapped(X)).__name__ == "LazyFrame"


def read_lazy(X):
    """Return a lazy frame as narwhals' lazy frame."""
    return _wrapped(X)


def _wrapped(X):
    import narwhals as nw  # not needed for tables in memory

    with _quiet():
        return nw.from_native(X, pass_through=True)


@contextmanager
def _quiet():
    """Ignore what narwhals says of its future, and pandas of the way it adds columns for Dask."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Dask support is moving", category=FutureWarning)
        warnings.filterwarnings("ignore", message="DataFrame is highly fragmented")
        yield


def engine_of(frame):
    """Return the name of the engine of a lazy frame."""
    return frame.implementation.value


def collect(query, what):
    """Run a query and return its result in memory, a data frame of narwhals.

    Parameters
    ----------
    query : lazy frame, or callable
        A callable makes the query.
    what : str
        What it computes, in the error.

    Raises
    ------
    QueryError
        If the engine fails, whatever it raises.
    """
    engine = "the engine"
    try:
        with _quiet():
            query = _wrapped(query() if callable(query) else query)
            engine = engine_of(query)
            return query.collect()
    except Exception as error:
        raise QueryError(
            f"the query for {what} failed in {engine}; nothing was changed. The engine says: "
            f"{type(error).__name__}: {error}"
        ) from error


def prototype(frame):
    """Return a native data frame in memory with the columns of a lazy frame and no rows."""
    if engine_of(frame) == "dask":  # whose head of computed columns may raise
        return frame.to_native()._meta
    return collect(lambda: frame.head(0), "the columns").to_native()


def beside(frame, columns):
    """Return a small table as a lazy frame of the engine of another, so that they can be joined.

    Parameters
    ----------
    frame : narwhals.LazyFrame
    columns : dict from str to ndarray or list
    """
    engine = engine_of(frame)
    make = _MAKERS.get(engine, _unknown)
    try:
        return _wrapped(make(frame.to_native(), columns))
    except QueryError:
        raise
    except Exception as error:
        raise QueryError(
            f"a table of the tasks could not be given to {engine}; nothing was changed. The engine "
            f"says: {type(error).__name__}: {error}"
        ) from error


def _polars(native, columns):
    import polars as pl

    return pl.LazyFrame(columns)


def _arrow(columns):
    import pyarrow as pa

    return pa.table({name: pa.array(values) for name, values in columns.items()})


def _duckdb(native, columns):
    # The connection of a relation is not public: a query on the relation itself runs there, and
    # sees the variables of this function.
    skmtl_table = _arrow(columns)  # noqa: F841
    return native.query("skmtl_rows", "select * from skmtl_table")


def _dask(native, columns):
    import dask.dataframe as dd
    import pandas as pd

    return dd.from_pandas(pd.DataFrame(columns), npartitions=1)


def _pyspark(native, columns):
    return native.sparkSession.createDataFrame(_arrow(columns))


def _ibis(native, columns):
    import ibis

    return ibis.memtable(_arrow(columns))


def _unknown(native, columns):
    raise QueryError(
        f"{type(native).__name__} ({type(native).__module__}) cannot be joined with the model's "
        "coefficients; pass a lazy frame of Polars, DuckDB, Dask, PySpark or Ibis, or collect it."
    )


_MAKERS = {
    "polars": _polars, "duckdb": _duckdb, "dask": _dask, "ibis": _ibis, "pyspark": _pyspark,
    "pyspark[connect]": _pyspark,
}  # fmt: skip
