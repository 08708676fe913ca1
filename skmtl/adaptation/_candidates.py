"""Models to start from, and the choice among candidates by cross-validation over target rows."""

import numpy as np
from joblib import Parallel, delayed

from .._compat import take_rows
from ..tasks.stack import stack_rows
from ._base import fit_rows
from ._judge import row_errors

__all__ = ["candidate_errors", "fit_sources", "fit_target", "has_classes", "source_models"]


def fit_target(problem, index):
    """A clone of the estimator, fitted on the target's rows `index` alone."""
    weight = None if problem.weight is None else problem.weight[index]
    return fit_rows(problem.estimator, take_rows(problem.X, index), problem.y[index], weight)


def has_classes(problem):
    """Whether the estimator can be fitted on the target's rows alone, in every split too."""
    parts = [problem.y, *(problem.y[train] for train, _ in problem.splits)]
    return not problem.classifier or all(len(np.unique(y)) > 1 for y in parts)


def fit_sources(problem, group):
    """A clone of the estimator, fitted on the rows of the sources at positions `group` together."""
    sources = [problem.sources[s] for s in group]
    X, y = stack_rows([s.X for s in sources]), np.concatenate([s.y for s in sources])
    weight = None
    if any(s.weight is not None for s in sources):
        parts = [np.ones(len(s.y)) if s.weight is None else s.weight for s in sources]
        weight = np.concatenate(parts)
    return fit_rows(problem.estimator, X, y, weight)


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
    """
    everyone = np.arange(len(problem.sources))
    pooled = everyone, fit_sources(problem, everyone)
    if which == "all" or len(everyone) == 1 or not problem.splits:
        return [pooled]
    # A source whose rows are all of one class has no model of its own.
    able = [
        s for s in everyone if not problem.classifier or len(np.unique(problem.sources[s].y)) > 1
    ]
    own = [(everyone[[s]], fit_sources(problem, [s])) for s in able]
    order = np.argsort([misses(model) for _, model in own], kind="stable")
    own = [own[i] for i in order]
    models = [pooled]
    for n in 2 ** np.arange(int(np.ceil(np.log2(max(len(own), 1)))))[::-1]:
        group = np.sort(np.concatenate([group for group, _ in own[:n]]))
        models.append(own[0] if n == 1 else (group, fit_sources(problem, group)))
    return models


def candidate_errors(problem, models, progress):
    """Cross-validated errors of candidates.

    Parameters
    ----------
    problem : TransferProblem
        With splits.
    models : callable
        ``models(index)`` yields the model of every candidate, fitted on the target's rows `index`.
    progress : callable

    Returns
    -------
    ndarray of shape (n_candidates,)
        Mean over the target's rows: squared error, or as `row_errors` has it for classes.
    """
    progress(f"judging candidates in {len(problem.splits)} splits")
    found = Parallel(n_jobs=problem.n_jobs)(
        delayed(_judge)(problem, models, train, test) for train, test in problem.splits
    )
    sums, totals = zip(*found, strict=True)
    return np.sum(sums, axis=0) / np.sum(totals)


def _judge(problem, models, train, test):
    """Sums of the test rows' errors under every candidate, and of their weights."""
    X, y = take_rows(problem.X, test), problem.y[test]
    weight = np.ones(len(test)) if problem.weight is None else problem.weight[test]
    sums = [weight @ row_errors(model, X, y, problem.classes) for model in models(train)]
    return np.array(sums), weight.sum()
