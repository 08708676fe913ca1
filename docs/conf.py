"""Sphinx configuration: ``sphinx-build -n -W docs docs/_build/html``.

With ``-D plot_gallery=0`` the examples are listed, but not run.
"""

import os
import re

for _library in "OMP", "OPENBLAS", "MKL", "NUMBA":  # before numpy loads: examples are small
    os.environ.setdefault(f"{_library}_NUM_THREADS", "1")

import matplotlib  # noqa: E402

import skmtl  # noqa: E402

matplotlib.use("agg")

project = "skmtl"
author = "skmtl developers"
copyright = "2026, skmtl developers"
version = release = skmtl.__version__

extensions = [
    "matplotlib.sphinxext.plot_directive",
    "myst_parser",  # for the changelog
    "numpydoc",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.extlinks",
    "sphinx.ext.intersphinx",
    "sphinx-mathjax-offline",  # formulas need no network
    "sphinx_copybutton",
    "sphinx_design",
    "sphinx_gallery.gen_gallery",
]
exclude_patterns = ["_build", "examples"]
templates_path = ["_templates"]

# The roles of the docstrings: :doi:`...` and :arxiv:`...`.
extlinks = {
    "doi": ("https://doi.org/%s", "doi:%s"),
    "arxiv": ("https://arxiv.org/abs/%s", "arXiv:%s"),
}

autosummary_generate = True
autodoc_typehints = "none"  # the docstrings say more
numpydoc_show_class_members = False  # the template lists them
numpydoc_xref_param_type = False

toc_object_entries_show_parents = "hide"
default_role = "literal"  # of single backticks
smartquotes = False  # "auto" is a string, and {"auto", "table"} are two

# The list of names stands in for the network, so that a build is the same with and without it.
intersphinx_mapping = {
    name: (url, (f"_inventories/{name}.txt",))
    for name, url in {
        "matplotlib": "https://matplotlib.org/stable/",
        "numpy": "https://numpy.org/doc/stable/",
        "pandas": "https://pandas.pydata.org/docs/",
        "python": "https://docs.python.org/3/",
        "sklearn": "https://scikit-learn.org/stable/",
    }.items()
}
nitpick_ignore_regex = [("py:exc", "NotFittedError|NoMomentsError")]

copybutton_exclude = ".linenos, .gp, .go"  # prompts and output stay behind

plot_html_show_source_link = False
plot_html_show_formats = False
plot_formats = [("svg", 96)]

sphinx_gallery_conf = {
    "examples_dirs": "examples",
    "gallery_dirs": "auto_examples",
    "filename_pattern": r"plot_",
    "subsection_order": [
        f"examples/{section}"
        for section in ("all_tasks", "tasks_of_tomorrow", "one_task", "in_practice")
    ],
    "within_subsection_order": "FileNameSortKey",
    "backreferences_dir": "generated/backreferences",
    "doc_module": ("skmtl",),
    "reference_url": {"skmtl": None},
    "remove_config_comments": True,
    "ignore_repr_types": r"matplotlib",
    "show_memory": False,
    "show_signature": False,
    "matplotlib_animations": False,
    "min_reported_time": 0,
    "download_all_examples": True,
}

html_theme = "pydata_sphinx_theme"
html_title = f"skmtl {version}"
html_static_path = ["_static"]
html_css_files = ["skmtl.css"]
html_logo = "_static/logo.svg"
html_favicon = "_static/logo.svg"
html_show_sourcelink = False
html_theme_options = {
    "logo": {"text": f"skmtl {version}"},
    "navbar_align": "left",
    "navbar_end": ["theme-switcher", "navbar-icon-links"],
    "header_links_before_dropdown": 6,
    "icon_links": [
        {
            "name": "GitHub",
            "url": "https://github.com/skmtl/skmtl",
            "icon": "fa-brands fa-github",
        }
    ],
    "show_toc_level": 1,
    "show_prev_next": False,
    "secondary_sidebar_items": ["page-toc", "sg_download_links"],
    "footer_start": ["copyright"],
    "footer_end": [],
}
# A page of one level has nothing to list beside it.
html_sidebars = {
    name: []
    for name in (
        "index",
        "install",
        "quick_start",
        "which_estimator",
        "faq",
        "when_not_to_use",
        "benchmarks",
        "glossary",
        "changelog",
    )
}


def skip_member(app, what, name, obj, skip, options):
    """Leave out what scikit-learn, or Python, documents: inherited methods, ``set_*_request``."""
    function = getattr(obj, "fget", obj)  # of a property
    module = getattr(function, "__module__", None) or ""
    return (
        skip
        or module.partition(".")[0] != "skmtl"
        or re.fullmatch(r"set_\w+_request", name) is not None
    )


def setup(app):
    """Called by Sphinx."""
    app.connect("autodoc-skip-member", skip_member)
