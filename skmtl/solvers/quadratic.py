r"""Convex quadratic programs with bounds on the variables and on their sum.

.. math:: \min_c \tfrac12 c'Kc - k'c \quad \text{subject to} \quad 0 \le c \le u, \;
    l \le \textstyle\sum_i c_i \le h

where K is positive semidefinite, and may be numerically singular, as Gaussian kernel matrices are.
Nothing is added to its diagonal.

**Certificate.** At a feasible c with gradient g = Kc - k, the objective of a feasible s is lower
than that of c by at most :math:`\max_s g'(c - s)`, the duality gap. This is a fractional knapsack
problem, which a sort solves exactly. The best lower bound on the minimum over all points is kept.
The certificate does not depend on the rank of K. There are two methods, which both end by it:

*Block pivoting* (Portugal, Judice and Vicente 1994) starts from the support found by some sweeps of
coordinate descent. It solves for the coordinates between their bounds, moves those that violate a
bound to that bound, and frees those with the steepest slopes; in single precision as long as many
coordinates move. It takes a few factorisations of the size of the support if K is well conditioned,
and stops if K is not, or if it needs too many.

*Interior point* (Mehrotra 1992) always converges. If K has low numerical rank, its systems are
solved in that rank. The solution is then numerically not unique, and the method ends at one with
many positive coordinates rather than few large ones.

References
----------
Portugal, L. F., Judice, J. J. and Vicente, L. N. (1994). A comparison of block pivoting and
interior-point algorithms for linear least squares problems with nonnegative variables.
Mathematics of Computation 63, 625-643. :doi:`10.1090/S0025-5718-1994-1250776-4`

Mehrotra, S. (1992). On the implementation of a primal-dual interior point method. SIAM Journal on
Optimization 2, 575-601. :doi:`10.1137/0802028`
"""

from dataclasses import dataclass

import numpy as np
from scipy.linalg import LinAlgError, cho_factor, cho_solve
from scipy.linalg.blas import dsyrk
from scipy.linalg.lapack import dpotrf, dpotrs, spotrf, spotrs

from .. import kernels

__all__ = ["QuadraticSolution", "duality_gap", "solve_in_parts", "solve_quadratic"]

_SWEEPS = 10  # of coordinate descent, before pivoting
# Pivots, and the share of the free coordinates that may leave their bounds in one of them; in the
# second half of the pivots only one may, as too many at once can cycle.
_PIVOTS, _ADDED = 80, 0.25
_ROUGH = 0.05  # share of the free coordinates; while more move, single precision suffices
_ROUNDING = 1e-11  # slopes below this share of the largest k count as zero
# Largest rank, as a share of the coordinates, at which systems are solved in it, and the share of
# the trace outside of it. Residuals are computed with K itself.
_LOW_RANK, _LEFT = 0.4, 1e-7
_FEW = 100  # number of coordinates below which the rank is not used
_BLOCK = 1 << 22  # entries of a block of a kernel matrix that is not stored
# Relative width of the bounds on the sum below which it is fixed at their middle.
_FIXED_SUM = 1e-8


@dataclass
class QuadraticSolution:
    """A feasible point and its certificate.

    Attributes
    ----------
    c : ndarray of shape (n,)
    objective : float
    gap : float
        Upper bound on the distance of the objective to its minimum.
    history : dict of arrays
        "objective" and "gap" of every iteration.
    """

    c: np.ndarray
    objective: float
    gap: float
    history: dict


def duality_gap(gradient, c, upper, low, high):
    """Return the duality gap, ``max gradient @ (c - s)`` over feasible s."""
    order = np.argsort(gradient, kind="stable")
    before = np.cumsum(upper[order]) - upper[order]
    limit = np.where(gradient[order] < 0.0, high, low)
    s = np.clip(limit - before, 0.0, upper[order])
    return max(float(gradient @ c - gradient[order] @ s), 0.0)


def solve_quadratic(K, k, upper, low, high, tol=1e-8, max_iter=100):
    """Minimise ``c'Kc/2 - k'c`` over ``0 <= c <= upper`` and ``low <= sum(c) <= high``.

    Parameters
    ----------
    K : ndarray of shape (n, n)
        Symmetric, positive semidefinite, with a positive diagonal.
    k, upper : ndarray of shape (n,)
        `upper` is positive.
    low, high : float
        With ``low < sum(upper)`` and ``0 < high``.
    tol : float
        Tolerance on the gap, as a share of the absolute value of the objective.
    max_iter : int
        Largest number of iterations of the interior point method.

    Returns
    -------
    QuadraticSolution
        The point with the lowest objective; its gap shows whether `tol` was reached.
    """
    low, high = max(low, 0.0), min(high, upper.sum())
    problem = _BoxProblem(K, k, upper, low, high, tol)
    factor = _low_rank(K)
    done = _pivot(problem) if factor is None else _interior(problem, factor, max_iter)
    if not done:  # singular support, or rounding errors in the low rank
        _interior(problem, None, max_iter)
    return problem.solution()


class _BoxProblem:
    """The data, the best point so far, and the history."""

    def __init__(self, K, k, upper, low, high, tol):
        self.K, self.k, self.upper, self.low, self.high, self.tol = K, k, upper, low, high, tol
        self.has_free_sum = high - low > _FIXED_SUM * high
        if not self.has_free_sum:
            self.low = self.high = (low + high) / 2
        self.best, self.bound, self.history = None, -np.inf, []

    def add(self, c, gradient):
        """Record a feasible point (its sum up to rounding); return whether it meets `tol`."""
        objective = 0.5 * (c @ (gradient - self.k))
        gap = duality_gap(gradient, c, self.upper, self.low, self.high)
        self.bound = max(self.bound, objective - gap)  # on the minimum
        if self.best is None or objective < self.best[1]:
            self.best = c.copy(), objective
        gap = max(self.best[1] - self.bound, 0.0)
        self.history.append((self.best[1], gap))
        return gap <= self.tol * abs(self.best[1])

    def solution(self):
        return _solution(self.best[0], self.upper, self.low, self.high, self.history)


def _solution(c, upper, low, high, history):
    """Return a solution, with rounding errors beyond its bounds removed."""
    c = np.clip(c, 0.0, upper)
    total = c.sum()
    if not low <= total <= high:
        c = np.minimum(c * (np.clip(total, low, high) / total), upper)
    objective, gap = np.array(history).T
    return QuadraticSolution(c, *history[-1], {"objective": objective, "gap": gap})


def _low_rank(K):
    """Return ``L (n, rank)`` with ``LL' ~ K``, or None unless K has low rank."""
    if len(K) < _FEW:
        return None
    rows = np.empty((int(_LOW_RANK * len(K)), len(K)))
    rank = kernels.quadratic.low_rank(K, rows, _LEFT)
    return None if rank < 0 else rows[:rank].T


# ------------------------------------------------------------------------------ block pivoting


def _pivot(problem):
    """Run block pivoting; return whether it found a point that meets the tolerance."""
    K, k, upper = problem.K, problem.k, problem.upper
    c = np.minimum(np.full(len(k), 0.5 * (problem.low + problem.high) / len(k)), upper)
    gradient = K @ c - k
    kernels.quadratic.descend(K, gradient, c, upper, _SWEEPS)
    side = np.where(c <= 0.0, -1, np.where(c >= upper, 1, 0))  # at zero, between, at `upper`
    least, is_rough = _ROUNDING * np.abs(k).max(), True
    for n_pivots in range(_PIVOTS):
        found = _equalities(problem, side, is_rough)
        if found is None:
            if not is_rough:
                return False
            is_rough = False
            continue
        c, gradient, multiplier = found
        out = (c < 0.0) | (c > upper)
        if not is_rough and not out.any() and problem.add(c, gradient):
            return True
        freed = np.flatnonzero(side * (gradient + multiplier) > least)
        n_moves = out.sum() + len(freed)
        if not is_rough and not n_moves:
            return False
        side[out] = np.where(c[out] < 0.0, -1, 1)
        n_free = len(k) - np.count_nonzero(side)
        most = 1 + int(_ADDED * n_free) if n_pivots < _PIVOTS // 2 else 1
        if len(freed) > most:
            freed = freed[np.argpartition(-np.abs(gradient[freed] + multiplier), most)[:most]]
        side[freed] = 0
        is_rough = is_rough and n_moves > _ROUGH * n_free
    return False


def _equalities(problem, side, is_rough):
    """Solve for the coordinates between their bounds, with the others at their bounds.

    Returns the point, its gradient and the multiplier of the sum, which is negative at the lower
    bound of the sum and positive at its upper bound. Returns None if the system is singular. If
    `is_rough`, the system is solved in single precision, which takes half the time.
    """
    K, k, upper = problem.K, problem.k, problem.upper
    free, full = np.flatnonzero(side == 0), np.flatnonzero(side > 0)
    gradient = -k
    kernels.quadratic.add_rows(K, full, upper[full], gradient)
    solve = _square_system(K, free, is_rough)
    if solve is None:
        return None
    inner = solve(-gradient[free])
    multiplier, total = 0.0, inner.sum() + upper[full].sum()
    if total < problem.low or total > problem.high:
        if not len(free):
            return None
        limit = problem.high if total > problem.high else problem.low
        of_ones = solve(np.ones(len(free)))
        multiplier = (total - limit) / of_ones.sum()
        inner -= multiplier * of_ones
    c = np.where(side > 0, upper, 0.0)
    c[free] = inner
    kernels.quadratic.add_rows(K, free, inner, gradient)
    return c, gradient, multiplier


def _square_system(K, rows, is_rough):
    """Return a solver for these rows and columns of K, or None if they are singular."""
    if not len(rows):
        return np.copy
    A = np.empty((len(rows), len(rows)), dtype=np.float32 if is_rough else np.float64)
    kernels.quadratic.take_square(K, rows, A)
    factorise, solve = (spotrf, spotrs) if is_rough else (dpotrf, dpotrs)
    factor, info = factorise(A.T, lower=1, clean=0, overwrite_a=1)  # in Fortran order
    if info:
        return None
    return lambda right: solve(factor, right, lower=1)[0].astype(np.float64, copy=False)


# ------------------------------------------------------------------------------ interior point


def _interior(problem, factor, max_iter):
    """Run Mehrotra's predictor-corrector method from equal shares; every iterate is feasible.

    Returns whether it found a point that meets the tolerance.
    """
    point = _InteriorPoint(problem)
    for _ in range(max_iter):
        gradient = problem.K @ point.c - problem.k
        if problem.add(point.c, gradient):
            return True
        solve = _system(problem.K, factor, point)
        if solve is None:
            return False
        predictor = point.step(gradient, solve, 0.0, None)
        mu = point.mu()
        shrink = (point.mu(predictor, point.longest(predictor)) / mu) ** 3
        step = point.step(gradient, solve, shrink * mu, predictor)
        length = min(1.0, 0.995 * point.longest(step))
        if length < 1e-10:  # limited by rounding
            return False
        point.move(step, length)
    return False


class _InteriorPoint:
    """c, its distances to all bounds (`slack`, positive), and their multipliers.

    The n lower bounds come first, then the n upper ones, then those of the sum, `low` and `high`
    (none if the sum is fixed; no lower one at zero, which is redundant).
    """

    def __init__(self, problem):
        self.upper, self.low, self.high = problem.upper, problem.low, problem.high
        signs = [-1.0] if problem.low <= 0.0 else [1.0, -1.0]
        self.signs = np.array(signs if problem.has_free_sum else [])
        middle = 0.5 * (problem.low + min(problem.high, problem.upper.sum()))
        self.c = self.upper * (middle / self.upper.sum())
        self.slack = self._slack(self.c)
        scale = max(np.abs(problem.k).mean(), 1e-300)
        self.multiplier = scale * self.c.mean() / self.slack  # all products are equal

    def _slack(self, c):
        ends = np.array([c.sum() - self.low, self.high - c.sum()])[-len(self.signs) :]
        return np.concatenate([c, self.upper - c, ends[: len(self.signs)]])

    def along(self, d):
        """Return the changes of the slacks for changes of c."""
        return np.concatenate([d, -d, self.signs * d.sum()])

    def transpose(self, values):
        """Return the transpose of `along`, times `values`."""
        n = len(self.c)
        return values[:n] - values[n : 2 * n] + self.signs @ values[2 * n :]

    def mu(self, step=None, length=0.0):
        """Return the mean of slack times multiplier, here or after a step."""
        slack, multiplier = self.slack, self.multiplier
        if step is not None:
            slack, multiplier = slack + length * step[1], multiplier + length * step[2]
        return slack @ multiplier / len(slack)

    def step(self, gradient, solve, mu, predictor):
        """Return changes of (c, slack, multiplier) towards complementarity `mu`."""
        wanted = mu / self.slack
        if predictor is not None:
            wanted = wanted - predictor[1] * predictor[2] / self.slack
        d = solve(self.transpose(wanted) - gradient)
        slack = self.along(d)
        return d, slack, wanted - self.multiplier - self.multiplier / self.slack * slack

    def longest(self, step):
        """Return the largest length, at most 1, that keeps all slacks and multipliers positive."""
        steepest = max((-step[1] / self.slack).max(), (-step[2] / self.multiplier).max())
        return 1.0 if steepest <= 1.0 else 1.0 / steepest

    def move(self, step, length):
        self.c = self.c + length * step[0]
        if not len(self.signs):
            self.c *= self.high / self.c.sum()
        self.slack = self._slack(self.c)
        self.multiplier = self.multiplier + length * step[2]


def _system(K, factor, point):
    """Return a solver for ``K + diag + a 11'`` of the interior point, or None if it is singular."""
    n = len(point.c)
    ratio = point.multiplier / point.slack
    diagonal = ratio[:n] + ratio[n : 2 * n]
    inverse = 1.0 / ratio[2 * n :].sum() if len(point.signs) else 0.0  # 1 / a; zero: sum is fixed
    try:
        if factor is None:
            A = K.copy()
            A[np.diag_indices(n)] += diagonal
            cholesky = cho_factor(A.T, lower=True, check_finite=False, overwrite_a=True)

            def plain(right):
                return cho_solve(cholesky, right, check_finite=False)

        else:
            root = np.sqrt(diagonal)
            scaled = factor / root[:, None]
            small = dsyrk(1.0, scaled, trans=1, lower=1)
            small[np.diag_indices(len(small))] += 1.0
            cholesky = cho_factor(small, lower=True, check_finite=False, overwrite_a=True)

            def plain(right):
                right = right / root
                inner = cho_solve(cholesky, scaled.T @ right, check_finite=False)
                return (right - scaled @ inner) / root

        of_ones = plain(np.ones(n))
    except LinAlgError:
        return None

    def solve(right):
        found = plain(right)
        return found - of_ones * (found.sum() / (inverse + of_ones.sum()))

    return solve


# ------------------------------------------------------------------------- larger than memory


def solve_in_parts(kernel, k, upper, low, high, parts, tol=1e-8, max_rounds=30):
    """Solve the program of `solve_quadratic` if K is too large to be stored.

    First, each part is solved alone, as if it were a sample of all rows; the points together are
    feasible and close to the minimum. Then, in rounds, the rows farthest from optimal are solved
    for, with the others fixed.

    Parameters
    ----------
    kernel : callable
        ``kernel(rows, columns)`` returns that block of K, for two index arrays.
    k, upper, low, high, tol
        As in `solve_quadratic`.
    parts : list of index arrays
        A partition of the n rows into non-empty parts. The largest part is the number of rows that
        are solved for at once.
    max_rounds : int
        Largest number of rounds.

    Returns
    -------
    QuadraticSolution
    """
    c, gradient = np.empty(len(k)), -k
    for rows in parts:
        share = upper[rows].sum() / upper.sum()
        part = solve_quadratic(
            kernel(rows, rows), share * k[rows], upper[rows], share * low, share * high, tol
        )
        c[rows] = part.c
        gradient = gradient + _product(kernel, len(k), rows, part.c)
    history, bound, size = [], -np.inf, max(len(rows) for rows in parts)
    random_state = np.random.RandomState(0)
    for n_rounds in range(max_rounds + 1):
        objective = 0.5 * c @ (gradient - k)
        bound = max(bound, objective - duality_gap(gradient, c, upper, low, high))
        history.append((objective, max(objective - bound, 0.0)))
        if history[-1][1] <= tol * abs(objective) or n_rounds == max_rounds:
            break
        rows = _farthest(c, gradient, upper, low, high, size)
        if len(history) > 1 and history[-1][1] > 0.5 * history[-2][1]:  # slow with these rows
            rows = _and_others(rows, len(k), random_state)
        rows = np.sort(rows)
        K, rest = kernel(rows, rows), c.sum() - c[rows].sum()
        found = solve_quadratic(
            K, K @ c[rows] - gradient[rows], upper[rows], low - rest, high - rest, 0.1 * tol
        ).c
        step = found - c[rows]
        c[rows] = found
        gradient = gradient + _product(kernel, len(k), rows, step)
    return _solution(c, upper, low, high, history)


def _product(kernel, n, columns, values):
    """Return ``K[:, columns] @ values``, computed in blocks of rows."""
    columns, values = columns[values != 0.0], values[values != 0.0]
    step = max(1, _BLOCK // max(len(columns), 1))
    starts = range(0, n, step)
    return np.concatenate(
        [kernel(np.arange(i, min(i + step, n)), columns) @ values for i in starts]
    )


def _farthest(c, gradient, upper, low, high, size):
    """Return the `size` rows with the largest possible gain, to first order, in its order.

    If the sum is at a bound, half of them would increase and half would decrease.
    """
    slope, total = gradient, c.sum()
    at_bound = not low * (1 + _FIXED_SUM) < total < high * (1 - _FIXED_SUM)
    if at_bound:
        price = (gradient[c < upper].min(initial=0.0) + gradient[c > 0.0].max(initial=0.0)) / 2
        slope = gradient - price
    gain = np.where(slope > 0.0, slope * c, -slope * np.minimum(upper - c, c + c.mean()))
    order = np.argsort(-gain, kind="stable")
    if at_bound:
        rising = slope[order] < 0.0
        half = np.concatenate([order[rising][: size // 2], order[~rising][: size // 2]])
        order = np.concatenate([half, np.setdiff1d(order, half)])
    return order[:size]


def _and_others(rows, n, random_state):
    """Return half of the rows and as many random ones, whose interactions they would miss."""
    first = rows[::2]
    others = np.setdiff1d(np.arange(n), first)
    drawn = random_state.choice(others, min(len(rows) - len(first), len(others)), replace=False)
    return np.concatenate([first, drawn])
