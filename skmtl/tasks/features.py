"""Features: their columns in a table, and the outputs of the preprocessor."""

import numbers
from dataclasses import dataclass

import numpy as np
from sklearn.base import clone

from .auto import auto_preprocessor, sources_of_auto
from .columns import column_names, drop_columns, find_column, find_columns, has_name, shown_names

__all__ = ["FeatureColumns", "make_preprocessor", "output_names", "output_sources"]


# --------------------------------------------------------------------------------- their columns


@dataclass(frozen=True)
class FeatureColumns:
    """Columns of a table: the features, and the others.

    The others are the task column, grouping columns, the fold column and excluded columns.

    Attributes
    ----------
    names : list or None
        Names of the features; None if the table has no column names.
    n_features : int
        Number of features.
    others : list of int
        Positions of the columns that are not features.
    other_names : list or None
        Names of these columns.
    tasks : list of int
        Positions of the task column or columns, a part of `others`.
    categorical : list of int or None
        Positions among the features of the given categorical columns; None if none were given.
    groupings : sequence of int
        Positions of the grouping columns, a part of `others`.
    """

    names: list | None
    n_features: int
    others: list
    other_names: list | None
    tasks: list
    categorical: list | None = None
    groupings: list | tuple = ()

    @classmethod
    def find(
        cls,
        X,
        task_column=None,
        exclude_columns=None,
        categorical_columns=None,
        grouping_columns=None,
        fold_column=None,
    ):
        """Find the columns in a frame, array or sparse matrix.

        Raises
        ------
        ValueError
            If a column does not exist, or if the task column, a grouping column or the fold column
            is also excluded or categorical.
        """
        tasks = [] if task_column is None else find_columns(X, task_column)
        excluded = _find_listed(X, exclude_columns, "exclude_columns")
        _refuse_both(X, tasks, excluded, exclude_columns, "exclude_columns", "the task column")
        groupings = []
        if grouping_columns is not None:
            groupings = find_columns(X, grouping_columns, "grouping_columns")
            for positions, what in (
                (tasks, "the task column"),
                (excluded, "among exclude_columns"),
            ):
                _refuse_both(X, positions, groupings, grouping_columns, "grouping_columns", what)
        fold = []
        if fold_column is not None:
            fold = [find_column(X, fold_column, "fold_column")]
            for positions, what in ((tasks, "the task column"), (groupings, "a grouping column")):
                _refuse_both(X, positions, fold, fold_column, "fold_column", what)
        others = sorted({*tasks, *excluded, *groupings, *fold})
        names = column_names(X)
        categorical = None
        if categorical_columns is not None:
            found = _find_listed(X, categorical_columns, "categorical_columns")
            for positions, what in (
                (tasks, "the task column"),
                (excluded, "among exclude_columns"),
                (groupings, "among grouping_columns"),
                (fold, "the fold column"),
            ):
                _refuse_both(X, positions, found, categorical_columns, "categorical_columns", what)
            # Their positions among the features.
            categorical = [i - sum(other < i for other in others) for i in found]
        n_features = X.shape[1] - len(others) if len(X.shape) == 2 else 0
        other_names = None if names is None else [names[i] for i in others]
        if names is not None:
            names = [name for i, name in enumerate(names) if i not in others]
        return cls(names, n_features, others, other_names, tasks, categorical, groupings)

    def select(self, X):
        """Return the features of `X`, which may have the other columns or not.

        A frame may have any of the other columns; an array has either all of them or none.
        """
        names = column_names(X)
        if names is not None and self.names is not None:
            present = [i for i, name in enumerate(names) if name in self.other_names]
        else:
            has_all = len(X.shape) == 2 and X.shape[1] == self.n_features + len(self.others)
            present = self.others if has_all else []
        return drop_columns(X, present) if present else X

    def check(self, X, owner):
        """Raise unless the columns of `X` are the features."""
        if X.shape[1] != self.n_features:
            raise ValueError(
                f"X has {X.shape[1]} features, but {owner} is expecting {self.n_features} features "
                "as input, besides the task column and excluded columns."
            )
        names = column_names(X)
        if names is not None and self.names is not None and names != self.names:
            raise ValueError(
                f"The feature names should match those in fit, in the same order: {self.names}; "
                f"X has {names}."
            )


def _find_listed(X, listed, parameter):
    """Return the positions of the listed columns; an empty list if `listed` is None."""
    if listed is None:
        return []
    columns = _as_list(listed)
    names = column_names(X)
    if names is not None:
        missing = [c for c in columns if isinstance(c, str) and not has_name(names, c)]
        if missing:
            raise ValueError(
                f"{parameter} names {', '.join(map(repr, missing))}, not found in X, whose columns "
                f"are: {shown_names(names)}."
            )
    return list(dict.fromkeys(find_column(X, column, parameter) for column in columns))


def _as_list(listed):
    return [listed] if isinstance(listed, (str, numbers.Number)) else list(listed)


def _refuse_both(X, others, found, listed, parameter, what):
    both = sorted(set(others) & set(found))
    if both:
        column = next(c for c in _as_list(listed) if find_column(X, c, parameter) == both[0])
        raise ValueError(
            f"{parameter} names {column!r}, which is {what} and therefore not a feature; leave it "
            f"out of {parameter}."
        )


# ------------------------------------------------------------------------------------ preprocessing


def make_preprocessor(preprocessor, X, categorical=None, hints=False):
    """Return an unfitted clone of the preprocessor; for "auto", one made for the columns of `X`.

    Parameters
    ----------
    preprocessor : "auto" or transformer
    X : data frame, ndarray or sparse matrix of shape (n_samples, n_features)
    categorical : list of int or None
        As in `FeatureColumns`.
    hints : bool
        Whether to warn about columns that are possibly misread.
    """
    if isinstance(preprocessor, str):
        return auto_preprocessor(X, categorical, hints)
    if isinstance(preprocessor, type):
        raise TypeError(
            f"preprocessor={preprocessor.__name__} is a class; pass an instance: "
            f"{preprocessor.__name__}(...)."
        )
    return clone(preprocessor)


def output_names(preprocessor, n_features):
    """Return the names of the outputs of `preprocessor`; x0, x1, ... if it has none."""
    try:
        names = preprocessor.get_feature_names_out()
    except (AttributeError, ValueError):  # a step has no names, or two names are equal
        names = [f"x{i}" for i in range(n_features)]
    return np.asarray(names, dtype=object)


def _source_of(output, names):
    """Return the position of the feature that an output is named after; -1 if there is none.

    scikit-learn's names are of the kinds ``price``, ``scale__price``, ``encode__colour_red``.
    """
    texts = [str(name) for name in names]
    for text in (str(output), str(output).partition("__")[2]):
        found = [t for t in texts if text == t or text.startswith(t + "_")]
        if found:
            return texts.index(max(found, key=len))
    return -1


def output_sources(preprocessor, columns, n_outputs):
    """Return the feature behind each output of a fitted preprocessor.

    Parameters
    ----------
    preprocessor : transformer or None
        With None the outputs are the features.
    columns : FeatureColumns
    n_outputs : int

    Returns
    -------
    ndarray of shape (n_outputs,) or None
        Positions of features; None if the names of the outputs do not reveal them.
    """
    if preprocessor is None:
        return np.arange(n_outputs)
    sources = sources_of_auto(preprocessor, columns.n_features)
    if sources is None and columns.names is not None:
        named = [_source_of(name, columns.names) for name in output_names(preprocessor, n_outputs)]
        sources = np.array(named) if named and min(named) >= 0 else None
    return sources if sources is not None and len(sources) == n_outputs else None
