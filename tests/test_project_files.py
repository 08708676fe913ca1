"""Files beside the package say the same as the package."""

import re
import tomllib
from pathlib import Path

import pytest

import skmtl

CHECKOUT = Path(__file__).parent.parent


def text(name):
    """The text of a file of the checkout; skips where the tests stand alone."""
    path = CHECKOUT / name
    if not path.is_file():
        pytest.skip(f"{name} is not beside the tests")
    return path.read_text(encoding="utf-8")


def test_the_citation_names_the_version():
    assert re.findall(r"^version: (.*)$", text("CITATION.cff"), re.M) == [skmtl.__version__]


def test_the_changelog_has_the_version():
    newest = re.search(r"^## (.*)$", text("CHANGELOG.md"), re.M)[1]
    assert re.match(rf"\[Unreleased\]|\[{re.escape(skmtl.__version__)}\]", newest)


def test_licenses_agree():
    project = tomllib.loads(text("pyproject.toml"))["project"]
    assert re.findall(r"^license: (.*)$", text("CITATION.cff"), re.M) == [project["license"]]


def test_ruff_is_of_one_version():
    """What `ruff format` thinks right changes between versions."""
    extras = tomllib.loads(text("pyproject.toml"))["project"]["optional-dependencies"]
    (bound,) = re.findall(r"ruff>=(\d+\.\d+),", " ".join(extras["test"]))
    (hook,) = re.findall(r"ruff-pre-commit\n +rev: v(\d+\.\d+)\.", text(".pre-commit-config.yaml"))
    assert hook == bound
