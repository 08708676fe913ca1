"""Features as learners of any kind see them: numbers with gaps, and codes of categories."""

from dataclasses import dataclass

import numpy as np
from scipy import sparse
from sklearn.base import clone
from sklearn.compose import ColumnTransformer
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import OrdinalEncoder

from .auto import reader_of

__all__ = ["LearnerView", "RowView"]


@dataclass
class LearnerView:
    """Columns for learners that take missing values and categories.

    With ``preprocessor="auto"``, numbers keep their gaps, and each column of categories becomes one
    column of codes. Otherwise the columns are the outputs of the preprocessor.

    Attributes
    ----------
    transformer : ColumnTransformer or None
        None if the columns are the outputs of the preprocessor.
    n_levels : ndarray of shape (n_columns,)
        Number of levels of each column of categories, and 0 for columns of numbers.
    hidden : bool ndarray of shape (n_columns,)
        Columns of categories some of whose levels the preprocessor does not tell apart.
    """

    transformer: object
    n_levels: np.ndarray
    hidden: np.ndarray

    @classmethod
    def fit(cls, preprocessor, X, Z):
        """Learn the levels of the categories.

        Parameters
        ----------
        preprocessor : transformer or None
            The fitted preprocessor.
        X : data frame or ndarray of shape (n_samples, n_features)
            The features before preprocessing.
        Z : ndarray of shape (n_samples, n_outputs)
            The outputs of the preprocessor.
        """
        if not isinstance(preprocessor, ColumnTransformer) or any(
            reader_of(step) is None for _, step, _ in preprocessor.transformers_
        ):
            n_levels = np.zeros(Z.shape[1], dtype=np.int64)
            return cls(None, n_levels, np.zeros(len(n_levels), dtype=bool))
        steps, hidden = [], []
        for kind, step, columns in preprocessor.transformers_:
            last, merged = "passthrough", [None] * len(columns)
            if kind == "categories":
                last = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=np.nan)
                merged = step[-1].infrequent_categories_
            hidden += [levels is not None for levels in merged]
            steps.append((kind, Pipeline([("read", clone(step[0])), ("encode", last)]), columns))
        transformer = ColumnTransformer(steps, sparse_threshold=0.0).fit(X)
        n_levels = []
        for kind, step, columns in transformer.transformers_:
            levels = [0] * len(columns)
            if kind == "categories":
                levels = [len(found) for found in step[-1].categories_]
            n_levels += levels
        return cls(transformer, np.array(n_levels, dtype=np.int64), np.array(hidden, dtype=bool))

    def __call__(self, X, Z):
        """Return the columns of some rows, a float64 array ``(n_samples, n_columns)``.

        Parameters
        ----------
        X, Z
            As in `fit`.
        """
        if self.transformer is None:
            if sparse.issparse(Z):
                raise TypeError(
                    "X is sparse, but the model was fitted on dense rows, and uses learners that "
                    "need dense columns; pass X.toarray()."
                )
            return Z
        return np.ascontiguousarray(self.transformer.transform(X), dtype=np.float64)


@dataclass
class RowView:
    """Rows of fit as learners see them.

    Attributes
    ----------
    learner_view : LearnerView or None
        None for sparse rows, which learners do not take.
    values : ndarray of shape (n_samples, n_columns) or None
    n_levels : ndarray of shape (n_columns,)
    hidden : ndarray of shape (n_samples, n_hidden)
        Columns with levels that the preprocessor does not tell apart.
    """

    learner_view: LearnerView | None
    values: np.ndarray | None
    n_levels: np.ndarray
    hidden: np.ndarray

    @classmethod
    def of(cls, preprocessor, raw, X):
        """Return the view of rows before and after preprocessing; see `LearnerView.fit`."""
        if sparse.issparse(X):
            return cls(None, None, np.zeros(0, dtype=np.int64), np.zeros((X.shape[0], 0)))
        learner_view = LearnerView.fit(preprocessor, raw, X)
        values = learner_view(raw, X)
        hidden = np.nan_to_num(values[:, learner_view.hidden], nan=-1.0)
        return cls(learner_view, values, learner_view.n_levels, hidden)

    def take(self, where):
        """Return the columns of some rows."""
        return None if self.values is None else self.values[where]
