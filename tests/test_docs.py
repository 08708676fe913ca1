"""The API pages of the guide: all that is public has a page, and every public method is on it.

The pages themselves are read where `SKMTL_GUIDE` names the folder that Sphinx wrote to, as the
stage "guide" of `.ci/run` does.
"""

import html
import importlib
import inspect
import os
import re
from pathlib import Path
from urllib.parse import unquote

import pytest

import skmtl

MODULES = (
    "skmtl", "skmtl.adaptation", "skmtl.datasets", "skmtl.inspection", "skmtl.learners",
    "skmtl.meta", "skmtl.metrics", "skmtl.model_selection", "skmtl.multitask", "skmtl.queries",
    "skmtl.sharing", "skmtl.transfer",
)  # fmt: skip
DOCS = Path(__file__).parent.parent / "docs"
BUILT = os.environ.get("SKMTL_GUIDE")
needs_docs = pytest.mark.skipif(not DOCS.is_dir(), reason="the guide is not beside the tests")
needs_pages = pytest.mark.skipif(not BUILT, reason="the guide is not built: set SKMTL_GUIDE")


def entries():
    """What api.rst lists, by the name of its page."""
    found = re.findall(r"^    ([A-Za-z_][\w.]*)$", (DOCS / "api.rst").read_text(), re.MULTILINE)
    return [f"skmtl.{entry}" for entry in found]


def listed():
    """What there is of that, by the name of its page."""
    return {page: thing for page in entries() if (thing := _find(page)) is not None}


def _find(path):
    module, _, name = path.rpartition(".")
    return getattr(importlib.import_module(module), name, None)


def public_methods(cls):
    """Names of our own public methods and properties, inherited ones included."""
    names = []
    for name, member in inspect.getmembers(cls):
        if name.startswith("_") or re.fullmatch(r"set_\w+_request", name):
            continue
        function = member.fget if isinstance(member, property) else member
        if not callable(function) or inspect.isclass(function):
            continue
        if (getattr(function, "__module__", None) or "").partition(".")[0] == "skmtl":
            names.append(name)
    return names


def classes():
    pages = listed() if DOCS.is_dir() else {}
    return [pytest.param(p, c, id=p) for p, c in pages.items() if inspect.isclass(c)]


def documented_attributes(cls):
    """Names in the section "Attributes" of the docstring."""
    text = inspect.cleandoc(cls.__doc__)
    section = re.search(r"^Attributes\n-+\n(.*?)(?=^\S[^\n]*\n---|\Z)", text, re.M | re.S)
    names = re.findall(r"^(\w[\w, ]*?)(?: : .*)?$", section[1], re.M) if section else []
    return [name for line in names for name in line.split(", ")]


@needs_docs
def test_what_has_a_page_exists():
    assert [page for page in entries() if _find(page) is None] == []


@needs_docs
@pytest.mark.parametrize("module", MODULES)
def test_all_that_is_public_has_a_page(module):
    pages = list(listed().values())
    found = importlib.import_module(module)
    for name in found.__all__:
        if inspect.isclass(getattr(found, name)) or inspect.isfunction(getattr(found, name)):
            assert getattr(found, name) in pages, f"docs/api.rst lacks {module}.{name}"


def test_the_list_of_modules_is_complete():
    folder = Path(skmtl.__file__).parent
    rooms = {path.parent.name for path in folder.glob("*/__init__.py")}
    internal = {"guard", "kernels", "losses", "solvers", "tasks"}
    assert rooms - internal == {name.removeprefix("skmtl.") for name in MODULES} - {"skmtl"}


@pytest.mark.parametrize("page, cls", classes())
def test_public_methods_have_docstrings(page, cls):
    # Sphinx leaves out what has none.
    without = [name for name in public_methods(cls) if not inspect.getdoc(getattr(cls, name))]
    assert without == []


def test_public_methods_include_inherited_ones():
    methods = public_methods(skmtl.MultiTaskRegressor)
    assert {"fit", "adapt", "for_task", "coef_frame", "score"} <= set(methods)
    assert "get_params" not in methods  # scikit-learn's
    assert "get_n_splits" in public_methods(_find("skmtl.model_selection.TaskKFold"))


@needs_pages
@pytest.mark.parametrize("page, cls", classes())
def test_every_public_method_is_on_the_page(page, cls):
    text = (Path(BUILT) / "generated" / f"{page}.html").read_text()
    there = set(re.findall(rf'id="{re.escape(page)}\.(\w+)"', text))
    if not there:  # known by the module that defines it
        there = set(re.findall(rf'id="[\w.]*\.{cls.__name__}\.(\w+)"', text))
    assert set(public_methods(cls)) - there == set()


@needs_pages
@pytest.mark.parametrize("page, cls", classes())
def test_attributes_keep_their_underscore(page, cls):
    text = (Path(BUILT) / "generated" / f"{page}.html").read_text()
    bold = {html.unescape(name) for name in re.findall(r"<strong>([^<]*)</strong>", text)}
    names = {name for entry in bold for name in entry.split(", ")}
    assert set(documented_attributes(cls)) - names == set()


@needs_pages
def test_internal_links_lead_somewhere():
    # Sphinx resolves its own references; charts and cards in raw HTML are links of ours.
    pages = {path: path.read_text() for path in Path(BUILT).rglob("*.html")}
    names = {
        path.resolve(): set(re.findall(r'\b(?:id|name)="([^"]+)"', text))
        for path, text in pages.items()
    }
    broken = set()
    for path, text in pages.items():
        for link in re.findall(r'<a\b[^>]*?\bhref="([^"]+)"', text):
            target, _, anchor = html.unescape(link).partition("#")
            if ":" in target:  # of another site
                continue
            page = (path.parent / unquote(target)).resolve() if target else path.resolve()
            found = page.exists() and (not anchor or page not in names or anchor in names[page])
            if not found:
                broken.add((path.name, link))
    assert broken == set()


def test_attributes_are_found_in_docstrings():
    names = documented_attributes(skmtl.MultiTaskRegressor)
    assert {"tasks_", "coef_", "kkt_residual_", "feature_names_in_"} <= set(names)
    display = _find("skmtl.inspection.TaskReportDisplay")
    assert {"independent_", "pooled_"} <= set(documented_attributes(display))
