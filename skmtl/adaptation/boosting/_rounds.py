"""Rounds of boosting: rows with their weights, who fits them, and how weights change."""

import copy

import numpy as np
from scipy import sparse

from ..._compat import take_rows
from ..._validation import check_features
from ..base import fit_rows
from ..normal_equations import LinearRows, Moments, is_linear
from ..pool import stack_groups
from ._boosted import weighted_median

__all__ = [
    "AllRows",
    "boost",
    "boost_lines",
    "boost_target",
    "find_steps",
    "judge_steps",
    "relative",
]

# An error that counts as zero would have an infinite vote.
_LEAST_ERROR = np.finfo(np.float64).eps
# Deviations this small beside the largest label are rounding, and count as none.
_ROUNDING = 1e-12
# Newton's method for a step's beta ends at this relative change of its logarithm; it takes ten.
_ROOT, _MOST_STEPS = 1e-14, 200


# ----------------------------------------------------------------------------------------- rows


class AllRows:
    """Rows of all sources and, below them, of the target, with who fits and predicts them.

    Attributes
    ----------
    y, sample_weight : ndarray of shape (n_rows,)
    n_source : int
        The first so many rows are those of sources.
    offsets : ndarray of shape (n_sources + 1,)
    scale : float
        Of y, for regressors.
    is_linear : bool
    learner : _CloneLearner or _LinearLearner
    """

    @classmethod
    def of(cls, problem, apart=False):
        """The rows of a problem; `apart`: `keeping` will be asked for."""
        rows = cls()
        groups = [*problem.sources, problem]
        X, rows.y, _ = stack_groups(groups)
        rows.sample_weight = np.concatenate([group.row_weight for group in groups])
        rows.offsets = np.cumsum([0] + [len(source.y) for source in problem.sources])
        rows.n_source = int(rows.offsets[-1])
        rows.scale = 0.0 if problem.classifier else np.abs(rows.y).max()
        rows.is_linear = is_linear(problem.estimator)
        if rows.is_linear:  # scikit-learn would check them in every round
            X = check_features(problem.estimator, X)
            rows.is_linear = not sparse.issparse(X)
        kind = _LinearLearner if rows.is_linear else _CloneLearner
        rows.learner = kind(problem.estimator, X, rows.y, rows.n_source if apart else 0)
        return rows

    def source_weights(self, weight):
        """Mean weights of sources' rows beside the mean weight of the target's."""
        n = self.n_source
        target = weight[n:].sum() / self.sample_weight[n:].sum()
        sums = np.add.reduceat(weight[:n], self.offsets[:-1])
        return sums / np.add.reduceat(self.sample_weight[:n], self.offsets[:-1]) / target


class _CloneLearner:
    """Fits clones of any estimator. Rows of weight zero are left out."""

    def __init__(self, estimator, X, y, n_first):
        self.estimator, self.X, self.y = estimator, X, y

    def keeping(self, weights, which):
        """The learner for weights whose source rows stay as they are here.

        Parameters
        ----------
        weights : ndarray of shape (n_runs, n_rows)
        which : ndarray of shape (n_runs,)
            Runs of equal number, from 0 on, have source rows of equal weights.
        """
        return self

    def fit(self, weights, runs=None):
        """Models of weights ``(n_fits, n_rows)``, and their predictions of all rows, likewise.

        `runs` are their numbers among those that `keeping` was told of.
        """
        models = [self._fit_one(weight) for weight in weights]
        return models, np.array([model.predict(self.X) for model in models])

    def _fit_one(self, weight):
        rows = np.flatnonzero(weight)
        if len(rows) == len(weight):
            return fit_rows(self.estimator, self.X, self.y, weight)
        return fit_rows(self.estimator, take_rows(self.X, rows), self.y[rows], weight[rows])

    def model(self, model):
        """The fitted estimator that `fit` gave."""
        return model


class _LinearLearner:
    """The same for Ridge and LinearRegression, by weighted normal equations."""

    def __init__(self, estimator, X, y, n_first):
        self._rows = LinearRows(estimator, X, y, n_first)
        self._first = self._which = None

    def keeping(self, weights, which):
        learner = copy.copy(self)
        _, first_of = np.unique(which, return_index=True)
        learner._first = self._rows.first(weights[first_of, : self._rows.n_first])
        learner._which = which
        return learner

    def fit(self, weights, runs=None):
        first = None
        if runs is not None:
            first = Moments(*(part[self._which[runs]] for part in self._first))
        lines = self._rows.fit(weights, first)
        return lines, self._rows.predict(lines)

    def boost(self, *given):
        """As `LinearRows.boost`."""
        return self._rows.boost(*given)

    def model(self, line):
        return self._rows.model(line)


# ------------------------------------------------------------------------------------- boosting


def relative(missed, live, scale):
    """Deviations over the largest among live rows, zero of others; by fit ``(n_fits, n_rows)``."""
    deviation = np.abs(missed, out=missed)
    deviation *= live
    largest = deviation.max(axis=1, keepdims=True)
    largest[largest <= _ROUNDING * scale] = np.inf
    deviation /= largest
    return deviation


def boost(rows, n_rounds, judge, most, factor):
    """Rounds of TrAdaBoost or TrAdaBoost.R2.

    Parameters
    ----------
    rows : AllRows
    n_rounds : int
    judge : callable
        Deviations from 0 to 1 of predictions of all rows, which were fitted with these weights.
    most : float
        A learner of this error ends the boosting.
    factor : float
        One less than the number of classes; one of a regressor.

    Returns
    -------
    models, votes : list
        Of the learners that are left.
    weight : ndarray of shape (n_rows,)
        That the last of them was fitted with.
    history : dict of arrays
    """
    n, weight = rows.n_source, rows.sample_weight
    total = weight.sum()
    shrink = 1.0 / (1.0 + np.sqrt(2.0 * np.log(max(weight[:n].sum(), 1.0)) / n_rounds))
    models, votes, history, kept = [], [], [], weight
    for _ in range(n_rounds):
        (model,), (predicted,) = rows.learner.fit(weight[None])
        wrong = judge(predicted, weight)
        target = weight[n:].sum()
        error = weight[n:] @ wrong[n:] / target
        clipped = min(max(error, _LEAST_ERROR), 1.0 - _LEAST_ERROR)
        beta = clipped / ((1.0 - clipped) * factor)
        history.append((error, beta, target / total))
        over = error >= most
        if not over or not models:
            models.append(model)
            votes.append(1.0 if over else -np.log(beta))
            kept = weight
        if over:
            break
        wrong[:n] *= np.log(shrink)
        wrong[n:] *= -np.log(beta)
        weight = weight * np.exp(wrong)
        weight *= total / weight.sum()
    return models, votes, kept, _named(history)


def _named(history):
    names = "error", "beta", "target_share"
    return dict(zip(names, np.array(history).T, strict=True))


def boost_lines(rows, n_rounds):
    """Return the same for TrAdaBoost.R2, all rounds in one kernel; None where that cannot be."""
    given = rows.sample_weight, rows.n_source, n_rounds, _ROUNDING * rows.scale
    made = rows.learner.boost(*given) if rows.is_linear else None
    if made is None:
        return None
    lines, weights, told = made
    votes = -np.log(told[:, 1])
    n_kept = len(lines)
    if told[-1, 0] >= 0.5:  # the last learner is dropped, but for the first
        n_kept, votes[0] = max(n_kept - 1, 1), votes[0] if n_kept > 1 else 1.0
    return lines[:n_kept], votes[:n_kept], weights[n_kept - 1], _named(told)


def boost_target(rows, weights, which, n_rounds):
    """AdaBoost.R2 in which source rows keep their weights, for several weights at once.

    Parameters
    ----------
    rows : AllRows
    weights : ndarray of shape (n_runs, n_rows)
        To begin with; rows of weight zero are left out. Changed in place.
    which : ndarray of shape (n_runs,)
        Runs of equal number, from 0 on, have source rows of equal weights.
    n_rounds : int

    Returns
    -------
    models : list of list
        Of every round, by run; None where the run had ended.
    votes : ndarray of shape (n_rounds, n_runs)
        Zero for learners that are dropped.
    predicted : ndarray of shape (n_rounds, n_runs, n_target_rows)
    """
    n, n_runs, live = rows.n_source, len(weights), weights > 0.0
    learner = rows.learner.keeping(weights, which)
    totals, of_target = weights.sum(axis=1), weights[:, n:].sum(axis=1)
    votes = np.zeros((n_rounds, n_runs))
    predicted = np.zeros((n_rounds, n_runs, weights.shape[1] - n))
    models, runs = [], np.arange(n_runs)
    for t in range(n_rounds):
        at = slice(None) if len(runs) == n_runs else runs  # no copies while all go on
        fitted, values = learner.fit(weights[at], runs)
        models.append([None] * n_runs)
        for run, model in zip(runs, fitted, strict=True):
            models[t][run] = model
        predicted[t, at] = values[:, n:]
        wrong = relative(values - rows.y, live[at], rows.scale)
        error = np.einsum("ij,ij->i", weights[at], wrong) / totals[at]
        clipped = np.clip(error, _LEAST_ERROR, 1.0 - _LEAST_ERROR)
        beta, over = clipped / (1.0 - clipped), error >= 0.5
        votes[t, at] = np.where(over, float(t == 0), -np.log(beta))
        runs, beta, wrong = runs[~over], beta[~over, None], wrong[~over, n:]
        if not len(runs):
            break
        target = weights[runs, n:] * beta ** (1.0 - wrong)
        weights[runs, n:] = target * (of_target[runs] / target.sum(axis=1))[:, None]
    return models, votes, predicted


# ---------------------------------------------------------------------------------------- steps


def find_steps(rows, n_steps):
    """Weights of all rows at every step, and what there is to tell of them."""
    n, weight = rows.n_source, rows.sample_weight
    total = weight.sum()
    shares = np.linspace(weight[n:].sum() / total, 1.0, n_steps)
    weights, betas = [weight], [1.0]
    for share in shares[1:-1]:
        weight = weights[-1]
        _, values = rows.learner.fit(weight[None])
        wrong = relative(values - rows.y, weight[None] > 0.0, rows.scale)[0, :n]
        wanted = weight[n:].sum() * (1.0 - share) / share
        beta, factors = _shrink(weight[:n], wrong, wanted)
        source = weight[:n] * factors
        source *= (1.0 - share) * total / source.sum()
        target = weight[n:] * (share * total / weight[n:].sum())
        weights.append(np.concatenate([source, target]))
        betas.append(beta)
    target = rows.sample_weight[n:]
    weights.append(np.concatenate([np.zeros(n), target * (total / target.sum())]))
    return weights, {"target_share": shares, "beta": np.array([*betas, 0.0])}


def _shrink(weight, wrong, wanted):
    """Beta, and ``beta ** wrong``, such that the sum of ``weight * beta ** wrong`` is as wanted.

    With zeros where no beta is small enough.
    """
    if weight[wrong == 0.0].sum() >= wanted:
        return 0.0, (wrong == 0.0).astype(np.float64)
    # The logarithm of the sum is increasing and convex in that of beta: from 1 on, where the sum
    # is too large, Newton's steps never pass the solution.
    power, factors = 0.0, np.ones(len(weight))
    for _ in range(_MOST_STEPS):
        reached = weight * factors
        total = reached.sum()
        step = np.log(total / wanted) * total / (reached @ wrong)
        power -= step
        factors = np.exp(power * wrong)
        if step <= _ROOT * max(-power, 1.0):
            break
    return np.exp(power), factors


def judge_steps(rows, weights, splits, pairs, n_rounds):
    """The sum of the squared errors of test rows for pairs of a step and a split."""
    n = rows.n_source
    steps = np.array([step for step, _ in pairs])
    runs = np.array([weights[step] for step in steps])
    for run, (_, k) in zip(runs, pairs, strict=True):
        target = np.zeros(len(run) - n)
        target[splits[k][0]] = run[n:][splits[k][0]]
        run[n:] = target * (run[n:].sum() / target.sum())
    _, votes, predicted = boost_target(rows, runs, steps - steps[0], n_rounds)
    missed = []
    for i, (_, k) in enumerate(pairs):
        test, used = splits[k][1], votes[:, i] > 0.0
        median = weighted_median(predicted[used, i][:, test], votes[used, i])
        missed.append(rows.sample_weight[n + test] @ (rows.y[n + test] - median) ** 2)
    return missed
