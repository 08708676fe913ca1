"""Sphinx configuration: ``sphinx-build -n -W docs docs/_build/html``."""

import re

import skmtl

project = "skmtl"
author = "skmtl developers"
copyright = "2026, skmtl developers"
version = release = skmtl.__version__

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.extlinks",
    "sphinx.ext.mathjax",
    "sphinx.ext.napoleon",
]
exclude_patterns = ["_build"]
templates_path = ["_templates"]

# The roles of the docstrings: :doi:`...` and :arxiv:`...`.
extlinks = {
    "doi": ("https://doi.org/%s", "doi:%s"),
    "arxiv": ("https://arxiv.org/abs/%s", "arXiv:%s"),
}

autosummary_generate = True
napoleon_google_docstring = False
# Types stand as they are written, as "array-like of shape (n_samples,)" names no class, and so do
# names: in fields of Sphinx's own, attributes are read as references and lose their underscore.
napoleon_use_param = False
napoleon_use_rtype = False
autodoc_typehints = "none"  # the docstrings say more
napoleon_custom_sections = [("Attributes", "params_style")]

smartquotes = False  # "auto" is a string, and {"auto", "table"} are two

# Nothing is downloaded, so that other projects' names cannot be looked up.
nitpick_ignore_regex = [
    ("py:.*", r"sklearn\..*"),
    ("py:exc", "NotFittedError|NoMomentsError"),
]

html_theme = "alabaster"
html_theme_options = {
    "description": "Learn across tasks with scikit-learn",
    "page_width": "1080px",
    "sidebar_width": "250px",
}
html_show_sourcelink = False


def skip_member(app, what, name, obj, skip, options):
    """Leave out what scikit-learn, or Python, documents: inherited methods, ``set_*_request``."""
    function = getattr(obj, "fget", obj)  # of a property
    module = getattr(function, "__module__", None) or ""
    return (
        skip
        or module.partition(".")[0] != "skmtl"
        or re.fullmatch(r"set_\w+_request", name) is not None
    )


_PROPERTIES = {}  # docstrings of properties as they are written


def keep_property(app, what, name, obj, options, lines):
    if what == "property" and not any(line.startswith("---") for line in lines):
        _PROPERTIES[name] = list(lines)


def restore_property(app, what, name, obj, options, lines):
    """Napoleon would take what stands before a colon for the property's type."""
    lines[:] = _PROPERTIES.pop(name, lines)


def setup(app):
    """Called by Sphinx."""
    app.connect("autodoc-skip-member", skip_member)
    app.connect("autodoc-process-docstring", keep_property, priority=400)  # before napoleon's 500
    app.connect("autodoc-process-docstring", restore_property, priority=600)
