"""What every face predicts on fixed data: the cases of the golden numbers.

    python tests/golden/cases.py tests/golden/0.1.npz

writes a file. That is done where a default changes on purpose: the new file is named by the
version, and the cases of the old one keep what they stand for under parameters named explicitly.
"""

import sys
import warnings
from functools import partial

import numpy as np
from scipy import sparse
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import Lasso, LassoCV, LogisticRegression, Ridge
from sklearn.metrics import log_loss
from sklearn.neural_network import MLPRegressor

from skmtl import (
    MetaLearnerClassifier,
    MetaLearnerRegressor,
    MultiTaskClassifier,
    MultiTaskRegressor,
    Source,
    TransferEstimator,
)
from skmtl.datasets import load_grunfeld
from skmtl.learners import MAML, Prototypes, Reptile, RidgeHead
from skmtl.model_selection import TaskTimeSeriesSplit
from skmtl.sharing import Independent, PartialPooling, Pooled

# What is solved at fixed strengths or in closed form; what is tuned; and losses of networks.
FIXED, TUNED, NETWORK = 1e-8, 1e-6, 1e-3


def table(n_tasks=8, n_features=4, rows=(6, 14, 30), levels=0.0):
    """Return features, scores and tasks, and rows to predict (RandomState's streams never change).

    With `levels` features differ by task, and their slopes between tasks are other ones.
    """
    rng = np.random.RandomState(3)
    sizes = np.resize(rows, n_tasks)
    task = np.repeat(np.arange(n_tasks), sizes)
    own = rng.randn(n_tasks, n_features)
    shared = rng.randn(n_features)
    X = rng.randn(len(task), n_features) + levels * own[task]
    slopes = shared + 0.4 * rng.randn(n_tasks, n_features)
    scores = rng.randn(n_tasks)[task] + np.einsum("ij,ij->i", X, slopes[task])
    scores += levels * own[task] @ np.ones(n_features) + 0.5 * rng.randn(len(task))
    return X, scores, task, rng.randn(5, n_features)


def _classes(scores, n_classes):
    return np.searchsorted(np.quantile(scores, np.arange(1, n_classes) / n_classes), scores)


def multitask(sharing="partial_pooling", *, as_sparse=False, weighted=False, data=(), **params):
    """Predictions for every task and for one never seen, and of a model adapted to a new one."""
    X, y, task, X_new = table(**dict(data))
    weight = np.linspace(0.5, 2.0, len(y)) if weighted else None
    A = sparse.csr_matrix(X) if as_sparse else X
    model = MultiTaskRegressor(sharing, handle_unknown="shared", **params)
    model.fit(A, y, task=task, sample_weight=weight)
    return _of_all_tasks(model, X_new, len(np.unique(task)), X[:7], y[:7] + 1.0)


def multitask_classes(sharing="partial_pooling", n_classes=2, *, as_sparse=False, data=()):
    """The same of probabilities."""
    X, scores, task, X_new = table(**dict(data))
    y = _classes(scores, n_classes)
    model = MultiTaskClassifier(sharing).fit(sparse.csr_matrix(X) if as_sparse else X, y, task=task)
    return _of_all_tasks(model, X_new, len(np.unique(task)), X[:7], y[:7])


def _of_all_tasks(model, X_new, n_tasks, X_support, y_support):
    rows = np.tile(X_new, (n_tasks + 1, 1))
    codes = np.repeat(np.arange(n_tasks + 1), len(X_new))  # the last was never seen
    adapted = model.adapt(X_support, y_support)
    predict = "predict_proba" if hasattr(model, "predict_proba") else "predict"
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*never seen|.*not seen|.*unknown")
        found = getattr(model, predict)(rows, task=codes)
    return np.concatenate([found.ravel(), getattr(adapted, predict)(X_new).ravel()])


def time_series():
    """Tuned by splits in time."""
    panel = load_grunfeld()
    model = MultiTaskRegressor(
        "partial_pooling", task_column=0, cv=TaskTimeSeriesSplit(4, task_column=0, time_column=3)
    )
    return model.fit(panel.data, panel.target).predict(panel.data[::9])


def columns_as_tasks():
    """Of a 2-D target with gaps."""
    X, y, _, X_new = table(3)
    Y = np.column_stack([y, -y + X[:, 0], y**2])
    Y[::3, 1] = Y[1::4, 2] = np.nan
    return MultiTaskRegressor("partial_pooling").fit(X, Y).predict(X_new).ravel()


def partial_fits():
    """Batch by batch."""
    X, y, task, X_new = table()
    model = MultiTaskRegressor("partial_pooling", task_column=0)
    Z = np.column_stack([task, X])
    for some in (np.arange(0, len(y), 2), np.arange(1, len(y), 2)):
        model.partial_fit(Z[some], y[some])
    return model.predict(np.column_stack([np.zeros(5), X_new]))


def intervals():
    """Half the widths of intervals."""
    X, y, task, X_new = table()
    model = MultiTaskRegressor("partial_pooling").fit(X, y, task=task)
    return model.predict(X_new, task=np.arange(5), return_std=True)[1]


def meta(learner="auto", *, numbers=False, n_classes=2, own_classes=False, loss=False):
    """Predictions of known tasks and of a new one; of networks their loss."""
    X, scores, task, X_new = table(12, rows=(12, 20))
    if numbers:
        model = MetaLearnerRegressor(learner, random_state=0).fit(X, scores, task=task)
        y_support = scores[:9]
    else:
        y = _classes(scores, n_classes)
        if own_classes:
            y = y + 10 * task
        model = MetaLearnerClassifier(
            learner, shared_classes=not own_classes, random_state=0
        ).fit(X, y, task=task)  # fmt: skip
        y_support = y[:9] if not own_classes else y[:9] + 1000
    adapted = model.adapt(X[:9], y_support)
    if numbers:
        known = model.predict(X, task=task)
        if loss:
            return np.array([np.mean((known - scores) ** 2)])
        return np.concatenate([known[::11], adapted.predict(X_new)])
    known = model.predict_proba(X, task=task)
    if loss:
        return np.array([log_loss(y, known, labels=model.classes_)])
    return np.concatenate([known[::11].ravel(), adapted.predict_proba(X_new).ravel()])


def transfer(adaptation="auto", *, classes=False, estimator=None, loss=False):
    """Predictions for a target from four sources, of which one misleads."""
    X, y, task, X_new = table(5, rows=(25,))
    y = np.where(task == 1, -y, y) + 2.0 * (task == 2)
    own = task == 4
    if classes:
        y = (y > np.median(y)).astype(int)
    source = Source(X[~own], y[~own], task=task[~own])
    model = TransferEstimator(
        estimator or (LogisticRegression() if classes else Ridge()),
        source=source, adaptation=adaptation, random_state=0,
    )  # fmt: skip
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=UserWarning)
        model.fit(X[own], y[own])
    if loss:
        return np.array([np.mean((model.predict(X[own]) - y[own]) ** 2)])
    return (model.predict_proba if classes else model.predict)(X_new).ravel()


_WIDE = (("n_features", 60), ("rows", (5, 9)))
_LEVELS = (("levels", 2.0), ("n_tasks", 20))
_FIXED_POOLING = PartialPooling(3.0, alpha_intercept=0.7, alpha_shared=0.2)
_SIGNS = PartialPooling(3.0, alpha_intercept=0.7, alpha_shared=0.2, positive=[0], negative=[1, 2])
_OF_CLASSES = ("tradaboost",)
_NETWORKS = "fine_tune", "feature_map"
_ADAPTATIONS = [
    "auto", "independent", "pooled", "shrink_to_source", "fine_tune", "feature_map",
    "feature_augmentation", "prediction_feature", "kmm", "kliep", "rulsif", "coral",
    "subspace_alignment", "tca", "tradaboost", "tradaboost_r2", "two_stage_tradaboost_r2",
]  # fmt: skip
_NETWORK = MLPRegressor(hidden_layer_sizes=(8,), max_iter=40, random_state=0)
_FIXED_ADAPTATIONS = "independent", "pooled", "shrink_to_source", "feature_augmentation"

# Name -> (tolerance, function).
CASES = {
    "independent": (TUNED, partial(multitask, "independent")),
    "independent, fixed": (FIXED, partial(multitask, Independent(2.0))),
    "pooled": (TUNED, partial(multitask, "pooled")),
    "pooled, fixed": (FIXED, partial(multitask, Pooled(2.0))),
    "partial pooling": (TUNED, multitask),
    "partial pooling, fixed": (FIXED, partial(multitask, _FIXED_POOLING)),
    "weights": (TUNED, partial(multitask, weighted=True)),
    "weights, fixed": (FIXED, partial(multitask, _FIXED_POOLING, weighted=True)),
    "wide": (TUNED, partial(multitask, data=_WIDE)),
    "wide, fixed": (FIXED, partial(multitask, _FIXED_POOLING, data=_WIDE)),
    "levels": (TUNED, partial(multitask, data=_LEVELS)),
    "sparse": (TUNED, partial(multitask, as_sparse=True)),
    "units of tasks": (TUNED, partial(multitask, target_scale="task")),
    "varying": (TUNED, partial(multitask, PartialPooling(varying=[0, 2]))),
    "signs": (TUNED, partial(multitask, PartialPooling(positive=[0], negative=[1, 2]))),
    "signs, fixed": (FIXED, partial(multitask, _SIGNS)),
    "time series": (TUNED, time_series),
    "columns as tasks": (TUNED, columns_as_tasks),
    "partial fits": (TUNED, partial_fits),
    "intervals": (TUNED, intervals),
    "classes": (TUNED, multitask_classes),
    "classes, fixed": (TUNED, partial(multitask_classes, _FIXED_POOLING)),
    "classes, independent": (TUNED, partial(multitask_classes, "independent")),
    "classes, pooled": (TUNED, partial(multitask_classes, "pooled")),
    "classes, wide": (TUNED, partial(multitask_classes, data=_WIDE)),
    "classes, levels": (TUNED, partial(multitask_classes, data=_LEVELS)),
    "classes, sparse": (TUNED, partial(multitask_classes, as_sparse=True)),
    "classes, varying": (TUNED, partial(multitask_classes, PartialPooling(varying=[0, 2]))),
    "three classes": (TUNED, partial(multitask_classes, n_classes=3)),
    "meta, auto": (TUNED, meta),
    "meta, subspace": (TUNED, partial(meta, "subspace")),
    "meta, hierarchical": (TUNED, partial(meta, "hierarchical")),
    "meta, three classes": (TUNED, partial(meta, n_classes=3)),
    "meta, own classes": (TUNED, partial(meta, own_classes=True)),
    "meta, numbers": (TUNED, partial(meta, numbers=True)),
    "meta, maml": (NETWORK, partial(meta, MAML(max_iter=60), loss=True)),
    "meta, maml, numbers": (NETWORK, partial(meta, MAML(max_iter=60), numbers=True, loss=True)),
    "meta, reptile": (NETWORK, partial(meta, Reptile(max_iter=60), loss=True)),
    "meta, ridge head": (
        NETWORK, partial(meta, RidgeHead(max_iter=60), own_classes=True, loss=True),
    ),
    "meta, prototypes": (
        NETWORK, partial(meta, Prototypes(max_iter=60), own_classes=True, loss=True),
    ),
    "transfer, lasso": (TUNED, partial(transfer, estimator=Lasso(0.1))),
    **{
        f"transfer, {name}": (
            NETWORK if name in _NETWORKS else FIXED if name in _FIXED_ADAPTATIONS else TUNED,
            partial(
                transfer,
                name,
                classes=name in _OF_CLASSES, loss=name in _NETWORKS,
                estimator=_NETWORK if name == "fine_tune" else None,
            ),
        )
        for name in _ADAPTATIONS
    },
    "transfer, trans_lasso": (TUNED, partial(transfer, "trans_lasso", estimator=LassoCV())),
    "transfer, classes": (TUNED, partial(transfer, classes=True)),
}  # fmt: skip


def numbers_of(name):
    """Return what a case comes to."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=ConvergenceWarning)
        return CASES[name][1]()


if __name__ == "__main__":
    np.savez_compressed(sys.argv[1], **{name: numbers_of(name) for name in CASES})
