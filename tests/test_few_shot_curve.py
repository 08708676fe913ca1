"""few_shot_curve and its display: manual folds, scored tasks, wrappers, bad input."""

import sys

import numpy as np
import pandas as pd
import polars as pl
import pytest
import sklearn
from meta_learner import Towards
from sklearn.base import clone
from sklearn.compose import ColumnTransformer
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression, Ridge, RidgeCV
from sklearn.metrics import brier_score_loss, get_scorer, log_loss, mean_absolute_error
from sklearn.model_selection import GridSearchCV
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, OrdinalEncoder, StandardScaler
from sklearn.svm import LinearSVC
from sklearn.utils.validation import check_is_fitted

from skmtl import (
    MetaLearnerClassifier,
    MetaLearnerRegressor,
    MultiTaskClassifier,
    MultiTaskRegressor,
)
from skmtl.inspection import FewShotCurveDisplay, few_shot_curve
from skmtl.model_selection import FewShotSplit
from skmtl.sharing import PartialPooling

FEATURES = ["p", "q", "r"]


def shops(n_shops=9, n_rows=24, seed=0):
    """String ids and string labels; every shop has enough rows of both classes."""
    rng = np.random.default_rng(seed)
    code = rng.permutation(np.repeat(np.arange(n_shops), n_rows))
    X = pd.DataFrame(rng.normal(5, 2, size=(len(code), 3)), columns=FEATURES)
    number = (X["p"] - 5) + 0.7 * rng.normal(size=n_shops)[code] * X["q"] + rng.normal(size=len(X))
    y = np.where(number > number.groupby(code).transform("median"), "yes", "no")
    return X.assign(shop=[f"shop {c}" for c in code]), y, number.to_numpy()


X, YES, NUMBER = shops()
SHOPS = X["shop"].to_numpy()


def classifier(**params):
    return MetaLearnerClassifier(Towards(), **{"task_column": "shop", **params})


def regressor(**params):
    return MetaLearnerRegressor(Towards(), **{"task_column": "shop", **params})


def by_hand(model, y, shots, n_splits, baseline, score, stratify):
    """Compute the curves with a loop over folds and tasks."""
    names = np.unique(SHOPS)
    out = {"adapted": np.full((len(shots), len(names)), np.nan)}
    out |= {"independent": out["adapted"].copy(), "pooled": np.full(len(names), np.nan)}
    splits = {
        n: list(
            FewShotSplit(n_splits, n_shots=n, stratify=stratify, task_column="shop").split(X, y)
        )
        for n in shots
    }
    for k in range(n_splits):
        asked = splits[max(shots)][k][1]
        away = np.isin(SHOPS, np.unique(SHOPS[asked]))
        fitted = clone(model).fit(X[~away], y[~away])
        scaler = StandardScaler().fit(X.loc[~away, FEATURES].to_numpy())
        Z = scaler.transform(X[FEATURES].to_numpy())
        pooled = clone(baseline).fit(Z[~away], y[~away])
        for name in np.unique(SHOPS[asked]):
            t, test = np.flatnonzero(names == name)[0], asked[SHOPS[asked] == name]
            out["pooled"][t] = score(y[test], pooled, Z[test])
            for i, n in enumerate(shots):
                known = splits[n][k][0]
                known = known[SHOPS[known] == name]
                assert len(known) == n * (2 if stratify else 1)
                assert not np.isin(test, known).any()
                adapted = fitted.adapt(X.iloc[known], y[known])
                out["adapted"][i, t] = score(y[test], adapted, X.iloc[test])
                alone = clone(baseline).fit(Z[known], y[known])
                out["independent"][i, t] = score(y[test], alone, Z[test])
    return out


def test_classifier_is_scored_as_by_hand():
    def loss(y, model, rows):
        return log_loss(y, model.predict_proba(rows), labels=["no", "yes"])

    curve = few_shot_curve(classifier(), X, YES, shots=(5, 1, 2), n_splits=3, scoring="log_loss")
    expected = by_hand(classifier(), YES, [1, 2, 5], 3, LogisticRegression(), loss, True)
    assert curve.shots.tolist() == [1, 2, 5]
    assert curve.task.tolist() == np.unique(SHOPS).tolist()
    assert curve.n_test.tolist() == [14] * 9
    for name, scores in expected.items():
        np.testing.assert_allclose(curve[name], scores, err_msg=name)
    accuracy = few_shot_curve(classifier(), X, YES, shots=(1, 2, 5), n_splits=3)
    expected = by_hand(
        classifier(), YES, [1, 2, 5], 3, LogisticRegression(),
        lambda y, model, rows: (model.predict(rows) == y).mean(), True,
    )  # fmt: skip
    np.testing.assert_allclose(accuracy.adapted, expected["adapted"])
    assert accuracy.adapted.mean() > 0.6


def test_regressor_is_scored_as_by_hand():
    def error(y, model, rows):
        return mean_absolute_error(y, model.predict(rows))

    arguments = {"shots": (4, 6), "n_splits": 2}
    baseline = RidgeCV((0.1, 1.0, 10.0, 100.0))
    expected = by_hand(regressor(), NUMBER, [4, 6], 2, baseline, error, False)
    curve = few_shot_curve(regressor(), X, NUMBER, scoring="mae", **arguments)
    for name, scores in expected.items():
        np.testing.assert_allclose(curve[name], scores, err_msg=name)
    curve = few_shot_curve(
        regressor(), X, NUMBER, scoring="neg_mean_absolute_error", baseline=Ridge(3.0), **arguments
    )
    np.testing.assert_allclose(curve.adapted, -expected["adapted"])
    expected = by_hand(regressor(), NUMBER, [4, 6], 2, Ridge(3.0), error, False)
    np.testing.assert_allclose(curve.independent, -expected["independent"])
    np.testing.assert_allclose(curve.pooled, -expected["pooled"])


def test_a_single_labelled_number():
    with np.errstate(all="raise"):
        curve = few_shot_curve(regressor(), X, NUMBER, shots=[1], n_splits=2)
    assert np.isfinite(curve.independent).all()


def test_scorers_of_any_kind():
    arguments = {"shots": (1, 3), "n_splits": 2}
    ours = few_shot_curve(classifier(), X, YES, scoring="log_loss", **arguments)
    for theirs in ("neg_log_loss", get_scorer("neg_log_loss")):
        curve = few_shot_curve(classifier(), X, YES, scoring=theirs, **arguments)
        for name in ("adapted", "independent", "pooled"):
            np.testing.assert_allclose(curve[name], -ours[name])
    constant = few_shot_curve(classifier(), X, YES, scoring=lambda *_: 3.0, **arguments)
    assert (constant.pooled == 3).all()
    nearest = KNeighborsClassifier(1)
    other = few_shot_curve(classifier(), X, YES, baseline=nearest, **arguments)
    default = few_shot_curve(classifier(), X, YES, **arguments)
    np.testing.assert_array_equal(other.adapted, default.adapted)
    assert (other.pooled != default.pooled).any()


# --------------------------------------------------------------------------- scored tasks


def test_classes_of_their_own_have_no_pooled_model():
    rng = np.random.default_rng(0)
    task = np.repeat([f"garden {g}" for g in range(12)], 12)
    code = np.concatenate([np.repeat(rng.permutation(6)[:3], 4) for _ in range(12)])
    birds = np.array(["finch", "jay", "kite", "owl", "rook", "tit"])
    table = 2 * rng.normal(size=(6, 3))[code] + rng.normal(size=(144, 3))
    arguments = {"task": task, "shots": (1, 2), "n_splits": 3, "scoring": "log_loss"}
    model = classifier(task_column=None)
    curve = few_shot_curve(model, table, birds[code], **arguments)
    assert "pooled" not in curve and curve.adapted.shape == (2, 12)
    assert np.isfinite(curve.adapted).all() and np.isfinite(curve.independent).all()
    # A class that only one task has: the model adapts to it, unseen in training.
    rare = np.where((task == "garden 3") & (code == code[36]), "zebra finch", birds[code])
    again = few_shot_curve(model, table, rare, **arguments)
    np.testing.assert_allclose(again.independent, curve.independent, rtol=1e-4)


def test_tasks_of_one_class_train_but_are_not_scored():
    one = SHOPS == "shop 4"
    y = np.where(one, "yes", YES)
    seen = []

    class Looking(MetaLearnerClassifier):
        def fit(self, X, y, **kwargs):
            seen.append(X["shop"].unique())
            return super().fit(X, y, **kwargs)

    curve = few_shot_curve(Looking(Towards(), task_column="shop"), X, y, shots=[2], n_splits=3)
    assert curve.task.tolist() == [f"shop {s}" for s in range(9) if s != 4]
    assert len(seen) == 3 and all("shop 4" in tasks for tasks in seen)
    assert sum(map(len, seen)) == 2 * 8 + 3


def test_a_task_without_one_of_the_shared_classes():
    """Its independent model is scored on all classes, so that Brier scores are comparable."""
    third = np.where((NUMBER > np.quantile(NUMBER, 0.7)) & (SHOPS != "shop 2"), "very", YES)
    curve = few_shot_curve(
        classifier(shared_classes=True), X, third, shots=[3], n_splits=3, scoring="brier",
        baseline=ForOne(),
    )  # fmt: skip
    t = curve.task.tolist().index("shop 2")
    assert set(third[SHOPS == "shop 2"]) == {"no", "yes"}
    assert curve.independent[0, t] == pytest.approx(0.5)  # 2 * 0.5 ** 2, not halved
    assert curve.pooled[t] == pytest.approx(2 / 3)


def birds_of_folds(seed):
    """Three of twelve gardens show all five birds, and the others two."""
    rng = np.random.default_rng(seed)
    code = [np.arange(5) if g < 3 else rng.permutation(5)[:2] for g in range(12)]
    task = np.repeat(np.arange(12), [4 * len(own) for own in code])
    code = np.repeat(np.concatenate(code), 4)
    return np.eye(5, 3)[code] + rng.normal(size=(len(code), 3)), np.array(list("abcde"))[code], task


def test_folds_that_differ_on_whether_classes_are_shared():
    table, y, task = birds_of_folds(0)
    model, arguments = classifier(task_column=None), {"task": task, "shots": [1], "n_splits": 4}
    first = set()
    for seed in range(8):
        cv = FewShotSplit(4, n_shots=1, random_state=seed)
        train, _ = next(cv.split(table, y, task))
        train = train[~np.isin(task[train], task[next(cv.split(table, y, task))[1]])]
        shared = clone(model).fit(table[train], y[train], task=task[train]).shared_classes_
        first.add(shared)
        try:
            curve = few_shot_curve(model, table, y, random_state=seed, **arguments)
        except ValueError as error:
            assert "folds differ on whether classes are shared" in str(error)
            assert "set shared_classes=True or False" in str(error)
        else:
            assert not shared and "pooled" not in curve
    assert first == {True, False}
    for shared in (True, False):
        told = clone(model).set_params(shared_classes=shared)
        assert ("pooled" in few_shot_curve(told, table, y, **arguments)) == shared


@pytest.mark.parametrize("shared", [True, "auto"])
def test_a_shared_class_of_one_fold_only(shared):
    """If the classes are known to be shared, the error is raised before any model is fitted."""
    fitted = []

    class Counting(MetaLearnerClassifier):
        def fit(self, X, y, **kwargs):
            fitted.append(len(X))
            return super().fit(X, y, **kwargs)

    y = YES.astype(object)
    y[np.flatnonzero(SHOPS == "shop 6")[:3]] = "maybe"
    y = y.astype(str)
    model = Counting(Towards(), task_column="shop", shared_classes=shared)
    with pytest.raises(ValueError, match="class 'maybe' occurs in .* a single fold only.* drop"):
        few_shot_curve(model, X, y, shots=[1], n_splits=3)
    assert bool(fitted) == (shared == "auto")
    model = classifier(shared_classes=False)
    assert few_shot_curve(model, X, y, shots=[1], n_splits=3).adapted.shape == (1, 9)
    fixed = MultiTaskClassifier(PartialPooling(2.0, alpha_shared=1.0), task_column="shop", cv=None)
    with pytest.raises(ValueError, match="class 'maybe' occurs in"):
        few_shot_curve(fixed, X, y, shots=[1], n_splits=3)


def test_a_baseline_without_probabilities():
    """Tasks with and without all shared classes need the same method of the baseline."""
    third = np.where((NUMBER > np.quantile(NUMBER, 0.7)) & (SHOPS != "shop 2"), "very", YES)
    model = classifier(shared_classes=True)
    arguments = {"shots": [3], "n_splits": 3, "scoring": "roc_auc"}
    curve = few_shot_curve(model, X, third, baseline=LinearSVC(), **arguments)
    assert np.isfinite(curve.independent).all()
    # The missing class of the shop has no area, and margins rank as probabilities do.
    alike = few_shot_curve(model, X, third, baseline=Rising(), **arguments)
    margins = few_shot_curve(model, X, third, baseline=Margin(), **arguments)
    t = curve.task.tolist().index("shop 2")
    assert alike.independent[0, t] == pytest.approx(margins.independent[0, t])
    assert alike.independent[0, t] != pytest.approx(0.5)
    with pytest.raises(ValueError, match="predict_proba, which .* does not have"):
        few_shot_curve(
            model, X, third, baseline=LinearSVC(), shots=[3], n_splits=3, scoring="log_loss"
        )


class Margin(LinearSVC):
    """The first feature separates the last class from the others."""

    def decision_function(self, X):
        values = np.asarray(X)[:, 0]
        if len(self.classes_) == 2:
            return values
        return np.column_stack([-values] * (len(self.classes_) - 1) + [values])


class Rising(Margin):
    def predict_proba(self, X):
        out = self.decision_function(X)
        out = np.exp(np.column_stack([-out, out]) if out.ndim == 1 else out)
        return out / out.sum(axis=1, keepdims=True)


class ForOne(LogisticRegression):
    """All known classes have the same probability."""

    def predict_proba(self, X):
        return np.full((len(X), len(self.classes_)), 1 / len(self.classes_))


def test_shots_beyond_the_tasks():
    with pytest.warns(
        UserWarning, match=r"shots=\[12, 20\] are left out: half of the tasks .*12 r"
    ):
        curve = few_shot_curve(classifier(), X, YES, shots=(1, 11, 12, 20), n_splits=2)
    assert curve.shots.tolist() == [1, 11] and (curve.n_test == 2).all()
    with pytest.raises(ValueError, match=r"shots=\[30, 40\]: half of .* at most 12 rows"):
        few_shot_curve(classifier(), X, YES, shots=(30, 40))
    # Smaller tasks have fewer shots.
    short = (SHOPS != "shop 3") | (np.cumsum(SHOPS == "shop 3") <= 6)
    curve = few_shot_curve(regressor(), X[short], NUMBER[short], shots=(2, 20), n_splits=2)
    assert curve.n_test.tolist() == [4, 4, 4, 1, 4, 4, 4, 4, 4]
    assert np.isnan(curve.adapted[:, 3]).all()  # R² of a single row


# ------------------------------------------------------------------------- tables and wrappers


def variants():
    table, array = X[FEATURES], X[FEATURES].to_numpy()
    indexed = np.column_stack([array, X["shop"].str[-1].astype(float)])
    same = FunctionTransformer()
    named = FunctionTransformer(lambda rows: pd.DataFrame(rows, columns=[*FEATURES, "shop"]))
    encoded = ColumnTransformer(  # all shops that are held out become -1
        [("code", OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1), ["shop"])],
        remainder="passthrough",
    )
    encoded = make_pipeline(encoded, FunctionTransformer(np.roll, kw_args={"shift": -1, "axis": 1}))
    return {
        "polars": (classifier(), pl.from_pandas(X), None),
        "an index": (classifier(task_column=3), indexed, None),
        "task=": (classifier(task_column=None), table, SHOPS),
        "task= of an array": (classifier(task_column=None), array, list(SHOPS)),
        "a pipeline": (make_pipeline(same, classifier()), X, None),
        "a pipeline of arrays": (make_pipeline(same, classifier(task_column=3)), indexed, SHOPS),
        "a pipeline that makes the column": (make_pipeline(named, classifier()), indexed, SHOPS),
        "a pipeline that encodes it": (make_pipeline(encoded, classifier(task_column=3)), X, SHOPS),
        "a pipeline and task=": (make_pipeline(same, classifier(task_column=None)), table, SHOPS),
        "a preprocessor": (classifier(preprocessor=FunctionTransformer()), X, None),
    }


@pytest.mark.parametrize("name", variants())
def test_forms_of_tables(name):
    model, table, task = variants()[name]
    arguments = {"shots": (1, 4), "n_splits": 2, "scoring": "log_loss"}
    wanted = few_shot_curve(classifier(), X, YES, **arguments)
    got = few_shot_curve(model, table, YES, task=task, **arguments)
    for key in ("adapted", "independent", "pooled"):
        np.testing.assert_allclose(got[key], wanted[key], rtol=1e-8)
    with pytest.raises(NotFittedError):
        check_is_fitted(model)
    if name == "a pipeline and task=":
        with sklearn.config_context(enable_metadata_routing=True):
            routed = few_shot_curve(model, table, YES, task=task, **arguments)
        np.testing.assert_array_equal(routed.adapted, got.adapted)


def test_tasks_told_twice():
    """task= decides what is held out, but the model would read tasks from its column."""
    arguments = {"y": YES, "shots": (1,), "n_splits": 3}
    same, indexed = FunctionTransformer(), variants()["an index"][1]
    for model, table in (
        (classifier(), X), (classifier(task_column=3), indexed),
        (make_pipeline(same, classifier()), X),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=r"both task_column=(3|'shop') and task= were given"):
            few_shot_curve(model, table, task=SHOPS, **arguments)
    behind = make_pipeline(same, classifier(task_column=3))
    other = np.random.default_rng(0).permutation(SHOPS)
    halves = np.char.add(SHOPS.astype(str), np.where(np.arange(len(SHOPS)) % 2, " a", " b"))
    pairs = np.array([f"pair {int(shop[-1]) // 2}" for shop in SHOPS])
    for task in (other, halves, pairs):
        with pytest.raises(
            ValueError, match="the tasks .* in task_column=3 behind the Pipeline are"
        ):
            few_shot_curve(behind, indexed, task=task, **arguments)
    # A column of the same name that a transformer makes.
    merged = FunctionTransformer(lambda rows: rows.assign(shop=rows["shop"].str[-1] < "5"))
    with pytest.raises(ValueError, match="in task_column='shop' behind the Pipeline"):
        few_shot_curve(make_pipeline(merged, classifier()), X, **arguments)


def test_a_shop_that_is_held_out_under_one_label_and_learned_from_under_another():
    """Both halves of shop 0 are in different folds, so that no fold merges tasks."""
    rng = np.random.default_rng(0)
    table = np.column_stack([rng.normal(size=(40, 2)), np.repeat([0, 0, 1, 2], 10)])
    task, y = np.repeat([0, 1, 2, 3], 10), np.tile([0, 1], 20)
    model = make_pipeline(FunctionTransformer(), classifier(task_column=2))
    found = 0
    for seed in range(8):
        folds = FewShotSplit(2, n_shots=1, random_state=seed).split(table, y, task)
        apart = all(len({0, 1} & set(task[test])) == 1 for _, test in folds)
        found += apart
        with pytest.raises(ValueError, match="would be trained on held-out tasks"):
            few_shot_curve(model, table, y, task=task, shots=[1], n_splits=2, random_state=seed)
    assert found


def test_a_pipeline_is_fitted_on_the_training_tasks_alone():
    seen = []

    class Scale(StandardScaler):
        def fit(self, X, y=None):
            seen.append(len(X))
            return super().fit(X, y)

    pipe = make_pipeline(Scale(), classifier(task_column=None))
    few_shot_curve(pipe, X[FEATURES], YES, task=SHOPS, shots=(1, 2), n_splits=3)
    assert seen == [144] * 3


def test_multi_task_estimators_adapt_too():
    sharing = PartialPooling(2.0, alpha_shared=1.0)
    for model, y in (
        (MultiTaskRegressor(sharing, task_column="shop", cv=None), NUMBER),
        (MultiTaskClassifier(sharing, task_column="shop", cv=None), YES),
    ):
        curve = few_shot_curve(model, X, y, shots=(2, 5), n_splits=2)
        assert np.isfinite(curve.adapted).all()
        assert curve.adapted.mean() > curve.independent.mean()


def test_repeatable():
    arguments = {"shots": (1, 2), "n_splits": 3, "scoring": "brier"}
    one = few_shot_curve(classifier(), X, YES, **arguments)
    same = few_shot_curve(classifier(), X, YES, n_jobs=2, **arguments)
    np.testing.assert_array_equal(one.adapted, same.adapted)
    other = few_shot_curve(classifier(), X, YES, random_state=1, **arguments)
    assert (one.adapted != other.adapted).any()
    drawn = [
        few_shot_curve(classifier(), X, YES, random_state=np.random.RandomState(7), **arguments)
        for _ in range(2)
    ]
    np.testing.assert_array_equal(drawn[0].adapted, drawn[1].adapted)


BAD = {
    "no adapt": (
        dict(estimator=LogisticRegression()), TypeError, r"LogisticRegression\(\) has no adapt",
    ),
    "a search": (
        dict(estimator=GridSearchCV(classifier(), {})), TypeError, "of a search its best_estimator_"
    ),
    "no tasks": (
        dict(estimator=classifier(task_column=None)), ValueError, "task=None and the estimator has",
    ),
    "no such column": (
        dict(estimator=classifier(task_column="store")), ValueError, "task_column='store'",
    ),
    "an index behind a pipeline": (
        dict(estimator=make_pipeline(FunctionTransformer(), classifier(task_column=3))),
        ValueError, "task_column=3 is a column behind a Pipeline.* task=",
    ),
    "scoring": (dict(scoring="luck"), ValueError, "scoring='luck' is unknown; give one of"),
    "no integers": (dict(shots=(1, 2.5)), TypeError, r"shots=\[1.0, 2.5\] must be integers"),
    "no shots": (dict(shots=()), TypeError, r"shots=\[\] must be integers"),
    "zero": (dict(shots=(0, 1)), ValueError, r"shots=\[0, 1\]: each must be at least 1"),
    "folds": (dict(n_splits=10), ValueError, "n_splits=10 folds over tasks need at least"),
    "lengths": (dict(y=YES[:-1]), ValueError, "inconsistent numbers of samples"),
    "one class": (
        dict(y=np.where(SHOPS < "shop 3", "a", "b")), ValueError, "no task can be scored: .*two cl",
    ),
    "one row": (
        dict(estimator=regressor(), X=X.drop_duplicates("shop"), y=np.arange(9.0)),
        ValueError, "no task can be scored: a task needs two rows",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_bad_input(name):
    arguments, error, match = BAD[name]
    with pytest.raises(error, match=match):
        few_shot_curve(**{"estimator": classifier(), "X": X, "y": YES, "shots": (1,), **arguments})


def test_numbers_need_no_matplotlib(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    assert few_shot_curve(classifier(), X, YES, shots=[1], n_splits=2).pooled.shape == (9,)
    with pytest.raises(ImportError, match=r"FewShotCurveDisplay.plot needs matplotlib"):
        FewShotCurveDisplay([1], [[0.5]], [[0.5]]).plot()


# -------------------------------------------------------------------------------- the display


@pytest.fixture
def plt():
    matplotlib = pytest.importorskip("matplotlib")
    matplotlib.use("Agg")
    pyplot = pytest.importorskip("matplotlib.pyplot")
    yield pyplot
    pyplot.close("all")


def scores(n_tasks=20, seed=0):
    rng = np.random.default_rng(seed)
    return rng.uniform(0.6, 0.9, (3, n_tasks)), rng.uniform(0.4, 0.8, (3, n_tasks))


def test_what_is_drawn(plt):
    adapted, alone = scores()
    pooled = alone[0] - 0.1
    display = FewShotCurveDisplay([1, 2, 8], adapted, alone, pooled, score_name="luck")
    assert display.plot(name="shop") is display
    assert display.figure_ is display.ax_.figure
    for name, values in (("adapted", adapted), ("independent", alone)):
        x, y = display.lines_[name].get_data()
        assert x.tolist() == [1, 2, 8]
        np.testing.assert_allclose(y, values.mean(axis=1))
        error = values.std(axis=1, ddof=1) / np.sqrt(20)
        np.testing.assert_allclose(display.standard_error_[name], error)
        edge = display.bands_[name].get_paths()[0].vertices[:, 1]
        assert edge.max() == pytest.approx((values.mean(axis=1) + error).max())
        assert edge.min() == pytest.approx((values.mean(axis=1) - error).min())
    assert display.lines_["pooled"].get_ydata()[0] == pytest.approx(pooled.mean())
    assert display.ax_.get_ylabel() == "luck, mean over 20 shops"
    assert display.ax_.get_xlabel() == "labelled rows of a new shop"
    assert [t.get_text() for t in display.ax_.get_xticklabels()] == ["1", "2", "8"]
    legend = [t.get_text() for t in display.ax_.get_legend().get_texts()]
    assert len(legend) == 3 and legend[1].startswith("independent")


def test_as_many_numbers_of_rows_as_have_room(plt):
    shots = np.arange(1, 300)
    display = FewShotCurveDisplay(shots, np.ones((299, 2)), np.zeros((299, 2))).plot()
    shown = [t.get_text() for t in display.ax_.get_xticklabels()]
    assert shown == ["1", "2", "5", "10", "20", "50", "100", "200", "299"]
    assert display.lines_["adapted"].get_markersize() == 0
    np.testing.assert_array_equal(display.lines_["adapted"].get_xdata(), shots)


def test_tasks_without_a_score_are_left_out_of_all_curves(plt):
    adapted, alone = scores()
    adapted[1, 4] = alone[0, 7] = np.nan
    display = FewShotCurveDisplay([1, 2, 8], adapted, alone).plot()
    kept = np.setdiff1d(np.arange(20), [4, 7])
    np.testing.assert_allclose(display.mean_["adapted"], adapted[:, kept].mean(axis=1))
    assert display.ax_.get_ylabel() == "score, mean over 18 tasks"
    assert set(display.lines_) == {"adapted", "independent"}
    with pytest.raises(ValueError, match="no task has a score for every number of shots"):
        FewShotCurveDisplay([1, 2, 8], np.full((3, 2), np.nan), alone[:, :2]).plot()


def test_one_task_has_no_band(plt):
    adapted, alone = scores(1)
    display = FewShotCurveDisplay([1, 2, 8], adapted, alone, [0.4]).plot()
    assert not display.bands_ and len(display.lines_) == 3
    assert display.ax_.get_ylabel() == "score, mean over one task"


def test_models_that_are_far_off_hide_no_others(plt):
    adapted, alone = scores()
    display = FewShotCurveDisplay([1, 2, 8], adapted, 30 * (alone - 1), score_name="R²").plot()
    assert display.ax_.get_ylim()[0] == -1
    display = FewShotCurveDisplay([1, 2, 8], adapted - 5, alone - 9, score_name="R²").plot()
    assert display.ax_.get_ylim()[0] < -8
    display = FewShotCurveDisplay([1, 2, 8], adapted, 30 * (alone - 1), score_name="gain").plot()
    assert display.ax_.get_ylim()[0] < -5


def test_shapes():
    adapted, alone = scores()
    for arguments, match in (
        (
            ([1, 2], adapted, alone),
            r"adapted has shape \(3, 20\), but must have one row for each of 2",
        ),
        (([1, 2, 8], adapted, alone[:2]), r"independent has shape \(2, 20\), .*\(3, 20\)"),
        (([1, 2, 8], adapted, alone, alone), r"pooled has shape \(3, 20\), but must have \(20,\)"),
    ):
        with pytest.raises(ValueError, match=match):
            FewShotCurveDisplay(*arguments)


def test_from_estimator(plt):
    arguments = {"shots": (1, 4), "n_splits": 2}
    _, ax = plt.subplots()
    display = FewShotCurveDisplay.from_estimator(
        make_pipeline(FunctionTransformer(), classifier()), X, YES, ax=ax, **arguments
    )
    curve = few_shot_curve(classifier(), X, YES, **arguments)
    assert display.ax_ is ax
    np.testing.assert_allclose(display.adapted, curve.adapted)
    np.testing.assert_allclose(display.pooled, curve.pooled)
    assert ax.get_xlabel() == "labelled rows of a new shop, of each class"
    assert ax.get_ylabel() == "accuracy, mean over 9 shops"
    display = FewShotCurveDisplay.from_estimator(
        regressor(), X, NUMBER, scoring="neg_mean_squared_error", name="store", **arguments
    )
    assert display.ax_.get_xlabel() == "labelled rows of a new store"
    assert display.ax_.get_ylabel() == "neg mean squared error, mean over 9 stores"
    display = FewShotCurveDisplay.from_estimator(
        regressor(), X, NUMBER, scoring=lambda m, X, y: 1.0, score_name="one", **arguments
    )
    assert display.ax_.get_ylabel() == "one, mean over 9 shops"
    np.testing.assert_array_equal(display.adapted, np.ones((2, 9)))


def test_brier_of_two_classes_is_scikit_learns():
    curve = few_shot_curve(classifier(), X, YES, shots=[4], n_splits=2, scoring="brier")
    expected = by_hand(
        classifier(), YES, [4], 2, LogisticRegression(),
        lambda y, model, rows: brier_score_loss(y == "yes", model.predict_proba(rows)[:, 1]), True,
    )  # fmt: skip
    for name, values in expected.items():
        np.testing.assert_allclose(curve[name], values)
