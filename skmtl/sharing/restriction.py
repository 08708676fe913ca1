"""Restrictions of the slopes: which ones differ by task, and which ones have a sign."""

import numbers
from dataclasses import dataclass

import numpy as np

__all__ = ["UNRESTRICTED", "Restriction", "mask_of"]


@dataclass(frozen=True)
class Restriction:
    """Restrictions of the slopes of a fit.

    Attributes
    ----------
    varies : bool ndarray of shape (n_features,) or None
        Features whose slopes differ by task; None for all of them.
    positive : bool ndarray of shape (n_features,) or None
        Features whose slopes are at least zero once multiplied by `signs`; None for none of them.
    signs : ndarray of shape (n_features,) or None
        -1 for slopes that are at most zero, else 1; None if all are 1.
    """

    varies: np.ndarray | None = None
    positive: np.ndarray | None = None
    signs: np.ndarray | None = None

    @classmethod
    def of(cls, varying, positive, negative, names):
        """Return the restriction for lists of features.

        Raises
        ------
        ValueError
            If a list is invalid (see `mask_of`), or a feature is both positive and negative.
        """
        varies = mask_of("varying", varying, names)
        plus, minus = mask_of("positive", positive, names), mask_of("negative", negative, names)
        none = np.zeros(len(names), dtype=bool)
        plus, minus = (none if mask is None else mask for mask in (plus, minus))
        if (plus & minus).any():
            both = ", ".join(repr(names[j]) for j in np.flatnonzero(plus & minus))
            raise ValueError(
                f"positive and negative both list {both}; if the slope should be zero, leave out "
                "the column."
            )
        return cls(
            None if varies is None or varies.all() else varies,
            plus | minus if (plus | minus).any() else None,
            np.where(minus, -1.0, 1.0) if minus.any() else None,
        )

    def __bool__(self):
        return self.varies is not None or self.positive is not None

    def as_dict(self):
        """Return the masks that are not None, by parameter name."""
        plus, minus = self.positive, None
        if self.signs is not None:
            plus, minus = self.positive & (self.signs > 0), self.signs < 0
        masks = {"varying": self.varies, "positive": plus, "negative": minus}
        return {name: mask for name, mask in masks.items() if mask is not None}


UNRESTRICTED = Restriction()


def mask_of(parameter, columns, names):
    """Return the mask of the features that a parameter lists by name or index; None for None.

    Parameters
    ----------
    parameter : str
        Name of the parameter, for error messages.
    columns : sequence of str or int, or None
    names : sequence of str
        Names of the features after preprocessing, without the task column.

    Raises
    ------
    ValueError
        If `columns` is not a sequence, or lists an unknown feature.
    """
    if columns is None:
        return None
    if isinstance(columns, (str, bytes, numbers.Number)) or not np.iterable(columns):
        raise ValueError(
            f"{parameter}={columns!r} must be a sequence of feature names or indices, such as "
            f"[{columns!r}], or None."
        )
    columns, position = list(columns), {name: j for j, name in enumerate(names)}
    found = [position.get(c) if isinstance(c, str) else _index(c, len(names)) for c in columns]
    if None in found:
        unknown = [column for column, j in zip(columns, found, strict=True) if j is None]
        known = ", ".join(map(repr, list(names)[:20])) + (", ..." if len(names) > 20 else "")
        raise ValueError(
            f"{parameter} lists {', '.join(map(repr, unknown))}, not among the {len(names)} "
            f"features that the model is fitted on: {known}; give names of features, or indices "
            f"from 0 to {len(names) - 1}."
        )
    mask = np.zeros(len(names), dtype=bool)
    mask[found] = True
    return mask


def _index(column, n_features):
    """Return a valid index of a feature as an int, or None."""
    is_integer = isinstance(column, numbers.Integral) and not isinstance(column, (bool, np.bool_))
    return int(column) if is_integer and 0 <= column < n_features else None
