r"""The search for strengths of the effects of groupings.

It starts from variances by the method of moments, and minimises the loss of held-out rows.

References
----------
Zeger, S. L., Liang, K.-Y. and Albert, P. S. (1988). Models for longitudinal data: a generalized
estimating equation approach. Biometrics 44(4). :doi:`10.2307/2531734`
"""

from dataclasses import replace

import numpy as np

from ..losses import LOG_LOSS, SQUARED_ERROR
from ..solvers.crossed import CrossedNewton, CrossedSystem, task_scores
from ..tasks.groupings import Levels
from ..tasks.moments import block_moments, scale_of
from ..tasks.stack import as_dense

__all__ = ["ROUGH_RESIDUAL", "CrossedSearch", "NewtonSearch", "moment_variances"]

# Strengths beyond these, in rows, count as zero and as infinite.
_LEAST, _MOST = 1e-3, 1e6
# Splits in which strengths are compared, and the step of the search on their logarithms.
_SPLITS, _STEP = 2, 0.5
# Strengths from which the search starts where there is no better start: of the slopes of tasks, and
# of effects whose variance is zero by the method of moments.
_STARTS = (1e3, 1e2, 10.0, 1.0)
# Gain in the log-likelihood of held-out rows that makes one of these worth a search.
_LEAST_GAIN = 2.0
# In a logistic model without them, effects of variance v look smaller by the root of 1 + this v.
_MARGINAL = (16.0 * np.sqrt(3.0) / (15.0 * np.pi)) ** 2
# Strengths on slopes and intercepts of the models around which losses with a link are quadratic.
_REFERENCE = 10.0, 1.0
# Strength on the shared slopes, in rows.
_RIDGE = 1.0
# Largest residuals of solutions that are compared, and of those that are used.
ROUGH_RESIDUAL, _FINE, _FINE_NEWTON = 1e-3, 1e-9, 1e-6


class CrossedSearch:
    """Cross-validated errors of partial pooling with crossed groupings."""

    def __init__(self, table, levels, parts, given, pooling, slopes, executor, loss=SQUARED_ERROR):
        self.table, self.executor, self.loss = table, executor, loss
        self.weight = table.weights()
        one = replace(table, offsets=table.offsets[[0, -1]], factors=None)
        total, mean, variance = block_moments(one).merge().pooled()
        self.centre, self.scale = mean[:-1], scale_of(total, mean, variance)[:-1]
        self.y = self._target(table, mean[-1])
        features = None
        if any(levels.slopes):
            features = (as_dense(table.X[table.rows]) - self.centre) * self.scale
        self.levels = levels = levels.with_features(features)
        self._given = [None] * levels.n_strengths if given is None else list(given)
        self._pooling, self._parts, self._noise = pooling, parts, 1.0
        self._has_slopes = bool(slopes and table.n_features)
        self._known = {}

    def _target(self, table, mean):
        return table.y - mean

    def _system(self, chosen):
        """Return the system of some rows, and their target."""
        table = self.table if chosen.all() else self.table.select(chosen)
        system = CrossedSystem(
            table, self.levels.take(chosen), self.centre, self.scale, self.executor
        )
        return system, self.y[chosen]

    @staticmethod
    def _solve(system, y, strengths, start, tol):
        return system.solve(y, strengths, None if start is None else start.effects, tol)

    def effects(self, chosen, pooling, strengths, tol=_FINE):
        """Return the `CrossedSolution` of some rows, and the sums of effects of all rows."""
        system, y = self._system(chosen)
        found = self._solve(system.factor(*pooling), y, strengths, None, tol)
        return found, self.levels.of_rows(found.effects)

    def information(self, pooling, strengths, solution):
        """Return `CrossedSystem.information` of all rows, and their weights per level."""
        system, _ = self._system(np.ones(len(self.table.rows), dtype=bool))
        system = self._quadratic(system.factor(*pooling), solution)
        return system.information(strengths), self.levels.rows(system.weight)

    @staticmethod
    def _quadratic(system, solution):
        """Return the `CrossedSystem` at a `CrossedSolution`."""
        return system

    def best(self):
        """Return the strengths of partial pooling and of the groupings."""
        if None not in self._given and self._pooling is not None:
            return self._pooling, np.array(self._given, dtype=float)
        self._prepare()
        n_tasks = (self.table.task_sizes() > 0).sum()
        at = self._first = self._start(n_tasks)
        free = self._free(n_tasks)
        for k in [k for k in free if at[k] >= 0.1 * _MOST]:
            tried = [at, *((*at[:k], strength, *at[k + 1 :]) for strength in _STARTS)]
            costs = np.array([self.cost(one) for one in tried])
            best = int(np.argmin(costs))
            if costs[best] < costs[0] - _LEAST_GAIN:
                at = tried[best]
            else:
                free.remove(k)
        for k in free:
            at = self._improved(at, k)
        strengths = np.array([np.inf if s >= 0.1 * _MOST else s for s in at[2:]])
        return (at[0], at[1], self._ridge), strengths

    @property
    def _ridge(self):
        return _RIDGE if self._pooling is None else self._pooling[2]

    def _free(self, n_tasks):
        """Return the positions of the strengths to tune: slopes, intercepts, groupings."""
        free = [2 + g for g, strength in enumerate(self._given) if strength is None]
        if self._pooling is not None or n_tasks == 1:
            return free
        return [0, 1, *free] if self._has_slopes else [1, *free]

    def _start(self, n_tasks):
        """Return strengths from the method of moments: slopes, intercepts, groupings."""
        codes = np.column_stack([self.table.codes, self.levels.codes])
        noise, variances = self._variances(codes)
        with np.errstate(divide="ignore"):
            found = np.clip(noise / variances, 10 * _LEAST, 0.1 * _MOST)
        found = np.append(found, np.full(sum(self.levels.slopes), np.inf))
        for g, strength in enumerate(self._given):
            if strength is not None:
                found[1 + g] = strength
        if self._pooling is not None:
            return (*self._pooling[:2], *found[1:])
        return (np.inf, found[0] if n_tasks > 1 else np.inf, *found[1:])

    def _variances(self, codes):
        """Return the variances of noise and of the effects of tasks and levels."""
        return moment_variances(self.y - self._pooled(), codes, self.weight)

    def _pooled(self):
        """Return predictions of a single model of all rows."""
        table = self.table
        one = replace(table, offsets=table.offsets[[0, -1]], factors=None)
        system = CrossedSystem(one, self.levels, self.centre, self.scale, self.executor)
        return system.factor(np.inf, np.inf, self._ridge).predict(system.fit(self.y))

    def _prepare(self):
        """Make the systems of the splits in which strengths are compared."""
        part, self._splits = self._parts[0], []
        for train, test in list(zip(part.train, part.test, strict=True))[:_SPLITS]:
            held = test[part.block]
            test = replace(self.table.select(held), y=self.y[held])
            system = self._system(train[part.block])
            self._splits.append([*system, test, self.levels.take(held), None])
        self._rows = sum(test.weights().sum() for _, _, test, _, _ in self._splits)

    def _scores(self, table, models):
        """Return the scores of the rows of a table by models of the tasks."""
        coef, intercept, _ = models
        return task_scores(table, coef, intercept, self.centre, self.scale, self.executor)

    def cost(self, at):
        """Return minus the log-likelihood of held-out rows under some strengths, and their prior.

        Held-out rows of known tasks hardly tell large strengths apart, which differ on new tasks.
        So strengths have a prior, a Cauchy distribution of their logarithms about the estimates by
        the method of moments.
        """
        gaps = [
            np.log(a / b)
            for a, b in zip(at[1:], self._first[1:], strict=True)
            if a != b and b < 0.1 * _MOST
        ]
        return self._log_likelihood(self.error(at)) + np.log1p(np.square(gaps)).sum()

    def _log_likelihood(self, error):
        """Return minus the log-likelihood of the held-out rows, up to a constant."""
        return 0.5 * self._rows * np.log(error)

    def error(self, at):
        """Return the mean loss of held-out rows under some strengths."""
        at = tuple(_bounded(strength) for strength in at)
        if at in self._known:
            return self._known[at]
        total = 0.0
        for split in self._splits:
            system, y, test, levels, start = split
            system.factor(at[0], at[1], self._ridge)
            found = split[-1] = self._solve(system, y, at[2:], start, ROUGH_RESIDUAL)
            scores = self._scores(test, found.models)
            scores += levels.of_rows(found.effects)
            total += test.weights() @ self._losses(scores, test.y)
        self._known[at] = max(total, 1e-300) / self._rows
        return self._known[at]

    def _losses(self, scores, y):
        return (y - scores) ** 2

    def _improved(self, at, k):
        """Return better strengths by a search on the logarithm of the k-th one."""

        def moved(by):
            return (*at[:k], at[k] * np.exp(by), *at[k + 1 :])

        if not _LEAST < at[k] < _MOST:
            return at
        here, up, down = (self.cost(moved(by)) for by in (0.0, _STEP, -_STEP))
        while min(up, down) < here and _LEAST < at[k] < _MOST:
            by = _STEP if up < down else -_STEP
            at = moved(by)
            ahead = self.cost(moved(by))
            here, (up, down) = min(up, down), (ahead, here) if by > 0 else (here, ahead)
        curvature = up + down - 2.0 * here
        if curvature <= 0:
            return at
        vertex = moved(0.5 * _STEP * (down - up) / curvature)
        return vertex if self.cost(vertex) < here else at


class NewtonSearch(CrossedSearch):
    """The same for losses with a link: strengths are 1 / variance, times the dispersion."""

    def _target(self, table, mean):
        self._level = 0.0 if self.loss is LOG_LOSS else self.loss.constant(table.y, self.weight)
        return table.y

    def _system(self, chosen):
        table = self.table if chosen.all() else self.table.select(chosen)
        return self._newton(table, self.levels.take(chosen)), table.y

    def _newton(self, table, levels):
        table = replace(table, known=np.full(len(table.y), self._level))
        return CrossedNewton(table, levels, self.centre, self.scale, self.loss, self.executor)

    def _scores(self, table, models):
        return self._level + super()._scores(table, models)

    @staticmethod
    def _solve(system, y, strengths, start, tol):
        return system.solve(strengths, start, max(tol, _FINE_NEWTON))

    @staticmethod
    def _quadratic(system, solution):
        return system.working_system(solution)

    def _losses(self, scores, y):
        return self.loss.deviance(scores, y) / self.loss.factor

    def _log_likelihood(self, error):
        return self._rows * error / self._noise

    def _variances(self, codes):
        levels = Levels(self.levels.codes, self.levels.sizes)
        nothing = np.full(len(levels.sizes), np.inf)
        if self.loss is LOG_LOSS:
            # Working responses of a model of all rows, whose noise has the variance 1 / weight
            # beside the effects. It sees them smaller than they are (Zeger et al. 1988).
            whole = replace(self.table, offsets=self.table.offsets[[0, -1]], factors=None)
            system = self._newton(whole, levels).factor(np.inf, np.inf, self._ridge)
            scores = self._scores(whole, system.solve(nothing).models)
            residual, weight = self._working(scores)
            variances = moment_variances(residual, codes, weight, self.weight)[1]
            return 1.0, variances / (1.0 - _MARGINAL * min(variances.sum(), 0.8 / _MARGINAL))
        # Working responses of models of the tasks, less what all tasks share: without these models,
        # means of large tasks would count as noise.
        system = self._newton(self.table, levels).factor(*_REFERENCE, self._ridge)
        models = system.solve(nothing).models
        scores = self._scores(self.table, models)
        theta, n_tasks = models[2], self.table.n_tasks
        shared = np.tile(theta[1:], (n_tasks, 1)), np.full(n_tasks, theta[0]), theta
        residual, weight = self._working(scores)
        residual = residual + scores - self._scores(self.table, shared)
        self._noise = self.loss.noise(scores, self.y, self.weight)
        return self._noise, moment_variances(residual, codes, weight, self.weight)[1]

    def _working(self, scores):
        """Return working responses less the scores, and working weights of all rows."""
        scores, target = scores[:, None], self.y[:, None]
        curvature = np.maximum(self.loss.bend(scores, target)[:, 0], 1e-12)
        slope = self.loss.gradient(scores, target)[:, 0]
        return -slope / curvature, self.weight * curvature


def _bounded(strength):
    if strength >= _MOST:
        return np.inf
    return 0.0 if strength <= _LEAST else float(strength)


def moment_variances(values, codes, weight=None, counts=None):
    r"""Return the variances of noise and of crossed random effects, by the method of moments.

    For each column the expected sum of squares about the means of its levels,

    .. math:: E \sum_l \sum_{i \in l} (v_i - \bar v_l)^2 = \sigma^2 (n - L)
              + \sum_{h \ne g} \sigma_h^2 \Bigl(n - \sum_l \frac{1}{n_l} \sum_m n_{lm}^2\Bigr),

    and likewise about the mean of all values, give a linear system in the variances, whose solution
    is made non-negative (Gao and Owen 2017). It takes one pass over the rows per pair of columns.

    Parameters
    ----------
    values : ndarray of shape (n_rows,)
    codes : int ndarray of shape (n_rows, n_columns)
    weight : ndarray of shape (n_rows,), optional
        Weights of the rows in the means.
    counts : ndarray of shape (n_rows,), optional
        Numbers of rows that the rows stand for, by default the weights: the noise of a row has the
        variance :math:`\sigma^2` times count / weight.

    Returns
    -------
    noise : float
    variances : ndarray of shape (n_columns,)

    References
    ----------
    Gao, K. and Owen, A. (2017). Efficient moment calculations for variance components in large
    unbalanced crossed random effects models. Electronic Journal of Statistics 11(1).
    :doi:`10.1214/17-EJS1236`
    """
    weight = np.ones(len(values)) if weight is None else weight
    counts = weight if counts is None else counts
    n_columns, n = codes.shape[1], weight.sum()
    groups = [np.zeros(len(values), dtype=np.int64), *codes.T]
    system, sums = np.zeros((1 + n_columns, 1 + n_columns)), np.zeros(1 + n_columns)
    for row, group in enumerate(groups):
        rows = np.bincount(group, weight)
        known = np.where(rows > 0, rows, 1.0)
        mean = np.bincount(group, weight * values) / known
        sums[row] = weight @ (values - mean[group]) ** 2
        share = np.bincount(group, counts * weight) / known
        system[row, 0] = counts.sum() - share.sum()
        for column, other in enumerate(codes.T):
            pairs, first, at = np.unique(
                group * (other.max() + 1) + other, return_index=True, return_inverse=True
            )
            both = np.bincount(at, weight, minlength=len(pairs))
            system[row, 1 + column] = n - (both**2 / known[group[first]]).sum()
    found = np.maximum(np.linalg.lstsq(system, sums, rcond=None)[0], 0.0)
    return max(found[0], 1e-3 * sums[0] / max(n, 1.0)), found[1:]
