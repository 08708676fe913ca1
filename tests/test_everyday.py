"""Everyday tables and tools: tasks of several columns, names of targets, one task at predict."""

import warnings

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from checks import SKLEARN, linear
from sklearn.linear_model import Ridge
from sklearn.model_selection import GridSearchCV, KFold, cross_val_score

from skmtl import (
    MetaLearnerClassifier,
    MetaLearnerRegressor,
    MultiTaskClassifier,
    MultiTaskRegressor,
)
from skmtl.base import UnknownTaskWarning
from skmtl.inspection import few_shot_curve
from skmtl.metrics import task_score, task_scorer, task_scores
from skmtl.model_selection import (
    FewShotSplit,
    TaskKFold,
    TaskTimeSeriesSplit,
    source_target_split,
)
from skmtl.sharing import PartialPooling

REGRESSORS = MultiTaskRegressor, MetaLearnerRegressor
FACES = (*REGRESSORS, MultiTaskClassifier, MetaLearnerClassifier)
ROUNDING = {"rtol": 1e-7, "atol": 1e-7}


def target(face, y):
    return y if face in REGRESSORS else (y > np.median(y)).astype(int)


@pytest.fixture
def sales(rng):
    """Sales of two stores times three items, in a table of four columns."""
    frame = pd.DataFrame(rng.normal(size=(120, 2)), columns=["price", "rain"])
    frame.insert(0, "store", np.array(["Bonn", "Ulm"])[np.arange(120) % 2])
    frame.insert(2, "item", np.arange(120) // 2 % 3 + 7)
    y = frame["price"] * (frame["item"] - 8) + (frame["store"] == "Ulm") + rng.normal(size=120)
    return frame, y.to_numpy()


# ------------------------------------------------------------------- a task of several columns


@pytest.mark.parametrize("face", FACES)
def test_several_columns_are_the_pasted_label(face, sales):
    frame, y = sales
    y = target(face, y)
    pasted = (frame["store"] + " " + frame["item"].astype(str)).to_numpy()
    wanted = linear(face).fit(frame[["price", "rain"]], y, task=pasted)
    model = linear(face, task_column=["store", "item"]).fit(frame, y)
    assert model.tasks_.tolist() == [(s, i) for s in ("Bonn", "Ulm") for i in (7, 8, 9)]
    found = model.predict(frame)
    np.testing.assert_allclose(
        found, wanted.predict(frame[["price", "rain"]], task=pasted), **ROUNDING
    )
    np.testing.assert_allclose(
        model.for_task(("Ulm", 8)).predict(frame[["price", "rain"]]),
        wanted.for_task("Ulm 8").predict(frame[["price", "rain"]]), **ROUNDING,
    )  # fmt: skip


@pytest.mark.parametrize("face", FACES)
def test_the_order_of_the_columns_changes_no_prediction(face, sales):
    frame, y = sales
    y = target(face, y)
    one = linear(face, task_column=["store", "item"]).fit(frame, y)
    other = linear(face, task_column=["item", "store"]).fit(frame, y)
    np.testing.assert_allclose(one.predict(frame), other.predict(frame), **ROUNDING)
    assert other.tasks_[0] == (7, "Bonn")


def test_several_columns_by_index_and_as_labels(sales):
    frame, y = sales
    array = frame.to_numpy(dtype=object)
    X = frame[["price", "rain"]].to_numpy()
    wanted = MultiTaskRegressor("partial_pooling", task_column=["store", "item"]).fit(frame, y)
    by_index = MultiTaskRegressor("partial_pooling", task_column=[0, 2]).fit(array, y)
    np.testing.assert_allclose(by_index.predict(array), wanted.predict(frame))
    tuples = list(zip(frame["store"], frame["item"], strict=True))
    for labels in (tuples, frame[["store", "item"]], pd.MultiIndex.from_tuples(tuples)):
        model = MultiTaskRegressor("partial_pooling").fit(X, y, task=labels)
        assert model.tasks_.tolist() == wanted.tasks_.tolist()
        np.testing.assert_allclose(model.predict(X, task=labels), wanted.predict(frame))
    np.testing.assert_allclose(
        model.predict(X, task=("Ulm", 9)), wanted.for_task(("Ulm", 9)).predict(X)
    )


def test_a_new_combination_of_known_levels_is_a_task_never_seen(sales):
    frame, y = sales
    known = ~((frame["store"] == "Ulm") & (frame["item"] == 9)).to_numpy()
    model = MultiTaskRegressor("partial_pooling", task_column=["store", "item"]).fit(
        frame[known], y[known]
    )
    with pytest.warns(UnknownTaskWarning, match=r"such as \('Ulm', 9\)"):
        found = model.predict(frame[~known])
    X = frame.loc[~known, ["price", "rain"]].to_numpy()
    np.testing.assert_allclose(found, X @ model.shared_coef_ + model.shared_intercept_)
    model.set_params(handle_unknown="error").fit(frame[known], y[known])
    with pytest.raises(ValueError, match=r"\('Ulm', 9\)"):
        model.predict(frame[~known])


def test_tuples_everywhere(sales):
    frame, y = sales
    columns = ["store", "item"]
    model = MultiTaskRegressor("partial_pooling", task_column=columns).fit(frame, y)
    assert model.task_report_["task"].tolist()[:-1] == model.tasks_.tolist()
    assert model.coef_frame().index.tolist() == [*model.tasks_.tolist(), None]
    tuples = list(zip(frame["store"], frame["item"], strict=True))
    for splitter in (TaskKFold, TaskTimeSeriesSplit, FewShotSplit):
        found = list(splitter(2, task_column=columns).split(frame, y))
        wanted = list(splitter(2).split(frame, y, groups=tuples))
        for a, b in zip(found, wanted, strict=True):
            np.testing.assert_array_equal(a[0], b[0])
            np.testing.assert_array_equal(a[1], b[1])
    scores = task_scores(y, model.predict(frame), task=frame[columns])
    assert [tuple(label) for label in scores["task"]] == model.tasks_.tolist()
    wanted = task_score(y, model.predict(frame), task=tuples)
    assert task_scorer("r2")(model, frame, y) == pytest.approx(wanted)
    found = cross_val_score(
        Ridge(), frame.assign(store=frame["store"] == "Ulm"),
        y, cv=TaskKFold(2, task_column=columns), scoring=task_scorer("rmse", task_column=columns),
    )  # fmt: skip
    assert np.isfinite(found).all()
    source, X_target, _ = source_target_split(frame, y, task_column=columns, target=("Ulm", 7))
    assert list(X_target.columns) == ["price", "rain"] and len(X_target) == 20
    assert source.n_rows == 100
    curve = few_shot_curve(
        MetaLearnerRegressor(task_column=columns), frame, y, shots=[2, 5], n_splits=2
    )
    assert curve.adapted.shape[1] >= 1


def test_a_list_of_one_column_has_tuples_of_one(sales):
    frame, y = sales
    frame = frame.drop(columns="item")
    model = MultiTaskRegressor("partial_pooling", task_column=["store"]).fit(frame, y)
    assert model.tasks_.tolist() == [("Bonn",), ("Ulm",)]


def test_partial_fit_with_several_columns(sales):
    frame, y = sales
    sharing = PartialPooling(alpha=1.0, alpha_intercept=1.0, alpha_shared=1.0)
    model = MultiTaskRegressor(sharing, task_column=["store", "item"], cv=None)
    bonn = (frame["store"] == "Bonn").to_numpy()
    whole = MultiTaskRegressor(sharing, task_column=["store", "item"], cv=None).fit(frame, y)
    model.partial_fit(frame[bonn], y[bonn]).partial_fit(frame[~bonn], y[~bonn])
    assert model.tasks_.tolist() == whole.tasks_.tolist()
    np.testing.assert_allclose(model.predict(frame), whole.predict(frame), rtol=1e-8)


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (["store", "store"], "names a column twice"),
        ([], "names no columns"),
        (["store", "shelf"], "'shelf' is not a column"),
        (["store", 1.5], "1.5 is of type float"),
    ],
)
def test_columns_that_name_no_task(sales, columns, message):
    frame, y = sales
    with pytest.raises(ValueError, match=message) as caught:
        MultiTaskRegressor("partial_pooling", task_column=columns).fit(frame, y)
    assert "task_column" in str(caught.value)


# ----------------------------------------------------------------------------- a 2-D target


@pytest.mark.parametrize("face", REGRESSORS)
@pytest.mark.parametrize("library", [pd.DataFrame, pl.DataFrame, pa.table])
def test_names_of_targets(face, library, rng):
    X = rng.normal(size=(60, 3))
    Y = X @ rng.normal(size=(3, 2)) + rng.normal(size=(60, 2))
    names = ["toxicity", "solubility"]  # in the order of the columns, not sorted
    model = linear(face).fit(X, library(dict(zip(names, Y.T, strict=True))))
    assert model.tasks_.tolist() == names
    plain = linear(face).fit(X, Y)
    np.testing.assert_array_equal(model.predict(X), plain.predict(X))
    one = model.for_task("toxicity")
    np.testing.assert_allclose(one.predict(X), plain.predict(X)[:, 0], **ROUNDING)
    with pytest.raises(ValueError, match="did you mean 'solubility'"):
        model.for_task("solubilty")
    other = library(dict(zip(names[::-1], Y.T[::-1], strict=True)))
    with pytest.raises(ValueError, match="in the same order"):
        model.score(X, other)
    named = library(dict(zip(names, Y.T, strict=True)))
    assert model.score(X, named) == pytest.approx(plain.score(X, Y))


def test_whole_numbers_name_targets_and_others_do_not(rng):
    X, Y = rng.normal(size=(40, 2)), rng.normal(size=(40, 2))
    model = MultiTaskRegressor("partial_pooling").fit(X, pd.DataFrame(Y, columns=[30, 4]))
    assert model.tasks_.tolist() == [30, 4]
    mixed = pd.DataFrame(Y, columns=["a", 4])
    assert MultiTaskRegressor("partial_pooling").fit(X, mixed).tasks_.tolist() == [0, 1]
    with pytest.raises(ValueError, match="duplicate column names"):
        MultiTaskRegressor("partial_pooling").fit(X, pd.DataFrame(Y, columns=["a", "a"]))


def test_partial_fit_keeps_names_of_targets(rng):
    X, Y = rng.normal(size=(60, 2)), pd.DataFrame(rng.normal(size=(60, 2)), columns=["u", "v"])
    model = MultiTaskRegressor("partial_pooling").partial_fit(X[:30], Y[:30])
    with pytest.raises(ValueError, match="in the same order"):
        model.partial_fit(X[30:], Y[["v", "u"]][30:])
    assert model.partial_fit(X[30:], Y[30:]).tasks_.tolist() == ["u", "v"]
    assert model.partial_fit(X[30:], Y[30:].to_numpy()).tasks_.tolist() == ["u", "v"]


@pytest.mark.parametrize("face", REGRESSORS)
def test_a_fold_in_which_a_target_has_no_label(face, rng):
    X, Y = rng.normal(size=(60, 3)), rng.normal(size=(60, 3))
    Y[:40, 1] = np.nan  # all its labels are in the last of three folds
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        scores = cross_val_score(
            linear(face), X, Y, cv=KFold(3), error_score="raise", scoring=task_scorer("rmse")
        )
    assert np.isfinite(scores).all()
    with pytest.warns(UserWarning, match=r"tasks without any label \(1 of 3\): columns \[1\]"):
        model = linear(face).fit(X[:40], Y[:40])
    assert np.isfinite(model.predict(X)).all()
    if face is MultiTaskRegressor:
        np.testing.assert_allclose(model.coef_[1], model.shared_coef_)
    with pytest.raises(ValueError, match="y has no label"):
        linear(face).fit(X, np.full((60, 2), np.nan))


# ------------------------------------------------------------------------------- one task at all


@pytest.mark.parametrize("face", FACES)
def test_a_single_label_at_predict(face, rng):
    X, y = rng.normal(size=(60, 2)), rng.normal(size=60)
    y = target(face, y)
    for task, label in (
        (np.arange(60) % 3 + 4, 5),
        (np.array(["a", "b", "c"])[np.arange(60) % 3], "b"),
    ):
        model = linear(face).fit(X, y, task=task)
        wanted = model.predict(X, task=np.full(60, label))
        np.testing.assert_array_equal(model.predict(X, task=label), wanted)
        assert model.score(X, y, task=label) == model.score(X, y, task=np.full(60, label))
        with pytest.warns(UnknownTaskWarning, match="60 of 60 rows"):
            model.predict(X, task="zzz" if isinstance(label, str) else 99)
        with pytest.raises(ValueError, match="convert them to the same kind"):
            model.predict(X, task=17 if isinstance(label, str) else "17")
    with pytest.raises(ValueError, match="task='shop' is a single label.*task_column='shop'"):
        linear(face).fit(X, y, task="shop")


@pytest.mark.parametrize("face", FACES)
def test_for_task_suggests_what_was_meant(face, rng):
    X, y = rng.normal(size=(60, 2)), rng.normal(size=60)
    model = linear(face).fit(
        X, target(face, y), task=np.array(["Bonn", "Ulm", "Kiel"])[np.arange(60) % 3]
    )
    for label, meant in (("bonn", "Bonn"), ("Kjel", "Kiel"), ("ULM", "Ulm")):
        with pytest.raises(ValueError, match=f"label='{label}' .*did you mean '{meant}'"):
            model.for_task(label)
    with pytest.raises(ValueError, match="'Bonn', 'Kiel', 'Ulm'"):
        model.for_task("xyz")
    model.fit(X, target(face, y), task=np.arange(60) % 3 + 16)
    with pytest.raises(ValueError, match="did you mean 17"):
        model.for_task("17")


# ----------------------------------------------------------------------------------- warnings


def test_unknown_tasks_are_told_once_a_search(rng):
    X, y, task = rng.normal(size=(90, 2)), rng.normal(size=90), np.repeat(np.arange(9), 10)
    X = np.column_stack([X, task])
    search = GridSearchCV(
        MultiTaskRegressor("partial_pooling", task_column=2),
        {"sharing": ["pooled", "independent"]},
        cv=KFold(3),
    )
    for _ in range(2):  # every search by itself
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            search.fit(X, y)
        assert [w.category for w in caught].count(UnknownTaskWarning) == 1
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for _ in range(2):  # and every call outside of any
            search.best_estimator_.predict(X + [[0, 0, 50]])
    assert [w.category for w in caught] == [UnknownTaskWarning] * 2
    assert "90 of 90 rows" in str(caught[0].message)


def test_hints_are_told_once_a_search(rng):
    frame = pd.DataFrame({"x": rng.normal(size=400), "rooms": rng.integers(1, 6, size=400)})
    frame["city"] = [f"city {i}" for i in rng.integers(60, size=400)]
    model = MultiTaskRegressor("pooled", preprocessor="auto")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        cross_val_score(model, frame, rng.normal(size=400), cv=KFold(3), error_score="raise")
    found = [str(w.message) for w in caught if w.category is UserWarning]
    assert len(found) == 3  # levels that are cut, codes, and a task that may be forgotten
    assert {w.filename for w in caught} == {__file__}


def test_a_tuple_never_seen_is_shown_whole(sales):
    frame, y = sales
    model = MultiTaskRegressor("partial_pooling").fit(
        frame[["price", "rain"]], y, task=frame[["store", "item"]]
    )
    with pytest.warns(UnknownTaskWarning, match=r"such as \('Ulm', 77\)"):
        model.predict(frame[["price", "rain"]], task=("Ulm", 77))


# -------------------------------------------------------------------------- frames of all kinds


def frames(frame):
    yield pl.from_pandas(frame)
    if SKLEARN < (1, 7):  # its ColumnTransformer cannot read tables of pyarrow
        return
    yield pa.Table.from_pandas(frame, preserve_index=False)


@pytest.mark.parametrize("face", FACES)
def test_frames_of_any_library(face, sales):
    frame, y = sales
    frame["kind"] = pd.Categorical(np.array(["x", "y", "z"])[np.arange(120) % 3])
    y = target(face, y)
    params = {"task_column": ["store", "item"], "preprocessor": "auto", "exclude_columns": "rain"}
    wanted = linear(face, **params).fit(frame, y)
    for other in frames(frame):
        model = linear(face, **params).fit(other, y)
        assert model.feature_names_in_.tolist() == list(frame.columns)
        np.testing.assert_array_equal(model.predict(other), wanted.predict(frame))
        np.testing.assert_array_equal(model.predict(frame), wanted.predict(frame))
        one = model.for_task(("Ulm", 8))
        np.testing.assert_array_equal(
            one.predict(other), wanted.for_task(("Ulm", 8)).predict(frame)
        )
        cross_val_score(model, other, y, cv=TaskKFold(3, task_column="store"), error_score="raise")


def test_labels_and_weights_of_arrow(sales):
    frame, y = sales
    X = frame[["price", "rain"]].to_numpy()
    wanted = MultiTaskRegressor("partial_pooling").fit(
        X, y, np.arange(1.0, 121.0), task=frame["store"]
    )
    model = MultiTaskRegressor("partial_pooling").fit(
        pa.table({"price": X[:, 0], "rain": X[:, 1]}), pa.chunked_array([y]),
        pa.array(np.arange(1.0, 121.0)), task=pa.array(frame["store"].tolist()),
    )  # fmt: skip
    np.testing.assert_array_equal(model.coef_, wanted.coef_)
    codes = pa.array(frame["store"].tolist()).dictionary_encode()
    model = MultiTaskRegressor("partial_pooling").fit(X, y, task=codes)
    assert model.tasks_.tolist() == ["Bonn", "Ulm"]


def test_lazy_frames_are_refused_without_being_read(rng):
    class Unread(Exception):
        pass

    def read(_):
        raise Unread

    X, y = rng.normal(size=(30, 2)), rng.normal(size=30)
    lazy = pl.DataFrame(X, schema=["a", "b"]).lazy().map_batches(read)
    model = MultiTaskRegressor("partial_pooling").fit(pl.DataFrame(X, schema=["a", "b"]), y)
    for call in (
        lambda: model.score(lazy, y),
        lambda: MetaLearnerRegressor().fit(lazy, y),
        lambda: list(TaskKFold(2, task_column="a").split(lazy)),
    ):
        with pytest.raises(TypeError, match=r"LazyFrame.*collect"):
            call()
    with pytest.raises(TypeError, match=r"y is a LazyFrame.*collect"):
        MultiTaskRegressor("partial_pooling").fit(X, lazy)
    with pytest.raises(TypeError, match=r"LazyFrame.*collect"):
        MultiTaskRegressor("partial_pooling").fit(X, y, task=lazy)
