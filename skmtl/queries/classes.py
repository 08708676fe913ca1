"""Classes of a lazy frame: their labels and weights, and the target as numbers."""

import numpy as np

from ..tasks.columns import shown_names
from ..tasks.targets import check_classes, check_two_classes
from .encoding import number
from .frames import collect, read_lazy

__all__ = ["coded_frame", "find_two_classes"]

_MOST_LISTED = 10


def find_two_classes(X, target, weight):
    """Return the labels of the classes and their weights, by a query.

    Parameters
    ----------
    X : lazy frame
    target : str
        Name of the column of the labels.
    weight : str or None
        Name of the column of the weights; rows without weight do not count.

    Returns
    -------
    classes : ndarray of shape (2,)
    mass : ndarray of shape (2,)
        Total weights of their rows.

    Raises
    ------
    ValueError
        For missing labels, and unless there are exactly two.
    """
    import narwhals as nw

    frame = read_lazy(X)
    names = frame.collect_schema().names()
    for parameter, name in (("y", target), ("sample_weight", weight)):
        if name is not None and name not in names:
            raise ValueError(
                f"{parameter}={name!r} is not a column of X, whose columns are: "
                f"{shown_names(names)}."
            )
    label = nw.col(target)
    if str(dict(frame.collect_schema())[target]).startswith(("Categorical", "Enum")):
        label = label.cast(nw.String)
    columns = [label.alias("label")]
    columns.append((nw.lit(1.0) if weight is None else number(weight)).alias("mass"))
    if weight is not None:
        frame = frame.filter(number(weight) > 0.0)
    query = frame.select(*columns).group_by("label").agg(nw.col("mass").sum())
    found = collect(lambda: query.head(_MOST_LISTED + 1), "the classes")
    labels, mass = found["label"].to_list(), found["mass"].to_list()
    if any(value is None or value != value for value in labels):
        raise ValueError(
            f"the column y={target!r} of X, a lazy frame, has missing labels: filter these rows in "
            "the frame."
        )
    if len(labels) > _MOST_LISTED:
        _refuse(target, f"more than {_MOST_LISTED} classes")
    labels = check_classes(np.array(labels, dtype=object if _are_text(labels) else None))
    order = np.argsort(labels)
    classes = labels[order]
    check_two_classes(classes)
    if len(classes) > 2:
        _refuse(target, f"the classes {classes.tolist()}")
    return classes, np.array(mass, dtype=np.float64)[order]


def _are_text(labels):
    return any(isinstance(label, str) for label in labels)


def _refuse(target, found):
    raise ValueError(
        f"the column y={target!r} of X, a lazy frame, has {found}, but lazy frames are fitted for "
        "two classes only: collect it, or make a column that says whether a row is of one class."
    )


def coded_frame(X, target, weight, classes, of_class=None):
    """Return a frame with the target as 0 and 1, and with the weights of the classes.

    Parameters
    ----------
    X : lazy frame
    target : str
    weight : str or None
    classes : ndarray of shape (2,)
    of_class : ndarray of shape (2,), optional
        Factors on the weights of the rows.

    Returns
    -------
    frame : narwhals.LazyFrame
    weight : str or None
        Name of the column of the weights.
    """
    import narwhals as nw

    # Dask takes no literals in both branches of a condition.
    code = (nw.col(target) == classes.tolist()[1]).cast(nw.Float64)
    columns = [code.alias(target)]
    if of_class is not None:
        factor = code * float(of_class[1]) + (code * -1.0 + 1.0) * float(of_class[0])
        name = weight or "skmtl_weight"
        columns.append((factor if weight is None else number(weight) * factor).alias(name))
        weight = name
    return read_lazy(X).with_columns(*columns), weight
