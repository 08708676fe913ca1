"""How typed code uses the package: mypy checks this file in CI, and nothing runs it."""

from typing import Any, assert_type

import numpy as np
import polars as pl
from numpy.typing import NDArray

from skmtl import (
    MetaLearnerClassifier,
    MetaLearnerRegressor,
    MultiTaskClassifier,
    MultiTaskRegressor,
    Source,
    TransferEstimator,
)
from skmtl.adaptation import ShrinkToSource
from skmtl.metrics import task_scorer, task_scores
from skmtl.model_selection import FewShotSplit, TaskKFold
from skmtl.sharing import PartialPooling
from skmtl.task_models import LinearTaskModel

X: NDArray[np.float64] = np.zeros((20, 3))
y = [0.0, 1.0] * 10
task = ["a", "b"] * 10

model = MultiTaskRegressor(PartialPooling(alpha=10.0, varying=["price"]), task_column="store")
assert_type(model.fit(X, y), MultiTaskRegressor)
assert_type(model.fit(X, y, task=task, sample_weight=np.ones(20)), MultiTaskRegressor)
assert_type(model.for_task("a"), LinearTaskModel)
assert_type(model.score(X, y, task=task), float)
assert_type(model.predict(X), NDArray[Any])
assert_type(model.predict(X, return_std=True), tuple[NDArray[Any], NDArray[Any]])
assert_type(model.adapt(X, y).predict(X), NDArray[Any])
lazy = pl.scan_parquet("sales.parquet")
lazy_model = MultiTaskRegressor(task_column="store", fold_column="row")
assert_type(lazy_model.fit(lazy, "revenue", sample_weight="days"), MultiTaskRegressor)
lazy_classes = MultiTaskClassifier(task_column="store", fold_column="row")
assert_type(lazy_classes.fit(lazy, "returned", sample_weight="days"), MultiTaskClassifier)
MultiTaskRegressor("pooled", cv=TaskKFold(5), random_state=0, n_jobs=2)
MultiTaskRegressor(task_column="lecturer", grouping_columns=["student", "dept"])
MultiTaskClassifier(task_column="lecturer", grouping_columns={"student": 2.0, "dept": "auto"})

classifier = MultiTaskClassifier(task_column=["store", "item"], preprocessor="auto").fit(X, y)
assert_type(classifier, MultiTaskClassifier)
assert_type(classifier.predict_proba(X), NDArray[Any])
assert_type(classifier.predict_set(X, coverage=0.8), NDArray[Any])
assert_type(classifier.for_task("a").predict_set(X), NDArray[Any])

learner = MetaLearnerClassifier("prototypes", task_column=0).fit(X, y)
assert_type(learner, MetaLearnerClassifier)
assert_type(MetaLearnerRegressor().fit(X, y), MetaLearnerRegressor)

source = Source(X, y, task=task)
transfer = TransferEstimator(source=source, adaptation=ShrinkToSource()).fit(X, y)
assert_type(transfer, TransferEstimator)
TransferEstimator(source=source, keep_residuals=True, cv=TaskKFold(5))

task_scores(y, model.predict(X), task=task)
task_scorer("r2", task_column="store")
FewShotSplit(5, n_shots=5)
