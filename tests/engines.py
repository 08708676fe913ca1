"""Lazy frames of every engine from one table in memory, and comparisons of fits to them."""

import os
import warnings

import narwhals as nw
import numpy as np
import polars as pl
import pytest
from checks import SKLEARN

from skmtl import MultiTaskRegressor

__all__ = [
    "ENGINES", "assert_same_fit", "in_memory", "make", "many_tasks", "regressor_of_many",
    "skip_unless_encoded",
]  # fmt: skip

OPEN = []  # connections: a query of DuckDB before 2.0 does not keep its own open

ENGINES = ["polars", "duckdb", "dask", "ibis", pytest.param("pyspark", marks=pytest.mark.slow)]


def make(engine, frame):
    """Return a frame of polars as a lazy frame of an engine; skip where that is not installed."""
    arrow = frame.to_arrow()
    if engine == "polars":
        return frame.lazy()
    if engine == "duckdb":
        OPEN.append(pytest.importorskip("duckdb").connect())
        return OPEN[-1].query("select * from arrow")
    if engine == "dask":
        dd = pytest.importorskip("dask.dataframe")
        return dd.from_pandas(arrow.to_pandas(), npartitions=3)
    if engine == "ibis":
        ibis = pytest.importorskip("ibis")
        pytest.importorskip("duckdb")
        return ibis.memtable(arrow)
    return _spark().createDataFrame(arrow)


def skip_unless_encoded(engine):
    """Skip where scikit-learn's ColumnTransformer cannot read the frames that an engine returns."""
    if engine == "duckdb" and SKLEARN < (1, 7):
        pytest.skip("scikit-learn 1.6 cannot transform tables of pyarrow")


def _spark():
    session = pytest.importorskip("pyspark.sql").SparkSession
    from shutil import which

    if not (which("java") or os.environ.get("JAVA_HOME")):
        pytest.skip("PySpark needs Java")
    builder = session.builder.master("local[2]").config("spark.ui.enabled", "false")
    return builder.config("spark.sql.shuffle.partitions", "2").getOrCreate()


def in_memory(lazy, by):
    """Return the rows of a lazy frame as a frame of polars, in the order of a column."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # narwhals' plans for Dask
        return nw.from_native(lazy).collect(backend="polars").to_native().sort(by)


def assert_same_fit(found, wanted, tol=1e-9):
    """Compare coefficients, relative to the largest, and reports of two fits."""
    for name in ("coef_", "intercept_", "shared_coef_", "shared_intercept_"):
        a, b = getattr(found, name), getattr(wanted, name)
        np.testing.assert_allclose(a, b, rtol=0, atol=tol * np.abs(b).max(), err_msg=name)
    np.testing.assert_array_equal(found.tasks_, wanted.tasks_)
    assert found.feature_names_in_.tolist() == wanted.feature_names_in_.tolist()
    assert found.task_report_.keys() == wanted.task_report_.keys()
    for name, values in wanted.task_report_.items():
        if values.dtype.kind == "f":
            np.testing.assert_allclose(
                found.task_report_[name], values, rtol=1e-6, atol=1e-9, err_msg=name
            )


def many_tasks(rng, n=4000, n_tasks=400, level=1.0):
    """Return a table with tasks of uneven sizes, of one row too."""
    task = np.sort(np.r_[np.arange(n_tasks), (n_tasks * rng.random(n - n_tasks) ** 2).astype(int)])
    X = rng.normal(size=(n, 3)) + level * rng.normal(size=(n_tasks, 3))[task]
    slopes = rng.normal(size=3) + 0.5 * rng.normal(size=(n_tasks, 3))
    y = (X * slopes[task]).sum(axis=1) + rng.normal(size=n_tasks)[task] + rng.normal(size=n)
    names = {"shop": [f"shop {t:04d}" for t in task], "region": task % 7, "task": task}
    order = rng.permutation(n)
    columns = dict(zip("abc", X.T, strict=True))
    frame = pl.DataFrame({**names, "id": rng.permutation(n), **columns, "y": y})
    return frame[order.tolist()]


def regressor_of_many(sharing="partial_pooling", **options):
    """Return a regressor of the tasks of `many_tasks`."""
    used = options.get("task_column", "task")
    used = [used] if isinstance(used, str) else used
    left_out = [name for name in ("task", "shop", "region") if name not in used]
    options = {"task_column": "task", "fold_column": "id", "exclude_columns": left_out} | options
    return MultiTaskRegressor(sharing, target_scale="table", **options)
