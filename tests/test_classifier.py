"""MultiTaskClassifier: the task contract, scikit-learn's checks, equalities, and few classes."""

import warnings

import checks
import numpy as np
import pytest
import reference
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, cross_val_predict, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from skmtl import MultiTaskClassifier
from skmtl.base import UnknownTaskWarning
from skmtl.model_selection import TaskKFold
from skmtl.sharing import Independent, PartialPooling, Pooled

FIXED = PartialPooling(alpha=3.0, alpha_shared=1.0)
CONTRACT = {
    "partial pooling": MultiTaskClassifier("partial_pooling"),
    "independent": MultiTaskClassifier("independent", cv=2),
    "pooled": MultiTaskClassifier(Pooled(), cv=2),
    "fixed": MultiTaskClassifier(FIXED, cv=None, tol=1e-10),
    "one slope varies, fixed": MultiTaskClassifier(
        PartialPooling(3.0, alpha_shared=1.0, varying=[0]), cv=None, tol=1e-10
    ),
    "auto": MultiTaskClassifier(FIXED, cv=None, tol=1e-10, preprocessor="auto"),
    "balanced tasks": MultiTaskClassifier("partial_pooling", cv=2, task_weight="balanced"),
}


@pytest.mark.parametrize(("estimator", "check"), list(checks.contract_cases(CONTRACT)))
def test_contract(estimator, check):
    check(estimator)


@pytest.mark.parametrize("name", checks.bad_input_of(MultiTaskClassifier(FIXED, cv=None)))
def test_bad_input(name):
    checks.check_bad_input(MultiTaskClassifier(FIXED, cv=None), name)


# ---------------------------------------------------------------------- scikit-learn's checks


class WithTaskColumn(checks.TaskColumnAdded, MultiTaskClassifier):
    """Adds a task column to the data of scikit-learn's checks."""

    inner_class = MultiTaskClassifier

    def fit(self, X, y, sample_weight=None):
        super().fit(X, y, sample_weight)
        self.classes_, self.n_iter_ = self.inner_.classes_, self.inner_.n_iter_
        return self

    def predict_proba(self, X):
        return self._ask("predict_proba", X)

    def predict_log_proba(self, X):
        return self._ask("predict_log_proba", X)

    def decision_function(self, X):
        return self._ask("decision_function", X)


CONFIGURATIONS = {
    "default": MultiTaskClassifier(),
    "independent": MultiTaskClassifier("independent"),
    "pooled": MultiTaskClassifier("pooled"),
    "fixed": MultiTaskClassifier(FIXED, cv=None),
    "one slope varies": MultiTaskClassifier(PartialPooling(varying=[0])),
    "balanced": MultiTaskClassifier(FIXED, cv=None, class_weight="balanced"),
    "a task column": WithTaskColumn("partial_pooling", task_column=0),
    "a task column, fixed": WithTaskColumn(FIXED, task_column=0, cv=None),
    "auto": MultiTaskClassifier("partial_pooling", preprocessor="auto"),
}


@pytest.mark.jit
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("estimator", "check"), list(checks.estimator_check_cases(CONFIGURATIONS)))
def test_estimator_checks(estimator, check):
    check(estimator)


# ------------------------------------------------------------------------------- equalities


def table(n_tasks=6, rows=15, p=3, n_classes=2, seed=0, spread=0.5):
    rng = np.random.default_rng(seed)
    task = np.repeat(np.arange(n_tasks), rows)
    X = rng.normal(size=(len(task), p)) * [1.0, 3.0, 0.2][:p] + 1.0
    Z = (X - X.mean(0)) / X.std(0)
    k = n_classes if n_classes > 2 else 1
    coef = rng.normal(size=(k, p)) + spread * rng.normal(size=(n_tasks, k, p))
    eta = np.einsum("ij,ikj->ik", Z, coef[task]) + spread * rng.normal(size=(n_tasks, k))[task]
    if k == 1:
        return X, (eta[:, 0] + rng.logistic(size=len(task)) > 0).astype(int), task
    return X, (eta + rng.gumbel(size=eta.shape)).argmax(1), task


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("alpha", [0.3, 10.0])
@pytest.mark.parametrize("weighted", [False, True])
def test_pooled_is_logistic_regression(n_classes, alpha, weighted):
    X, y, task = table(n_classes=n_classes)
    weight = np.random.default_rng(1).uniform(0.3, 2.0, len(y)) if weighted else None
    ours = MultiTaskClassifier(Pooled(alpha=alpha), cv=None, tol=1e-7, max_iter=1000)
    ours.fit(X, y, weight, task=task)
    mean = np.average(X, axis=0, weights=weight)
    scale = np.sqrt(np.average((X - mean) ** 2, axis=0, weights=weight))
    Z = (X - mean) / scale
    theirs = LogisticRegression(C=1 / alpha, tol=1e-10, max_iter=10_000).fit(Z, y, weight)
    np.testing.assert_allclose(
        ours.predict_proba(X, task=task), theirs.predict_proba(Z), rtol=1e-5, atol=1e-6
    )
    assert ours.kkt_residual_ <= 1e-7


@pytest.mark.parametrize("strengths", [(2.0, 0.5, 1.0), (np.inf, 1.0, 0.1), (1.0, np.inf, np.inf)])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("n_classes", [2, 3])
def test_partial_pooling_is_one_dense_problem(strengths, weighted, n_classes):
    X, y, task = table(n_classes=n_classes)
    weight = np.random.default_rng(1).uniform(0.3, 2.0, len(y)) if weighted else None
    slope, pull, ridge = strengths
    sharing = PartialPooling(slope, alpha_intercept=pull, alpha_shared=ridge)
    model = MultiTaskClassifier(sharing, cv=None, tol=1e-7, max_iter=2000)
    model.fit(X, y, weight, task=task)
    wanted = reference.dense_logistic(X, y, task, n_classes, strengths, weight)
    np.testing.assert_allclose(model.predict_proba(X, task=task), wanted, rtol=1e-4, atol=1e-5)


def test_independent_is_one_model_a_task():
    X, y, task = table(rows=40)
    model = MultiTaskClassifier(Independent(alpha=2.0), cv=None, tol=1e-10).fit(X, y, task=task)
    Z = StandardScaler().fit_transform(X)  # over the table
    for t in range(6):
        rows = task == t
        alone = LogisticRegression(C=0.5, tol=1e-10, max_iter=10_000).fit(Z[rows], y[rows])
        np.testing.assert_allclose(
            model.predict_proba(X[rows], task=task[rows]), alone.predict_proba(Z[rows]), atol=1e-5
        )


def test_classes_of_any_kind():
    X, y, task = table(n_classes=3)
    names = np.array(["blue", "green", "red"], dtype=object)
    plain = MultiTaskClassifier(FIXED, cv=None).fit(X, y, task=task)
    named = MultiTaskClassifier(FIXED, cv=None).fit(X, names[y], task=task)
    assert list(named.classes_) == ["blue", "green", "red"]
    np.testing.assert_array_equal(names[plain.predict(X, task=task)], named.predict(X, task=task))
    np.testing.assert_allclose(named.predict_proba(X, task=task).sum(1), 1.0)
    assert named.coef_.shape == (6, 3, 3) and named.intercept_.shape == (6, 3)
    assert named.shared_coef_.shape == (3, 3) and named.shared_intercept_.shape == (3,)


def test_class_weights_are_sample_weights():
    X, y, task = table()
    weight = np.where(y == 1, 3.0, 1.0)
    by_class = MultiTaskClassifier(FIXED, cv=None, class_weight={1: 3.0}).fit(X, y, task=task)
    by_row = MultiTaskClassifier(FIXED, cv=None).fit(X, y, weight, task=task)
    np.testing.assert_allclose(by_class.coef_, by_row.coef_)
    balanced = MultiTaskClassifier(FIXED, cv=None, class_weight="balanced")
    balanced.fit(X, y, weight, task=task)
    share = weight.sum() / 2 / np.bincount(y, weight)
    by_row.fit(X, y, weight * share[y], task=task)
    np.testing.assert_allclose(balanced.coef_, by_row.coef_)


def test_scale_of_the_features_does_not_matter():
    X, y, task = table()
    model = MultiTaskClassifier(FIXED, cv=None, tol=1e-10).fit(X, y, task=task)
    moved = MultiTaskClassifier(FIXED, cv=None, tol=1e-10).fit(
        X * [1e-3, 10, 1e4] - 7, y, task=task
    )
    np.testing.assert_allclose(
        moved.predict_proba(X * [1e-3, 10, 1e4] - 7, task=task),
        model.predict_proba(X, task=task),
        rtol=1e-6,
    )


def test_swapping_the_classes_swaps_the_probabilities():
    X, y, task = table()
    model = MultiTaskClassifier(FIXED, cv=None, tol=1e-10).fit(X, y, task=task)
    turned = MultiTaskClassifier(FIXED, cv=None, tol=1e-10).fit(X, 1 - y, task=task)
    np.testing.assert_allclose(
        turned.predict_proba(X, task=task)[:, ::-1], model.predict_proba(X, task=task), rtol=1e-6
    )


# ----------------------------------------------------------------------------- few rows, one class


@pytest.mark.jit
def test_a_task_of_one_class_is_shrunk():
    X, y, task = table(n_tasks=30, rows=12, seed=3)
    y[task == 4] = 0
    y[task == 5] = 1
    model = MultiTaskClassifier("partial_pooling").fit(X, y, task=task)
    for t, one in ((4, 0), (5, 1)):
        own = model.predict_proba(X[task == t], task=task[task == t])[:, 1].mean()
        assert 0.02 < own < 0.98
        shared = 1 / (1 + np.exp(-(X[task == t] @ model.shared_coef_ + model.shared_intercept_)))
        assert (own > shared.mean()) == bool(one)  # shrunk towards the observed class


def held_out_losses(spread, rows, n_draws):
    """Return log-losses of shared, independent and pooled on new rows, averaged over draws."""
    losses = []
    for seed in range(n_draws):
        X, y, task = table(n_tasks=12, rows=4 * rows, seed=seed, spread=spread)
        train = np.arange(len(y)) % 4 == 0
        for sharing in ("partial_pooling", "independent", "pooled"):
            model = MultiTaskClassifier(sharing).fit(X[train], y[train], task=task[train])
            p = model.predict_proba(X[~train], task=task[~train])
            losses.append(-np.log(p[np.arange(len(p)), y[~train]]).mean())
    return np.reshape(losses, (n_draws, 3)).mean(axis=0)


@pytest.mark.jit
@pytest.mark.parametrize("rows", [12, 30])
def test_equal_tasks_gain_from_pooling(rows):
    shared, independent, pooled = held_out_losses(0.0, rows, n_draws=4)
    assert shared <= 1.03 * pooled
    assert shared < 0.95 * independent


@pytest.mark.jit
@pytest.mark.parametrize("rows", [12, 50])
def test_unlike_tasks_are_not_pooled(rows):
    shared, independent, pooled = held_out_losses(3.0, rows, n_draws=4)
    assert shared <= 1.03 * independent
    assert shared < 0.75 * pooled


@pytest.mark.jit
def test_the_report_is_about_right():
    X, y, task = table(n_tasks=20, rows=60, seed=1)
    train = np.arange(len(y)) % 3 > 0
    model = MultiTaskClassifier("partial_pooling").fit(X[train], y[train], task=task[train])
    p = model.predict_proba(X[~train], task=task[~train])
    came = -np.log(p[np.arange(len(p)), y[~train]]).mean()
    report = model.task_report_
    promised = np.average(report["error_shared"][:-1], weights=report["n_samples"][:-1])
    assert promised == pytest.approx(came, rel=0.15)
    assert set(report["used"]) <= {"shared", "independent", "pooled"}
    assert np.isfinite(report["error_shared"]).all()  # the last one is an unseen task


# ------------------------------------------------------------------------------------- tools


def test_tools_with_a_task_column():
    X, y, task = table(rows=30)
    XT = np.column_stack([task, X])
    model = MultiTaskClassifier(FIXED, task_column=0, cv=None)
    folds = TaskKFold(3, task_column=0)
    assert cross_val_score(model, XT, y, cv=folds, scoring="neg_log_loss").mean() > -0.7
    proba = cross_val_predict(model, XT, y, cv=folds, method="predict_proba")
    assert proba.shape == (len(y), 2)
    pipe = make_pipeline(FunctionTransformer(), model)
    grid = {"multitaskclassifier__sharing__alpha": [1.0, 100.0]}
    search = GridSearchCV(pipe, grid, cv=folds, scoring="roc_auc").fit(XT, y)
    assert search.predict(XT).shape == y.shape


def test_for_task_is_an_ordinary_classifier():
    X, y, task = table(n_classes=3)
    model = MultiTaskClassifier(FIXED, cv=None).fit(X, y, task=task)
    one = model.for_task(2)
    rows = task == 2
    np.testing.assert_allclose(
        one.predict_proba(X[rows]), model.predict_proba(X[rows], task=task[rows])
    )
    np.testing.assert_array_equal(one.predict(X[rows]), model.predict(X[rows], task=task[rows]))
    assert one.score(X[rows], y[rows]) == model.score(X[rows], y[rows], task=task[rows])
    with pytest.raises(TypeError, match="for_task"):
        one.fit(X, y)


def test_an_unknown_task_gets_the_shared_scores():
    X, y, task = table()
    model = MultiTaskClassifier(FIXED, cv=None).fit(X, y, task=task)
    with pytest.warns(UnknownTaskWarning):
        score = model.decision_function(X[:3], task=np.full(3, 99))
    np.testing.assert_allclose(score, X[:3] @ model.shared_coef_ + model.shared_intercept_)


def test_too_few_steps_warn():
    X, y, task = table(n_classes=3)
    with pytest.warns(ConvergenceWarning, match=r"max_iter=1 or tol"):
        MultiTaskClassifier(FIXED, cv=None, max_iter=1, tol=1e-12).fit(X, y, task=task)


SEPARATED = {
    "slopes": PartialPooling(alpha=0.0, alpha_shared=1.0),
    "slopes alone": PartialPooling(alpha=0.0, alpha_intercept=1.0, alpha_shared=1.0),
    "intercepts": Independent(alpha=1.0),
    "shared": Pooled(alpha=0.0),
}


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("name", SEPARATED)
def test_strengths_of_zero_on_separated_rows_warn(name, n_classes):
    X, y, task = table(n_classes=n_classes, rows=30)
    model = MultiTaskClassifier(SEPARATED[name], cv=None, max_iter=300)
    with warnings.catch_warnings():
        warnings.simplefilter("error", ConvergenceWarning)
        clone(model).fit(X, y, task=task)  # there is no warning without separation
        one = X + 100.0 * (np.arange(3) == 0) * y[:, None]
        clone(model).set_params(sharing=FIXED).fit(one, y, task=task)
    if name == "intercepts":
        y = np.where(task == 2, 1, y)
    else:
        X = one
    with pytest.warns(ConvergenceWarning, match="strength above 0"):
        model.fit(X, y, task=task)


BAD = {
    "one class": (lambda m, X, y, t: m.fit(X, np.zeros(len(y)), task=t), "one class"),
    "numbers": (lambda m, X, y, t: m.fit(X, y + 0.5 * X[:, 0], task=t), "continuous"),
    "columns": (lambda m, X, y, t: m.fit(X, np.column_stack([y, y])), "1-D"),
    "NaN": (lambda m, X, y, t: m.fit(X, np.where(y == 0, np.nan, 1.0), task=t), "NaN"),
    "class weight": (
        lambda m, X, y, t: clone(m).set_params(class_weight={7: 2.0}).fit(X, y, task=t), "7",
    ),
    "tol": (lambda m, X, y, t: clone(m).set_params(tol=0.0).fit(X, y, task=t), "tol"),
    "max_iter": (lambda m, X, y, t: clone(m).set_params(max_iter=0).fit(X, y, task=t), "max_iter"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_bad_classes(name):
    X, y, task = table()
    call, pattern = BAD[name]
    with pytest.raises(ValueError, match=pattern):
        call(MultiTaskClassifier(FIXED, cv=None), X, y, task)
