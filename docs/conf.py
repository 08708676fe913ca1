"""Sphinx configuration: ``sphinx-build -W docs docs/_build/html``."""

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

# The docstrings' :doi:`...` role.
extlinks = {"doi": ("https://doi.org/%s", "doi:%s")}

autosummary_generate = True
autodoc_default_options = {"members": True, "inherited-members": False, "show-inheritance": False}
napoleon_google_docstring = False
napoleon_use_ivar = True
napoleon_use_rtype = False

html_theme = "alabaster"
html_theme_options = {
    "description": "Learn across tasks with scikit-learn",
    "page_width": "1080px",
    "sidebar_width": "250px",
}
html_show_sourcelink = False
