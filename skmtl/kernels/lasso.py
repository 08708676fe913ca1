"""Coordinate descent for the lasso, on products of the rows instead of the rows."""

import numpy as np

from .._jit import njit

__all__ = ["lasso_path"]


@njit(helper=True)
def _sweep(gram, diagonal, moment, strength, coef, product, active_only):
    """Update the coefficients one by one; the largest change, in units of the predictions."""
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
    """Primal less dual objective, at the residuals scaled to be feasible."""
    explained, fitted, most, size = 0.0, 0.0, 0.0, 0.0
    for j in range(len(coef)):
        explained += moment[j] * coef[j]
        fitted += product[j] * coef[j]
        size += abs(coef[j])
        most = max(most, abs(moment[j] - product[j]))
    rest = max(square - 2.0 * explained + fitted, 0.0)
    scale = 1.0 if most <= strength else strength / most
    dual = scale * (square - explained) - 0.5 * scale * scale * rest
    return 0.5 * rest + strength * size - dual


def lasso_path(gram, moment, square, strengths, tol, max_sweeps, coefs, gaps):
    r"""Minimise :math:`b'Gb/2 - c'b + s |b|_1` for falling strengths s, each from the last.

    Parameters
    ----------
    gram : ndarray of shape (n_features, n_features)
        G, symmetric.
    moment : ndarray of shape (n_features,)
        c.
    square : float
        Of the labels, so that ``square / 2`` is the objective at zero.
    strengths : ndarray of shape (n_strengths,)
    tol : float
        A strength is done when its duality gap is at most ``tol * square / 2``.
    max_sweeps : int
        For each strength.
    coefs, gaps : ndarrays of shape (n_strengths, n_features) and (n_strengths,)
        Are written.

    Returns
    -------
    int
        How many sweeps were made.
    """
    work = np.diag(gram).copy(), np.zeros(len(moment)), np.zeros(len(moment))
    return _lasso_path(gram, moment, square, strengths, tol, max_sweeps, work, coefs, gaps)


@njit
def _lasso_path(gram, moment, square, strengths, tol, max_sweeps, work, coefs, gaps):
    """After a sweep over all features, the active ones are swept until they hardly change."""
    diagonal, coef, product = work
    total, wanted = 0, 0.5 * tol * square
    for k in range(len(strengths)):
        small = np.sqrt(max(wanted, 0.0))
        sweeps, gaps[k] = 0, np.inf
        active = False
        while sweeps < max_sweeps:
            change = _sweep(gram, diagonal, moment, strengths[k], coef, product, active)
            sweeps += 1
            if not active and change <= small:
                gaps[k] = _duality_gap(moment, square, strengths[k], coef, product)
                if gaps[k] <= wanted:
                    break
                small *= 0.5
            active = change > small
        if sweeps >= max_sweeps:
            gaps[k] = _duality_gap(moment, square, strengths[k], coef, product)
        for j in range(len(coef)):
            coefs[k, j] = coef[j]
        total += sweeps
    return total
