"""Source models to start from: that of all sources, and those of the nearest."""

import numpy as np

from ..base import enough_classes, fit_rows, splits_with_classes
from ..pooled_rows import stack_groups

__all__ = ["can_fit_target", "source_models"]


def can_fit_target(problem):
    """Return whether the target rows have enough classes for a fit, in every split too."""
    n_splits = len(splits_with_classes(problem))
    return enough_classes(problem, problem.y) and n_splits == len(problem.splits)


def source_models(problem, which, error_of):
    """Return models to start from: that of all sources, and those of the nearest.

    Parameters
    ----------
    problem : TransferProblem
    which : {"nearest", "all"}
        "all" is the model of all sources only.
    error_of : callable
        ``error_of(model)`` is the error of a source's model on the target's rows.

    Returns
    -------
    list of (positions of the sources, fitted estimator)
        All sources first; then the nearest ..., 4, 2, 1.

    Raises
    ------
    ValueError
        If the rows of all sources are of one class.
    """
    labels = np.concatenate([source.y for source in problem.sources])
    if not enough_classes(problem, labels):
        raise ValueError(
            f"all rows of the source are of one class, {labels[:1].tolist()[0]!r}, so that there "
            "is no model to start from; pass source rows of other classes too, or use "
            "adaptation='auto'."
        )

    def fitted(group):
        rows = stack_groups([problem.sources[s] for s in group])
        return np.asarray(group), fit_rows(problem.estimator, *rows)

    n_sources = len(problem.sources)
    models = [fitted(range(n_sources))]
    if which == "all" or n_sources == 1 or not problem.splits:
        return models
    single = [
        fitted([s]) for s in range(n_sources) if enough_classes(problem, problem.sources[s].y)
    ]
    order = np.argsort([error_of(model) for _, model in single], kind="stable")
    single = [single[i] for i in order]
    for n in 2 ** np.arange(int(np.ceil(np.log2(max(len(single), 1)))))[::-1]:
        group = np.sort(np.concatenate([group for group, _ in single[:n]]))
        models.append(single[0] if n == 1 else fitted(group))
    return models
