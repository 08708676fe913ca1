"""Sphinx configuration: ``sphinx-build -W docs docs/_build/html``."""

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
napoleon_use_ivar = True
napoleon_use_rtype = False
napoleon_preprocess_types = True

html_theme = "alabaster"
html_theme_options = {
    "description": "Learn across tasks with scikit-learn",
    "page_width": "1080px",
    "sidebar_width": "250px",
}
html_show_sourcelink = False


def skip_routing_methods(app, what, name, obj, skip, options):
    """Leave out the ``set_*_request`` methods: scikit-learn makes and documents them."""
    return skip or re.fullmatch(r"set_\w+_request", name) is not None


def setup(app):
    """Called by Sphinx."""
    app.connect("autodoc-skip-member", skip_routing_methods)
