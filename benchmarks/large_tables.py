"""Tables beyond memory: lazy frames of several engines, and many tasks in shards.

    python benchmarks/large_tables.py                              # engines: the same fit by each
    python benchmarks/large_tables.py --only rows --rows 1e6 1e7 1e8
    python benchmarks/large_tables.py --only tasks --tasks 1e4 1e5 1e6

The tables are made by DuckDB as parquet files in ``--folder``, and removed again. Every measurement
has a process of its own: wall-clock seconds, and the peak of resident memory, of engine and fit
together. "bare" is the query of all products by task and fold alone, in the same engine.
"""

from __future__ import annotations

import threads  # isort: skip  before numpy loads
import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import sections

N_FOLDS = 5


def make(path, n_rows, n_features, n_tasks, sorted_by_task=False):
    """Write a table with slopes that differ by task."""
    import duckdb

    con = duckdb.connect()
    con.execute("set threads = 2; set memory_limit = '3GB'; select setseed(0.5)")
    task = f"i * {n_tasks} // {n_rows}" if sorted_by_task else f"hash(i * 31 + 5) % {n_tasks}"
    features = ", ".join(
        f"(random() + random() + random() - 1.5) * 2 as x{j}" for j in range(n_features)
    )
    target = "0.5 * x0 - x1 + (hash(task) % 1000 / 500.0 - 1) * x0 + hash(task + 7) % 1000 / 300.0"
    con.execute(
        f"copy (select *, {target} + (random() + random() + random() - 1.5) * 2 as y from (select "
        f"i as id, ({task})::bigint as task, {features} from range({n_rows}) t(i))) to '{path}' "
        "(format parquet, row_group_size 200000)"
    )


def open_lazily(engine, path, limit):
    """Return the lazy frame of a parquet file."""
    if engine == "polars":
        import polars as pl

        return pl.scan_parquet(path)
    if engine == "duckdb":
        import duckdb

        con = duckdb.connect()
        con.execute(f"set threads = {threads.COUNT}; set memory_limit = '{limit}'")
        return con.read_parquet(str(path))
    if engine == "dask":
        import dask.dataframe as dd

        return dd.read_parquet(path, blocksize="64MB")
    if engine == "pyspark":
        from pyspark.sql import SparkSession

        builder = SparkSession.builder.master(f"local[{threads.COUNT}]")
        session = builder.config("spark.ui.enabled", "false").getOrCreate()
        return session.read.parquet(str(path))
    import ibis

    return ibis.read_parquet(path)


def measure(what, engine, path, n_features, memory_limit, engine_limit):
    """Print the seconds and the peak of one measurement, in this process."""
    import resource

    import numpy as np

    frame = open_lazily(engine, path, engine_limit)
    start, cpu = time.perf_counter(), time.process_time()
    out = {}
    if what == "bare":
        bare(frame, n_features)
    else:
        from skmtl import MultiTaskRegressor
        from skmtl.sharing import PartialPooling

        sharing, options = "partial_pooling", {"fold_column": "id"}
        if what == "given":
            sharing = PartialPooling(10.0, alpha_intercept=1.0, alpha_shared=1.0)
            options = {"cv": None}
        if what == "in memory":
            import polars as pl

            frame = pl.read_parquet(path)
            X, y = frame.drop("y"), frame["y"].to_numpy()
            model = MultiTaskRegressor(sharing, task_column="task", **options).fit(X, y)
        else:
            if what == "given":
                frame = drop_id(frame)
            model = MultiTaskRegressor(
                sharing, task_column="task", memory_limit=memory_limit, **options
            ).fit(frame, "y")
        out["coef"] = [float(model.coef_.sum()), float(np.abs(model.coef_).sum())]
    out["seconds"], out["cpu"] = time.perf_counter() - start, time.process_time() - cpu
    out["peak"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(json.dumps(out))


def drop_id(frame):
    """Return a lazy frame without the column of ids."""
    import narwhals as nw

    return nw.from_native(frame).drop("id").to_native()


def bare(frame, n_features):
    """Run the query of the products by task and fold alone."""
    import narwhals as nw

    names = [*(f"x{j}" for j in range(n_features)), "y"]
    pairs = [(a, b) for i, a in enumerate(names) for b in names[: i + 1]]
    products = [(nw.col(a) * nw.col(b)).alias(f"{a}_{b}") for a, b in pairs]
    query = nw.from_native(frame).with_columns(*products, (nw.col("id") % N_FOLDS).alias("fold"))
    sums = [nw.col(f"{a}_{b}").sum() for a, b in pairs] + [nw.col(name).sum() for name in names]
    query.group_by("task", "fold").agg(*sums).collect()


def run(what, engine, path, n_features, memory_limit=None, engine_limit="2GB"):
    """Return what `measure` prints in a process of its own."""
    arguments = [what, engine, str(path), n_features, memory_limit, engine_limit]
    code = f"import large_tables; large_tables.measure(*{arguments!r})"
    found = subprocess.run(
        [sys.executable, "-c", code, "--threads", str(threads.COUNT)], capture_output=True,
        text=True, cwd=Path(__file__).parent, check=False,
        env=threads.environment() | {"POLARS_MAX_THREADS": str(threads.COUNT)},
    )  # fmt: skip
    if found.returncode:
        return {"error": found.stderr.strip().splitlines()[-1]}
    return json.loads(found.stdout.strip().splitlines()[-1])


def show(name, found, base=None):
    """Print one measurement."""
    if "error" in found:
        print(f"  {name}: {found['error']}", flush=True)
        return
    ratio = f" ({found['seconds'] / base:.2f} times the bare query)" if base else ""
    coef = f", sum of slopes {found['coef'][0]:.10g}" if "coef" in found else ""
    print(
        f"  {name}: {found['seconds']:.1f} s{ratio} ({found['cpu']:.1f} s of all cores), "
        f"peak {found['peak']:.2f} GiB{coef}",
        flush=True,
    )


def rows(options):
    """Many rows, 10 features, 10,000 tasks, by DuckDB within 2 GB: wanted twice the bare query."""
    for n_rows in options.rows:
        path = options.folder / "rows.parquet"
        make(path, int(n_rows), 10, 10_000)
        base = run("bare", "duckdb", path, 10)
        show(f"{n_rows:.0e} rows, bare", base)
        show(f"{n_rows:.0e} rows, tuned", run("tuned", "duckdb", path, 10), base.get("seconds"))
        path.unlink()


def tasks(options):
    """Many tasks of 20 rows, 10 features, in shards within 1 GB: wanted 4 GiB, linear time."""
    for n_tasks in options.tasks:
        path = options.folder / "tasks.parquet"
        make(path, int(20 * n_tasks), 10, int(n_tasks), sorted_by_task=True)
        for limit in (None, "1GB") if n_tasks < 3e5 else ("1GB",):
            found = run("tuned", "duckdb", path, 10, limit, "1GB")
            show(f"{n_tasks:.0e} tasks, memory_limit={limit}", found)
        path.unlink()


def engines(options):
    """2,000,000 rows, 10 features, 1,000 tasks: seconds of every engine, and the same slopes."""
    path = options.folder / "engines.parquet"
    make(path, 2_000_000, 10, 1000)
    show("in memory", run("in memory", "polars", path, 10))
    for engine in options.engines:
        base = run("bare", engine, path, 10) if engine != "dask" else {}
        show(engine, run("tuned", engine, path, 10), base.get("seconds"))
    path.unlink()


SECTIONS = {"engines": engines, "rows": rows, "tasks": tasks}


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--only", nargs="+", choices=SECTIONS, default=["engines"])
    parser.add_argument("--rows", nargs="+", type=float, default=[1e6, 1e7])
    parser.add_argument("--tasks", nargs="+", type=float, default=[1e4, 1e5])
    parser.add_argument(
        "--engines", nargs="+", default=["polars", "duckdb", "dask", "ibis", "pyspark"]
    )
    parser.add_argument("--folder", type=Path, default=None, help="for the tables; a temporary one")
    parser.add_argument("--threads", type=int, default=1, help="set before numpy loads")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        options.folder = options.folder or Path(folder)
        sections.run(SECTIONS, options.only, options)


if __name__ == "__main__":
    main()
