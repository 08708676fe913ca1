"""Weights of classes."""

import numbers

import numpy as np

from .._validation import check_weights

__all__ = ["factors_of_classes", "weights_with_classes"]


def factors_of_classes(class_weight, classes, mass):
    """Return the factors ``(n_classes,)`` on the weights of the rows of each class.

    Parameters
    ----------
    class_weight : dict or "balanced"
    classes : ndarray of shape (n_classes,)
    mass : ndarray of shape (n_classes,)
        Total weights of the rows of each class.

    Raises
    ------
    ValueError
        For unknown classes, and for weights that are no finite numbers of at least zero.
    """
    if not isinstance(class_weight, dict):  # "balanced": all classes weigh the same
        share = mass.sum() / (mass > 0).sum()
        return np.divide(share, mass, out=np.zeros(len(mass)), where=mass > 0)
    unknown = set(class_weight) - set(classes.tolist())
    if unknown:
        raise ValueError(
            f"class_weight has keys that are not classes of y: {sorted(unknown, key=str)}; "
            f"the classes are {classes.tolist()}."
        )
    for label, weight in class_weight.items():
        number = isinstance(weight, numbers.Real) and not isinstance(weight, bool)
        if not number or not 0.0 <= weight < np.inf:
            raise ValueError(
                f"class_weight={class_weight!r} gives class {label!r} the weight {weight!r}; "
                "weights must be finite numbers of at least zero."
            )
    if class_weight and not any(class_weight.values()):
        raise ValueError(
            f"class_weight={class_weight!r} is zero for all classes; give at least one class a "
            "positive weight."
        )
    return np.array([class_weight.get(c, 1.0) for c in classes.tolist()], dtype=float)


def weights_with_classes(class_weight, labels, classes, sample_weight):
    """Return sample weights times class weights, or None if there are neither.

    Parameters
    ----------
    class_weight : dict, "balanced" or None
    labels : ndarray of shape (n_samples,)
        Positions of the labels in `classes`.
    classes : ndarray of shape (n_classes,)
    sample_weight : array-like of shape (n_samples,) or None
    """
    weight = check_weights(sample_weight, len(labels))
    if class_weight is None:
        return weight
    weight = np.ones(len(labels)) if weight is None else weight
    mass = np.bincount(labels, weight, minlength=len(classes))
    return weight * factors_of_classes(class_weight, classes, mass)[labels]
