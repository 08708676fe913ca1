"""Out-of-fold residuals of the target's rows, by refits of the whole procedure."""

import numpy as np
from joblib import Parallel, delayed

from .._compat import take_rows
from ..guard.conformal import ConformalResiduals

__all__ = ["out_of_fold_residuals"]


def out_of_fold_residuals(estimator, reader):
    """Refit the estimator on the training rows of every split; return the errors on test rows.

    Parameters
    ----------
    estimator : TransferEstimator
        A regressor; not modified.
    reader : ProblemReader
        It has read the target's rows.

    Returns
    -------
    ConformalResiduals
        Empty if there are too few rows for a split.
    """
    X, y, weight = reader.rows, reader.y, reader.weight
    splits = [(train, np.unique(test)) for train, test in reader.splits]
    found = Parallel(n_jobs=estimator.n_jobs)(
        delayed(_errors)(_unfitted(estimator, splits, k, reader.seed), X, y, weight, *splits[k], k)
        for k in range(len(splits))
    )
    rows = [test for _, test in splits]
    return ConformalResiduals.of(
        np.concatenate([np.zeros(0), *found]),
        np.concatenate([np.zeros(0, dtype=np.int64), *rows]),
        weight,
    )


def _unfitted(estimator, splits, k, seed):
    """Return the estimator for the training rows of split `k`; its own fit clones its parts."""
    params = estimator.get_params(deep=False)
    params |= {"keep_residuals": False, "n_jobs": 1, "verbose": 0}
    if params["cv"] is not None and not isinstance(params["cv"], (int, np.integer)):
        params["cv"] = _within(splits, k)
    if isinstance(params["random_state"], np.random.RandomState):
        params["random_state"] = seed  # a generator is for the fit on all rows only
    return type(estimator)(**params)


def _within(splits, k):
    """Return all splits restricted to the training rows of split `k`, or None if none remains."""
    rows = splits[k][0]
    sides = [[np.flatnonzero(np.isin(rows, side)) for side in split] for split in splits]
    return [(train, test) for train, test in sides if len(train) and len(test)] or None


def _errors(model, X, y, weight, train, test, k):
    """Return the errors on the test rows of a model of the training rows."""
    given = {} if weight is None else {"sample_weight": weight[train]}
    try:
        model.fit(take_rows(X, train), y[train], **given)
        return y[test] - np.ravel(model.predict(take_rows(X, test)))
    except (ValueError, TypeError) as error:
        error.add_note(
            f"This error was raised for keep_residuals=True, by a fit on the {len(train)} training "
            f"rows of split {k} of cv; more folds leave more rows for training."
        )
        raise
