"""Classes of rows on disk: logistic models of tasks by queries, beside those of rows in memory.

    python benchmarks/large_scores.py                       # 10 million rows, 1,000 tasks
    python benchmarks/large_scores.py --rows 2000000 --only memory

DuckDB draws the rows and writes them to a parquet file, and one row in twenty is kept for a test.
"lazy" fits with DuckDB, "memory" fits the same rows in memory; log-losses are those of the test
rows. "memory" reads at most ``--most-in-memory`` rows, and fits as many with DuckDB for comparison.
"""

from __future__ import annotations

import threads  # isort: skip  before numpy loads
import argparse
import resource
import time
import warnings
from pathlib import Path

import duckdb
import sections

from skmtl import MultiTaskClassifier

warnings.simplefilter("ignore")

N_FEATURES, N_TASKS = 10, 1000


def draw(options):
    """Return the path of a parquet file, which is written if it does not exist."""
    path = Path(options.folder) / f"scores_{options.rows}.parquet"
    if path.exists():
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    normal = "sqrt(-2.0 * ln(1.0 - random())) * cos(2.0 * pi() * random())"
    z = ", ".join(f"({normal})::float as x{j}" for j in range(N_FEATURES))
    coefs = ", ".join(f"0.3 * {normal} as b{j}" for j in range(N_FEATURES))
    shared = [0.6, -0.4, 0.3, 0.2, -0.2, 0.1, 0.0, 0.0, 0.0, 0.0]
    score = " + ".join(f"x{j} * ({shared[j]} + b{j})" for j in range(N_FEATURES))
    con = duckdb.connect()
    con.execute(f"set threads = {threads.COUNT}; select setseed(0.5)")
    con.execute(
        f"create table models as select i::integer as shop, 0.7 * {normal} - 0.5 as a, {coefs} "
        f"from range({N_TASKS}) t(i)"
    )
    con.execute(
        f"copy (select r.*, (random() < 1.0 / (1.0 + exp(-(a + {score}))))::integer as bought "
        # Some tasks have many more rows than others.
        f"from (select i as id, floor({N_TASKS} * power(random(), 2))::integer as shop, {z} "
        f"from range({options.rows}) t(i)) r join models using (shop)) to '{path}' (format parquet)"
    )
    print(f"  {path.name}: {path.stat().st_size / 1e6:.0f} MB")
    return path


def parts(path, most=None):
    """Return a connection, and queries of the training rows and of the test rows."""
    con = duckdb.connect()
    con.execute(f"set threads = {threads.COUNT}")
    train = f"select * from '{path}' where id % 20 > 0"
    if most is not None:
        train += f" and id < {most}"
    return con, con.query(train), con.query(f"select * from '{path}' where id % 20 = 0")


def fitted(rows, y, **options):
    """Return a fitted classifier, and its seconds of CPU and of the clock."""
    model = MultiTaskClassifier(
        "partial_pooling", task_column="shop", fold_column="id", verbose=1, **options
    )
    start = time.process_time(), time.perf_counter()
    model.fit(rows, y)
    return model, time.process_time() - start[0], time.perf_counter() - start[1]


def report(name, model, seconds, test):
    """Print the log-loss of new rows, and the seconds."""
    value = (
        model.predict_proba(test)
        .query(
            "found",
            "select -avg(ln(case when bought = 1 then proba_1 else proba_0 end)) from found",
        )
        .fetchall()[0][0]
    )
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    print(
        f"  {name}: log-loss {value:.6f}, {seconds[0]:.1f} s of CPU, {seconds[1]:.1f} s; reported "
        f"{model.task_report_['error_shared'][:-1].mean():.6f}; peak of memory {peak:.1f} GB",
        flush=True,
    )
    return value


def lazy(options):
    """All rows, by queries of DuckDB."""
    _con, train, test = parts(draw(options))
    model, *seconds = fitted(train, "bought")
    report("DuckDB", model, seconds, test)


def memory(options):
    """Some of the rows in memory, and as many by queries of DuckDB."""
    most = min(options.rows, options.most_in_memory)
    _con, train, test = parts(draw(options), most)
    model, *seconds = fitted(train, "bought")
    found = report(f"DuckDB, {most} rows", model, seconds, test)
    rows = train.df()
    model, *seconds = fitted(rows.drop(columns="bought"), rows["bought"].to_numpy())
    wanted = report(f"in memory, {most} rows", model, seconds, test)
    print(f"  relative difference of log-losses {found / wanted - 1.0:.1e}")


SECTIONS = {"lazy": lazy, "memory": memory}


def main():
    """Run the chosen sections."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--only", nargs="+", default=list(SECTIONS), choices=SECTIONS)
    parser.add_argument("--rows", type=int, default=10_000_000, help="rows on disk (10 million)")
    parser.add_argument("--most-in-memory", type=int, default=2_000_000, help="(2 million)")
    parser.add_argument("--folder", default="/tmp/large_scores", help="of the parquet file")
    parser.add_argument("--threads", type=int, default=1, help="threads of all libraries (1)")
    options = parser.parse_args()
    print(f"threads: {threads.COUNT}")
    sections.run(SECTIONS, options.only, options)


if __name__ == "__main__":
    main()
