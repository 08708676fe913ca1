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


def _module_of(path):
    parts = ["skmtl", *path.relative_to(PACKAGE).with_suffix("").parts]
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


EVERY_FILE = {_module_of(path): path for path in sorted(PACKAGE.rglob("*.py"))}


def _imported(module, node):
    """The package's own modules that an import statement names, and the names it takes of each."""
    if isinstance(node, ast.Import):
        return [(name.name, None) for name in node.names if name.name in EVERY_FILE]
    base = node.module or ""
    if node.level:
        is_package = EVERY_FILE[module].name == "__init__.py"
        parts = module.split(".")
        parts = parts[: len(parts) - node.level + is_package]
        base = ".".join([*parts, node.module] if node.module else parts)
    out = []
    for name in node.names:
        inner = f"{base}.{name.name}"
        out.append((inner, None) if inner in EVERY_FILE else (base, name.name))
    return [pair for pair in out if pair[0] in EVERY_FILE]


def _imports(module):
    """What a module imports when it runs: not what stands there for type checkers."""
    nodes = [ast.parse(EVERY_FILE[module].read_text())]
    while nodes:
        node = nodes.pop()
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            yield from _imported(module, node)
        elif not (isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"):
            nodes += ast.iter_child_nodes(node)


def test_no_file_takes_part_in_a_circle_of_imports():
    """Importing a module imports its packages, too; a name of a package needs all of it."""
    needs = {module: set() for module in EVERY_FILE}
    for module in EVERY_FILE:
        for other, name in _imports(module):
            needs[module] |= {other} if name is not None else set()
            parents = [other.rsplit(".", n)[0] for n in range(other.count("."))]
            needs[module] |= {p for p in parents if p != module and not module.startswith(p + ".")}
    while True:
        free = {module for module, others in needs.items() if not others & needs.keys()}
        if not free:
            break
        needs = {module: others for module, others in needs.items() if module not in free}
    assert sorted(needs) == []


@pytest.mark.parametrize("module", EVERY_FILE)
def test_private_modules_and_names_stay_in_their_room(module):
    room = module.split(".")[1:2]
    foreign = []
    for other, name in _imports(module):
        first, *rest = other.split(".")[1:] or [""]
        private = [part for part in [*rest, name or ""] if part.startswith("_")]
        if [first] != room and private:
            foreign.append((other, name))
    assert foreign == []


def test_classes_have_names_of_their_own():
    """But for those that are public in two packages on purpose."""
    places = {}
    for module, path in EVERY_FILE.items():
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ClassDef):
                places.setdefault(node.name.lstrip("_"), []).append(module)
    twice = {name for name, modules in places.items() if len(modules) > 1}
    assert twice == {"Auto", "Independent", "Pooled"}


# What may be imported late: numba (`_kernel`), and optional libraries; and all that the command
# line does not need to say that a path is wrong.
LATE = {
    "_kernel", "dask", "ibis", "matplotlib", "narwhals", "ot", "pandas", "polars", "pyarrow",
}  # fmt: skip
COMMAND_LINE = {"__main__.py", "_arguments.py", "_measure.py", "_table.py"}


@pytest.mark.parametrize("module", EVERY_FILE)
def test_imports_stand_at_the_top(module):
    path, late = EVERY_FILE[module], []
    if path.name in COMMAND_LINE and path.parent == PACKAGE:
        return
    for function in ast.walk(ast.parse(path.read_text())):
        if isinstance(function, ast.FunctionDef):
            for node in ast.walk(function):
                if isinstance(node, ast.Import):
                    late += [name.name.split(".")[0] for name in node.names]
                elif isinstance(node, ast.ImportFrom):
                    late.append((node.module or "").split(".")[0])
    assert set(late) <= LATE


@pytest.mark.parametrize("module", EVERY_FILE)
def test_files_and_functions_are_short(module):
    text = EVERY_FILE[module].read_text()
    assert text.count("\n") <= 600
    long = []
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef):
            first = node.body[0]
            documented = ast.get_docstring(node) is not None
            n_lines = node.end_lineno - node.lineno + 1
            n_lines -= (first.end_lineno - first.lineno + 1) if documented else 0
            if n_lines > 60:
                long.append((node.name, n_lines))
    assert long == []
