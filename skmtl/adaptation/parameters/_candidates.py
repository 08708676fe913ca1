"""Models to start from: that of all sources, and those of the nearest."""

import numpy as np

from ..base import fit_rows, tells_classes
from ..pool import stack_groups

__all__ = ["fit_sources", "has_classes", "source_models"]


def has_classes(problem):
    """Whether the estimator can be fitted on the target's rows alone, in every split too."""
    parts = [problem.y, *(problem.y[train] for train, _ in problem.splits)]
    return all(tells_classes(problem, y) for y in parts)


def fit_sources(problem, group):
    """A clone of the estimator, fitted on the rows of the sources at positions `group` together."""
    return fit_rows(problem.estimator, *stack_groups([problem.sources[s] for s in group]))


def source_models(problem, which, misses):
    """Models of sources to start from: that of all, and those of the nearest.

    Parameters
    ----------
    which : {"nearest", "all"}
        "all" is the model of all sources only.
    misses : callable
        ``misses(model)`` is the error of a source's model on the target's rows.

    Returns
    -------
    list of (positions of the sources, fitted estimator)
        All sources first; then the nearest ..., 4, 2, 1.

    Raises
    ------
    ValueError
        Where rows of all sources are of one class.
    """
    labels = np.concatenate([source.y for source in problem.sources])
    if not tells_classes(problem, labels):
        raise ValueError(
            f"all rows of the source are of one class, {labels[:1].tolist()[0]!r}, so that there "
            "is no model to start from; give source rows of other classes too, or use "
            "adaptation='auto'."
        )
    everyone = np.arange(len(problem.sources))
    pooled = everyone, fit_sources(problem, everyone)
    if which == "all" or len(everyone) == 1 or not problem.splits:
        return [pooled]
    # A source whose rows are all of one class has no model of its own.
    able = [s for s in everyone if tells_classes(problem, problem.sources[s].y)]
    own = [(everyone[[s]], fit_sources(problem, [s])) for s in able]
    order = np.argsort([misses(model) for _, model in own], kind="stable")
    own = [own[i] for i in order]
    models = [pooled]
    for n in 2 ** np.arange(int(np.ceil(np.log2(max(len(own), 1)))))[::-1]:
        group = np.sort(np.concatenate([group for group, _ in own[:n]]))
        models.append(own[0] if n == 1 else (group, fit_sources(problem, group)))
    return models
