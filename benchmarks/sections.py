"""Sections of a benchmark, of which a command line chooses some."""

from __future__ import annotations


def run(sections, chosen, options):
    """Print the first line of the docstring of every chosen section, and run it."""
    for name in chosen:
        summary = sections[name].__doc__.partition("\n")[0]
        print(f"\n{name}: {summary}", flush=True)
        sections[name](options)
