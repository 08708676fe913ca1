"""Compiled functions call compiled functions of the kernels' folder only; importing stays light.

The cache is stamped with that folder: a kernel that calls a helper elsewhere would be served stale,
with wrong numbers, after an upgrade. That the stamp is of the whole folder is tested in test_jit.
"""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

import skmtl

PACKAGE = Path(skmtl.__file__).parent
ROOM = PACKAGE / "kernels"
KERNEL_FILES = sorted(path for path in ROOM.glob("*.py") if path.name != "__init__.py")
ALLOWED_IMPORTS = {"numpy", "math", "collections", ".._jit"}
ALLOWED_IMPORTS |= {f".{path.stem}" for path in KERNEL_FILES}
# Names that kernels may use besides numpy and their own folder.
ALLOWED_BUILTINS = {"range", "len", "min", "max", "abs", "float", "int", "bool", "zip"}
ALLOWED_BUILTINS |= {"enumerate", "round", "sum", "tuple"}


def imported_modules(tree):
    """Return all modules imported in a file, relative ones with their dots."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            dots = "." * node.level
            if node.module is None:
                yield from (dots + name.name for name in node.names)
            else:
                yield dots + node.module


def is_jitted(function):
    names = [d.func if isinstance(d, ast.Call) else d for d in function.decorator_list]
    return any(ast.unparse(name).endswith("njit") for name in names)


def free_names(function):
    """Return the names that a function reads but does not assign."""
    arguments = function.args
    bound = {a.arg for a in [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]}
    nodes = list(ast.walk(ast.Module(body=function.body, type_ignores=[])))
    bound |= {n.id for n in nodes if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
    return {n.id for n in nodes if isinstance(n, ast.Name)} - bound


def functions_of(tree):
    return [node for node in tree.body if isinstance(node, ast.FunctionDef)]


def own_names(tree):
    """Return the jitted functions and constants of a file."""
    constants = {
        target.id
        for node in tree.body
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    return constants | {f.name for f in functions_of(tree) if is_jitted(f)}


def names_from_the_folder(tree):
    """Return the jitted functions and constants that a file imports from others of the folder."""
    for node in tree.body:
        if isinstance(node, ast.ImportFrom) and node.level == 1 and node.module:
            there = own_names(ast.parse((ROOM / f"{node.module}.py").read_text()))
            public = {name for name in there if name[0] != "_"}
            yield from public & {name.name for name in node.names if name.asname is None}


def foreign_names(source):
    """Return the names that jitted functions of a file take from elsewhere: should be empty."""
    tree = ast.parse(source)
    known = own_names(tree) | {*names_from_the_folder(tree)} | ALLOWED_BUILTINS | {"np", "math"}
    jitted = [f for f in functions_of(tree) if is_jitted(f)]
    return {(f.name, name) for f in jitted for name in free_names(f) - known}


def test_the_room_has_kernels():
    assert {"arrow.py", "moments.py"} <= {path.name for path in KERNEL_FILES}
    assert all("@njit" in path.read_text() for path in KERNEL_FILES)


@pytest.mark.parametrize("path", KERNEL_FILES, ids=lambda path: path.name)
def test_kernel_files_import_from_their_folder_only(path):
    assert set(imported_modules(ast.parse(path.read_text()))) <= ALLOWED_IMPORTS


@pytest.mark.parametrize("path", KERNEL_FILES, ids=lambda path: path.name)
def test_kernels_call_kernels_of_their_folder(path):
    assert foreign_names(path.read_text()) == set()


@pytest.mark.parametrize(
    "source",
    [
        "from ..solvers.products import f\n@njit\ndef g(x):\n    return f(x)",
        "from .heads import gram_matrices\n@njit\ndef f(x):\n    return gram_matrices(x, x)",
        "from .heads import _reduce\n@njit\ndef f(x):\n    return _reduce(x, 1, 1)",
        "def helper(x):\n    return x\n@njit\ndef f(x):\n    return helper(x)",
        "@njit\ndef f(x):\n    from ..base import pull\n    return pull(x, 1.0)",
    ],
    ids=[
        "another folder's",
        "another file's, not compiled",
        "another file's own",
        "not compiled",
        "imported inside",
    ],
)
def test_the_guard_sees_what_it_guards_against(source):
    outside = set(imported_modules(ast.parse(source))) - ALLOWED_IMPORTS
    assert outside or foreign_names(source)


# The one file that imports numba; it is imported with the first kernel.
NUMBA = PACKAGE / "_kernel.py"


def test_only_one_file_says_numba_and_only_kernels_say_njit():
    for path in PACKAGE.rglob("*.py"):
        tree = ast.parse(path.read_text())
        name = path.relative_to(PACKAGE).as_posix()
        if path != NUMBA:
            roots = {module.split(".")[0] for module in imported_modules(tree)}
            assert "numba" not in roots, name
        if path.parent != ROOM and name != "_jit.py":
            read = {n.id for n in ast.walk(tree) if isinstance(n, ast.Name)}
            assert "njit" not in read, name


def is_helper(function):
    """Kernels compiled without a wrapper for calls from Python, which would end the process."""
    options = [k for d in function.decorator_list if isinstance(d, ast.Call) for k in d.keywords]
    return any(k.arg == "helper" for k in options)


@pytest.mark.parametrize("path", KERNEL_FILES, ids=lambda path: path.name)
def test_helpers_are_called_by_kernels_only(path):
    tree = ast.parse(path.read_text())
    helpers = {f.name for f in functions_of(tree) if is_helper(f)}
    imports = re.compile(rf"kernels\.{path.stem} import|from \.{path.stem} import")
    for other in [*PACKAGE.rglob("*.py"), *Path(__file__).parents[1].rglob("*.py")]:
        text = other.read_text()
        assert not set(re.findall(rf"\b{path.stem}\.(\w+)", text)) & helpers, other
        if other == path or (other != Path(__file__) and imports.search(text)):
            plain = [f for f in ast.walk(ast.parse(text)) if isinstance(f, ast.FunctionDef)]
            plain = [f for f in plain if not is_jitted(f)]
            assert not any(free_names(f) & helpers for f in plain), other


def test_import_is_light():
    code = (
        "import sys, sklearn.linear_model, sklearn.metrics, sklearn.model_selection\n"
        "before = set(sys.modules)\n"  # scikit-learn imports pandas if it is installed
        "import skmtl, skmtl.sharing, skmtl.metrics, skmtl.model_selection\n"
        "skmtl.MultiTaskRegressor()\n"
        "heavy = {'numba', 'llvmlite', 'pandas', 'polars', 'matplotlib', 'scipy.optimize'}\n"
        "print(sorted(heavy & (set(sys.modules) - before)), 'numba' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[] False"


@pytest.mark.parametrize("name", ["pandas", "polars", "matplotlib", "numba", "llvmlite"])
def test_no_module_imports_optional_packages_at_its_top(name):
    for path in set(PACKAGE.rglob("*.py")) - {NUMBA}:
        top = ast.Module(body=ast.parse(path.read_text()).body, type_ignores=[])
        top.body = [n for n in top.body if isinstance(n, (ast.Import, ast.ImportFrom))]
        assert name not in {module.split(".")[0] for module in imported_modules(top)}, path
