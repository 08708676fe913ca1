"""Sessions of development: `nox -l` lists them, `nox -s lint types` runs two of them.

All of them install the package from the checkout, never in editable mode, so that a missing
dependency or data file shows up.
"""

import os
import re
import shutil
import sys
from pathlib import Path

import nox

PROJECT = nox.project.load_toml("pyproject.toml")["project"]
# What of the extra `test` the package works with; the rest is tools.
LIBRARIES = ("POT", "dask", "duckdb", "matplotlib", "pandas", "polars", "pyarrow", "statsmodels")

nox.needs_version = ">=2024.4.15"
nox.options.sessions = ["lint", "types", "tests_newest"]
nox.options.error_on_missing_interpreters = True

# As in .ci/run: nothing but the installed package is imported, and the tests run a process a core.
os.environ.pop("PYTHONPATH", None)
os.environ.update(
    dict.fromkeys(
        ["OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"], "1"
    ),
    MPLBACKEND="Agg",
    PYTHONSAFEPATH="1",
)


def install(session, extras="", *more):
    """Install the checkout with some extras, and further requirements."""
    shutil.rmtree("build", ignore_errors=True)  # setuptools would install files deleted since
    session.install(f".{extras}", *more)


def fresh_python(session, folder):
    """Make a virtual environment; return its interpreter."""
    session.run("python", "-m", "venv", "--clear", str(folder))
    return str(folder / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python"))


def oldest():
    """Return requirements of the oldest supported libraries, by the bounds in pyproject.toml."""
    extras = [r for r in PROJECT["optional-dependencies"]["test"] if r.startswith(LIBRARIES)]
    bounds = PROJECT["dependencies"] + extras
    return [re.sub(r">=([\d.]+).*", r"==\1", requirement) for requirement in bounds]


@nox.session(python="3.11")
def tests_oldest(session):
    """Run the tests with the oldest supported Python and libraries; arguments go to pytest."""
    install(session, "[test]", *oldest())
    session.run("python", "-m", "pytest", *session.posargs)


@nox.session
def tests_newest(session):
    """Run the tests with the newest libraries; arguments go to pytest."""
    install(session, "[test]", "--upgrade", "--upgrade-strategy=eager")
    session.run("python", "-m", "pytest", *session.posargs)


@nox.session
def docs(session):
    """Build the user guide with its gallery, every reference resolved; read its API pages."""
    install(session, "[docs,test]")
    guide = str(Path(session.create_tmp()) / "guide")
    session.run("python", "-m", "sphinx", "-n", "-W", "--keep-going", "docs", guide)
    session.env["SKMTL_GUIDE"] = guide
    session.run("python", "-m", "pytest", "-n", "0", "tests/test_docs.py")


@nox.session
def lint(session):
    """Check style, format, spelling, and docstrings of what is public."""
    install(session, "[dev,test]")
    code = ["skmtl", "tests", "benchmarks", "docs", "noxfile.py"]
    session.run("ruff", "check", *code)
    session.run("ruff", "format", "--check", *code)
    session.run("codespell", *code, *map(str, Path().glob("*.md")))
    session.run("python", "-m", "pytest", "-q", "-n", "0", "tests/test_public_surface.py")


@nox.session
def types(session):
    """Check the types of the public signatures, as the package has them and as a user sees them."""
    install(session, "[test]")
    session.run("mypy", "-p", "skmtl")
    session.run("mypy", "--strict", "--follow-imports=silent", "tests/typed_usage.py")


@nox.session
def wheel(session):
    """Build both distributions, and run the main job with nothing but the wheel installed."""
    session.install("build", "twine")
    folder = Path(session.create_tmp())
    shutil.rmtree(folder / "dist", ignore_errors=True)
    shutil.rmtree("build", ignore_errors=True)
    session.run("python", "-m", "build", "--outdir", str(folder / "dist"))
    session.run("twine", "check", "--strict", *map(str, (folder / "dist").iterdir()))
    python = fresh_python(session, folder / "fresh")
    (built,) = (folder / "dist").glob("*.whl")
    session.run(python, "-m", "pip", "install", "--quiet", str(built), external=True)
    session.run(python, "-m", "skmtl", external=True)


@nox.session
def benchmarks(session):
    """Time hot paths of the checkout beside those of another revision: `-- REVISION`."""
    if len(session.posargs) != 1:
        session.error("name the revision to compare with: nox -s benchmarks -- REVISION")
    folder = Path(session.create_tmp())
    base, head = (fresh_python(session, folder / name) for name in ("base", "head"))
    tree = str(folder / "tree")
    session.run(
        "git", "worktree", "add", "--force", "--detach", tree, *session.posargs, external=True
    )
    try:
        session.run(base, "-m", "pip", "install", "--quiet", tree, "pandas", external=True)
    finally:
        session.run("git", "worktree", "remove", "--force", tree, external=True)
    shutil.rmtree("build", ignore_errors=True)
    session.run(head, "-m", "pip", "install", "--quiet", ".", "pandas", external=True)
    session.env["PYTHONSAFEPATH"] = ""  # the scripts import those beside them
    session.run(head, "benchmarks/hot_paths.py", base, head, external=True)
