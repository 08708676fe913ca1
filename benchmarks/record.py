"""Record what benchmarks print, for the page "Benchmarks" of the documentation.

Run ``python benchmarks/record.py accuracy crossed``: each is run as its command below says, and
what it prints goes to ``docs/measured/``; ``--help`` lists all of them.
"""

from __future__ import annotations

import argparse
import datetime
import platform
import re
import shlex
import subprocess
import sys
import time
from importlib import metadata
from pathlib import Path

HERE = Path(__file__).parent
COMMANDS = {
    "accuracy": "accuracy.py",
    "classification": "classification.py --only accuracy churn",
    "counts": "counts.py --gpboost",
    "crossed": "crossed.py",
    "intervals": "intervals.py",
    "large_tables": (
        "large_tables.py --only engines rows --rows 1e6 1e7 --engines polars duckdb ibis dask"
    ),
    "levels": "levels.py --gpboost",
    "speed": "speed.py --only school one_row startup",
    "streams": "streams.py",
    "transfer": "transfer.py --only negative guard",
}
PACKAGES = "skmtl", "scikit-learn", "numpy", "numba", "gpboost", "lightgbm"


def processor():
    """Return the name of the processor, where the system tells it."""
    path = Path("/proc/cpuinfo")
    lines = path.read_text().splitlines() if path.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{names[0]}, {len(names)} cores" if names else platform.processor()


def installed(package):
    """Return the version of a package, or a dash."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "-"


def without_logs(lines):
    """Replace what libraries in C++ log to the standard output by the number of such lines."""
    kept = [line for line in lines if not re.match(r"\[(GPBoost|LightGBM)\] ", line)]
    left_out = len(lines) - len(kept)
    return kept + [f"(without {left_out} log lines of the peers)"] * bool(left_out)


def record(name, shared, folder):
    """Run a benchmark; write what it prints, below the command, the date and the machine."""
    script, *arguments = shlex.split(COMMANDS[name])
    takes_tables = '"--shared"' in (HERE / script).read_text()
    place = ["--shared", str(shared)] if shared and takes_tables else []
    start = time.perf_counter()
    done = subprocess.run(
        [sys.executable, str(HERE / script), *arguments, *place],
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    if done.returncode:
        print(f"{name} failed with exit code {done.returncode}; nothing is written", flush=True)
        return False
    versions = ", ".join(f"{package} {installed(package)}" for package in PACKAGES)
    minutes = (time.perf_counter() - start) / 60
    head = [
        f"$ python benchmarks/{COMMANDS[name]}",
        f"{datetime.date.today()}, {minutes:.1f} minutes; {processor()}",
        f"Python {platform.python_version()}, {versions}",
    ]
    lines = without_logs([line.rstrip() for line in done.stdout.splitlines()])
    folder.mkdir(exist_ok=True)
    (folder / f"{name}.txt").write_text("\n".join([*head, "", *lines]).rstrip() + "\n")
    print(f"{name}: {minutes:.1f} minutes", flush=True)
    return True


def main():
    """Record the chosen benchmarks."""
    parser = argparse.ArgumentParser(
        description=__doc__.partition("\n")[0],
        epilog="; ".join(f"{name}: {command}" for name, command in COMMANDS.items()),
    )
    parser.add_argument("names", nargs="*", default=list(COMMANDS), choices=list(COMMANDS))
    parser.add_argument("--shared", help="folder that holds data/ and bench/")
    parser.add_argument("--folder", type=Path, default=HERE.parent / "docs" / "measured")
    options = parser.parse_args()
    results = [record(name, options.shared, options.folder) for name in options.names]
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main())
