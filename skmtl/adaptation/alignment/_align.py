"""What alignments of features have in common: rows of two domains, and the fit that follows."""

from dataclasses import dataclass, replace

import numpy as np
from scipy import sparse
from sklearn.pipeline import Pipeline

from ..base import Adaptation, AdaptationResult, fit_rows, is_auto, takes_weights
from ..pool import features_of_target, stack_groups
from ..selection.pooling import Pooled, weight_errors, weight_grid

__all__ = ["Alignment", "Domain", "common_scale", "need_spread"]


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
    def together(cls, domains):
        """The rows of several as one."""
        return cls(*(np.concatenate([getattr(d, k) for d in domains]) for k in ("X", "weight")))

    @property
    def share(self):
        return self.weight / self.weight.sum()

    @property
    def mean(self):
        return self.share @ self.X

    def variance(self):
        """Of every feature; exactly zero for one that is constant."""
        varies = (self.X != self.X[0]).any(axis=0)
        return np.where(varies, self.share @ (self.X - self.mean) ** 2, 0.0)

    def covariance(self):
        centred = (self.X - self.mean) * np.sqrt(self.share)[:, None]
        return centred.T @ centred


def common_scale(source, target):
    """A unit for every feature: the root of the mean of its variances in source and target."""
    scale = np.sqrt(0.5 * (source.variance() + target.variance()))
    return np.where(scale > 0.0, scale, 1.0)


def need_spread(target, owner):
    if not target.variance().any():
        raise ValueError(
            f"the adaptation {owner} needs target rows that differ, but there is one row only or "
            f"all are alike (n_samples = {len(target.X)}); give more, such as "
            "unlabeled=skmtl.Unlabeled(X)."
        )


# ---------------------------------------------------------------------------------- all of them


class Alignment(Adaptation):
    """What alignments have in common: they differ in `_ways` only."""

    needs_labels = False
    uses_unlabeled = True

    def check(self):
        Pooled(self.target_weight).check()

    def check_given(self, *, estimator, **given):
        super().check_given(estimator=estimator, **given)
        if given["labels"]:
            Pooled(self.target_weight).check_given(estimator=estimator, **given)

    def _ways(self, problem, sources, target):
        """How rows may be aligned.

        Parameters
        ----------
        problem : TransferProblem
        sources : list of Domain
            Its sources.
        target : Domain
            All its target rows, labelled or not.

        Returns
        -------
        candidates : list of dict
            What they differ in, by name; the simplest first.
        default : dict
            The candidate to take where there is nothing to judge by.
        align : callable
            From a candidate (as keywords) to the sources' new tables, and the transformer of
            target rows (None: they stay as they are).
        """
        raise NotImplementedError

    def fit(self, problem, random_state, progress):
        """Align all rows, and fit the estimator on sources and labelled target rows."""
        sources = [Domain.of(s.X, s.row_weight) for s in problem.sources]
        target = Domain.of(*features_of_target(problem))
        progress(f"aligning {len(sources)} sources to {len(target.X)} target rows")
        candidates, default, align = self._ways(problem, sources, target)
        if problem.y is None:
            return _fit_sources(problem, *align(**default))
        if not problem.splits:
            candidates = [default]
        tried, best = [], None
        for candidate in candidates:
            posed, step = _pose(problem, *align(**candidate))
            grid, error = self._judge(posed, len(candidates) > 1, progress)
            for weight, e in zip(grid, error, strict=True):
                tried.append({**candidate, "target_weight": weight, "error": e})
            # Of equals the first: the simplest alignment, which uses the sources most.
            if best is None or error.min() < best[0]:
                best = error.min(), posed, step, float(grid[np.argmin(error)])
        _, posed, step, target_weight = best
        adapted = Pooled(target_weight).fit(posed, random_state, progress)
        history = {name: np.array([t[name] for t in tried]) for name in tried[0]}
        return AdaptationResult(
            _chain(step, adapted.predictor), adapted.source_weights,
            history=history if len(tried) > 1 else {},
        )  # fmt: skip

    def _judge(self, posed, several, progress):
        """Weights of a target row, and their cross-validated errors (zero: nothing to choose)."""
        tune = is_auto(self.target_weight)
        if not posed.splits or not (tune or several):
            return np.array([1.0 if tune else self.target_weight]), np.zeros(1)
        repeat = not takes_weights(posed.estimator)
        grid = weight_grid(posed, repeat) if tune else np.array([self.target_weight])
        progress(f"judging {len(grid)} weights of target rows in {len(posed.splits)} splits")
        return grid, weight_errors(posed, grid, repeat)


def _pose(problem, tables, step):
    """The problem of aligned rows, and the transformer as it came."""
    X = problem.X if step is None else step.transform(problem.X)
    if step is None and sparse.issparse(X):
        X = X.toarray()  # as the aligned rows are
    return replace(problem, X=X, sources=_moved(problem.sources, tables)), step


def _moved(sources, tables):
    return tuple(replace(s, X=Z) for s, Z in zip(sources, tables, strict=True))


def _fit_sources(problem, tables, step):
    """The estimator fitted on source rows alone."""
    model = fit_rows(problem.estimator, *stack_groups(_moved(problem.sources, tables)))
    return AdaptationResult(_chain(step, model), np.ones(len(problem.sources)))


def _chain(step, model):
    return model if step is None else Pipeline([("align", step), ("model", model)])
