"""The task contract: what every face owes, as checks to run on any of its configurations.

Every check takes an unfitted estimator without a task column. ``check_task_contract(estimator)``
runs them all; test modules parametrise over `TASK_CHECKS` and `BAD_INPUT` instead.
"""

import copy
import io
import os
import pickle
import re
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path

import joblib
import numpy as np
import pandas as pd
import polars as pl
import pytest
import sklearn
from scipy import sparse
from sklearn.base import clone, is_classifier
from sklearn.exceptions import DataConversionWarning, NotFittedError
from sklearn.utils import get_tags
from sklearn.utils.estimator_checks import estimator_checks_generator
from sklearn.utils.validation import check_is_fitted, validate_data

from skmtl import MultiTaskClassifier, MultiTaskRegressor
from skmtl.base import UnknownTaskWarning
from skmtl.sharing import PartialPooling

SKLEARN = tuple(map(int, sklearn.__version__.split(".")[:2]))
NAMES = ["a", "b", "c"]
CLOSE = {"rtol": 1e-7, "atol": 1e-8}
# The same product of matrices with another number of rows.
ROUNDING = {"rtol": 1e-9, "atol": 1e-9}


class Table:
    """A small table of unequal tasks; `frame` has the string column ``shop`` in its middle."""

    def __init__(self, estimator, n=80, n_tasks=5, seed=0):
        rng = np.random.default_rng(seed)
        self.code = np.r_[np.arange(n_tasks), rng.integers(n_tasks, size=n - n_tasks)]
        self.code[self.code == n_tasks - 1] = 0
        self.code[n_tasks - 1] = n_tasks - 1  # a task of one row
        self.X = rng.normal(size=(n, 3))
        coef = rng.normal(size=3) + 0.5 * rng.normal(size=(n_tasks, 3))
        level = rng.normal(size=n_tasks)[self.code]
        self.y = (self.X * coef[self.code]).sum(1) + level + 0.3 * rng.normal(size=n)
        if is_classifier(estimator):
            self.y = np.where(self.y > np.median(self.y), "yes", "no")
        # Sorted as the codes are, with lengths that vary.
        self.names = np.array([f"shop {chr(ord('a') + i) * (1 + i % 2)}" for i in range(n_tasks)])
        self.task = self.names[self.code].astype(object)

    @property
    def numbers(self):
        """The target as numbers, which codes of classes are too."""
        return self.y.copy() if self.y.dtype.kind == "f" else (self.y == "yes").astype(float)

    @property
    def frame(self):
        frame = pd.DataFrame(self.X, columns=NAMES, copy=True)  # pandas before 3 would share X
        frame.insert(1, "shop", self.task)
        return frame

    def splits(self, n_splits=3):
        """Explicit splits that keep some rows of every task for training."""
        rows = np.arange(len(self.y))
        return [(rows[rows % n_splits != k], rows[rows % n_splits == k]) for k in range(n_splits)]

    def fitted(self, estimator, **fit_params):
        return clone(estimator).fit(self.X, self.y, task=self.task, **fit_params)


def predictions(model, X, **kwargs):
    """Everything the model predicts, as a list of float arrays."""
    if hasattr(model, "predict_proba"):
        return [model.predict_proba(X, **kwargs)]
    return [model.predict(X, **kwargs)]


def scores(model, X, **kwargs):
    """What is linear in X: the log-odds of a classifier, the predictions of a regressor.

    Of a classifier without log-odds the logarithms of its probabilities.
    """
    names = ("decision_function", "predict_log_proba", "predict")
    return next(getattr(model, n) for n in names if hasattr(model, n))(X, **kwargs)


def linear(face, **params):
    """The face with linear models of the tasks; of a meta-learner what it has by default."""
    if issubclass(face, (MultiTaskClassifier, MultiTaskRegressor)):
        params.setdefault("sharing", "partial_pooling")
    return face(**params)


def is_linear(model):
    """Whether the face owes coefficients; meta-learners may have none."""
    return isinstance(model, (MultiTaskClassifier, MultiTaskRegressor))


def learned(model, X, **kwargs):
    """What the model has learned, to be compared: its coefficients, else what it predicts of X."""
    if is_linear(model):
        return [model.coef_, model.intercept_]
    return predictions(model, X, **kwargs)


def takes_sparse(estimator):
    return get_tags(estimator).input_tags.sparse


def assert_close(got, wanted, **tolerance):
    for g, w in zip(got, wanted, strict=True):
        np.testing.assert_allclose(g, w, **(tolerance or CLOSE))


def assert_equal(got, wanted):
    for g, w in zip(got, wanted, strict=True):
        np.testing.assert_array_equal(g, w)


def _set(estimator, **params):
    return clone(estimator).set_params(**params)


def _set_splits(estimator, splits):
    """Cross-validated on explicit splits inside, where there is something to be tuned."""
    return _set(estimator, cv=splits) if "cv" in estimator.get_params() else clone(estimator)


# -------------------------------------------------------------------------------- invariances


def check_order_of_rows(estimator):
    """Shuffled rows give the same model."""
    table = Table(estimator)
    model = table.fitted(estimator)
    order = np.random.default_rng(1).permutation(len(table.y))
    other = clone(estimator).fit(table.X[order], table.y[order], task=table.task[order])
    np.testing.assert_array_equal(other.tasks_, model.tasks_)
    assert_close(
        predictions(other, table.X, task=table.task), predictions(model, table.X, task=table.task)
    )
    shuffled = predictions(model, table.X[order], task=table.task[order])
    assert_close(shuffled, [p[order] for p in predictions(model, table.X, task=table.task)])


def check_order_of_tasks(estimator):
    """Labels that sort the other way round give the same predictions."""
    table = Table(estimator)
    model = table.fitted(estimator)
    turned = table.names[::-1][table.code].astype(object)
    other = clone(estimator).fit(table.X, table.y, task=turned)
    assert_close(
        predictions(other, table.X, task=turned), predictions(model, table.X, task=table.task)
    )


def check_order_of_many_tasks(estimator):
    """What is shared does not depend on labels, with more tasks than are left out at once, too."""
    table = Table(estimator, n=120, n_tasks=12)
    order = np.random.default_rng(2).permutation(12)
    turned = table.names[order][table.code].astype(object)
    unseen = np.full(len(table.y), "new shop", dtype=object)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UnknownTaskWarning)
        shared, other = (
            predictions(clone(estimator).fit(table.X, table.y, task=task), table.X, task=unseen)
            for task in (table.task, turned)
        )
    assert_close(other, shared)


def check_relabelling(estimator):
    """Integers instead of strings, in the same order, change nothing at all."""
    table = Table(estimator)
    model = table.fitted(estimator)
    labels = np.array([-7, 0, 3, 40, 1000])[table.code]
    other = clone(estimator).fit(table.X, table.y, task=labels)
    np.testing.assert_array_equal(other.tasks_, [-7, 0, 3, 40, 1000])
    assert_equal(
        predictions(other, table.X, task=labels), predictions(model, table.X, task=table.task)
    )
    categories = pd.Series(pd.Categorical(table.task, categories=table.names[::-1]))
    other = clone(estimator).fit(table.X, table.y, task=categories)
    assert_equal(
        predictions(other, table.X, task=categories), predictions(model, table.X, task=table.task)
    )


def check_tables_of_every_kind(estimator):
    """pandas = polars = an array by index = ``task=``."""
    table = Table(estimator)
    wanted = predictions(table.fitted(estimator), table.X, task=table.task)
    codes = table.code.astype(float)
    array = np.column_stack([table.X[:, 0], codes, table.X[:, 1:]])
    renamed = table.frame.rename(columns={"shop": "remainder__shop"})
    category = table.frame.assign(shop=table.frame["shop"].astype("category"))
    for X, column in (
        (table.frame, "shop"),
        (table.frame, 1),
        (renamed, "shop"),
        (category, "shop"),
        (pl.DataFrame(table.frame), "shop"),
        (array, 1),
        (array, -3),
        (sparse.csr_matrix(array), 1),
        (table.frame.to_numpy(), 1),  # of dtype object
    ):
        model = _set(estimator, task_column=column)
        if sparse.issparse(X) and not takes_sparse(model):
            continue
        model.fit(X, table.y)
        same = assert_close if sparse.issparse(X) else assert_equal
        same(predictions(model, X), wanted)
        assert model.n_features_in_ == 4
        if is_linear(model):
            assert "shop" not in list(model.coef_feature_names_)
            assert len(model.coef_feature_names_) == 3


def check_sparse_X(estimator):
    """As dense, with columns of zeros, and constant within tasks up to rounding, and weights."""
    if not takes_sparse(estimator):
        return
    table = Table(estimator)
    rng = np.random.default_rng(3)
    rare = np.where(rng.uniform(size=len(table.y)) < 0.2, table.X[:, 1], 0.0)
    X = np.column_stack([table.X, rare, 0.3 + 0.1 * table.code])
    weight = rng.uniform(0.5, 2.0, size=len(table.y))
    dense, got = (
        clone(estimator).fit(form, table.y, sample_weight=weight, task=table.task)
        for form in (X, sparse.csr_matrix(X))
    )
    assert_close(
        predictions(got, sparse.csr_matrix(X), task=table.task),
        predictions(dense, X, task=table.task),
    )


def check_names_of_features(estimator):
    table = Table(estimator)
    model = _set(estimator, task_column="shop").fit(table.frame, table.y)
    assert list(model.feature_names_in_) == ["a", "shop", "b", "c"]
    if is_linear(model):
        assert list(model.coef_feature_names_) == NAMES
    model = table.fitted(estimator)
    assert not hasattr(model, "feature_names_in_") and model.n_features_in_ == 3


def check_columns_of_a_target(estimator):
    """A 2-D y with NaN is the long table with one row a label."""
    table = Table(estimator)
    if is_classifier(estimator):
        with pytest.raises(ValueError, match="y must be 1-D"):
            clone(estimator).fit(table.X, np.column_stack([table.y, table.y]))
        return
    rng = np.random.default_rng(3)
    X, y = table.X[:40], rng.normal(size=(40, 3)) + table.X[:40, [0]]
    y[rng.uniform(size=y.shape) < 0.4] = np.nan
    rows, tasks = np.nonzero(~np.isnan(y))
    wide = clone(estimator).fit(X, y)
    long = clone(estimator).fit(X[rows], y[rows, tasks], task=tasks)
    if is_linear(wide):
        assert_close([wide.coef_, wide.intercept_], [long.coef_, long.intercept_])
    prediction = wide.predict(X)
    assert prediction.shape == (40, 3) and list(wide.tasks_) == [0, 1, 2]
    np.testing.assert_allclose(prediction[rows, tasks], long.predict(X[rows], task=tasks))
    score = wide.score(X, y)
    if getattr(wide, "loss", None) in ("huber", "absolute_error"):  # shares of another deviance
        return
    each = [
        1 - np.nansum((y - prediction)[:, t] ** 2) / np.nansum((y[:, t] - np.nanmean(y[:, t])) ** 2)
        for t in range(3)
    ]
    np.testing.assert_allclose(score, np.mean(each))


def check_no_task_is_one_task(estimator):
    """A 1-D y without tasks, one task of any name, and a y of one column are the same model."""
    table = Table(estimator)
    plain = clone(estimator).fit(table.X, table.y)
    wanted = predictions(plain, table.X)
    one = np.full(len(table.y), "only")
    named = clone(estimator).fit(table.X, table.y, task=one)
    assert_equal(predictions(named, table.X, task=one), wanted)
    if is_classifier(estimator):
        with pytest.warns(DataConversionWarning):
            column = clone(estimator).fit(table.X, table.y[:, None])
        assert_equal(predictions(column, table.X), wanted)
        return
    column = clone(estimator).fit(table.X, table.y[:, None])
    assert column.predict(table.X).shape == (len(table.y), 1)
    np.testing.assert_allclose(column.predict(table.X)[:, 0], plain.predict(table.X), **CLOSE)


def check_task_of_a_new_row_does_not_touch_others(estimator):
    """Predictions are row by row: a subset is predicted as within the whole."""
    table = Table(estimator)
    model = table.fitted(estimator)
    whole = predictions(model, table.X, task=table.task)
    for rows in ([3], [0, 1], np.arange(0, 80, 7), np.tile(np.arange(80), 3)):
        part = predictions(model, table.X[rows], task=table.task[rows])
        assert_close(part, [p[rows] for p in whole], **ROUNDING)


# ------------------------------------------------------------------------------- unseen tasks


def check_unseen_task(estimator):
    """A task never seen is predicted with what all share, with a warning; or raises."""
    table = Table(estimator)
    model = table.fitted(estimator)
    task = table.task.copy()
    task[::4] = "new shop"
    message = r"20 of 80 rows \(25%\) belong to tasks never seen in fit, such as 'new shop'"
    with pytest.warns(UnknownTaskWarning, match=message):
        got = scores(model, table.X, task=task)
    if hasattr(model, "shared_coef_"):
        shared = table.X @ model.shared_coef_ + model.shared_intercept_
        np.testing.assert_allclose(got[::4], shared[::4], **CLOSE)
    known = task == table.task
    np.testing.assert_allclose(
        got[known], scores(model, table.X, task=table.task)[known], **ROUNDING
    )
    strict = table.fitted(_set(estimator, handle_unknown="error"))
    with pytest.raises(ValueError, match=message):
        strict.predict(table.X, task=task)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        strict.predict(table.X, task=table.task)


# -------------------------------------------------------------------------------- odd tables


def check_tasks_of_one_row(estimator):
    table = Table(estimator)
    for task in (
        np.r_[np.arange(15), np.full(65, 99)],
        np.r_[np.arange(60), np.full(20, 99)],
        np.arange(80),
    ):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            model = clone(estimator).fit(table.X, table.y, task=task)
        assert len(model.tasks_) == len(np.unique(task))
        for p in predictions(model, table.X, task=task):
            assert np.isfinite(p).all()


def check_nearly_as_many_tasks_as_rows_warns(estimator):
    table = Table(estimator)
    with pytest.warns(UserWarning, match="80 tasks in 80 rows"):
        clone(estimator).fit(table.X, table.y, task=np.arange(80))


def check_constant_columns(estimator):
    """A constant column, and one that is constant within tasks, change no more than they must."""
    table = Table(estimator)
    splits = table.splits()
    given = _set_splits(estimator, splits)
    wanted = predictions(table.fitted(given), table.X, task=table.task)
    for constant in (0.0, 1.0, -1e6):
        X = np.column_stack([table.X, np.full(80, constant)])
        model = clone(given).fit(X, table.y, task=table.task)
        assert_close(predictions(model, X, task=table.task), wanted, rtol=1e-5, atol=1e-6)
        if is_linear(model):
            np.testing.assert_array_equal(model.coef_[:, 3], 0.0)
    X = np.column_stack([table.X, table.code])
    model = clone(estimator).fit(X, table.y, task=table.task)
    assert np.isfinite(predictions(model, X, task=table.task)[0]).all()


def check_nearly_empty_column(estimator):
    """A column that one row makes up, without evidence, changes nothing, whatever comes there."""
    if not is_tuned(estimator):
        return
    table = Table(estimator, n=120)
    tiny = np.zeros(len(table.y))
    tiny[5] = 1e-6
    few = np.column_stack([table.X, tiny])
    model = clone(estimator).fit(few, table.y, task=table.task)
    ordinary = np.column_stack([table.X, np.linspace(-2.0, 2.0, len(table.y))])
    assert_equal(
        predictions(model, ordinary, task=table.task), predictions(model, few, task=table.task)
    )


def check_more_features_than_rows(estimator):
    rng = np.random.default_rng(0)
    table = Table(estimator)
    X = np.column_stack([table.X, rng.normal(size=(80, 120))])
    model = clone(estimator).fit(X, table.y, task=table.task)
    if is_linear(model):
        assert model.coef_.shape == (5, 123)
    assert np.isfinite(predictions(model, X, task=table.task)[0]).all()


def starts_at_random(estimator):
    """Whether a network is trained, which depends on more than the rows."""
    learner = getattr(estimator, "learner", "auto")
    return not isinstance(learner, str) or learner in (
        "maml",
        "reptile",
        "ridge_head",
        "prototypes",
    )


def is_tuned(estimator):
    """Whether no strength is given, so that no number has a unit."""
    sharing = getattr(estimator, "sharing", "partial_pooling")
    return estimator.get_params().get("cv", 5) is not None and getattr(sharing, "tuned", True)


def check_columns_in_other_units_and_orders(estimator):
    """Order, units, shifts and signs of the columns change no prediction."""
    if starts_at_random(estimator):
        return
    table, rng = Table(estimator), np.random.default_rng(5)
    wanted = predictions(table.fitted(estimator), table.X, task=table.task)
    signs = 1.0 if _has_signs(estimator) else rng.choice([-1.0, 1.0], size=3)
    turned = table.X * 10.0 ** rng.uniform(-6, 6, size=3) * signs
    shifted = table.X + 1e4 * table.X.std(axis=0)
    others = [turned, shifted]
    if not _names_features(estimator):
        others.append(table.X[:, [2, 0, 1]])
    for X in others:
        model = clone(estimator).fit(X, table.y, task=table.task)
        assert_close(predictions(model, X, task=table.task), wanted, rtol=1e-6, atol=1e-6)


def _names_features(estimator):
    """Whether parameters name features, whose places then matter."""
    sharing = getattr(estimator, "sharing", None)
    names = ("varying", "positive", "negative")
    return any(getattr(sharing, name, None) is not None for name in names)


def _has_signs(estimator):
    sharing = getattr(estimator, "sharing", None)
    return any(getattr(sharing, name, None) is not None for name in ("positive", "negative"))


def check_weights_are_relative(estimator):
    """Where strengths are tuned a common factor on the weights changes nothing."""
    if starts_at_random(estimator) or not is_tuned(estimator):
        return
    table, rng = Table(estimator), np.random.default_rng(6)
    weight = rng.uniform(0.5, 2.0, size=len(table.y))
    wanted = predictions(table.fitted(estimator, sample_weight=weight), table.X, task=table.task)
    for factor in (1e-6, 7.3, 1e6):
        model = table.fitted(estimator, sample_weight=factor * weight)
        assert_close(predictions(model, table.X, task=table.task), wanted, rtol=1e-6, atol=1e-6)


def check_counts_are_copies(estimator):
    """A row of weight k is k rows, and a thousand copies of every row are no more than one."""
    if starts_at_random(estimator):
        return
    table, rng = Table(estimator), np.random.default_rng(7)
    k = rng.integers(1, 4, size=len(table.y))
    wanted = predictions(
        table.fitted(estimator, sample_weight=k.astype(float)), table.X, task=table.task
    )
    copied = clone(estimator).fit(
        np.repeat(table.X, k, axis=0), np.repeat(table.y, k), task=np.repeat(table.task, k)
    )
    assert_close(predictions(copied, table.X, task=table.task), wanted, rtol=1e-6, atol=1e-6)
    if is_tuned(estimator):
        many = table.fitted(estimator, sample_weight=1000.0 * k)
        assert_close(predictions(many, table.X, task=table.task), wanted, rtol=1e-6, atol=1e-6)


def check_weights_of_zero_are_rows_removed(estimator):
    """With folds dealt inside, and with splits given explicitly."""
    table = Table(estimator)
    rng = np.random.default_rng(4)
    weight = rng.uniform(0.5, 2.0, size=80)
    weight[rng.uniform(size=80) < 0.3] = 0.0
    weight[table.code == 3] = 0.0  # a whole task
    kept = np.flatnonzero(weight)
    position = np.full(80, -1)
    position[kept] = np.arange(len(kept))
    splits = table.splits()
    of_kept = [tuple(position[part][position[part] >= 0] for part in split) for split in splits]
    for given, given_kept in (
        (clone(estimator), clone(estimator)),
        (_set_splits(estimator, splits), _set_splits(estimator, of_kept)),
    ):
        weighted = table.fitted(given, sample_weight=weight)
        removed = given_kept.fit(
            table.X[kept], table.y[kept], sample_weight=weight[kept], task=table.task[kept]
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UnknownTaskWarning)  # the task without rows
            got = predictions(weighted, table.X, task=table.task)
            wanted = predictions(removed, table.X, task=table.task)
        assert_close(got, wanted)


# ------------------------------------------------------------------------------- the machine


def check_threads_change_nothing(estimator):
    table = Table(estimator, n=600, n_tasks=150)
    one = _set(estimator, n_jobs=1).fit(table.X, table.y, task=table.code)
    two = _set(estimator, n_jobs=2).fit(table.X, table.y, task=table.code)
    again = _set(estimator, n_jobs=1).fit(table.X, table.y, task=table.code)
    for other in (two, again):
        assert_equal(
            learned(one, table.X, task=table.code), learned(other, table.X, task=table.code)
        )
        if not is_linear(one):
            continue
        assert set(one.task_report_) == set(other.task_report_)
        for name, values in one.task_report_.items():
            np.testing.assert_array_equal(values, other.task_report_[name], err_msg=name)


def check_seeds(estimator):
    """The same seed is the same model, whatever numpy's global state; which is left alone."""
    table = Table(estimator)
    np.random.seed(0)
    first = table.fitted(_set(estimator, random_state=3))
    state = np.random.get_state()[1].copy()
    np.random.seed(1)
    second = table.fitted(_set(estimator, random_state=3))
    assert_equal(*(learned(m, table.X, task=table.task) for m in (first, second)))
    np.random.seed(0)
    np.testing.assert_array_equal(np.random.get_state()[1], state)


def check_copies_predict_alike(estimator):
    table = Table(estimator)
    model = _set(estimator, task_column="shop").fit(table.frame, table.y)
    wanted = predictions(model, table.frame)
    stream = io.BytesIO()
    joblib.dump(model, stream)
    stream.seek(0)
    for other in (pickle.loads(pickle.dumps(model)), copy.deepcopy(model), joblib.load(stream)):
        assert_equal(predictions(other, table.frame), wanted)
        with pytest.warns(UnknownTaskWarning):
            other.predict(table.frame.assign(shop="elsewhere"))
    unfitted = clone(model)
    assert not hasattr(unfitted, "tasks_")
    assert_equal(predictions(unfitted.fit(table.frame, table.y), table.frame), wanted)


def check_callers_data_is_left_alone(estimator):
    table = Table(estimator)
    frame, y, weight = table.frame, table.y.copy(), np.linspace(0.0, 2.0, 80)
    before = frame.copy(deep=True)
    model = _set(estimator, task_column="shop")
    params = {k: repr(v) for k, v in model.get_params().items()}
    model.fit(frame, y, sample_weight=weight).predict(frame)
    model.score(frame, y, sample_weight=weight)
    pd.testing.assert_frame_equal(frame, before)
    np.testing.assert_array_equal(y, table.y)
    np.testing.assert_array_equal(weight, np.linspace(0.0, 2.0, 80))
    assert {k: repr(v) for k, v in model.get_params().items()} == params
    X, task = table.X.copy(), table.task.copy()
    for array in (X, task, y, weight):
        array.setflags(write=False)  # writing would raise
    clone(estimator).fit(X, y, sample_weight=weight, task=task).predict(X, task=task)
    for form in (sparse.csr_matrix, sparse.csc_matrix) if takes_sparse(estimator) else ():
        S = form(X)
        S.data.setflags(write=False)
        clone(estimator).fit(S, y, sample_weight=weight, task=task).predict(S, task=task)


def arrays_in(value, seen=None):
    """All arrays reachable from the attributes of an object."""
    seen = set() if seen is None else seen
    if id(value) in seen:
        return
    seen.add(id(value))
    if isinstance(value, (np.ndarray, pd.DataFrame, pd.Series)):
        yield value
    elif isinstance(value, dict):
        for v in value.values():
            yield from arrays_in(v, seen)
    elif isinstance(value, (list, tuple)):
        for v in value:
            yield from arrays_in(v, seen)
    elif hasattr(value, "__dict__"):
        yield from arrays_in(vars(value), seen)


def check_no_training_rows_are_kept(estimator):
    table = Table(estimator, n=1009)  # no other size is a prime
    model = table.fitted(estimator)
    held = list(arrays_in(model))
    assert any(a is model.tasks_ for a in held)
    if is_linear(model):
        assert any(a is model.coef_ for a in held)
    assert not [a.shape for a in held if 1009 in a.shape]
    small, large = (len(pickle.dumps(Table(estimator, n=n).fitted(estimator))) for n in (200, 2000))
    # Candidates of the history may differ in number, rows may not matter.
    assert large - small < 0.2 * (1800 * 4 * 8)
    # Coefficients: of slopes and an intercept, 5 tasks of 3 features and classes by two.
    size = model.coef_.size if is_linear(model) else 5 * 4 * 2
    assert large < 20_000 + 100 * 8 * (size + 1000)


def check_for_task(estimator):
    """The model of one task predicts as the whole does, with the task column or without."""
    table = Table(estimator)
    frame = table.frame
    model = _set(estimator, task_column="shop").fit(frame, table.y)
    for label in table.names:
        mine = (table.task == label).nonzero()[0]
        own = model.for_task(label)
        wanted = predictions(model, frame.iloc[mine])
        for X in (frame.iloc[mine], frame.iloc[mine].drop(columns="shop"), pl.DataFrame(frame)):
            if isinstance(X, pl.DataFrame):
                X = X[mine.tolist()]
            assert_close(predictions(own, X), wanted, **ROUNDING)
        assert own.n_features_in_ == 3 and list(own.feature_names_in_) == NAMES
        most = 3000 if is_linear(model) else 6000  # what a learner knows, beside its scales
        assert len(pickle.dumps(own)) < most + len(pickle.dumps(model.preprocessor_))
        assert_close(predictions(pickle.loads(pickle.dumps(own)), frame.iloc[mine]), wanted)
    with pytest.raises(ValueError, match="label='nowhere' is not a task seen in fit"):
        model.for_task("nowhere")
    with pytest.raises(NotFittedError):
        clone(estimator).for_task(label)
    model = table.fitted(estimator)  # on arrays
    own = model.for_task(table.names[0])
    mine = table.code == 0
    assert_close(
        predictions(own, table.X[mine]),
        predictions(model, table.X[mine], task=table.task[mine]),
        **ROUNDING,
    )


_NO_NUMBA = """
import pickle, sys
sys.modules["numba"] = None  # importing it raises
with open(sys.argv[1], "rb") as file:
    model, own, X, wanted, alone = pickle.load(file)
assert (model.predict(X) == wanted).all()
assert (own.predict(X[:1]) == alone).all()
print("predicted")
"""


def check_predict_needs_no_numba(estimator):
    table = Table(estimator)
    array = np.column_stack([table.code.astype(float), table.X])
    model = _set(estimator, task_column=0).fit(array, table.y)
    own = model.for_task(table.code[0])
    alone = own.predict(array[:1])
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.pickle"
        path.write_bytes(pickle.dumps((model, own, array, model.predict(array), alone)))
        # The parent's path, so that classes of test modules are found too.
        env = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        done = subprocess.run(
            [sys.executable, "-c", _NO_NUMBA, str(path)], capture_output=True, text=True, env=env
        )
    assert done.stdout.strip() == "predicted", done.stderr


def check_failed_fit_leaves_the_fitted_state(estimator):
    table = Table(estimator)
    model = _set(estimator, task_column="shop").fit(table.frame, table.y)
    before = pickle.dumps(model)
    wanted = predictions(model, table.frame)
    X = table.frame
    X.loc[7, "b"] = np.nan
    y = table.y.astype(object)
    y[3] = np.nan if not is_classifier(estimator) else None
    bad_rows = [] if get_tags(estimator).input_tags.allow_nan else [(X, table.y, None)]
    for X_bad, y_bad, weight in (
        *bad_rows,
        (table.frame.drop(columns="shop"), table.y, None),
        (table.frame, y, None),
        (table.frame, table.y, -np.ones(80)),
        (table.frame, table.y[:-1], None),
        (table.frame.iloc[:0], table.y[:0], None),
        (table.frame.assign(shop=0.5), table.y, None),
        (table.frame.assign(more=np.inf), table.y, None),
    ):
        with pytest.raises((ValueError, TypeError)):
            model.fit(X_bad, y_bad, sample_weight=weight)
        assert pickle.dumps(model) == before
    assert_equal(predictions(model, table.frame), wanted)


def check_verbosity(estimator):
    """Silent by default, talkative when asked; the model is the same."""
    table = Table(estimator)
    texts, models = [], []
    for verbose in (0, 1):
        stream = io.StringIO()
        stdout, sys.stdout = sys.stdout, stream
        try:
            models.append(table.fitted(_set(estimator, verbose=verbose)))
        finally:
            sys.stdout = stdout
        texts.append(stream.getvalue())
    assert texts[0] == ""
    if estimator.get_params().get("cv", "no such parameter") is not None:
        assert type(estimator).__name__ in texts[1]
    assert_equal(*(learned(model, table.X, task=table.task) for model in models))


def check_refit_forgets(estimator):
    """A second fit is that of a fresh estimator, also where the tasks came otherwise."""
    table = Table(estimator)
    fresh = clone(estimator).fit(table.X[:, :2], table.y)
    model = table.fitted(estimator).fit(table.X[:, :2], table.y)
    assert set(vars(model)) == set(vars(fresh))
    assert_equal(predictions(model, table.X[:, :2]), predictions(fresh, table.X[:, :2]))
    wanted = predictions(table.fitted(estimator), table.X, task=table.task)
    again = model.fit(table.X, table.y, task=table.task)
    assert_equal(predictions(again, table.X, task=table.task), wanted)


TASK_CHECKS = [
    check_order_of_rows,
    check_order_of_tasks,
    check_order_of_many_tasks,
    check_relabelling,
    check_tables_of_every_kind,
    check_sparse_X,
    check_names_of_features,
    check_columns_of_a_target,
    check_no_task_is_one_task,
    check_task_of_a_new_row_does_not_touch_others,
    check_unseen_task,
    check_tasks_of_one_row,
    check_nearly_as_many_tasks_as_rows_warns,
    check_constant_columns,
    check_nearly_empty_column,
    check_more_features_than_rows,
    check_columns_in_other_units_and_orders,
    check_weights_are_relative,
    check_counts_are_copies,
    check_weights_of_zero_are_rows_removed,
    check_threads_change_nothing,
    check_seeds,
    check_copies_predict_alike,
    check_callers_data_is_left_alone,
    check_no_training_rows_are_kept,
    check_for_task,
    check_predict_needs_no_numba,
    check_failed_fit_leaves_the_fitted_state,
    check_verbosity,
    check_refit_forgets,
]


# ---------------------------------------------------------------------------------- bad input
# Each takes an unfitted estimator and a Table, and fails with one clear ValueError or TypeError,
# whose message matches the pattern.

BAD_INPUT = {}


def bad(pattern, needs=None):
    """Register a bad input; it is one to estimators that have the parameter `needs`."""

    def register(function):
        BAD_INPUT[function.__name__.replace("_", " ")] = (function, pattern, needs)
        return function

    return register


def bad_input_of(estimator):
    """Names of what is bad input to this estimator."""
    params = {*estimator.get_params(), *(["sparse X"] if takes_sparse(estimator) else [])}
    return [name for name, (_, _, needs) in BAD_INPUT.items() if needs in (None, *params)]


def _fit(estimator, X, y, **kwargs):
    return clone(estimator).fit(X, y, **kwargs)


def _with(estimator, **params):
    return _set(estimator, **params)


@bad("task_column='store' is not a column of X, whose columns are: 'a', 'shop', 'b', 'c'")
def unknown_task_column(e, t):
    _with(e, task_column="store").fit(t.frame, t.y)


@bad("task_column=9 is out of range: X has 4 columns")
def task_column_out_of_range(e, t):
    _with(e, task_column=9).fit(t.frame, t.y)


@bad("task_column='shop' is a name, but X is a ndarray without column names")
def task_column_by_name_in_an_array(e, t):
    _with(e, task_column="shop").fit(t.X, t.y)


@bad("'task_column' parameter .* must be")
def task_column_of_no_kind(e, t):
    _with(e, task_column=1.5).fit(t.frame, t.y)


@bad("fitted on 5 tasks, but no task was given: pass task=")
def no_task_at_predict(e, t):
    t.fitted(e).predict(t.X)


@bad("'shop' is not a column of X")
def no_task_column_at_predict(e, t):
    _with(e, task_column="shop").fit(t.frame, t.y).predict(t.frame[NAMES])


@bad("task= was given, but the model was fitted without tasks")
def task_at_predict_only(e, t):
    _fit(e, t.X, t.y).predict(t.X, task=t.task)


@bad("both task_column='shop' and task= were given")
def task_and_task_column(e, t):
    _with(e, task_column="shop").fit(t.frame, t.y, task=t.task)


@bad("both task_column='shop' and task= were given")
def task_and_task_column_at_predict(e, t):
    _with(e, task_column="shop").fit(t.frame, t.y).predict(t.frame, task=t.task)


@bad("y is 2-D .*, but task= names tasks too|y must be 1-D")
def task_with_a_2d_y(e, t):
    _fit(e, t.X, np.zeros((80, 2)), task=t.task)


@bad("y is 2-D .*, but task_column='shop' names tasks too|y must be 1-D")
def task_column_with_a_2d_y(e, t):
    _with(e, task_column="shop").fit(t.frame, np.zeros((80, 2)))


@bad("(?s)X contains NaN.*X must be finite numbers besides the task column")
def NaN_in_X(e, t):
    t.X[3, 1] = np.nan
    t.fitted(e)


@bad("(?s)X contains infinity.*X must be finite numbers besides the task column")
def infinity_in_X(e, t):
    t.X[3, 1] = -np.inf
    t.fitted(e)


@bad("X contains NaN")
def NaN_in_X_at_predict(e, t):
    model = t.fitted(e)
    t.X[3, 1] = np.nan
    model.predict(t.X, task=t.task)


@bad("X contains NaN", needs="sparse X")
def NaN_in_sparse_X(e, t):
    t.X[3, 1] = np.nan
    _fit(e, sparse.csr_matrix(t.X), t.y, task=t.task)


@bad("(?s)could not convert string to float.*X must be finite numbers besides the task column")
def strings_in_X(e, t):
    _with(e, task_column="shop").fit(t.frame.assign(colour="red"), t.y)


@bad("(?s)could not convert string to float.*X must be finite numbers besides the task column")
def task_column_forgotten(e, t):
    _fit(e, t.frame, t.y)


@bad("y contains NaN")
def NaN_in_y(e, t):
    t.y = t.numbers
    t.y[5] = np.nan
    t.fitted(e)


@bad("y contains infinity")
def infinity_in_y(e, t):
    t.y = t.numbers
    t.y[5] = np.inf
    t.fitted(e)


@bad("y contains infinity|y must be 1-D")
def infinity_in_a_2d_y(e, t):
    _fit(e, t.X, np.where(np.eye(80, 2) > 0, np.inf, 1.0))


@bad(r"y has no label, only NaN|y must be 1-D")
def columns_of_y_without_labels(e, t):
    _fit(e, t.X, np.full((80, 2), np.nan))


@bad("y to be passed, but the target y is None")
def no_y(e, t):
    _fit(e, t.X, None)


@bad("y should be a 1d array|y must be 1-D")
def three_dimensional_y(e, t):
    _fit(e, t.X, np.zeros((80, 2, 2)))


@bad("inconsistent numbers of samples")
def short_y(e, t):
    _fit(e, t.X, t.y[:-1], task=t.task)


@bad("inconsistent numbers of samples|task=")
def short_task(e, t):
    _fit(e, t.X, t.y, task=t.task[:-1])


@bad("inconsistent numbers of samples|task=")
def short_task_at_predict(e, t):
    t.fitted(e).predict(t.X, task=t.task[:-1])


@bad(r"task= holds labels of mixed .*kinds \(int, str\)")
def labels_of_mixed_kind(e, t):
    t.task[0] = 17
    t.fitted(e)


@bad("task= has 1 missing labels, the first in row 4")
def NaN_label(e, t):
    t.task[4] = np.nan
    t.fitted(e)


@bad("task= has 1 missing labels, the first in row 4")
def None_label(e, t):
    t.task[4] = None
    t.fitted(e)


@bad("task column 'shop' has 1 missing labels, the first in row 4")
def missing_label_in_pandas(e, t):
    t.task[4] = None
    _with(e, task_column="shop").fit(t.frame, t.y)


@bad("task column 'shop' has 1 missing labels, the first in row 4")
def missing_category_in_pandas(e, t):
    t.task[4] = None
    _with(e, task_column="shop").fit(t.frame.astype({"shop": "category"}), t.y)


@bad("task column 'shop' has 1 missing labels, the first in row 4")
def missing_nullable_integer_in_pandas(e, t):
    shop = pd.Series(t.code, dtype="Int64")
    shop[4] = pd.NA
    _with(e, task_column="shop").fit(t.frame.assign(shop=shop), t.y)


@bad("task column 'shop' has 1 missing labels, the first in row 4")
def missing_label_in_polars(e, t):
    t.task[4] = None
    _with(e, task_column="shop").fit(pl.DataFrame(t.frame), t.y)


@bad("task= has 1 missing labels, the first in row 4")
def missing_label_at_predict(e, t):
    model = t.fitted(e)
    t.task[4] = None
    model.predict(t.X, task=t.task)


@bad("task= holds string labels such as '17', but the model was fitted on integer labels such as 1")
def strings_for_integers(e, t):
    model = _fit(e, t.X, t.y, task=t.code + 17)
    model.predict(t.X, task=(t.code + 17).astype(str))


@bad("task= holds integer labels such as 17, but the model was fitted on string labels such as '1")
def integers_for_strings(e, t):
    model = _fit(e, t.X, t.y, task=(t.code + 17).astype(str))
    model.predict(t.X, task=t.code + 17)


@bad("task column 0 holds non-integral numbers such as .* transformer .* changed the ids")
def ids_destroyed_by_a_scaler(e, t):
    scaled = (t.code - t.code.mean()) / t.code.std()
    _with(e, task_column=0).fit(np.column_stack([scaled, t.X]), t.y)


@bad("sample_weight has negative entries, the first in row 2")
def negative_weights(e, t):
    t.fitted(e, sample_weight=np.r_[1.0, 1.0, -1.0, np.ones(77)])


@bad("sample_weight is zero for every row")
def weights_all_zero(e, t):
    t.fitted(e, sample_weight=np.zeros(80))


@bad("sample_weight contains NaN")
def NaN_among_weights(e, t):
    t.fitted(e, sample_weight=np.r_[np.nan, np.ones(79)])


@bad("sample_weight.shape == .79,., expected .80,.")
def too_few_weights(e, t):
    t.fitted(e, sample_weight=np.ones(79))


@bad(r"(0 sample|X).*shape=?.*minimum of 1 is required")
def empty_table(e, t):
    _with(e, task_column="shop").fit(t.frame.iloc[:0], t.y[:0])


@bad(r"0 feature\(s\)")
def no_feature_but_the_task(e, t):
    _with(e, task_column="shop").fit(t.frame[["shop"]], t.y)


@bad(r"X has duplicate column names \['b'\]")
def duplicate_columns(e, t):
    _with(e, task_column="shop").fit(t.frame.set_axis(["b", "shop", "b", "c"], axis=1), t.y)


@bad(r"X has duplicate column names \['b'\]")
def duplicate_columns_with_task(e, t):
    X = pd.DataFrame(t.X, columns=["b", "b", "c"])
    _fit(e, X, t.y, task=t.task)


@bad("(?s)feature names should match.*unseen at fit time:\n- z")
def wrong_column_at_predict(e, t):
    model = _with(e, task_column="shop").fit(t.frame, t.y)
    model.predict(t.frame.rename(columns={"b": "z"}))


@bad("(?s)feature names should match.*same order")
def columns_in_another_order_at_predict(e, t):
    model = _with(e, task_column="shop").fit(t.frame, t.y)
    model.predict(t.frame[["shop", "c", "b", "a"]])


@bad("X has 2 features, but .* is expecting 3 features")
def too_few_columns_at_predict(e, t):
    t.fitted(e).predict(t.X[:, :2], task=t.task)


@bad("'sharing' parameter .* must be", needs="sharing")
def unknown_sharing(e, t):
    _with(e, sharing="everything").fit(t.X, t.y)


@bad(
    r"sharing__alpha cannot be set on sharing='pooled', which is a string.*sharing\.Pooled\(\)",
    needs="sharing",
)
def strength_of_a_string(e, t):
    _with(e, sharing="pooled").set_params(sharing__alpha=1.0)


@bad("alpha=-1.0 must be 'auto' or a number from 0 to infinity", needs="sharing")
def negative_strength(e, t):
    t.fitted(_with(e, sharing=PartialPooling(alpha=-1.0)))


@bad("alpha_shared='much' must be 'auto' or a number", needs="sharing")
def strength_in_words(e, t):
    t.fitted(_with(e, sharing=PartialPooling(alpha_shared="much")))


@bad("cv.* (must be|at least 2)", needs="cv")
def one_fold(e, t):
    t.fitted(_with(e, cv=1))


@bad("'cv' parameter .* must be", needs="cv")
def cv_in_words(e, t):
    t.fitted(_with(e, cv="five"))


@bad("cv.* split 0 has no training rows or no test rows", needs="cv")
def split_without_test_rows(e, t):
    t.fitted(_with(e, cv=[(np.arange(80), np.array([], dtype=int))]))


@bad("'auto' need.* cross-validation.*cv=None", needs="cv")
def auto_without_validation(e, t):
    t.fitted(_with(e, cv=None, sharing=PartialPooling()))


@bad("'handle_unknown' parameter .* must be")
def unknown_way_to_handle_the_unknown(e, t):
    t.fitted(_with(e, handle_unknown="ignore"))


@bad("'learner' parameter .* must be", needs="learner")
def unknown_learner(e, t):
    t.fitted(_with(e, learner="everything"))


@bad("'learner' parameter .* must be", needs="learner")
def learner_that_cannot_learn(e, t):
    t.fitted(_with(e, learner=PartialPooling()))


@bad("Sparse data was passed for X, but learners need dense data", needs="learner")
def sparse_X_for_a_learner(e, t):
    _fit(e, sparse.csr_matrix(t.X), t.y, task=t.task)


@bad("Sparse data was passed for X, but learners need dense data", needs="learner")
def sparse_X_for_a_learner_at_predict(e, t):
    t.fitted(e).predict(sparse.csr_matrix(t.X), task=t.task)


@bad(r"X: column 1 .* holds 1e\+160; .* larger unit")
def features_whose_squares_overflow(e, t):
    X = t.X.copy()
    X[3, 1] = 1e160
    clone(e).fit(X, t.y, task=t.task)


@bad(r"X: column 0 .* differ by at most .*e-1\d\d; .* smaller unit")
def features_whose_squares_vanish(e, t):
    clone(e).fit(t.X * [1e-170, 1.0, 1.0], t.y, task=t.task)


@bad(r"sample_weight holds 1e\+300; .* common factor")
def weights_that_overflow(e, t):
    t.fitted(e, sample_weight=np.full(len(t.y), 1e300))


@bad("'shared_classes' parameter .* must be", needs="shared_classes")
def sharing_of_classes_in_words(e, t):
    t.fitted(_with(e, shared_classes="yes"))


def check_bad_input(estimator, name):
    """The input gets an error of its own, a clear one."""
    function, pattern, _ = BAD_INPUT[name]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises((ValueError, TypeError)) as raised:
            function(clone(estimator), Table(estimator))
    text = str(raised.value)
    assert re.search(pattern, text), f"{text!r} does not match {pattern!r}"


def check_task_contract(estimator):
    """Run everything above on an unfitted estimator that has no task column."""
    for check in TASK_CHECKS:
        check(estimator)
    for name in bad_input_of(estimator):
        check_bad_input(estimator, name)


def contract_cases(configurations):
    """Every check of every configuration as test cases; what tunes is marked `jit`.

    Those that start a process only of the one named "partial pooling".
    """
    for name, estimator in configurations.items():
        for check in TASK_CHECKS:
            if name == "partial pooling" or check is not check_predict_needs_no_numba:
                marks = (
                    [] if name.startswith("fixed") else [pytest.mark.jit]
                )  # tuning needs compiled code
                yield pytest.param(estimator, check, id=f"{name}-{check.__name__}", marks=marks)


# What scikit-learn's checks ask of a class, however an object of it is configured.
OF_THE_CLASS = {
    "check_array_api_input",
    "check_do_not_raise_errors_in_init_or_set_params",
    "check_estimator_cloneable",
    "check_estimator_repr",
    "check_estimator_tags_renamed",
    "check_get_params_invariance",
    "check_mixin_order",
    "check_n_features_in",
    "check_no_attributes_set_in_init",
    "check_parameters_default_constructible",
    "check_set_params",
    "check_valid_tag_types",
}
# Eighteen formats of sparse tables, which the class brings to one before anything is configured;
# that one is fitted by `check_estimator_sparse_tag` and by those of weights on sparse data.
FORMATS = {"check_estimator_sparse_array", "check_estimator_sparse_matrix"}
# Run again on read-only rows and on float32, which `check_readonly_memmap_input` and
# `check_estimators_dtypes` do, too.
AGAIN = {"check_classifiers_train", "check_regressors_train"}


def estimator_check_cases(configurations):
    """scikit-learn's checks of every configuration, none of them marked as expected to fail.

    All of them of the first configuration of a face, whatever a test has made of its class. Of the
    others those that depend on how it is configured: fits, predictions and what they refuse.
    """
    classes = set()
    for name, estimator in configurations.items():
        kinds = type(estimator).__mro__
        face, seen = next(c for c in kinds if c.__module__.startswith("skmtl.")), {}
        first = face not in classes
        classes.add(face)
        sparse_rows = get_tags(estimator).input_tags.sparse
        for copy_, check in estimator_checks_generator(estimator, legacy=True):
            label = check_name(check)
            seen[label] = seen.get(label, 0) + 1
            again = label in AGAIN and seen[label] > 1
            if label == "check_sample_weight_equivalence_on_sparse_data" and not sparse_rows:
                continue  # scikit-learn 1.6 does not ask the tags
            if first or not (again or label in OF_THE_CLASS | FORMATS):
                yield pytest.param(copy_, check, id=f"{name}-{label}-{seen[label]}")


def check_name(check):
    return getattr(check, "func", check).__name__


# ----------------------------------------------------------------------- for check_estimator


class TaskColumnAdded:
    """Adds an integer task column to X in every method, so that random floats can be checked.

    Set ``task_column=0``. A row's task depends on its first feature alone. To be mixed into a
    face, which is also named as `inner_class`.
    """

    def _add_tasks(self, X):
        first = X[:, [0]].toarray() if sparse.issparse(X) else X[:, [0]]
        task = np.abs(np.nan_to_num(np.rint(np.asarray(first, dtype=float)))) % 3
        if sparse.issparse(X):
            return sparse.hstack([sparse.csr_matrix(task), X], format="csr")
        return np.hstack([task, X])

    def _validated(self, X, **kwargs):
        X = validate_data(
            self, X, accept_sparse="csr", ensure_all_finite=False, dtype="numeric", **kwargs
        )
        return self._add_tasks(X)

    def fit(self, X, y, sample_weight=None):
        X = self._validated(X)
        self.inner_ = self.inner_class(**self.get_params(deep=False)).fit(X, y, sample_weight)
        if hasattr(self.inner_, "n_iter_"):
            self.n_iter_ = self.inner_.n_iter_
        return self

    def _ask(self, method, X, *args):
        check_is_fitted(self)
        X = self._validated(X, reset=False)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UnknownTaskWarning)
            return getattr(self.inner_, method)(X, *args)

    def predict(self, X):
        return self._ask("predict", X)

    def score(self, X, y, sample_weight=None):
        return self._ask("score", X, y, sample_weight)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = False  # columns of y would be tasks too
        tags.input_tags.string = False  # _add_tasks computes with X
        return tags


class WithTaskColumn(TaskColumnAdded, MultiTaskRegressor):
    """`TaskColumnAdded` for the regressor."""

    inner_class = MultiTaskRegressor

    def partial_fit(self, X, y, sample_weight=None):
        # Behind a fit that kept no moments there is no partial_fit to go on with.
        first = not hasattr(getattr(self, "inner_", None), "partial_fit")
        X = self._validated(X, reset=first)
        inner = MultiTaskRegressor(**self.get_params(deep=False)) if first else self.inner_
        self.inner_ = inner.partial_fit(X, y, sample_weight)
        return self


class Recorder:
    """Notes every hook that is called."""

    def __init__(self):
        self.log = []

    def setup(self, estimator, context):
        self.log.append("setup")

    def teardown(self, estimator, context):
        self.log.append("teardown")

    def on_fit_task_begin(self, estimator, context):
        self.log.append(f"begin {context.task_name}")

    def on_fit_task_end(self, estimator, context, *, fitted_estimator):
        self.log.append(f"end {context.task_name}")
        if context.task_name == "fit":
            self.fitted = fitted_estimator
