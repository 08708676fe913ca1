"""Auto with any estimator: how often it is fitted, its rough view of rows, and its finalists."""

from functools import wraps
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import reference
from scipy import sparse
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.linear_model import Lasso, LogisticRegression, Ridge
from sklearn.model_selection import KFold, LeaveOneOut, RepeatedKFold, ShuffleSplit
from sklearn.neighbors import KNeighborsRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeClassifier

from skmtl import Source, TransferEstimator
from skmtl.adaptation.base import SourceRows
from skmtl.adaptation.selection import _ridge_data
from skmtl.adaptation.selection._finalists import few_splits


def draw(rng, n_sources, n_target=20, p=5, flipped=0):
    coef = rng.normal(size=p)
    X, A = rng.normal(size=(n_target, p)), rng.normal(size=(40 * n_sources, p))
    task = np.repeat(np.arange(n_sources), 40)
    sign = np.where(task < flipped, -1.0, 1.0)
    b = sign * (A @ coef) + 0.3 * rng.normal(size=len(A)) + (task == 1)
    return X, X @ coef + 0.3 * rng.normal(size=n_target), A, b, task


def counted(kind):
    class Counted(kind):
        n_fits = 0

        @wraps(kind.fit)  # says whether it takes sample_weight
        def fit(self, *args, **kwargs):
            type(self).n_fits += 1
            return super().fit(*args, **kwargs)

    return Counted


CASES = {
    "one source": (Lasso, {}, 1, None),
    "without task": (Lasso, {}, None, None),
    "many sources": (Lasso, {"alpha": 0.1}, 40, None),
    "a ridge of its own kind": (Ridge, {}, 6, 3),
    "classes": (LogisticRegression, {}, 6, None),
    "trees": (DecisionTreeClassifier, {"max_depth": 3, "random_state": 0}, 6, 10),
    "boosting": (HistGradientBoostingRegressor, {"max_iter": 3}, 6, None),
    "no weights": (KNeighborsRegressor, {}, 6, None),
    "leave one out": (Lasso, {"alpha": 0.1}, 3, LeaveOneOut()),
    "many splits": (Lasso, {"alpha": 0.1}, 3, ShuffleSplit(50, random_state=0)),
    "an iterable": (Lasso, {"alpha": 0.1}, 3, lambda X: KFold(8).split(X)),
}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("piped", [False, True])
def test_the_estimator_is_fitted_at_most_forty_times(name, piped, rng):
    kind, params, n_sources, cv = CASES[name]
    X, y, A, b, task = draw(rng, n_sources or 1)
    Counted = counted(kind)
    if name in ("classes", "trees"):
        y, b = y > 0, b > 0
    estimator = Counted(**params)
    estimator = make_pipeline(StandardScaler(), estimator) if piped else estimator
    source = Source(A, b, None if n_sources is None else task)
    model = TransferEstimator(estimator, source=source, cv=cv(X) if callable(cv) else cv).fit(X, y)
    assert 4 < Counted.n_fits <= 15
    assert len(model.history_["share"]) <= 3
    assert np.isfinite(model.predict(X)).all()


def test_finalists_by_hand(rng):
    X, y, A, b, task = draw(rng, 4, flipped=1)
    cv = KFold(4)
    model = TransferEstimator(Lasso(0.2), source=Source(A, b, task), cv=cv)
    model.fit(X, y)
    h = model.history_
    assert h["candidate"][[0, -1]].tolist() == ["independent", "pooled"]
    for name, used in (("independent", np.zeros(160)), ("pooled", np.ones(160))):
        missed = np.empty(20)
        for train, test in cv.split(X):
            w = np.r_[used, np.ones(len(train))]
            Z, t = np.vstack([A, X[train]])[w > 0], np.r_[b, y[train]][w > 0]
            missed[test] = y[test] - Lasso(0.2).fit(Z, t).predict(X[test])
        np.testing.assert_allclose(h["error"][h["candidate"] == name], np.mean(missed**2))
    share = h["error"] ** (-len(y) / 2) * np.where(h["weight"] > 0, np.e, 1.0)
    np.testing.assert_allclose(h["share"], share / share.sum())
    assert model.source_weights_[0] < 0.01 < 0.3 < model.source_weights_[2:].min()


@pytest.mark.parametrize("flipped", [0, 3])
def test_weights_are_tried_where_ridges_gain_by_them(flipped, rng):
    X, y, A, b, task = draw(rng, 3, n_target=30, flipped=flipped)
    model = TransferEstimator(Lasso(0.01), source=Source(A, b, task)).fit(X, y)
    h = model.history_
    middle = h["candidate"][1]
    assert middle == ("weighed" if flipped else "selected")  # three that mislead are made light of
    assert h["weight"][1] < 0.1 if flipped else h["weight"][1] == 1.0


def test_jobs_do_not_matter(rng):
    X, y, A, b, task = draw(rng, 4, flipped=1)
    one, two = (
        TransferEstimator(Lasso(0.2), source=Source(A, b, task), n_jobs=n).fit(X, y)
        for n in (None, 2)
    )
    np.testing.assert_array_equal(one.source_weights_, two.source_weights_)
    np.testing.assert_array_equal(one.predict(X), two.predict(X))


def test_progress_names_every_split(rng, capsys):
    X, y, A, b, task = draw(rng, 3)
    TransferEstimator(Lasso(0.2), source=Source(A, b, task), verbose=1).fit(X, y)
    said = capsys.readouterr().out
    assert "evaluating 3 sources by ridges in 4 splits" in said
    assert all(f"split {k} of 4" in said for k in range(1, 5))


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_frames_are_arrays_to_a_ridge(library, rng):
    frames = pytest.importorskip(library)
    X, y, A, b, task = draw(rng, 4, flipped=1)
    names = [f"f{i}" for i in range(5)]
    make = lambda Z: frames.DataFrame(dict(zip(names, Z.T, strict=True)))  # noqa: E731
    plain = TransferEstimator(source=Source(A, b, task)).fit(X, y)
    framed = TransferEstimator(source=Source(make(A), b, task)).fit(make(X), y)
    np.testing.assert_array_equal(framed.source_weights_, plain.source_weights_)
    np.testing.assert_array_equal(framed.estimator_.coef_, plain.estimator_.coef_)
    np.testing.assert_allclose(framed.predict(make(X)), plain.predict(X), rtol=1e-12)
    assert framed.estimator_.feature_names_in_.tolist() == names


# ---------------------------------------------------------------------------------- few splits


def test_folds_are_joined():
    X = np.zeros((23, 1))
    splits = few_splits(LeaveOneOut().split(X))
    assert len(splits) == 4
    assert np.sort(np.concatenate([test for _, test in splits])).tolist() == list(range(23))
    for train, test in splits:
        assert sorted([*train, *test]) == list(range(23))


def test_repeated_folds_are_not_joined():
    X = np.zeros((20, 1))
    splits = list(RepeatedKFold(n_splits=5, n_repeats=3, random_state=0).split(X))
    for found, given in zip(few_splits(splits), splits[:4], strict=True):
        np.testing.assert_array_equal(found[1], given[1])


# ---------------------------------------------------------------------------------- rough view


def problem_of(estimator, X, y, A, b, task):
    sources = tuple(
        SourceRows(A[np.flatnonzero(task == k)] if not hasattr(A, "iloc") else A[task == k],
                   b[task == k], None, k)
        for k in np.unique(task)
    )  # fmt: skip
    return SimpleNamespace(
        X=X, y=y, weight=None, row_weight=np.ones(len(y)), sources=sources, estimator=estimator,
        classifier=False, classes=None,
    )  # fmt: skip


def test_strength_by_generalised_cross_validation(rng):
    groups = [
        SourceRows(rng.normal(size=(n, 6)), rng.normal(size=(n, 1)), rng.uniform(1, 3, n), None)
        for n in (20, 30, 12)
    ]
    for group in groups[:2]:
        group.y[:] += 0.7 * group.X[:, :1]
    score = [
        sum(reference.gcv_score(g.X, g.y[:, 0], g.weight, a) for g in groups)
        for a in _ridge_data._STRENGTHS
    ]
    assert _ridge_data._strength(groups) == _ridge_data._STRENGTHS[np.argmin(score)]


@pytest.mark.parametrize("thin", [False, True])
def test_relevant_columns(thin, rng):
    n, p = 300, 200
    Z = rng.normal(size=(n, p)) * rng.uniform(0.1, 10.0, p)
    Z[:, 5] = 3.0  # constant
    y = (Z[:, [50, 150]] / Z[:, [50, 150]].std(axis=0)).sum(axis=1)
    y[100:] *= -1.0
    w, slices = rng.uniform(0.5, 2.0, n), [slice(0, 100), slice(100, 300)]
    kind = sparse.csr_matrix if thin else np.asarray
    found = _ridge_data._relevant(kind(Z), y[:, None], w, slices)
    score = np.zeros(p)
    for j in range(p):
        for s in slices:
            c = np.cov(Z[s, j], y[s], aweights=w[s])
            score[j] += c[0, 1] ** 2 / (c[0, 0] * c[1, 1]) if c[0, 0] > 0 else 0.0
    assert set(found) == set(np.argsort(-score)[: len(found)]) and {50, 150} <= set(found)


def test_leaves_see_what_is_not_linear(rng):
    X, A = rng.normal(size=(60, 4)), rng.normal(size=(600, 4))
    task = np.repeat([0, 1], 300)
    y, b = np.abs(X[:, 0]), np.where(task == 0, -1.0, 1.0) * np.abs(A[:, 0])
    tree = HistGradientBoostingRegressor()
    view = _ridge_data.approximate_ridge_data(problem_of(tree, X, y, A, b, task))
    assert view.target.X.shape[1] > 4
    assert (
        _ridge_data.approximate_ridge_data(problem_of(Lasso(), X, y, A, b, task)).target.X.shape[1]
        == 4
    )
    model = TransferEstimator(HistGradientBoostingRegressor(max_iter=20), source=Source(A, b, task))
    weight = model.fit(X, y).source_weights_
    assert weight[0] < 0.1 < weight[1]


def test_rows_with_gaps_and_categories_are_judged(rng):
    X, y, A, b, task = draw(rng, 3)

    def frame(Z):
        out = pd.DataFrame(Z, columns=list("abcde")).assign(kind=np.where(Z[:, 0] > 0, "u", "v"))
        out.loc[::7, "b"] = np.nan
        return out.astype({"kind": "category"})

    boosting = HistGradientBoostingRegressor(max_iter=5, categorical_features="from_dtype")
    model = TransferEstimator(boosting, source=Source(frame(A), b, task)).fit(frame(X), y)
    assert model.source_weights_.max() > 0.1
    assert model.predict(frame(X)).shape == (20,)
