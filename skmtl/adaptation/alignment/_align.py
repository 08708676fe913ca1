"""Base class of the alignments of features: rows of two domains, and the fit that follows."""

from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from scipy import sparse
from sklearn.pipeline import Pipeline

from ..base import (
    Adaptation,
    AdaptationResult,
    fit_rows,
    is_auto,
    takes_weights,
)  # fmt: skip
from ..pooled_rows import stack_groups, target_features
from ..selection.pooling import Pooled, weight_errors, weight_grid

__all__ = ["Alignment", "Domain", "common_scale", "require_spread"]


# ------------------------------------------------------------------------------------ domains


@dataclass(frozen=True, eq=False)
class Domain:
    """Rows of one source or of the target, dense, and their weights."""

    X: np.ndarray
    weight: np.ndarray

    @classmethod
    def of(cls, X, weight):
        return cls(X.toarray() if sparse.issparse(X) else np.asarray(X), weight)

    @classmethod
    def concatenate(cls, domains):
        """Return the rows of several domains as one domain."""
        return cls(
            np.concatenate([domain.X for domain in domains]),
            np.concatenate([domain.weight for domain in domains]),
        )

    @property
    def share(self):
        return self.weight / self.weight.sum()

    @property
    def mean(self):
        return self.share @ self.X

    def variance(self):
        """Return the variance of every feature, exactly zero if it is constant."""
        varies = (self.X != self.X[0]).any(axis=0)
        return np.where(varies, self.share @ (self.X - self.mean) ** 2, 0.0)

    def covariance(self):
        centred = (self.X - self.mean) * np.sqrt(self.share)[:, None]
        return centred.T @ centred


def common_scale(source, target):
    """Return, by feature, the root of the mean of its variances in source and target."""
    scale = np.sqrt(0.5 * (source.variance() + target.variance()))
    return np.where(scale > 0.0, scale, 1.0)


def require_spread(target, name):
    """Raise a ValueError if all target rows are equal."""
    if not target.variance().any():
        raise ValueError(
            f"the adaptation {name} needs target rows that differ, but there is only one row or "
            f"all are equal (n_samples = {len(target.X)}); pass more rows, such as "
            "unlabeled=skmtl.Unlabeled(X)."
        )


# ---------------------------------------------------------------------------------- base class


class Alignment(Adaptation):
    """Base class of the alignments, which differ in `_candidates` only."""

    needs_labels = False
    uses_unlabeled = True
    target_weight: float | Literal["auto"]
    _checks = Pooled._checks

    def _check_given(self, *, estimator: Any, **given: bool) -> None:
        super()._check_given(estimator=estimator, **given)
        if given["labels"]:
            Pooled(self.target_weight)._check_given(estimator=estimator, **given)

    def _candidates(self, problem, sources, target):
        """Return the alignments to choose from.

        Parameters
        ----------
        problem : TransferProblem
        sources : list of Domain
            The sources of the problem.
        target : Domain
            All target rows, labelled or not.

        Returns
        -------
        candidates : list of dict
            Keywords for `align`; the simplest alignment first.
        default : dict
            The candidate to use if there are no labels.
        align : callable
            Takes a candidate as keywords and returns the sources' aligned tables, and the
            transformer of target rows (None: they stay as they are).
        """
        raise NotImplementedError

    def _fit(self, problem, random_state, progress):
        """Align all rows, and fit the estimator on sources and labelled target rows."""
        sources = [Domain.of(source.X, source.row_weight) for source in problem.sources]
        target = Domain.of(*target_features(problem))
        progress(f"aligning {len(sources)} sources to {len(target.X)} target rows")
        candidates, default, align = self._candidates(problem, sources, target)
        if problem.y is None:
            tables, step = align(**default)
            rows = stack_groups(_replace_tables(problem.sources, tables))
            model = fit_rows(problem.estimator, *rows)
            return AdaptationResult(_pipeline(step, model), np.ones(len(sources)))
        if not problem.splits:
            candidates = [default]
        tried, best = [], None
        for candidate in candidates:
            aligned, step = _aligned_problem(problem, *align(**candidate))
            grid, errors = self._errors(aligned, len(candidates) > 1, progress)
            for weight, error in zip(grid, errors, strict=True):
                tried.append({**candidate, "target_weight": weight, "error": error})
            # The first of equals: the simplest alignment, which uses the sources most.
            if best is None or errors.min() < best[0]:
                best = errors.min(), aligned, step, float(grid[np.argmin(errors)])
        _, aligned, step, target_weight = best
        adapted = Pooled(target_weight).fit(aligned, random_state, progress)
        history = {name: np.array([t[name] for t in tried]) for name in tried[0]}
        return AdaptationResult(
            _pipeline(step, adapted.predictor), adapted.source_weights,
            history=history if len(tried) > 1 else {},
        )  # fmt: skip

    def _errors(self, aligned, several, progress):
        """Return weights of a target row and their errors (zero if there is nothing to choose)."""
        tune = is_auto(self.target_weight)
        if not aligned.splits or not (tune or several):
            return np.array([1.0 if tune else self.target_weight]), np.zeros(1)
        repeat = not takes_weights(aligned.estimator)
        grid = weight_grid(aligned, repeat) if tune else np.array([self.target_weight])
        progress(f"evaluating {len(grid)} weights of target rows in {len(aligned.splits)} splits")
        return grid, weight_errors(aligned, grid, repeat)


def _aligned_problem(problem, tables, step):
    """Return the problem with aligned rows, and the transformer `step`."""
    X = problem.X if step is None else step.transform(problem.X)
    if step is None and sparse.issparse(X):
        X = X.toarray()  # as the aligned rows are
    return replace(problem, X=X, sources=_replace_tables(problem.sources, tables)), step


def _replace_tables(sources, tables):
    return tuple(replace(source, X=X) for source, X in zip(sources, tables, strict=True))


def _pipeline(step, model):
    return model if step is None else Pipeline([("align", step), ("model", model)])
