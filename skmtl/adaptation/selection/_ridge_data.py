"""Rows as numbers for the ridges that evaluate sources, whatever the estimator's input is."""

import itertools
from dataclasses import dataclass, replace

import numpy as np
from scipy import sparse
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.linear_model import Ridge
from sklearn.svm import LinearSVC, LinearSVR
from sklearn.tree import DecisionTreeRegressor

from ..._compat import take_rows
from ...tasks.auto import unreadable_columns
from ...tasks.columns import drop_columns
from ...tasks.features import make_preprocessor
from ...tasks.stack import as_dense, stack_rows
from ..base import SourceRows
from ..normal_equations import has_one_strength

__all__ = ["RidgeData", "approximate_ridge_data", "exact_ridge_data", "is_plain_ridge"]

# The largest number of features for which the ridges are the estimator's own.
_MOST_EXACT = 128
# The largest numbers of columns, leaves and trees, and the smallest weight of a leaf.
_MOST_COLUMNS, _MOST_LEAVES, _MOST_TREES, _LEAST_LEAF = 64, 64, 8, 5.0
# The largest number of source rows, all together, and for a tree.
_MOST_ROWS, _ROWS_OF_TREE = 2**16, 2000
# Candidate strengths for standardised features and labels; the number of sources that choose.
_STRENGTHS, _MOST_CHOOSERS = 10.0 ** np.arange(-1.0, 4.5, 0.5), 8


@dataclass(frozen=True, eq=False)
class RidgeData:
    """Rows of numbers, and the strength of ridges on them.

    Attributes
    ----------
    target : SourceRows
        X of shape (n_target, n_features), y of shape (n_target, n_labels).
    sources : tuple of SourceRows
    alpha : float
    unit : float
        One unit of y here in the units of the problem's labels, for a regressor.
    """

    target: SourceRows
    sources: tuple
    alpha: float
    unit: float = 1.0


def is_plain_ridge(estimator):
    """Return whether `RidgeMoments` computes the estimator's fits: a `Ridge` of any solver."""
    if type(estimator) is not Ridge or estimator.positive is not False:
        return False
    return estimator.fit_intercept is True and has_one_strength(estimator) and estimator.alpha > 0


def exact_ridge_data(problem):
    """Return the rows unchanged if the estimator is a `Ridge` with few features; otherwise None.

    The errors of a `RidgeScreening` are then the estimator's own.
    """
    ridge, p = problem.estimator, problem.X.shape[1]
    if not is_plain_ridge(ridge) or p > _MOST_EXACT:
        return None
    groups = [problem, *problem.sources]
    if sum(len(g.y) for g in groups) < p or not all(_is_finite(g.X) for g in groups):
        return None
    target = SourceRows(as_dense(problem.X), problem.y[:, None], problem.weight, None)
    sources = tuple(replace(source, y=source.y[:, None]) for source in problem.sources)
    return RidgeData(target, sources, ridge.alpha)


def _is_finite(X):
    """Return whether a table is an array or a csr matrix of finite numbers."""
    is_array = isinstance(X, np.ndarray) or sparse.issparse(X)
    return bool(is_array and X.dtype == np.float64 and np.isfinite(X.sum()))


def approximate_ridge_data(problem):
    """Return standardised numbers of few columns, and leaves of small trees if not linear."""
    groups = [_sample_rows(source, len(problem.sources)) for source in problem.sources]
    groups.append(problem)
    bounds = np.cumsum([0, *(len(g.y) for g in groups)])
    Y = np.concatenate([g.y for g in groups])[:, None]
    if problem.classifier:
        Y = (Y == problem.classes).astype(np.float64)
    w = np.concatenate([g.row_weight for g in groups])
    slices = [slice(a, b) for a, b in itertools.pairwise(bounds)]
    Z = _numbers(stack_rows([g.X for g in groups]))
    columns = _relevant(Z, Y, w, slices) if Z.shape[1] > _MOST_COLUMNS else slice(None)
    parts = [as_dense(Z[:, columns])]
    if not _is_linear(problem.estimator):
        parts.append(_leaves(Z, Y, w, slices[:-1]))
    X, _ = _standardise(np.hstack(parts), w)
    Y, spread = _standardise(Y, w)
    unit = 1.0 if problem.classifier or spread[0] == 0.0 else float(spread[0])
    labels = [*(source.label for source in problem.sources), None]
    rows = [SourceRows(X[s], Y[s], w[s], label) for s, label in zip(slices, labels, strict=True)]
    return RidgeData(rows[-1], tuple(rows[:-1]), _strength(rows), unit)


def _sample_rows(source, n_sources):
    """Return a source's rows, or a sample of them with the same total weight."""
    n, most = len(source.y), max(_MOST_ROWS // n_sources, 100)
    if n <= most:
        return source
    rows = np.sort(np.random.RandomState(0).permutation(n)[:most])
    weight = source.row_weight[rows] * (source.row_weight.sum() / source.row_weight[rows].sum())
    return SourceRows(take_rows(source.X, rows), source.y[rows], weight, source.label)


def _numbers(X):
    """Return finite numbers: gaps filled, categories and strings one-hot encoded."""
    if sparse.issparse(X):
        X = sparse.csr_matrix(X, dtype=np.float64)
        if not np.isfinite(X.data.sum()):
            X = X.copy()
            X.data[~np.isfinite(X.data)] = 0.0
        return X
    try:
        X = np.asarray(X, dtype=np.float64)
    except OverflowError:
        raise ValueError(
            "X holds numbers beyond the range of float64; give them in a larger unit."
        ) from None
    except (ValueError, TypeError):
        X = drop_columns(X, unreadable_columns(X))  # the estimator may be able to read them
        if not X.shape[1]:
            return np.zeros((X.shape[0], 1))
        X = make_preprocessor("auto", X).fit_transform(X)
    if np.isfinite(X.sum()):
        return X
    finite = np.isfinite(X)
    mean = np.where(finite, X, 0.0).sum(axis=0) / np.maximum(finite.sum(axis=0), 1)
    return np.where(finite, X, mean)


def _relevant(Z, Y, weight, slices):
    """Return the columns most correlated with labels, within sources and target."""
    score = np.zeros(Z.shape[1])
    for rows in slices:
        A, w = Z[rows], weight[rows] / weight[rows].sum()
        y = Y[rows] - w @ Y[rows]
        mean = A.T @ w
        square = (A.multiply(A).T @ w) if sparse.issparse(A) else (w @ A**2)
        spread = np.maximum(square - mean**2, 0.0)
        moment = A.T @ (w[:, None] * y)  # y is centred
        with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
            share = (moment**2).sum(axis=1) / (spread * (w @ y**2).sum())
        # Constant columns may have a positive variance by rounding.
        score += np.where(np.isfinite(share) & (spread > 1e-12 * square), share, 0.0)
    return np.sort(np.argsort(-score, kind="stable")[:_MOST_COLUMNS])


def _is_linear(estimator):
    """Return whether the estimator is linear, so that ridges on the columns resemble it."""
    others = LinearSVC, LinearSVR, LinearDiscriminantAnalysis
    module = type(estimator).__module__
    return isinstance(estimator, others) or module.startswith("sklearn.linear_model.")


def _leaves(Z, Y, weight, slices):
    """Return indicators of the leaves of small trees, one for each of the largest sources."""
    sizes = np.array([weight[s].sum() for s in slices])
    chosen = np.argsort(-sizes, kind="stable")[:_MOST_TREES]
    out = []
    for k in chosen:
        rows = slice(slices[k].start, min(slices[k].stop, slices[k].start + _ROWS_OF_TREE))
        least = min(_LEAST_LEAF / weight[rows].sum(), 0.5)
        tree = DecisionTreeRegressor(
            max_leaf_nodes=_MOST_LEAVES // len(chosen),
            min_weight_fraction_leaf=least,
            random_state=0,
        )
        leaf = tree.fit(Z[rows], Y[rows], sample_weight=weight[rows]).apply(Z)
        leaves = np.flatnonzero(tree.tree_.children_left < 0)
        out.append((leaf[:, None] == leaves).astype(np.float64))
    return np.hstack(out)


def _standardise(X, weight):
    """Return columns of mean zero and variance one (zero if constant), and the old deviations."""
    with np.errstate(over="ignore", invalid="ignore"):
        mean = np.average(X, axis=0, weights=weight)
        spread = np.sqrt(np.average((X - mean) ** 2, axis=0, weights=weight))
    spread = np.where(np.isfinite(spread) & (spread > 1e-10 * np.abs(mean)), spread, 0.0)
    scaled = (X - mean) / np.where(spread > 0.0, spread, 1.0)
    return np.where(spread > 0.0, scaled, 0.0), spread


def _strength(rows):
    """Return the strength of the ridges, chosen by generalised cross-validation.

    The criterion is summed over ridges of the target and of the largest sources alone.
    """
    sizes = np.array([group.row_weight.sum() for group in rows])
    score = np.zeros(len(_STRENGTHS))
    for k in np.argsort(-sizes, kind="stable")[:_MOST_CHOOSERS]:
        w = rows[k].row_weight
        root = np.sqrt(w)[:, None]
        X, y = (root * (A - np.average(A, axis=0, weights=w)) for A in (rows[k].X, rows[k].y))
        values, vectors = np.linalg.eigh(X.T @ X)
        values = np.maximum(values, 0.0)
        moment, n = ((vectors.T @ (X.T @ y)) ** 2).sum(axis=1), w.sum()
        kept = values / (values + _STRENGTHS[:, None])
        # Squares of residuals, from the squares of labels and what each direction explains.
        explained = (kept * (2.0 - kept)) @ np.where(
            values > 1e-9 * n, moment / np.maximum(values, 1e-300), 0.0
        )
        left = np.maximum((y**2).sum() - explained, 1e-12 * (y**2).sum())
        free = 1.0 - (1.0 + kept.sum(axis=1)) / n
        if left.min() > 0.0 and n > 1.0:
            score += n * np.log(left / np.maximum(free, 0.02) ** 2)
    return float(_STRENGTHS[score.argmin()])
