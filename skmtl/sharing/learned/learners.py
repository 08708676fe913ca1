"""Learners of the default: scikit-learn's trees and a smooth ridge."""

from dataclasses import dataclass

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import (
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.kernel_approximation import Nystroem
from sklearn.linear_model import RidgeCV
from sklearn.pipeline import make_pipeline, make_union
from sklearn.preprocessing import PolynomialFeatures, SplineTransformer, StandardScaler

from ..._compat import fit_boosting

__all__ = ["BoostedTrees", "Forest", "Probabilities", "SmoothRidge"]

_MOST_BINS = 254
# Most columns of which all squares and products are used, and most of which splines are. With more,
# the basis are similarities to some of the rows.
_MOST_PRODUCTS, _MOST_SPLINES = 24, 60
_N_SIMILARITIES = 300
_FEWEST_DISTINCT = 8
# Most columns that a split of a forest chooses from.
_MOST_TRIED = 20
# Quantiles at which the columns of a smooth function are clipped.
_TAILS = 0.005


@dataclass
class Probabilities:
    """Probabilities of all classes by a fitted classifier, which may know some of them only.

    Attributes
    ----------
    estimator : classifier or None
        None if there is a single class.
    classes : int ndarray of shape (n_known,)
    n_classes : int
    """

    estimator: object
    classes: np.ndarray
    n_classes: int

    @classmethod
    def of(cls, fit, target, n_classes):
        """Return the classifier that `fit` returns, or a constant for a single class in `target`.

        `target` are the codes of the classes; some of them may be missing.
        """
        present = np.unique(target).astype(np.int64)
        return cls(fit() if len(present) > 1 else None, present, n_classes)

    @property
    def n_iter_(self):
        """Number of rounds of boosting."""
        return getattr(self.estimator, "n_iter_", None)

    def predict(self, M):
        """Return probabilities ``(n_rows, n_classes)``."""
        out = np.zeros((len(M), self.n_classes))
        out[:, self.classes] = 1.0 if self.estimator is None else self.estimator.predict_proba(M)
        return out


@dataclass
class BoostedTrees:
    """Gradient boosting of trees, stopped by the errors on the held-out rows of a split."""

    task: str | None = "category"
    learning_rate: float = 0.1
    most_rounds: int = 2000
    fewest_rows = 300
    sorts_columns = True
    in_processes = True
    takes_gaps = True

    def fit(self, M, categorical, target, weight, validation, seed, n_classes=0):
        """Return a fitted estimator.

        Parameters
        ----------
        M : ndarray of shape (n_rows, n_columns)
        categorical : bool ndarray of shape (n_columns,)
        target, weight : ndarray of shape (n_rows,)
        validation : tuple of (M, target, weight), or int
            Rows for early stopping, or the number of rounds.
        seed : int
        n_classes : int, default=0
            Number of classes, of which `target` has the codes; the estimator then predicts their
            probabilities. 0 in a regression.
        """
        fixed = isinstance(validation, int)
        kind = HistGradientBoostingClassifier if n_classes else HistGradientBoostingRegressor
        boosting = kind(
            learning_rate=self.learning_rate,
            max_iter=validation if fixed else self.most_rounds,
            early_stopping=not fixed,
            n_iter_no_change=20,
            categorical_features=categorical if categorical.any() else None,
            random_state=seed,
        )
        binned = None
        if (weight == weight[0]).all():
            weight = None  # without weights, scikit-learn bins the columns fast
            if not fixed:
                validation = *validation[:2], None
        else:
            binned = _Bins.of(M, categorical)
            M = binned(M)
            if not fixed:
                validation = binned(validation[0]), *validation[1:]

        def fit():
            if fixed:
                return boosting.fit(M, target, sample_weight=weight)
            known = np.isin(validation[1], target) if n_classes else slice(None)
            held_out = [None if part is None else part[known] for part in validation]
            return fit_boosting(boosting, M, target, weight, *held_out)

        fitted = Probabilities.of(fit, target, n_classes) if n_classes else fit()
        return _Binned(fitted, binned) if binned else fitted


@dataclass
class _Bins:
    """Bins of the columns of numbers.

    scikit-learn 1.9 computes weighted quantiles so slowly that they take most of a fit with
    weights; columns of few distinct values, such as the numbers of bins, need none.
    """

    edges: list

    @classmethod
    def of(cls, M, categorical):
        """Learn bins of about equal numbers of rows."""
        levels = np.linspace(0.0, 1.0, _MOST_BINS + 1)[1:-1]
        edges = [
            None if is_category or np.isnan(column).all() else np.nanquantile(column, levels)
            for column, is_category in zip(M.T, categorical, strict=True)
        ]
        return cls([e if e is None else np.unique(e) for e in edges])

    def __call__(self, M):
        """Return the columns with numbers replaced by their bins."""
        out = M.copy()
        for j, edges in enumerate(self.edges):
            if edges is not None:
                known = ~np.isnan(M[:, j])
                out[known, j] = np.searchsorted(edges, M[known, j])
        return out


@dataclass
class _Binned:
    """Boosting fitted on bins."""

    estimator: object
    bins: _Bins

    @property
    def n_iter_(self):
        """Number of rounds."""
        return self.estimator.n_iter_

    def predict(self, M):
        """Return predictions ``(n_rows,)``."""
        return self.estimator.predict(self.bins(M))


@dataclass
class Forest:
    """Random forest; the forests of all splits are averaged, so each one is small."""

    task: str | None = "encoded"
    n_trees: int = 25
    min_leaf: int = 3
    fewest_rows = 150
    sorts_columns = True
    in_processes = True
    takes_gaps = True

    def fit(self, M, categorical, target, weight, validation, seed, n_classes=0):
        """Return a fitted estimator; see `BoostedTrees.fit`."""
        kind = RandomForestClassifier if n_classes else RandomForestRegressor
        forest = kind(
            self.n_trees,
            min_samples_leaf=self.min_leaf,
            max_features=min(0.4, _MOST_TRIED / M.shape[1]),
            max_samples=min(1.0, 10_000 / len(M)),
            random_state=seed,
        )
        if not n_classes:
            return forest.fit(M, target, sample_weight=weight)
        return Probabilities.of(
            lambda: forest.fit(M, target, sample_weight=weight), target, n_classes
        )


class _Clipper(TransformerMixin, BaseEstimator):
    """Replace gaps by medians, clip the tails, and standardise."""

    def fit(self, X, y=None):
        """Learn the limits of the columns."""
        self.low_, self.middle_, self.high_ = np.nanquantile(X, [_TAILS, 0.5, 1 - _TAILS], axis=0)
        Z = self._clipped(X)
        self.mean_, std = Z.mean(axis=0), Z.std(axis=0)
        self.std_ = np.where(std > 0, std, 1.0)
        return self

    def _clipped(self, X):
        return np.clip(np.where(np.isnan(X), self.middle_, X), self.low_, self.high_)

    def transform(self, X):
        """Return the columns of `X` clipped and standardised."""
        return (self._clipped(X) - self.mean_) / self.std_


@dataclass
class _OnColumns:
    """An estimator on some of the columns."""

    estimator: object
    columns: np.ndarray

    def predict(self, M):
        return self.estimator.predict(M[:, self.columns])


class _Zero:
    """Predict zero, where there is nothing to learn from."""

    def predict(self, M):
        return np.zeros(len(M))


@dataclass
class SmoothRidge:
    """Ridge regression on splines, squares and products of the numbers.

    With many columns, it is one on radial basis functions (Williams & Seeger 2001). Beyond the
    0.5 % and 99.5 % quantiles of a column the function is constant.

    References
    ----------
    Williams, C. and Seeger, M. (2001). Using the Nyström method to speed up kernel machines.
    Advances in Neural Information Processing Systems 13.
    """

    task: str | None = None
    fewest_rows = 50
    sorts_columns = False
    in_processes = True
    takes_gaps = True

    def fit(self, M, categorical, target, weight, validation, seed, n_classes=0):
        """Return a fitted estimator of residuals; see `BoostedTrees.fit`."""
        numbers = np.flatnonzero(~categorical & (np.nanmax(M, axis=0) > np.nanmin(M, axis=0)))
        if not len(numbers):
            return _Zero()
        parts = self._bases(M[:, numbers], seed)
        if not parts:
            return _Zero()
        ridge = make_pipeline(
            _Clipper(), make_union(*parts), StandardScaler(), RidgeCV(np.logspace(-1, 6, 8))
        )
        ridge.fit(M[:, numbers], target, ridgecv__sample_weight=weight)
        return _OnColumns(ridge, numbers)

    @staticmethod
    def _bases(M, seed):
        """Return transformers of columns of numbers, which are clipped and standardised."""
        n_rows, n_columns = M.shape
        if n_columns > _MOST_SPLINES:
            similarities = Nystroem(
                gamma=0.5 / n_columns, n_components=min(_N_SIMILARITIES, n_rows), random_state=seed
            )
            return [similarities]
        parts = []
        if n_columns <= _MOST_PRODUCTS:
            parts.append(PolynomialFeatures(2, include_bias=False))
        curved = [j for j in range(n_columns) if len(np.unique(M[:, j])) >= _FEWEST_DISTINCT]
        if curved:
            splines = SplineTransformer(5, extrapolation="constant", include_bias=False)
            parts.append(ColumnTransformer([("splines", splines, curved)]))
        return parts
