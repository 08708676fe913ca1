"""What users call is annotated, and documented as numpydoc asks for."""

import inspect
import tomllib

import pytest
from numpydoc.validate import validate
from test_docs import DOCS, entries, listed, public_methods

needs_docs = pytest.mark.skipif(not DOCS.is_dir(), reason="the guide is not beside the tests")


def surface():
    """Names of all public objects and of their public methods, and the objects."""
    found = {}
    for thing in (listed() if DOCS.is_dir() else {}).values():
        name = f"{thing.__module__}.{thing.__qualname__}"
        found[name] = thing
        if inspect.isclass(thing):
            found |= {f"{name}.{m}": getattr(thing, m) for m in public_methods(thing)}
    return found


def left_out():
    """Codes of what numpydoc may ask for and pyproject.toml does not."""
    config = tomllib.loads((DOCS.parent / "pyproject.toml").read_text())
    checks = config["tool"]["numpydoc_validation"]["checks"]
    assert checks[0] == "all"
    return checks[1:]


SURFACE = surface()


@needs_docs
def test_the_surface_is_found():
    assert len(SURFACE) > 2 * len(entries()) > 100
    assert "skmtl.multitask.regressor.MultiTaskRegressor.fit" in SURFACE


@pytest.mark.parametrize("name", SURFACE)
def test_docstrings_are_valid(name):
    if SURFACE[name].__doc__ is None:
        assert inspect.getdoc(SURFACE[name]), "no docstring, not even an inherited one"
        return
    errors = [error for error in validate(name)["errors"] if error[0] not in left_out()]
    assert errors == []


@pytest.mark.parametrize("name", SURFACE)
def test_signatures_are_annotated(name):
    thing = SURFACE[name]
    if isinstance(thing, property):
        thing = thing.fget
    elif inspect.isclass(thing) and "__init__" not in vars(thing):
        pytest.skip("its constructor is inherited")
    signature = inspect.signature(thing.__init__ if inspect.isclass(thing) else thing)
    without = [
        p.name for p in signature.parameters.values()
        if p.name not in ("self", "cls") and p.annotation is p.empty
    ]  # fmt: skip
    if not inspect.isclass(thing) and signature.return_annotation is signature.empty:
        without.append("return")
    assert without == []
