"""Fitted models that later versions must load, and what they predicted when they were written.

    python tests/pickles/models.py tests/pickles/0.1

writes one pickle per model and ``predictions.npz``. A release adds a folder named by its version;
an old folder is never written again.
"""

import pickle
import sys
from functools import partial
from pathlib import Path

import numpy as np
from sklearn.linear_model import Ridge

from skmtl import (
    MetaLearnerClassifier,
    MetaLearnerRegressor,
    MultiTaskClassifier,
    MultiTaskRegressor,
    Source,
    TransferEstimator,
)
from skmtl.learners import MAML

SHOPS = np.array(["airport", "harbour", "market", "museum", "station"], dtype=object)


def table(n_classes=None):
    """Return rows with a task column of strings first, and targets."""
    rng = np.random.RandomState(0)
    shop = np.repeat(np.arange(5), [8, 12, 16, 20, 24])
    X = rng.randn(len(shop), 3)
    y = X @ [1.0, -1.0, 0.5] + rng.randn(5)[shop] + 0.3 * rng.randn(len(shop))
    if n_classes is not None:
        y = np.searchsorted(np.quantile(y, np.arange(1, n_classes) / n_classes), y)
    return np.column_stack([SHOPS[shop], X.astype(object)]), y


def fitted(estimator, n_classes=None):
    """Return an estimator fitted on the table."""
    return estimator(task_column=0).fit(*table(n_classes))


def one_task(adapted):
    """Return the model of one task, known or new."""
    model, (X, y) = MODELS["multitask_regressor"](), table()
    if adapted:
        return model.adapt(X[:6, 1:].astype(float), y[:6])
    return model.for_task("market")


def transfer():
    """Return a transfer estimator with three sources."""
    X, y = table()
    shop, Z = X[:, 0], X[:, 1:].astype(float)
    there = np.isin(shop, SHOPS[2:])
    source = Source(Z[there], y[there], task=shop[there])
    return TransferEstimator(Ridge(), source=source).fit(Z[~there], y[~there])


MODELS = {
    "multitask_regressor": partial(fitted, partial(MultiTaskRegressor, "partial_pooling")),
    "multitask_classifier": partial(fitted, partial(MultiTaskClassifier, "partial_pooling"), 3),
    "known_task": partial(one_task, adapted=False),
    "new_task": partial(one_task, adapted=True),
    "meta_regressor": partial(fitted, MetaLearnerRegressor),
    "meta_classifier": partial(fitted, MetaLearnerClassifier, 2),
    "maml": partial(
        fitted, partial(MetaLearnerRegressor, MAML(max_iter=30), random_state=0)
    ),
    "transfer": transfer,
}  # fmt: skip


# Models of one task take the columns without the task.
OF_ONE_TASK = "known_task", "new_task", "transfer"


def predictions(name, model):
    """Return probabilities of some rows where the model has them, else predictions."""
    X = table()[0][::7]
    X = X[:, 1:].astype(float) if name in OF_ONE_TASK else X
    return getattr(model, "predict_proba", model.predict)(X)


def write(folder):
    """Write all pickles and what the models predict."""
    folder = Path(folder)
    folder.mkdir()
    found = {}
    for name, make in MODELS.items():
        model = make()
        (folder / f"{name}.pickle").write_bytes(pickle.dumps(model, protocol=4))
        found[name] = predictions(name, model)
    np.savez_compressed(folder / "predictions.npz", **found)


if __name__ == "__main__":
    write(sys.argv[1])
