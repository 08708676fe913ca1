"""What the user knows of the slopes: which features' differ by task, and which have a sign."""

import numbers
from dataclasses import dataclass

import numpy as np

__all__ = ["UNRESTRICTED", "Restriction", "mask_of"]


@dataclass(frozen=True)
class Restriction:
    """What the slopes of a fit are restricted to.

    Attributes
    ----------
    varies : bool ndarray of shape (n_features,) or None
        Features whose slopes differ by task; None for all.
    positive : bool ndarray of shape (n_features,) or None
        Features whose slopes are at least zero once multiplied by `signs`; None for none of them.
    signs : ndarray of shape (n_features,) or None
        -1 where slopes are to be at most zero, else 1; None where all are 1.
    """

    varies: np.ndarray | None = None
    positive: np.ndarray | None = None
    signs: np.ndarray | None = None

    @classmethod
    def of(cls, varying, positive, negative, names):
        """From what the parameters list.

        Raises
        ------
        ValueError
            For what `mask_of` raises, and for a feature of both signs.
        """
        varies = mask_of("varying", varying, names)
        plus, minus = mask_of("positive", positive, names), mask_of("negative", negative, names)
        none = np.zeros(len(names), dtype=bool)
        plus, minus = (none if mask is None else mask for mask in (plus, minus))
        if (plus & minus).any():
            both = ", ".join(repr(names[j]) for j in np.flatnonzero(plus & minus))
            raise ValueError(
                f"positive and negative both list {both}; a slope that is to be zero is that of a "
                "column left out."
            )
        return cls(
            None if varies is None or varies.all() else varies,
            plus | minus if (plus | minus).any() else None,
            np.where(minus, -1.0, 1.0) if minus.any() else None,
        )

    def __bool__(self):
        return self.varies is not None or self.positive is not None

    def as_dict(self):
        """The masks there are, by the names of the parameters that they come from."""
        plus, minus = self.positive, None
        if self.signs is not None:
            plus, minus = self.positive & (self.signs > 0), self.signs < 0
        masks = {"varying": self.varies, "positive": plus, "negative": minus}
        return {name: mask for name, mask in masks.items() if mask is not None}


UNRESTRICTED = Restriction()


def mask_of(parameter, columns, names):
    """Mask of the features that a parameter lists by name or index; None for None.

    Parameters
    ----------
    parameter : str
        Its name, for the errors.
    columns : sequence of str or int, or None
    names : sequence of str
        The features there are, after preprocessing; the task column is not among them.

    Raises
    ------
    ValueError
        If it is not a sequence, or lists what is not there.
    """
    if columns is None:
        return None
    if isinstance(columns, (str, bytes, numbers.Number)) or not np.iterable(columns):
        raise ValueError(
            f"{parameter}={columns!r} must be a sequence of feature names or indices, such as "
            f"[{columns!r}], or None."
        )
    position = {name: j for j, name in enumerate(names)}
    mask, unknown = np.zeros(len(names), dtype=bool), []
    for column in columns:
        j = position.get(column) if isinstance(column, str) else _index(column, len(names))
        if j is None:
            unknown.append(column)
        else:
            mask[j] = True
    if unknown:
        there = ", ".join(map(repr, list(names)[:20])) + (", ..." if len(names) > 20 else "")
        raise ValueError(
            f"{parameter} lists {', '.join(map(repr, unknown))}, not among the {len(names)} "
            f"features that the model is fitted on: {there}; give their names, or indices from 0 "
            f"to {len(names) - 1} among them."
        )
    return mask


def _index(column, n_features):
    """A whole number that counts features, or None."""
    if isinstance(column, numbers.Integral) and not isinstance(column, (bool, np.bool_)):
        return int(column) if 0 <= column < n_features else None
    return None
