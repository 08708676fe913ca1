"""The package imports its estimators when they are asked for."""

import importlib
import subprocess
import sys

import pytest

import skmtl


def run(code):
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_wrong_path_is_reported_before_anything_is_imported():
    command = [sys.executable, "-X", "importtime", "-m", "skmtl", "nope.csv", "--task=a"]
    done = subprocess.run([*command, "--target=b"], capture_output=True, text=True)
    assert done.returncode == 2 and done.stdout == ""
    lines = done.stderr.splitlines()
    said = [line for line in lines if not line.startswith("import time:")]
    assert said == ["skmtl: nope.csv: no such file"]
    imported = {line.rpartition("|")[2].strip() for line in lines}
    assert "skmtl._arguments" in imported
    assert not imported & {"numpy", "pandas", "sklearn", "numba", "skmtl.base", "skmtl.multitask"}


def test_names_are_found_in_a_fresh_process():
    names = ", ".join(skmtl.__all__)
    found = run(f"from skmtl import {names}; print({names})")
    for name in skmtl.__all__:
        assert name in found or name == "__version__"
    shown = run("import skmtl; print(dir(skmtl))")  # nothing has been asked for yet
    assert all(repr(name) in shown for name in [*skmtl.__all__, "sharing", "metrics"])
    assert "PartialPooling" in run("import skmtl; print(skmtl.sharing.PartialPooling)")


def test_submodules_are_found():
    for name in ("base", "datasets", "inspection", "learners", "metrics", "sharing", "tasks"):
        assert getattr(skmtl, name) is importlib.import_module(f"skmtl.{name}")


def test_unknown_names():
    for name in ("MultiTask", "_nothing"):
        with pytest.raises(AttributeError, match=f"no attribute '{name}'"):
            getattr(skmtl, name)
    with pytest.raises(ImportError):
        exec("from skmtl import MultiTask")
