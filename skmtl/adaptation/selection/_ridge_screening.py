"""Weights of sources by ridge regressions, evaluated on held-out target rows."""

from dataclasses import dataclass

import numpy as np
from scipy.special import softmax

from ..evaluation import evidence_of_squares
from ..pooled_rows import weight_steps
from ._moments import RidgeMoments

__all__ = ["Candidate", "HeldOutRows", "RidgeScreening", "candidate_arrays"]

# Candidate weights of source rows are at most this factor apart, and at most this many.
_STEP, _MOST_STEPS = 10.0, 5
# The target alone must be better than a candidate with sources by this many nats.
_INDEPENDENT_COST = 2.0
# Nats in favour of shifts, since the levels of source labels differ more often than not.
_SHIFT_GAIN = 0.5
# Powers in which weights may be averaged. At 1 a small share of a candidate with all rows of a
# large source outweighs the target; the smaller the power, the less good sources count. Each power
# must be better than the one before by this many nats.
_POWERS, _POWER_COST = (1.0, 0.7, 0.5, 0.35, 0.2, 0.1), 0.8
# Weights that differ by less than this share are treated as equal.
_SAME = 0.1
# A source whose rows together count less than this share of the target's is left out.
_LEAST_SHARE = 1e-3


@dataclass(frozen=True, eq=False)
class Candidate:
    """Weights of the sources ``(n_sources,)``, and the share of the shift added to their labels."""

    name: str
    weights: np.ndarray
    shifted: float = 0.0


def candidate_arrays(candidates):
    """Return the weights ``(n_candidates, n_sources)`` and the shares of the shift."""
    return np.array([c.weights for c in candidates]), np.array([c.shifted for c in candidates])


class RidgeScreening:
    """Candidates, the errors of ridges with their weights on target rows, and their shares.

    Parameters
    ----------
    data : RidgeData
        Target and source rows as numbers, and the strength of the ridges.
    splits : sequence of (train, test)
    shift : bool
        Whether constants are added to the labels of sources.
    takes_weights : bool
        False: the estimator takes no weights, so that rows count once or not at all.
    alone : bool
        Whether the target's rows alone are a candidate.
    """

    def __init__(self, data, splits, *, shift, takes_weights, alone):
        self.target, self.splits, self.unit = data.target, splits, data.unit
        self.shift, self.takes_weights, self.alone = shift, takes_weights, alone
        self.source_totals = np.array([source.total_weight for source in data.sources])
        self.moments = RidgeMoments(data.target, data.sources, data.alpha)
        # Residuals of each source's own ridge (n_sources, n_target), for its shift.
        self.residuals = (data.target.y - self.moments.alone())[:, :, 0] if shift else None
        self.held_out = HeldOutRows(data.target, splits, data.unit)
        self.candidates, self.errors = [], np.empty((0, len(data.target.y)))
        self._evaluate([str(source.label) for source in data.sources])

    # ----------------------------------------------------------------------- candidates

    def _at_all_weights(self, name, members):
        """Return the candidates of one set of sources."""
        inside = np.zeros(len(self.source_totals))
        inside[members] = 1.0
        steps = np.ones(1)
        if self.takes_weights:
            total = self.source_totals[members].sum()
            steps = weight_steps(total, self.target.total_weight, _STEP, _MOST_STEPS)
        flags = (0.0, 1.0) if self.shift else (0.0,)
        return [Candidate(name, step * inside, flag) for step in steps for flag in flags]

    def _add(self, candidates):
        """Add candidates and the errors of all rows with them."""
        if candidates:
            self.errors = np.vstack([self.errors, self._errors_of(candidates)])
            self.candidates += candidates

    def _errors_of(self, candidates):
        """Return cross-validated squared errors of all rows, of shape (n_candidates, n_target)."""
        weights, shifted = candidate_arrays(candidates)
        # Candidates often differ by the shift only. The ridges, which cost most, are the same.
        weights, position = np.unique(weights, axis=0, return_inverse=True)
        position = position.ravel()  # two-dimensional in numpy 2.0
        errors = []
        for train, test in self.splits:
            shifts = self.shifts_of(train) / self.unit if self.shift else None
            residuals, moved = self.moments.residuals(weights, shifts, train, test)
            residuals = residuals[position] - shifted[:, None, None] * moved[position]
            errors.append(self.unit**2 * (residuals**2).sum(axis=2))
        return self.held_out.mean_of_splits(errors)

    def evidence_of(self, candidates):
        """Return the full log-likelihood of candidates on the target's rows, in nats."""
        return self.held_out.evidence_of_squares(self._errors_of(candidates), full=True)

    def shifts_of(self, rows):
        """Return the constants for each source's labels by these target rows; None if no shift."""
        if not self.shift:
            return None
        weight = None if self.target.weight is None else self.target.weight[rows]
        return self.unit * np.average(self.residuals[:, rows], axis=1, weights=weight)

    def _evaluate(self, labels):
        """Evaluate the target alone, each source alone, and sets of the best."""
        n_sources = len(labels)
        first = [Candidate("independent", np.zeros(n_sources))] if self.alone else []
        for k, label in enumerate(labels):
            first += self._at_all_weights(label, [k])
        self._add(first)
        source_of = np.array([c.weights.argmax() if c.weights.any() else -1 for c in first])
        error = self.held_out.mean(self.errors)
        self.best = [np.flatnonzero(source_of == k)[error[source_of == k].argmin()] for k in
                     range(n_sources)]  # fmt: skip
        order = np.argsort(error[self.best], kind="stable")
        sets = []
        for n in _sizes(n_sources):
            sets += self._at_all_weights("pooled" if n == n_sources else f"best {n}", order[:n])
        self._add(sets)
        self.share = self._shares()

    # -------------------------------------------------------------------------- results

    def source_weights(self):
        """Return the weights of the sources ``(n_sources,)``, and the share of shifted labels."""
        weights, shifted = candidate_arrays(self.candidates)
        if self.takes_weights:
            helped = weights.any(axis=1)
            shift_share = self.share @ shifted / max(self.share[helped].sum(), 1e-300)
            mean = self._mean_weights(weights, shift_share)
        else:
            best = self.share.argmax()
            mean, shift_share = self.without_traces(weights[best]), shifted[best]
        return mean, shift_share if mean.any() else 0.0

    def _mean_weights(self, weights, shift_share):
        """Return the mean of the candidates' weights, in the best power on the target's rows."""
        means = np.array([(self.share @ weights**p) ** (1.0 / p) for p in _POWERS])
        means = self.without_traces(means)
        if (means.min(axis=0) >= (1.0 - _SAME) * means[0]).all():
            return means[0]
        evidence = self.evidence_of([Candidate("mean", mean, shift_share) for mean in means])
        return means[(evidence - _POWER_COST * np.arange(len(means))).argmax()]

    def without_traces(self, weights):
        """Return weights, set to zero where all rows of a source together count very little."""
        if not self.alone:
            return weights
        least = _LEAST_SHARE * self.target.total_weight
        return np.where(weights * self.source_totals < least, 0.0, weights)

    def _shares(self):
        """Return the posterior share of each candidate."""
        weights, shifted = candidate_arrays(self.candidates)
        prior = _SHIFT_GAIN * shifted - np.where(weights.any(axis=1), 0.0, _INDEPENDENT_COST)
        # For classes the full evidence, since two-valued labels contain little information.
        evidence = self.held_out.evidence_of_squares(self.errors, full=self.target.y.shape[1] > 1)
        return softmax(evidence + prior)

    def history(self):
        """Return one entry per candidate."""
        return {
            "candidate": np.array([c.name for c in self.candidates]),
            "weight": np.array([c.weights.max(initial=0.0) for c in self.candidates]),
            "shifted": np.array([c.shifted > 0 for c in self.candidates]),
            "error": self.held_out.mean(self.errors),
            "share": self.share,
        }

    def report(self):
        """Return the errors of each source alone, and of the target without sources."""
        errors = self.errors[self.best]
        report = {"error": self.held_out.mean(errors)}
        if self.alone:
            alone = self.errors[0]
            report["error_independent"] = np.full(len(errors), self.held_out.mean(alone))
            report["standard_error"] = self.held_out.standard_error(errors - alone)
        return report


class HeldOutRows:
    """The target rows that splits test, and means of their errors.

    Parameters
    ----------
    target : SourceRows or TransferProblem
        With y of shape (n_target,) or (n_target, n_labels).
    splits : sequence of (train, test)
    unit : float
        One unit of y in the units of the problem, for squared errors.
    """

    def __init__(self, target, splits, unit=1.0):
        self.splits, self.n_rows, self.unit, self.y = splits, len(target.y), unit, target.y
        self.counts = np.zeros(self.n_rows)
        for _, test in splits:
            np.add.at(self.counts, test, 1.0)
        # Rows that no split tests do not count.
        self.weight = np.where(self.counts > 0, target.row_weight, 0.0)

    def mean_of_splits(self, errors):
        """Return each row's mean error, of errors ``(..., n_test)`` by split; zero if untested."""
        sums = np.zeros((*errors[0].shape[:-1], self.n_rows))
        for (_, test), split_errors in zip(self.splits, errors, strict=True):
            np.add.at(sums, (..., test), split_errors)
        return sums / np.maximum(self.counts, 1.0)

    def mean(self, errors):
        """Return the weighted mean over rows, the last axis."""
        return errors @ self.weight / self.weight.sum()

    def evidence_of_squares(self, errors, full=False):
        """Return log-likelihoods of candidates, halved unless `full`."""
        y = self.y.reshape(self.n_rows, -1)
        level = np.average(y, axis=0, weights=self.weight)
        constant = self.unit**2 * self.mean(((y - level) ** 2).sum(axis=1))
        evidence = evidence_of_squares(self.mean(errors), self.weight.sum(), constant)
        return (2.0 if full else 1.0) * evidence

    def standard_error(self, gaps):
        """Return the standard error of the mean difference ``(..., n_target)`` of candidates."""
        tested = self.weight > 0
        w = self.weight[tested]
        with np.errstate(invalid="ignore", over="ignore"):  # predictions may have been infinite
            gaps = gaps[..., tested]
            spread = ((gaps - np.average(gaps, axis=-1, weights=w)[..., None]) ** 2) @ w
        return np.sqrt(spread / w.sum() / max(w.sum() - 1.0, 1.0))


def _sizes(n_sources):
    """Return the sizes of the sets: all up to eight, then growing by a quarter, and the last."""
    sizes, n = [], 2
    while n < n_sources:
        sizes.append(n)
        n = max(n + 1, int(np.ceil(1.25 * n))) if n >= 8 else n + 1
    return [*sizes, n_sources] if n_sources > 1 else []
