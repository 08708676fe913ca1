"""Rules of the house that code alone would not enforce."""

import ast
from pathlib import Path

import pytest

import skmtl

PACKAGE = Path(skmtl.__file__).parent
KERNELS = sorted((PACKAGE / "kernels").glob("*.py"))
FILES = sorted(path for path in PACKAGE.rglob("*.py") if path.name != "_compat.py")


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_private_parts_of_scikit_learn_are_imported_in_one_place(path):
    private = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("sklearn"):
            names = [node.module, *(name.name for name in node.names)]
            private += [n for n in names if any(part[0] == "_" for part in n.split("."))]
    assert private == []


@pytest.mark.parametrize("path", KERNELS, ids=lambda path: path.name)
def test_kernels_have_at_most_ten_arguments(path):
    """What belongs together is passed as a named tuple."""
    counts = {}
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, (ast.FunctionDef, ast.Lambda)):
            given = node.args
            every = [*given.posonlyargs, *given.args, *given.kwonlyargs, given.vararg, given.kwarg]
            counts[getattr(node, "name", "lambda")] = sum(a is not None for a in every)
    assert {name: count for name, count in counts.items() if count > 10} == {}
