"""Rounds of boosting: rows with their weights, learners, and the updates of the weights."""

import copy

import numpy as np
from scipy import sparse

from ..._compat import take_rows
from ..._validation import check_features
from ..base import fit_rows
from ..normal_equations import LinearRows, Moments, is_linear
from ..pooled_rows import stack_groups
from ._boosted import weighted_median

__all__ = [
    "BoostingRows",
    "boost",
    "boost_linear",
    "boost_target",
    "find_steps",
    "relative",
    "step_errors",
]

# The smallest error; an error of zero would have an infinite vote.
_LEAST_ERROR = np.finfo(np.float64).eps
# Deviations below this share of the largest label are rounding, and count as zero.
_ROUNDING = 1e-12
# Newton's method for a step's beta stops at this relative change of its logarithm; it takes about
# ten iterations.
_ROOT, _MOST_ITERATIONS = 1e-14, 200
# The columns of ``history_``.
_HISTORY = "error", "beta", "target_share"


# ----------------------------------------------------------------------------------------- rows


class BoostingRows:
    """Rows of all sources followed by those of the target, and the learner that fits them.

    Parameters
    ----------
    problem : TransferProblem
    reuse : bool, default=False
        Whether `keeping` of the learner will be called.

    Attributes
    ----------
    y, sample_weight : ndarray of shape (n_rows,)
    n_source : int
        Number of source rows, which come first.
    offsets : ndarray of shape (n_sources + 1,)
    scale : float
        The largest absolute label, for regressors.
    is_linear : bool
    learner : _CloneLearner or _LinearLearner
    """

    def __init__(self, problem, reuse=False):
        groups = [*problem.sources, problem]
        X, self.y, _ = stack_groups(groups)
        self.sample_weight = np.concatenate([group.row_weight for group in groups])
        self.offsets = np.cumsum([0] + [len(source.y) for source in problem.sources])
        self.n_source = int(self.offsets[-1])
        self.scale = 0.0 if problem.classifier else np.abs(self.y).max()
        self.is_linear = is_linear(problem.estimator)
        if self.is_linear:  # scikit-learn would check the rows in every round
            X = check_features(problem.estimator, X)
            self.is_linear = not sparse.issparse(X)
        kind = _LinearLearner if self.is_linear else _CloneLearner
        self.learner = kind(problem.estimator, X, self.y, self.n_source if reuse else 0)

    def source_weights(self, weight):
        """Return the mean weight of each source's rows relative to that of the target's rows."""
        n = self.n_source
        target = weight[n:].sum() / self.sample_weight[n:].sum()
        sums = np.add.reduceat(weight[:n], self.offsets[:-1])
        return sums / np.add.reduceat(self.sample_weight[:n], self.offsets[:-1]) / target


class _CloneLearner:
    """Fits clones of any estimator. Rows of weight zero are left out."""

    def __init__(self, estimator, X, y, n_first):
        self.estimator, self.X, self.y = estimator, X, y

    def keeping(self, weights, groups):
        """Return the learner for weights whose source rows keep the weights given here.

        Parameters
        ----------
        weights : ndarray of shape (n_runs, n_rows)
        groups : ndarray of shape (n_runs,)
            Runs with the same number, from 0 on, have the same weights of source rows.
        """
        return self

    def fit(self, weights, runs=None):
        """Return the models for weights ``(n_fits, n_rows)``, and their predictions of all rows.

        `runs` are the positions of the fits among those passed to `keeping`.
        """
        models = [self._fit_one(weight) for weight in weights]
        return models, np.array([model.predict(self.X) for model in models])

    def _fit_one(self, weight):
        rows = np.flatnonzero(weight)
        if len(rows) == len(weight):
            return fit_rows(self.estimator, self.X, self.y, weight)
        return fit_rows(self.estimator, take_rows(self.X, rows), self.y[rows], weight[rows])

    def model(self, model):
        """Return the fitted estimator of a model that `fit` returned."""
        return model


class _LinearLearner:
    """Fits Ridge and LinearRegression by weighted normal equations; see `_CloneLearner`."""

    def __init__(self, estimator, X, y, n_first):
        self.rows = LinearRows(estimator, X, y, n_first)
        self._first = self._groups = None

    def keeping(self, weights, groups):
        learner = copy.copy(self)
        _, first_of = np.unique(groups, return_index=True)
        learner._first = self.rows.first(weights[first_of, : self.rows.n_first])
        learner._groups = groups
        return learner

    def fit(self, weights, runs=None):
        first = None
        if runs is not None:
            first = Moments(*(part[self._groups[runs]] for part in self._first))
        solutions = self.rows.fit(weights, first)
        return solutions, self.rows.predict(solutions)

    def model(self, solution):
        return self.rows.model(solution)


# ------------------------------------------------------------------------------------- boosting


def relative(residuals, live, scale):
    """Return absolute residuals divided by each fit's largest one among live rows; zero elsewhere.

    Parameters
    ----------
    residuals : ndarray of shape (n_fits, n_rows)
        Overwritten.
    live : ndarray of shape (n_fits, n_rows)
        Rows of positive weight.
    scale : float
        The largest absolute label.
    """
    deviation = np.abs(residuals, out=residuals)
    deviation *= live
    largest = deviation.max(axis=1, keepdims=True)
    largest[largest <= _ROUNDING * scale] = np.inf
    deviation /= largest
    return deviation


def boost(rows, n_rounds, deviations_of, most, factor):
    """Run the rounds of TrAdaBoost or TrAdaBoost.R2.

    Parameters
    ----------
    rows : BoostingRows
    n_rounds : int
    deviations_of : callable
        ``deviations_of(predicted, weight)`` returns deviations from 0 to 1 of all rows' predictions
        by a learner fitted with these weights.
    most : float
        A learner with this error ends the boosting.
    factor : float
        One less than the number of classes; one for a regressor.

    Returns
    -------
    models, votes : list
        Of the learners that are kept.
    weight : ndarray of shape (n_rows,)
        The weights that the last kept learner was fitted with.
    history : dict of arrays
    """
    n, weight = rows.n_source, rows.sample_weight
    total = weight.sum()
    shrink = 1.0 / (1.0 + np.sqrt(2.0 * np.log(max(weight[:n].sum(), 1.0)) / n_rounds))
    models, votes, history, kept = [], [], [], weight
    for _ in range(n_rounds):
        (model,), (predicted,) = rows.learner.fit(weight[None])
        deviation = deviations_of(predicted, weight)
        target = weight[n:].sum()
        error = weight[n:] @ deviation[n:] / target
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
        deviation[:n] *= np.log(shrink)
        deviation[n:] *= -np.log(beta)
        weight = weight * np.exp(deviation)
        weight *= total / weight.sum()
    return models, votes, kept, dict(zip(_HISTORY, np.array(history).T, strict=True))


def boost_linear(rows, n_rounds):
    """Return what `boost` does for TrAdaBoost.R2, by one kernel; None if that is not possible."""
    boosted = None
    if rows.is_linear:
        boosted = rows.learner.rows.boost(
            rows.sample_weight, rows.n_source, n_rounds, _ROUNDING * rows.scale
        )
    if boosted is None:
        return None
    solutions, weights, statistics = boosted
    history = dict(zip(_HISTORY, statistics.T, strict=True))
    votes, n_kept = -np.log(history["beta"]), len(solutions)
    if history["error"][-1] >= 0.5:  # the last learner is dropped, unless it is the first
        n_kept, votes[0] = max(n_kept - 1, 1), votes[0] if n_kept > 1 else 1.0
    return solutions[:n_kept], votes[:n_kept], weights[n_kept - 1], history


def boost_target(rows, weights, groups, n_rounds):
    """Run AdaBoost.R2 with constant weights of source rows, for several weights at once.

    Parameters
    ----------
    rows : BoostingRows
    weights : ndarray of shape (n_runs, n_rows)
        Initial weights; rows of weight zero are left out. Changed in place.
    groups : ndarray of shape (n_runs,)
        Runs with the same number, from 0 on, have the same weights of source rows.
    n_rounds : int

    Returns
    -------
    models : list of list
        By round and run; None if the run had ended.
    votes : ndarray of shape (n_rounds, n_runs)
        Zero for learners that are dropped.
    predicted : ndarray of shape (n_rounds, n_runs, n_target_rows)
    """
    n, n_runs, live = rows.n_source, len(weights), weights > 0.0
    learner = rows.learner.keeping(weights, groups)
    totals, of_target = weights.sum(axis=1), weights[:, n:].sum(axis=1)
    votes = np.zeros((n_rounds, n_runs))
    predicted = np.zeros((n_rounds, n_runs, weights.shape[1] - n))
    models, runs = [], np.arange(n_runs)
    for t in range(n_rounds):
        at = slice(None) if len(runs) == n_runs else runs  # no copies while no run has ended
        fitted, values = learner.fit(weights[at], runs)
        models.append([None] * n_runs)
        for run, model in zip(runs, fitted, strict=True):
            models[t][run] = model
        predicted[t, at] = values[:, n:]
        deviation = relative(values - rows.y, live[at], rows.scale)
        error = np.einsum("ij,ij->i", weights[at], deviation) / totals[at]
        clipped = np.clip(error, _LEAST_ERROR, 1.0 - _LEAST_ERROR)
        beta, over = clipped / (1.0 - clipped), error >= 0.5
        votes[t, at] = np.where(over, float(t == 0), -np.log(beta))
        runs, beta, deviation = runs[~over], beta[~over, None], deviation[~over, n:]
        if not len(runs):
            break
        target = weights[runs, n:] * beta ** (1.0 - deviation)
        weights[runs, n:] = target * (of_target[runs] / target.sum(axis=1))[:, None]
    return models, votes, predicted


# ---------------------------------------------------------------------------------------- steps


def find_steps(rows, n_steps):
    """Return the weights of all rows at every step, and the history."""
    n, sample_weight = rows.n_source, rows.sample_weight
    total = sample_weight.sum()
    shares = np.linspace(sample_weight[n:].sum() / total, 1.0, n_steps)
    weights, betas = [sample_weight], [1.0]
    for share in shares[1:-1]:
        weight = weights[-1]
        _, values = rows.learner.fit(weight[None])
        deviation = relative(values - rows.y, weight[None] > 0.0, rows.scale)[0, :n]
        wanted = weight[n:].sum() * (1.0 - share) / share
        beta, factors = _shrink(weight[:n], deviation, wanted)
        source = weight[:n] * factors
        source *= (1.0 - share) * total / source.sum()
        target = weight[n:] * (share * total / weight[n:].sum())
        weights.append(np.concatenate([source, target]))
        betas.append(beta)
    target = sample_weight[n:]
    weights.append(np.concatenate([np.zeros(n), target * (total / target.sum())]))
    return weights, {"target_share": shares, "beta": np.array([*betas, 0.0])}


def _shrink(weight, deviation, wanted):
    """Return beta and ``factors = beta ** deviation`` with ``sum(weight * factors) = wanted``.

    If even beta = 0 leaves a larger sum, return 0 and factors of 0 and 1.
    """
    if weight[deviation == 0.0].sum() >= wanted:
        return 0.0, (deviation == 0.0).astype(np.float64)
    # The logarithm of the sum is increasing and convex in the logarithm of beta. Newton's steps
    # from beta = 1, where the sum is too large, therefore never pass the solution.
    power, factors = 0.0, np.ones(len(weight))
    for _ in range(_MOST_ITERATIONS):
        reached = weight * factors
        total = reached.sum()
        step = np.log(total / wanted) * total / (reached @ deviation)
        power -= step
        factors = np.exp(power * deviation)
        if step <= _ROOT * max(-power, 1.0):
            break
    return np.exp(power), factors


def step_errors(rows, weights, splits, pairs, n_rounds):
    """Return the sum of the test rows' squared errors for each pair of a step and a split."""
    n = rows.n_source
    steps = np.array([step for step, _ in pairs])
    runs = np.array([weights[step] for step in steps])
    for run, (_, k) in zip(runs, pairs, strict=True):
        target = np.zeros(len(run) - n)
        target[splits[k][0]] = run[n:][splits[k][0]]
        run[n:] = target * (run[n:].sum() / target.sum())
    _, votes, predicted = boost_target(rows, runs, steps - steps[0], n_rounds)
    errors = []
    for i, (_, k) in enumerate(pairs):
        test, used = splits[k][1], votes[:, i] > 0.0
        median = weighted_median(predicted[used, i][:, test], votes[used, i])
        errors.append(rows.sample_weight[n + test] @ (rows.y[n + test] - median) ** 2)
    return errors
