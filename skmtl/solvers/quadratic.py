r"""Convex quadratic programs in a box, with a bounded sum.

.. math:: \min_c \tfrac12 c'Kc - k'c \quad \text{subject to} \quad 0 \le c \le u, \;
    l \le \textstyle\sum_i c_i \le h

where K is positive semidefinite, and may be singular up to rounding, as Gaussian kernel matrices
are. Nothing is added to its diagonal.

**Certificate.** At a feasible c with gradient g = Kc - k, no feasible s has an objective lower
than that of c by more than :math:`\max_s g'(c - s)`: the duality gap, a fractional knapsack that a
sort solves exactly. The best of the bounds that it gives holds for all points. It needs no rank of
K, and ends each of the two ways:

*Block pivoting* (Portugal, Judice and Vicente 1994), from the support that some sweeps of
coordinate descent leave. It solves for the coordinates between their bounds, moves to their bounds
all that came out beyond, and releases those with the steepest slopes; in single precision, as long
as many move. A few factorisations of the support's size where K is well conditioned; given up where
it is not, or where they are many.

*Interior point* (Mehrotra 1992), safe always. Where K has low rank, up to rounding, its systems
are solved in that rank, and the solution is not unique, up to rounding: it ends at one with many
positive coordinates rather than few large ones.

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
# All that leave their bounds at once would be too many: at most this share of those in between,
# and after half the pivots one.
_PIVOTS, _ADDED = 80, 0.25
_ROUGH = 0.05  # as long as a larger share moves, single precision tells which
_ROUNDING = 1e-11  # slopes below this share of the largest k are zero
# Rank up to which systems are solved in it, as a share of the coordinates, and the share of the
# trace that is not in it. The residuals are those of K itself.
_LOW_RANK, _LEFT = 0.4, 1e-7
_FEW = 100  # coordinates, for which rank does not matter
_BLOCK = 1 << 22  # entries of a kernel matrix that is not kept
# A room for the sum of this share, or less, is none: it is held at its middle.
_NO_ROOM = 1e-8


@dataclass
class QuadraticSolution:
    """A feasible point, and how good it is.

    Attributes
    ----------
    c : ndarray of shape (n,)
    objective : float
    gap : float
        At most so much above the minimum.
    history : dict of arrays
        "objective" and "gap", of every iteration.
    """

    c: np.ndarray
    objective: float
    gap: float
    history: dict


def duality_gap(gradient, c, upper, low, high):
    """The most that a feasible s could be below c, to first order: ``max gradient @ (c - s)``."""
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
        `upper` above zero.
    low, high : float
        With ``low < sum(upper)`` and ``0 < high``.
    tol : float
        It ends where the gap is below this share of the objective's absolute value.
    max_iter : int
        Of the interior point method.

    Returns
    -------
    QuadraticSolution
        That of the least objective; ask its gap whether `tol` was reached.
    """
    low, high = max(low, 0.0), min(high, upper.sum())
    problem = _Problem(K, k, upper, low, high, tol)
    factor = _low_rank(K)
    done = _pivot(problem) if factor is None else _interior(problem, factor, max_iter)
    if not done:  # a singular support, or too much rounding in the low rank
        _interior(problem, None, max_iter)
    return problem.solution()


class _Problem:
    """The data, the best point so far, and what was seen on the way."""

    def __init__(self, K, k, upper, low, high, tol):
        self.K, self.k, self.upper, self.low, self.high, self.tol = K, k, upper, low, high, tol
        self.room = high - low > _NO_ROOM * high
        if not self.room:
            self.low = self.high = (low + high) / 2
        self.best, self.bound, self.seen = None, -np.inf, []

    def offer(self, c, gradient):
        """Note a feasible point (its sum up to rounding), and say whether it is good enough."""
        objective = 0.5 * (c @ (gradient - self.k))
        gap = duality_gap(gradient, c, self.upper, self.low, self.high)
        self.bound = max(self.bound, objective - gap)  # of the minimum
        if self.best is None or objective < self.best[1]:
            self.best = c.copy(), objective
        gap = max(self.best[1] - self.bound, 0.0)
        self.seen.append((self.best[1], gap))
        return gap <= self.tol * abs(self.best[1])

    def solution(self):
        c = _feasible(self.best[0], self.upper, self.low, self.high)
        return QuadraticSolution(c, *self.seen[-1], _history(self.seen))


def _feasible(c, upper, low, high):
    """The point without what rounding left beyond its bounds."""
    c = np.clip(c, 0.0, upper)
    total = c.sum()
    return c if low <= total <= high else np.minimum(c * (np.clip(total, low, high) / total), upper)


def _history(seen):
    objective, gap = np.array(seen).T
    return {"objective": objective, "gap": gap}


def _low_rank(K):
    """``L (n, rank)`` with ``LL' ~ K``, or None where K has no low rank."""
    if len(K) < _FEW:
        return None
    rows = np.empty((int(_LOW_RANK * len(K)), len(K)))
    rank = kernels.quadratic.low_rank(K, rows, _LEFT)
    return None if rank < 0 else rows[:rank].T


# ------------------------------------------------------------------------------ block pivoting


def _pivot(problem):
    """Whether pivoting found a point that is good enough."""
    K, k, upper = problem.K, problem.k, problem.upper
    c = np.minimum(np.full(len(k), 0.5 * (problem.low + problem.high) / len(k)), upper)
    gradient = K @ c - k
    kernels.quadratic.descend(K, gradient, c, upper, _SWEEPS)
    place = np.where(c <= 0.0, -1, np.where(c >= upper, 1, 0))
    least, rough = _ROUNDING * np.abs(k).max(), True
    for n_pivots in range(_PIVOTS):
        found = _equalities(problem, place, rough)
        if found is None:
            if not rough:
                return False
            rough = False
            continue
        c, gradient, multiplier = found
        out = (c < 0.0) | (c > upper)
        if not rough and not out.any() and problem.offer(c, gradient):
            return True
        back = np.flatnonzero(place * (gradient + multiplier) > least)
        n_out, n_back = out.sum(), len(back)
        if not rough and not n_out and not n_back:
            return False
        place[out] = np.where(c[out] < 0.0, -1, 1)
        n_free = len(k) - np.count_nonzero(place)
        most = 1 + int(_ADDED * n_free) if n_pivots < _PIVOTS // 2 else 1
        if n_back > most:
            back = back[np.argpartition(-np.abs(gradient[back] + multiplier), most)[:most]]
        place[back] = 0
        rough = rough and n_out + n_back > _ROUGH * n_free
    return False


def _equalities(problem, place, rough):
    """Coordinates in between solved for, the others at their bounds.

    Returns the point, its gradient and the multiplier of the sum: below and above zero where that
    is held at its lower and upper bound. None where the system is singular. `rough`: in single
    precision, which takes half the time.
    """
    K, k, upper = problem.K, problem.k, problem.upper
    free, full = np.flatnonzero(place == 0), np.flatnonzero(place > 0)
    gradient = -k
    kernels.quadratic.add_rows(K, full, upper[full], gradient)
    solve = _square_system(K, free, rough)
    if solve is None:
        return None
    inner = solve(-gradient[free])
    multiplier, total = 0.0, inner.sum() + upper[full].sum()
    limit = problem.high if total > problem.high else problem.low if total < problem.low else None
    if limit is not None:
        if not len(free):
            return None
        flat = solve(np.ones(len(free)))
        multiplier = (total - limit) / flat.sum()
        inner -= multiplier * flat
    c = np.where(place > 0, upper, 0.0)
    c[free] = inner
    kernels.quadratic.add_rows(K, free, inner, gradient)
    return c, gradient, multiplier


def _square_system(K, rows, rough):
    """A solver for these rows and columns of K; None where they are singular."""
    if not len(rows):
        return np.copy
    A = np.empty((len(rows), len(rows)), dtype=np.float32 if rough else np.float64)
    kernels.quadratic.take_square(K, rows, A)
    factorise, solve = (spotrf, spotrs) if rough else (dpotrf, dpotrs)
    factor, failed = factorise(A.T, lower=1, clean=0, overwrite_a=1)  # in LAPACK's order
    if failed:
        return None
    return lambda right: solve(factor, right, lower=1)[0].astype(np.float64, copy=False)


# ------------------------------------------------------------------------------ interior point


def _interior(problem, factor, max_iter):
    """Mehrotra's predictor and corrector, from equal shares; every iterate is feasible.

    Returns whether it came to a point that is good enough.
    """
    point = _Point(problem)
    for _ in range(max_iter):
        gradient = problem.K @ point.c - problem.k
        if problem.offer(point.c, gradient):
            return True
        solve = _system(problem.K, factor, point)
        if solve is None:
            return False
        ahead = point.step(gradient, solve, 0.0, None)
        length = point.longest(ahead)
        mu = point.mu()
        shrink = (point.mu(ahead, length) / mu) ** 3
        step = point.step(gradient, solve, shrink * mu, ahead)
        length = min(1.0, 0.995 * point.longest(step))
        if length < 1e-10:  # rounding
            return False
        point.move(step, length)
    return False


class _Point:
    """c, its distances to all bounds (`room`, above zero), and their multipliers (`force`).

    One array each: n to zero, n to the upper bounds, and two of the sum, to `low` and to `high`
    (none where the sum is held; no lower one at zero, which is redundant).
    """

    def __init__(self, problem):
        self.upper = problem.upper
        self.low, self.high = problem.low, problem.high
        self.signs = [] if not problem.room else [-1.0] if problem.low <= 0.0 else [1.0, -1.0]
        self.signs = np.array(self.signs)
        middle = 0.5 * (problem.low + min(problem.high, problem.upper.sum()))
        self.c = self.upper * (middle / self.upper.sum())
        self.room = self._rooms(self.c)
        scale = max(np.abs(problem.k).mean(), 1e-300)
        self.force = scale * self.c.mean() / self.room  # all rooms times forces are the same

    def _rooms(self, c):
        ends = np.array([c.sum() - self.low, self.high - c.sum()])[-len(self.signs) :]
        return np.concatenate([c, self.upper - c, ends[: len(self.signs)]])

    def along(self, d):
        """Changes of the rooms with those of c."""
        return np.concatenate([d, -d, self.signs * d.sum()])

    def back(self, values):
        """The transpose of `along`."""
        n = len(self.c)
        return values[:n] - values[n : 2 * n] + self.signs @ values[2 * n :]

    def mu(self, step=None, length=0.0):
        """Mean of room times force, here or after a step."""
        if step is None:
            return self.room @ self.force / len(self.room)
        room, force = self.room + length * step[1], self.force + length * step[2]
        return room @ force / len(self.room)

    def step(self, gradient, solve, mu, ahead):
        """Changes of (c, room, force) towards complementarity `mu`."""
        wanted = mu / self.room
        if ahead is not None:
            wanted = wanted - ahead[1] * ahead[2] / self.room
        d = solve(self.back(wanted) - gradient)
        room = self.along(d)
        return d, room, wanted - self.force - self.force / self.room * room

    def longest(self, step):
        """The longest length, at most 1, at which all rooms and forces are above zero."""
        steepest = max((-step[1] / self.room).max(), (-step[2] / self.force).max())
        return 1.0 if steepest <= 1.0 else 1.0 / steepest

    def move(self, step, length):
        self.c = self.c + length * step[0]
        if not len(self.signs):
            self.c *= self.high / self.c.sum()
        self.room = self._rooms(self.c)
        self.force = self.force + length * step[2]


def _system(K, factor, point):
    """A solver for ``K + diag + a 11'``, as the rooms and forces say; None where that fails."""
    n = len(point.c)
    ratio = point.force / point.room
    diagonal = ratio[:n] + ratio[n : 2 * n]
    # Infinite where the sum is held: 1 / a is then zero.
    inverse = 1.0 / ratio[2 * n :].sum() if len(point.signs) else 0.0
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

        flat = plain(np.ones(n))
    except LinAlgError:
        return None

    def solve(right):
        found = plain(right)
        return found - flat * (found.sum() / (inverse + flat.sum()))

    return solve


# ------------------------------------------------------------------------- more than fits memory


def solve_in_parts(kernel, k, upper, low, high, parts, tol=1e-8, max_rounds=30):
    """The same where K is too large to be kept: it is asked for in blocks.

    First each part alone, as if it were a sample of all; these points together are feasible, and
    near the minimum. Then, in rounds, for the rows that are farthest from optimal, the others as
    they stand.

    Parameters
    ----------
    kernel : callable
        ``kernel(rows, columns)`` is that block of K, for two index arrays.
    k, upper, low, high, tol
        As in `solve_quadratic`.
    parts : list of index arrays
        Which part together all n rows, some at least each; at most so many are solved for at once.
    max_rounds : int
    """
    c, gradient = np.empty(len(k)), -k
    for rows in parts:
        share = upper[rows].sum() / upper.sum()
        part = solve_quadratic(
            kernel(rows, rows), share * k[rows], upper[rows], share * low, share * high, tol
        )
        c[rows] = part.c
        gradient = gradient + _product(kernel, len(k), rows, part.c)
    seen, bound, size = [], -np.inf, max(len(rows) for rows in parts)
    random_state = np.random.RandomState(0)
    for n_rounds in range(max_rounds + 1):
        objective = 0.5 * c @ (gradient - k)
        bound = max(bound, objective - duality_gap(gradient, c, upper, low, high))
        seen.append((objective, max(objective - bound, 0.0)))
        if seen[-1][1] <= tol * abs(seen[-1][0]) or n_rounds == max_rounds:
            break
        rows = _farthest(c, gradient, upper, low, high, size)
        if len(seen) > 1 and seen[-1][1] > 0.5 * seen[-2][1]:  # these alone get no farther
            rows = _and_others(rows, len(k), random_state)
        rows = np.sort(rows)
        K, rest = kernel(rows, rows), c.sum() - c[rows].sum()
        found = solve_quadratic(
            K, K @ c[rows] - gradient[rows], upper[rows], low - rest, high - rest, 0.1 * tol
        ).c
        step = found - c[rows]
        c[rows] = found
        gradient = gradient + _product(kernel, len(k), rows, step)
    return QuadraticSolution(_feasible(c, upper, low, high), *seen[-1], _history(seen))


def _product(kernel, n, columns, values):
    """``K[:, columns] @ values``, in blocks of rows."""
    columns, values = columns[values != 0.0], values[values != 0.0]
    step = max(1, _BLOCK // max(len(columns), 1))
    starts = range(0, n, step)
    return np.concatenate(
        [kernel(np.arange(i, min(i + step, n)), columns) @ values for i in starts]
    )


def _farthest(c, gradient, upper, low, high, size):
    """Rows in the order of what they would gain, to first order; `size` of them.

    Where the sum is at a bound, as many that would rise as that would fall.
    """
    slope, total = gradient, c.sum()
    held = not low * (1 + _NO_ROOM) < total < high * (1 - _NO_ROOM)
    if held:
        price = (gradient[c < upper].min(initial=0.0) + gradient[c > 0.0].max(initial=0.0)) / 2
        slope = gradient - price
    gain = np.where(slope > 0.0, slope * c, -slope * np.minimum(upper - c, c + c.mean()))
    order = np.argsort(-gain, kind="stable")
    if held:
        rising = slope[order] < 0.0
        half = np.concatenate([order[rising][: size // 2], order[~rising][: size // 2]])
        order = np.concatenate([half, np.setdiff1d(order, half)])
    return order[:size]


def _and_others(rows, n, random_state):
    """Half of the rows, and others that are drawn: solved for together, rows miss those."""
    first = rows[::2]
    others = np.setdiff1d(np.arange(n), first)
    drawn = random_state.choice(others, min(len(rows) - len(first), len(others)), replace=False)
    return np.concatenate([first, drawn])
