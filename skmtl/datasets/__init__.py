"""Small real tables with a task column. They are part of the package; nothing is downloaded."""

import csv
from importlib.resources import files
from typing import Any

import numpy as np
from sklearn.utils import Bunch

__all__ = ["load_grunfeld"]

_GRUNFELD_DESCR = """\
Grunfeld's investment panel: 11 U.S. firms over 20 years
=========================================================

Task:      firm (11): American Steel, Atlantic Refining, Chrysler, Diamond Match, General Electric,
           General Motors, Goodyear, IBM, US Steel, Union Oil, Westinghouse
Rows:      220, one per firm and year, 1935 to 1954, without missing values
Target:    invest, gross investment in millions of 1947 dollars
Features:  value, market value of the firm as of Dec. 31 in millions of 1947 dollars
           capital, stock of plant and equipment in millions of 1947 dollars
           year

Each task has few rows, and the scale of the tasks differs widely: General Motors invests 200 times
as much as Diamond Match. How much the tasks should share is the question of multi-task learning.

Source: the original 11-firm data of Yehuda Grunfeld, "The Determinants of Corporate Investment",
Ph.D. thesis, University of Chicago, 1958, as recreated by C. Kleiber and A. Zeileis, "The Grunfeld
Data at 50", German Economic Review 11(4), 404-417, 2010, doi:10.1111/j.1468-0475.2010.00513.x.
The file is the copy that statsmodels ships as statsmodels.datasets.grunfeld, with the columns
reordered; statsmodels states that the data are in the public domain.
"""


def _read_grunfeld():
    """Return the columns of the file as a dict of lists of strings."""
    # A Traversable rather than a path, as the package may be in a zip file.
    with files(__name__).joinpath("grunfeld.csv").open("r", encoding="utf-8", newline="") as file:
        header, *rows = csv.reader(file)
    return dict(zip(header, map(list, zip(*rows, strict=True)), strict=True))


def _grunfeld_frame(task, features, target):
    try:
        import pandas as pd
    except ImportError as exc:
        raise ImportError("load_grunfeld(as_frame=True) needs pandas: pip install pandas") from exc
    columns = {"firm": task} | features | {"invest": target}
    return pd.DataFrame(columns).astype({"year": "int64"})


def load_grunfeld(*, return_X_y: bool = False, as_frame: bool = False) -> Bunch | tuple[Any, Any]:
    """Load Grunfeld's investment panel: 11 firms (the tasks) by 20 years.

    ==============   =====================
    Tasks            11, 20 rows each
    Rows             220
    Features         3 (value, capital, year)
    Target           invest, real 1 - 1487
    ==============   =====================

    Column 0 of `data` is the task column, so that the table can be passed to an estimator as it
    is: with ``task_column="firm"`` for a data frame, or ``task_column=0`` for an array, where firms
    are integer codes.

    Parameters
    ----------
    return_X_y : bool, default=False
        If True, return ``(data, target)`` instead of a Bunch.
    as_frame : bool, default=False
        If True, `data` is a pandas DataFrame and `target` a pandas Series. Needs pandas.

    Returns
    -------
    data : :class:`~sklearn.utils.Bunch`
        Dictionary-like object with the attributes

        data : ndarray or DataFrame of shape (220, 4)
            The columns `feature_names`. With ``as_frame=False`` all are floats, and firm is the
            index of the firm in `task_labels`.
        target : ndarray or Series of shape (220,)
            Gross investment in millions of 1947 dollars.
        feature_names : list of str
            The columns of `data`: firm, value, capital, year.
        target_name : str
            "invest".
        task_name : str
            "firm", the task column.
        task : ndarray of shape (220,)
            The firm of every row, as a string.
        task_labels : ndarray of shape (11,)
            The firms, sorted.
        frame : DataFrame of shape (220, 5)
            `data` and `target` together; None unless ``as_frame=True``.
        DESCR : str
            The full description.
    (data, target) : tuple if ``return_X_y`` is True
        The attributes `data` and `target` alone.

    Raises
    ------
    ImportError
        If ``as_frame=True`` and pandas is not installed.

    Notes
    -----
    Copied from ``statsmodels.datasets.grunfeld`` (public domain): the original 11-firm data of
    Grunfeld's Ph.D. thesis, as recreated by Kleiber and Zeileis [1]_.

    References
    ----------
    .. [1] C. Kleiber, A. Zeileis, "The Grunfeld Data at 50", German Economic Review 11(4),
       404-417, 2010. :doi:`10.1111/j.1468-0475.2010.00513.x`

    Examples
    --------
    >>> from skmtl.datasets import load_grunfeld
    >>> panel = load_grunfeld()
    >>> panel.data.shape, len(panel.task_labels)
    ((220, 4), 11)
    >>> panel.feature_names
    ['firm', 'value', 'capital', 'year']
    >>> str(panel.task_labels[int(panel.data[0, 0])])
    'General Motors'
    """
    columns = _read_grunfeld()
    task = np.array(columns["firm"], dtype=object)
    features = {name: np.array(columns[name], dtype=float) for name in ("value", "capital", "year")}
    target = np.array(columns["invest"], dtype=float)
    task_labels, codes = np.unique(task, return_inverse=True)
    frame = None
    if as_frame:
        frame = _grunfeld_frame(task, features, target)
        data, target = frame.drop(columns="invest"), frame["invest"]
    else:
        data = np.column_stack([codes.astype(float), *features.values()])
    if return_X_y:
        return data, target
    return Bunch(
        data=data,
        target=target,
        feature_names=["firm", *features],
        target_name="invest",
        task_name="firm",
        task=task,
        task_labels=task_labels,
        frame=frame,
        DESCR=_GRUNFELD_DESCR,
    )
