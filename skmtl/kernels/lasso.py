"""Coordinate descent for the lasso, on the Gram matrix of the features."""

import numpy as np

from .._jit import njit

__all__ = ["lasso_path"]

# Most sweeps over active features in a row: others may have to enter before these are done.
_MOST_ACTIVE = 100


@njit(helper=True)
def _sweep(gram, diagonal, moment, strength, coef, product, active_only):
    """Update each coefficient; return the largest change, in units of the predictions."""
    largest = 0.0
    for j in range(len(coef)):
        if diagonal[j] <= 0.0 or (active_only and coef[j] == 0.0):
            continue
        old = coef[j]
        z = moment[j] - product[j] + diagonal[j] * old
        new = 0.0
        if z > strength:
            new = (z - strength) / diagonal[j]
        elif z < -strength:
            new = (z + strength) / diagonal[j]
        if new != old:
            coef[j] = new
            for k in range(len(product)):
                product[k] += (new - old) * gram[j, k]
            largest = max(largest, abs(new - old) * np.sqrt(diagonal[j]))
    return largest


@njit(helper=True)
def _duality_gap(moment, square, strength, coef, product):
    """Return the primal minus the dual objective, at residuals scaled to be feasible."""
    explained, fitted, largest, norm = 0.0, 0.0, 0.0, 0.0
    for j in range(len(coef)):
        explained += moment[j] * coef[j]
        fitted += product[j] * coef[j]
        norm += abs(coef[j])
        largest = max(largest, abs(moment[j] - product[j]))
    residual = max(square - 2.0 * explained + fitted, 0.0)
    scale = 1.0 if largest <= strength else strength / largest
    dual = scale * (square - explained) - 0.5 * scale * scale * residual
    return 0.5 * residual + strength * norm - dual


def lasso_path(gram, moment, square, strengths, tol, max_sweeps, coefs, gaps):
    r"""Minimise :math:`b'Gb/2 - c'b + s |b|_1` for decreasing strengths s, with warm starts.

    Parameters
    ----------
    gram : ndarray of shape (n_features, n_features)
        G, symmetric.
    moment : ndarray of shape (n_features,)
        c.
    square : float
        Sum of squared labels. The lasso objective at zero is ``square / 2``.
    strengths : ndarray of shape (n_strengths,)
    tol : float
        Iteration for a strength ends when its duality gap is at most ``tol * square / 2``.
    max_sweeps : int
        Maximum number of sweeps for each strength.
    coefs : ndarray of shape (n_strengths, n_features)
        Output.
    gaps : ndarray of shape (n_strengths,)
        Output: the duality gaps.

    Returns
    -------
    int
        Total number of sweeps.
    """
    work = np.diag(gram).copy(), np.zeros(len(moment)), np.zeros(len(moment))
    return _lasso_path(gram, moment, square, strengths, tol, max_sweeps, work, coefs, gaps)


@njit
def _lasso_path(gram, moment, square, strengths, tol, max_sweeps, work, coefs, gaps):
    """Alternate sweeps over all features with sweeps over active ones until these hardly change.

    Every hundred sweeps the others have their turn as well.
    """
    diagonal, coef, product = work
    total, max_gap = 0, 0.5 * tol * square
    for k in range(len(strengths)):
        small = np.sqrt(max(max_gap, 0.0))
        sweeps, gaps[k] = 0, np.inf
        active, in_a_row = False, 0
        while sweeps < max_sweeps:
            change = _sweep(gram, diagonal, moment, strengths[k], coef, product, active)
            sweeps += 1
            if not active and change <= small:
                gaps[k] = _duality_gap(moment, square, strengths[k], coef, product)
                if gaps[k] <= max_gap:
                    break
                small *= 0.5
            in_a_row = in_a_row + 1 if active else 0
            active = change > small and in_a_row < _MOST_ACTIVE
        if sweeps >= max_sweeps:
            gaps[k] = _duality_gap(moment, square, strengths[k], coef, product)
        for j in range(len(coef)):
            coefs[k, j] = coef[j]
        total += sweeps
    return total
