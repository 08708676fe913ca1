"""Adaptation to new tasks: exact given the shared part, and close to a refit."""

import pickle

import numpy as np
import pandas as pd
import pytest
from scipy.optimize import minimize
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skmtl import MultiTaskClassifier, MultiTaskRegressor
from skmtl.sharing import Independent, PartialPooling, Pooled


def stores(n_tasks=12, n=240, p=3, seed=0):
    """Return a table, and a function that draws rows of another task."""
    rng = np.random.default_rng(seed)
    shared = rng.normal(size=p)

    def rows_of(coef, level, size, rng):
        X = rng.normal(size=(size, p)) * [1, 3, 0.3][:p] + 2.0
        return X, X @ coef + level + 0.5 * rng.normal(size=size)

    parts = []
    for _ in range(n_tasks):
        coef, level = shared + 0.5 * rng.normal(size=p), rng.normal()
        parts.append(rows_of(coef, level, n // n_tasks, rng))
    X, y = (np.concatenate(part) for part in zip(*parts, strict=True))
    coef, level = shared + 0.5 * rng.normal(size=p), rng.normal()
    return X, y, np.repeat(np.arange(n_tasks), n // n_tasks), lambda m: rows_of(coef, level, m, rng)


SHARINGS = {
    "partial": PartialPooling(alpha=10.0, alpha_intercept=0.3, alpha_shared=1.0),
    "intercepts": PartialPooling(alpha=np.inf, alpha_intercept=1.0, alpha_shared=1.0),
    "independent": Independent(alpha=1.0),
    "pooled": Pooled(alpha=1.0),
}


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("n_known", [None, 2])  # 2: fewer rows than coefficients
@pytest.mark.parametrize("sharing", SHARINGS)
def test_a_task_adapted_to_its_own_rows_is_what_fit_found(sharing, n_known, weighted):
    X, y, task, _ = stores()
    weight = np.ones(len(y))
    if weighted:
        weight = np.random.default_rng(1).uniform(0.5, 2.0, size=len(y))
    keep = (task != 3) | (np.cumsum(task == 3) <= (n_known or len(y)))
    X, y, task, weight = X[keep], y[keep], task[keep], weight[keep]
    own = task == 3
    model = MultiTaskRegressor(SHARINGS[sharing], cv=None).fit(X, y, weight, task=task)
    got = model.adapt(X[own], y[own], sample_weight=weight[own])
    np.testing.assert_allclose(got.coef_, model.coef_[3], rtol=1e-7, atol=1e-9)
    np.testing.assert_allclose(got.predict(X), model.for_task(3).predict(X), rtol=1e-7, atol=1e-9)
    model = MultiTaskClassifier(SHARINGS[sharing], cv=None, tol=1e-10)
    if sharing == "independent":  # free intercepts diverge with a single class
        y = np.where(own, np.arange(len(y)) % 2, y > 0) - 0.5
    model.fit(X, y > 0, weight, task=task)
    got = model.adapt(X[own], y[own] > 0, sample_weight=weight[own])
    np.testing.assert_allclose(got.coef_, model.coef_[3], rtol=1e-6, atol=1e-7)
    np.testing.assert_allclose(
        got.predict_proba(X), model.for_task(3).predict_proba(X), rtol=1e-6, atol=1e-7
    )


def test_three_classes():
    X, y, task, _ = stores()
    classes = np.array(["low", "mid", "top"])[np.digitize(y, np.quantile(y, [0.3, 0.7]))]
    sharing = PartialPooling(alpha=3.0, alpha_shared=1.0)
    model = MultiTaskClassifier(sharing, cv=None, tol=1e-8, max_iter=1000)
    model.fit(X, classes, task=task)
    got = model.adapt(X[task == 3], classes[task == 3])
    np.testing.assert_allclose(
        got.predict_proba(X), model.for_task(3).predict_proba(X), rtol=1e-4, atol=1e-5
    )
    tuned = MultiTaskClassifier("partial_pooling").fit(X, classes, task=task)
    one_class = tuned.adapt(X[:4], np.repeat("mid", 4)).predict_proba(X[:4])
    assert one_class.shape == (4, 3) and (one_class > 0).all()
    assert one_class[:, 1].mean() > tuned.predict_proba(X[:4], task=task[:4])[:, 1].mean() - 0.2


def test_the_objective_of_a_new_task():
    X, y, task, new_rows = stores()
    sharing = PartialPooling(alpha=5.0, alpha_intercept=2.0, alpha_shared=1.0)
    model = MultiTaskRegressor(sharing, cv=None).fit(X, y, task=task)
    A, b = new_rows(6)
    scale = X.std(axis=0)

    def objective(v):
        gap = b - A @ v[1:] - v[0]
        own = (v[1:] - model.shared_coef_) * scale
        centred = v[0] + X.mean(axis=0) @ v[1:]
        shared = model.shared_intercept_ + X.mean(axis=0) @ model.shared_coef_
        return gap @ gap + 5.0 * own @ own + 2.0 * (centred - shared) ** 2

    best = minimize(objective, np.zeros(4), method="BFGS", tol=1e-10).x
    got = model.adapt(A, b)
    np.testing.assert_allclose(np.r_[got.intercept_, got.coef_], best, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("face", [MultiTaskRegressor, MultiTaskClassifier])
def test_adapting_is_about_as_good_as_fitting_anew(face):
    """On average over draws, adaptation is better than a model of the few rows alone."""
    classes = face is MultiTaskClassifier
    errors = np.zeros((10, 4))
    for seed in range(10):
        X, y, task, new_rows = stores(seed=seed)
        A, b = new_rows(205)
        if classes:
            y, b = y > np.median(y), b > np.median(b)
        known = np.arange(5)
        if classes:
            known = np.r_[np.flatnonzero(b)[:2], np.flatnonzero(~b)[:3]]
        test = np.setdiff1d(np.arange(205), known)
        model = face("partial_pooling").fit(X, y, task=task)
        both = np.r_[task, np.full(5, 99)]
        refit = face("partial_pooling").fit(np.vstack([X, A[known]]), np.r_[y, b[known]], task=both)
        scratch = LogisticRegression() if classes else Ridge()
        models = [
            model.adapt(A[known], b[known]), refit.for_task(99), scratch.fit(A[known], b[known]),
            model.adapt(A[known], b[known]),
        ]  # fmt: skip
        models[3].coef_, models[3].intercept_ = model.shared_coef_, model.shared_intercept_
        for i, one in enumerate(models):
            if classes:
                p = one.predict_proba(A[test])[:, 1]
                p = np.clip(p, 1e-6, 1 - 1e-6)
                errors[seed, i] = -np.where(b[test], np.log(p), np.log1p(-p)).mean()
            else:
                errors[seed, i] = ((b[test] - one.predict(A[test])) ** 2).mean()
    adapted, refitted, scratch, shared = errors.mean(axis=0)
    assert adapted < 1.1 * refitted
    assert adapted < scratch and adapted < shared


@pytest.mark.parametrize("face", [MultiTaskRegressor, MultiTaskClassifier])
def test_more_rows_lead_to_the_task(face):
    """With many rows the new task's model approaches its independent model."""
    X, y, task, new_rows = stores()
    A, b = new_rows(2000)
    if face is MultiTaskClassifier:
        y, b = y > np.median(y), b > np.median(b)
    got = face("partial_pooling").fit(X, y, task=task).adapt(A, b)
    own = Ridge(1e-3) if face is MultiTaskRegressor else LogisticRegression(C=1e3)
    own.fit(A, b)
    np.testing.assert_allclose(got.coef_, np.ravel(own.coef_), rtol=0.1, atol=0.1)


def test_one_task_in_fit_still_leaves_room_for_another():
    """A second task unlike the first one gets another model."""
    X, y, task, _ = stores()
    model = MultiTaskRegressor("partial_pooling").fit(X[task == 0], y[task == 0])
    rng = np.random.default_rng(0)
    A = rng.normal(size=(40, 3))
    b = A @ [5.0, -4.0, 3.0] + 0.1 * rng.normal(size=40)
    assert model.adapt(A, b).score(A, b) > 0.99
    like = X[task == 0], y[task == 0]
    assert model.adapt(*like).score(*like) > model.score(*like) - 0.01
    pooled = MultiTaskRegressor("pooled").fit(X, y, task=task)
    np.testing.assert_allclose(pooled.adapt(A, b).coef_, pooled.shared_coef_)


def test_more_features_than_rows():
    rng = np.random.default_rng(0)
    X, task = rng.normal(size=(40, 60)), np.repeat(np.arange(4), 10)
    y = X[:, 0] + rng.normal(size=4)[task] + 0.1 * rng.normal(size=40)
    sharing = PartialPooling(alpha=10.0, alpha_shared=1.0)
    model = MultiTaskRegressor(sharing, cv=None).fit(X, y, task=task)
    got = model.adapt(X[task == 2], y[task == 2])
    np.testing.assert_allclose(got.coef_, model.coef_[2], rtol=1e-6, atol=1e-8)
    tuned = (
        MultiTaskRegressor("partial_pooling").fit(X, y, task=task).adapt(X[task == 2], y[task == 2])
    )
    assert np.isfinite(tuned.predict(rng.normal(size=(5, 60)))).all()


def test_a_2d_target_and_its_new_column():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(60, 3))
    Y = X @ rng.normal(size=(3, 5)) + 0.1 * rng.normal(size=(60, 5))
    model = MultiTaskRegressor(PartialPooling(alpha=1.0, alpha_shared=1.0), cv=None).fit(X, Y)
    np.testing.assert_allclose(model.adapt(X, Y[:, 2]).coef_, model.coef_[2], rtol=1e-7)


def test_an_ordinary_estimator():
    X, y, task, new_rows = stores()
    frame = pd.DataFrame(X, columns=["a", "b", "c"])
    frame.insert(1, "store", task)
    model = MultiTaskRegressor("partial_pooling", task_column="store").fit(frame, y)
    before = pickle.dumps(model)
    A, b = new_rows(6)
    new = pd.DataFrame(A, columns=["a", "b", "c"])
    got = model.adapt(new, b)
    np.testing.assert_allclose(got.predict(new.assign(store=-1)), got.predict(new), rtol=1e-12)
    np.testing.assert_array_equal(
        model.adapt(new.assign(store=-1)[frame.columns], b).coef_, got.coef_
    )
    assert pickle.dumps(model) == before
    assert len(pickle.dumps(got)) < 20_000
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(got)).predict(new), got.predict(new))
    low, high = got.predict_interval(new)
    assert (low < got.predict(new)).all() and (got.predict(new) < high).all()
    fixed = MultiTaskRegressor(SHARINGS["partial"], cv=None)
    pipe = make_pipeline(StandardScaler(), clone(fixed))
    pipe.fit(X, y, multitaskregressor__task=task)
    through = pipe[-1].adapt(pipe[:-1].transform(A), b).predict(pipe[:-1].transform(A))
    np.testing.assert_allclose(through, fixed.fit(X, y, task=task).adapt(A, b).predict(A))
    with pytest.raises(TypeError, match="for_task or adapt"):
        clone(got).fit(A, b)


def test_the_pickle_does_not_grow_with_the_table():
    sizes = []
    for n_tasks in (5, 50):
        X, y, task, new_rows = stores(n_tasks=n_tasks, n=20 * n_tasks)
        model = MultiTaskRegressor("partial_pooling").fit(X, y, task=task)
        sizes.append(len(pickle.dumps(model.adapt(*new_rows(6)))))
    assert sizes[1] < sizes[0] + 4_000  # quantiles of the errors: at most four hundred numbers


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"X": np.ones((3, 2))}, "features"),
        ({"X": np.full((3, 3), np.nan)}, "NaN"),
        ({"y": np.ones(2)}, "inconsistent"),
        ({"y": np.array([1.0, np.nan, 2.0])}, "NaN"),
        ({"y": np.ones((3, 2))}, "1d array"),
        ({"sample_weight": [-1.0, 1.0, 1.0]}, "negative"),
        ({"sample_weight": np.zeros(3)}, "zero for every row"),
    ],
)
def test_unfit_rows(change, message):
    X, y, task, _ = stores()
    model = MultiTaskRegressor("partial_pooling").fit(X, y, task=task)
    with pytest.raises(ValueError, match=message):
        model.adapt(**({"X": np.ones((3, 3)), "y": np.arange(3.0)} | change))


def test_a_class_never_seen():
    X, y, task, _ = stores()
    model = MultiTaskClassifier("partial_pooling").fit(X, np.where(y > 0, "yes", "no"), task=task)
    with pytest.raises(ValueError, match="labels that fit did not see, such as .*maybe"):
        model.adapt(X[:2], ["yes", "maybe"])
