"""How much each source is to count, as ridge regressions have it that are judged on target rows."""

from dataclasses import dataclass

import numpy as np

from ..judge import evidence_of_squares
from ..pool import steps_down, total_weight
from ._moments import RidgeMoments

__all__ = ["Candidate", "RidgeJudge"]

# Weights of source rows that are tried are at most this factor apart, and at most so many.
_STEP, _MOST_STEPS = 10.0, 5
# The target alone has to be better than a candidate with help by so many nats.
_INDEPENDENT_COST = 2.0
# Labels of sources are at another level more often than not: the nats that a shift is ahead.
_SHIFT_GAIN = 0.5
# Weights are averaged in one of these powers: at 1 a little trust in all rows of a large source
# outweighs the target; the smaller it is, the less good sources count. Each has to be better than
# the one before by so many nats.
_POWERS, _POWER_COST = (1.0, 0.7, 0.5, 0.35, 0.2, 0.1), 0.8
# Weights that differ by less than this share are the same.
_SAME = 0.1
# A source whose rows all together count less than this share of the target's is left out.
_LEAST_SHARE = 1e-3


@dataclass(frozen=True, eq=False)
class Candidate:
    """Weights of the sources ``(n_sources,)``, and how much of their shift labels are given."""

    name: str
    weights: np.ndarray
    shifted: float = 0.0


class RidgeJudge:
    """Candidates, the errors of target rows under ridges with their weights, and what follows.

    Parameters
    ----------
    view : View
        Target and source rows as numbers, and the strength of the ridges.
    splits : sequence of (train, test)
    shift : bool
        Whether constants are added to the labels of sources.
    weighs : bool
        False: the estimator takes no weights, so that rows count once or not at all.
    alone : bool
        Whether the target's rows alone are a candidate.
    """

    def __init__(self, view, splits, *, shift, weighs, alone):
        self.target, self.splits = view.target, splits
        self.shift, self.weighs, self.alone = shift, weighs, alone
        self.labels = [str(source.label) for source in view.sources]
        self.of_sources = np.array([total_weight(source) for source in view.sources])
        self.of_target = total_weight(view.target)
        self.moments = RidgeMoments(view.target, view.sources, view.alpha)
        # By each source's own ridge (n_sources, n_target), for its shift.
        self.missed, self.unit = None, view.unit
        if shift:
            self.missed = (view.target.y - self.moments.alone())[:, :, 0]
        self.judged = JudgedRows(view.target, splits, view.unit)
        self.candidates, self.errors = [], np.empty((0, len(view.target.y)))

    # ----------------------------------------------------------------------- candidates

    def _at_all_weights(self, name, members):
        """Candidates of one set of sources."""
        inside = np.zeros(len(self.of_sources))
        inside[members] = 1.0
        given = self.of_sources[members].sum(), self.of_target, _STEP, _MOST_STEPS
        steps = steps_down(*given) if self.weighs else np.ones(1)
        flags = (0.0, 1.0) if self.shift else (0.0,)
        return [Candidate(name, step * inside, flag) for step in steps for flag in flags]

    def _try(self, candidates):
        """Add candidates and the errors of all rows under them."""
        if candidates:
            self.errors = np.vstack([self.errors, self._errors_of(candidates)])
            self.candidates += candidates

    def _errors_of(self, candidates):
        """Cross-validated squared errors of all rows, of shape (n_candidates, n_target)."""
        weights = np.array([c.weights for c in candidates])
        shifted = np.array([c.shifted for c in candidates])
        # Candidates often differ by the shift alone, and then share what costs most.
        weights, own = np.unique(weights, axis=0, return_inverse=True)
        own = own.ravel()  # numpy 2.0 gives it another axis
        found = []
        for train, test in self.splits:
            shifts = self.shifts_of(train) / self.unit if self.shift else None
            missed, moved = self.moments.misses(weights, shifts, train, test)
            missed = missed[own] - shifted[:, None, None] * moved[own]
            found.append(self.unit**2 * (missed**2).sum(axis=2))
        return self.judged.mean_of_splits(found)

    def evidence_of(self, candidates):
        """All of the evidence of the target's rows for candidates, in nats."""
        return self.judged.evidence_of_squares(self._errors_of(candidates), whole=True)

    def shifts_of(self, rows):
        """What to add to each source's labels, by these target rows; None: not asked for."""
        if not self.shift:
            return None
        weight = self.target.weight
        weight = None if weight is None else weight[rows]
        return self.unit * np.average(self.missed[:, rows], axis=1, weights=weight)

    # -------------------------------------------------------------------------- verdict

    def judge(self):
        """Try the target alone, each source alone, and sets of the best."""
        n_sources = len(self.of_sources)
        own = [self._at_all_weights(label, [k]) for k, label in enumerate(self.labels)]
        first = [Candidate("independent", np.zeros(n_sources))] if self.alone else []
        first += [c for some in own for c in some]
        self._try(first)
        of_single = np.array([c.weights.argmax() if c.weights.any() else -1 for c in first])
        error = self.judged.mean(self.errors)
        self.best = [np.flatnonzero(of_single == k)[error[of_single == k].argmin()] for k in
                     range(n_sources)]  # fmt: skip
        self.order = np.argsort(error[self.best], kind="stable")
        sets = [
            self._at_all_weights("pooled" if n == n_sources else f"best {n}", self.order[:n])
            for n in _sizes(n_sources)
        ]
        self._try([c for some in sets for c in some])
        self.share = self._shares()

    def verdict(self):
        """Weights of the sources ``(n_sources,)``, and the share of shifted labels."""
        weights = np.array([c.weights for c in self.candidates])
        shifted = np.array([c.shifted for c in self.candidates])
        if not self.weighs:
            best = self.share.argmax()
            found = self.without_traces(weights[best])
            return found, shifted[best] if found.any() else 0.0
        helped = weights.any(axis=1)
        shift_share = self.share @ shifted / max(self.share[helped].sum(), 1e-300)
        found = self._mean_weights(weights, shift_share)
        return found, shift_share if found.any() else 0.0

    def _mean_weights(self, weights, shift_share):
        """The mean of the candidates' weights, in the power that does best on the target's rows."""
        means = np.array([(self.share @ weights**p) ** (1.0 / p) for p in _POWERS])
        means = self.without_traces(means)
        if (means.min(axis=0) >= (1.0 - _SAME) * means[0]).all():
            return means[0]
        evidence = self.evidence_of([Candidate("mean", mean, shift_share) for mean in means])
        return means[(evidence - _POWER_COST * np.arange(len(means))).argmax()]

    def without_traces(self, weights):
        """Weights, zero where all rows of a source together would count next to nothing."""
        if not self.alone:
            return weights
        least = _LEAST_SHARE * self.of_target
        return np.where(weights * self.of_sources < least, 0.0, weights)

    def _shares(self):
        """How much each candidate is to be believed."""
        helped = np.array([c.weights.any() for c in self.candidates])
        shifted = np.array([c.shifted for c in self.candidates])
        ahead = _SHIFT_GAIN * shifted - np.where(helped, 0.0, _INDEPENDENT_COST)
        # Of classes all of the evidence: labels of two values tell little as it is.
        whole = self.target.y.shape[1] > 1
        evidence = self.judged.evidence_of_squares(self.errors, whole) + ahead
        share = np.exp(evidence - evidence.max())
        return share / share.sum()

    def history(self):
        """What was tried, one entry a candidate."""
        return {
            "candidate": np.array([c.name for c in self.candidates]),
            "weight": np.array([c.weights.max(initial=0.0) for c in self.candidates]),
            "shifted": np.array([c.shifted > 0 for c in self.candidates]),
            "error": self.judged.mean(self.errors),
            "share": self.share,
        }

    def report(self):
        """What each source is worth alone, beside the target without help."""
        errors, n_sources = self.errors[self.best], len(self.best)
        report = {"error": self.judged.mean(errors)}
        if self.alone:
            alone = self.errors[0]
            report["error_independent"] = np.full(n_sources, self.judged.mean(alone))
            report["standard_error"] = self.judged.standard_error(errors - alone)
        return report


class JudgedRows:
    """Which target rows the splits test, and how often; means of what they tell.

    Parameters
    ----------
    target : SourceRows or TransferProblem
        With y of shape (n_target,) or (n_target, n_labels).
    splits : sequence of (train, test)
    unit : float
        Of y, for squared errors in the units of the problem.
    """

    def __init__(self, target, splits, unit=1.0):
        self.splits, self.n_rows, self.unit = splits, len(target.y), unit
        self.counts = np.zeros(self.n_rows)
        for _, test in splits:
            np.add.at(self.counts, test, 1.0)
        # What no split tests does not count.
        self.weight = np.where(self.counts > 0, target.row_weight, 0.0)
        self.y = target.y

    def mean_of_splits(self, found):
        """Each row's mean error, of errors ``(..., n_test)`` by split; zero where it has none."""
        sums = np.zeros((*found[0].shape[:-1], self.n_rows))
        for (_, test), errors in zip(self.splits, found, strict=True):
            np.add.at(sums, (..., test), errors)
        return sums / np.maximum(self.counts, 1.0)

    def mean(self, errors):
        """Over the rows, the last axis."""
        return errors @ self.weight / self.weight.sum()

    def evidence_of_squares(self, errors, whole=False):
        """Log-likelihoods of candidates: half the evidence, unless the `whole` is asked."""
        y = self.y.reshape(self.n_rows, -1)
        level = np.average(y, axis=0, weights=self.weight)
        constant = self.unit**2 * self.mean(((y - level) ** 2).sum(axis=1))
        found = evidence_of_squares(self.mean(errors), self.weight.sum(), constant)
        return (2.0 if whole else 1.0) * found

    def standard_error(self, gaps):
        """Of the mean gap ``(..., n_target)`` between two candidates."""
        judged = self.weight > 0
        w = self.weight[judged]
        with np.errstate(invalid="ignore", over="ignore"):  # predictions may have been infinite
            gaps = gaps[..., judged]
            spread = ((gaps - np.average(gaps, axis=-1, weights=w)[..., None]) ** 2) @ w
        return np.sqrt(spread / w.sum() / max(w.sum() - 1.0, 1.0))


def _sizes(n_sources):
    """Numbers of sources in the sets: all up to eight, then growing by a quarter, and the last."""
    sizes, n = [], 2
    while n < n_sources:
        sizes.append(n)
        n = max(n + 1, int(np.ceil(1.25 * n))) if n >= 8 else n + 1
    return [*sizes, n_sources] if n_sources > 1 else []
