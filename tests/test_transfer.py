"""TransferEstimator: scikit-learn's checks and tools, what a fit sees, sources, labels, frames."""

import copy
import pickle
import sys
import warnings
from importlib.util import find_spec

import checks
import joblib
import numpy as np
import pandas as pd
import polars as pl
import pytest
import sklearn
from scipy import sparse
from sklearn.base import BaseEstimator, RegressorMixin, clone, is_classifier, is_regressor
from sklearn.cluster import KMeans
from sklearn.compose import make_column_transformer
from sklearn.ensemble import (
    HistGradientBoostingRegressor,
    StackingClassifier,
    StackingRegressor,
)  # fmt: skip
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge, SGDClassifier
from sklearn.model_selection import (
    GridSearchCV,
    cross_val_predict,
    cross_val_score,
    cross_validate,
)  # fmt: skip
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsRegressor
from sklearn.neural_network import MLPRegressor
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import (
    FunctionTransformer,
    MinMaxScaler,
    OneHotEncoder,
    PolynomialFeatures,
    StandardScaler,
)  # fmt: skip
from sklearn.svm import LinearSVC
from sklearn.tree import DecisionTreeRegressor
from sklearn.utils import get_tags
from sklearn.utils.validation import check_is_fitted, validate_data

from skmtl import Source, TransferEstimator, Unlabeled
from skmtl.adaptation import (
    CORAL,
    TCA,
    FeatureAugmentation,
    FeatureMap,
    FineTune,
    Independent,
    OptimalTransport,
    Pooled,
    PredictionFeature,
    TwoStageTrAdaBoostR2,
)  # fmt: skip
from skmtl.adaptation.base import Adaptation, AdaptationResult
from skmtl.base import check_weights
from skmtl.tasks import columns

_rng = np.random.default_rng(0)
COEF = np.array([1.0, -2.0, 0.5])
XS, X = _rng.normal(size=(90, 3)), _rng.normal(size=(24, 3))
YS, Y = XS @ COEF + 0.3 * _rng.normal(size=90), X @ COEF + 0.3 * _rng.normal(size=24)
del _rng  # a test draws from a generator of its own
LS, L = np.where(YS > 0, "yes", "no"), np.where(Y > 0, "yes", "no")
TASK = np.arange(90) % 3
SOURCE = Source(XS, YS, TASK)
LABELS = Source(XS, LS, TASK)
NAMES = ["a", "b", "c"]


# ------------------------------------------------------------------------- scikit-learn's checks


class WithSource(TransferEstimator):
    """Adds a source inside `fit`: the target's own rows once more, with opposite order."""

    def fit(self, X, y, sample_weight=None):
        X, y = validate_data(
            self, X, y, accept_sparse=["csr", "csc"], ensure_all_finite=False, dtype=None
        )
        params = self.get_params(deep=False)
        if sample_weight is not None:
            sample_weight = check_weights(sample_weight, len(y))
        params["source"] = Source(X, y, sample_weight=sample_weight)
        self.inner_ = TransferEstimator(**params).fit(X, y, sample_weight)
        if is_classifier(self):
            self.classes_ = self.inner_.classes_
        self.estimator_ = self.inner_.estimator_
        return self

    def _ask(self, method, X):
        check_is_fitted(self, "inner_")
        return self.inner_._ask(method, X)


STUMP = DecisionTreeRegressor(max_depth=2, random_state=0)
EXACT = {"solver": "newton-cholesky", "tol": 1e-10}
CONFIGURATIONS = {
    "default": TransferEstimator(),
    "logistic": TransferEstimator(LogisticRegression()),
    "pipeline": TransferEstimator(make_pipeline(MinMaxScaler(), LogisticRegression())),
    "preprocessor": TransferEstimator(preprocessor=MinMaxScaler()),
    "source": WithSource(),
    "source, logistic": WithSource(LogisticRegression(**EXACT)),
    "source, pipeline": WithSource(make_pipeline(MinMaxScaler(), LogisticRegression(**EXACT))),
    "source, pooled": WithSource(adaptation="pooled"),
    "source, lasso": WithSource(adaptation="trans_lasso"),
    "source, tradaboost": WithSource(LogisticRegression(**EXACT), adaptation="tradaboost"),
    "source, tradaboost_r2": WithSource(adaptation="tradaboost_r2"),
    "source, two stages": WithSource(adaptation=TwoStageTrAdaBoostR2(3, 3)),
    "source, two stages, tree": WithSource(STUMP, adaptation=TwoStageTrAdaBoostR2(3, 2)),
    "coral": WithSource(adaptation="coral"),
    "coral, logistic": WithSource(LogisticRegression(**EXACT), adaptation=CORAL(0.5, True, 2.0)),
    "subspace alignment": WithSource(adaptation="subspace_alignment"),
    "tca": WithSource(adaptation="tca"),
    "tca, rbf, logistic": WithSource(
        LogisticRegression(**EXACT), adaptation=TCA(3, "rbf", target_weight=2.0)
    ),
    "augmentation": WithSource(adaptation="feature_augmentation"),
    "augmentation, logistic": WithSource(
        LogisticRegression(**EXACT), adaptation=FeatureAugmentation(2.0)
    ),
    "predictions": WithSource(Ridge(tol=1e-12), adaptation="prediction_feature"),
    "predictions, logistic": WithSource(
        LogisticRegression(**EXACT), adaptation=PredictionFeature(2.0, "predict_proba")
    ),
    "source, kmm": WithSource(adaptation="kmm"),
    "source, kmm, logistic": WithSource(LogisticRegression(**EXACT), adaptation="kmm"),
    "source, kliep": WithSource(adaptation="kliep"),
    "source, rulsif": WithSource(adaptation="rulsif"),
    "shrink to source": WithSource(adaptation="shrink_to_source", cv=2),
    "shrink to source, logistic": WithSource(
        LogisticRegression(**EXACT), adaptation="shrink_to_source", cv=2
    ),
    "fine tune": WithSource(adaptation="fine_tune", cv=2),
    "fine tune, logistic": WithSource(LogisticRegression(**EXACT), adaptation=FineTune(9)),
    "fine tune, perceptron": WithSource(
        # Few steps and a stiff penalty: many steps multiply what rounding does to the first.
        MLPRegressor(
            hidden_layer_sizes=(4,), solver="lbfgs", max_iter=12, alpha=0.1, random_state=0
        ),
        adaptation=FineTune(n_epochs=4, n_frozen=1),
    ),
    "feature map": WithSource(adaptation="feature_map", cv=2),
    "feature map, logistic": WithSource(
        LogisticRegression(**EXACT), adaptation=FeatureMap(2, alpha=0.1)
    ),
}
if checks.SKLEARN < (1, 7):  # its perceptrons take no weights
    del CONFIGURATIONS["fine tune, perceptron"]
if find_spec("ot"):
    plan = {"tol": 1e-12, "target_weight": 2.0}
    CONFIGURATIONS["transport"] = WithSource(adaptation=OptimalTransport(0.5, **plan))
    CONFIGURATIONS["transport, logistic"] = WithSource(
        LogisticRegression(**EXACT), adaptation=OptimalTransport(0.5, 0.1, **plan)
    )


@pytest.mark.parametrize(("estimator", "check"), list(checks.estimator_check_cases(CONFIGURATIONS)))
def test_estimator_checks(estimator, check):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        check(estimator)


# -------------------------------------------------------------------------------- what a fit sees


class Spy(RegressorMixin, BaseEstimator):
    """Predicts zero, and keeps what every fit was given."""

    seen: list = []

    def fit(self, X, y, sample_weight=None):
        self.n_features_in_ = X.shape[1]
        Spy.seen.append((np.asarray(X), y, sample_weight))
        return self

    def predict(self, X):
        return np.zeros(len(X))


@pytest.fixture
def seen():
    Spy.seen.clear()
    return Spy.seen


def test_every_fold_sees_its_target_rows_and_all_source_rows(seen):
    model = TransferEstimator(Spy(), source=SOURCE, adaptation=Pooled(2.0))
    cross_val_score(model, X, Y, cv=5)
    assert len(seen) == 5
    folds = [np.delete(np.arange(24), rows) for rows in np.array_split(np.arange(24), 5)]
    for (rows, labels, weight), fold in zip(seen, folds, strict=True):
        np.testing.assert_array_equal(rows, np.vstack([SOURCE.X, X[fold]]))
        np.testing.assert_array_equal(labels, np.concatenate([SOURCE.y, Y[fold]]))
        np.testing.assert_array_equal(weight, np.repeat([0.5, 1.0], [90, len(fold)]))


def test_tuning_inside_leaves_target_rows_out_and_no_source_row(seen):
    TransferEstimator(Spy(), source=SOURCE, adaptation="pooled", cv=3).fit(X, Y)
    *tuning, last = seen
    np.testing.assert_array_equal(last[0], np.vstack([SOURCE.X, X]))
    n_candidates = len(tuning) // 3
    assert len(tuning) == 3 * n_candidates > 3
    left_out = []
    for rows, _, _ in tuning[::n_candidates]:
        np.testing.assert_array_equal(rows[:90], SOURCE.X)
        left_out += [i for i in range(24) if not (rows[90:] == X[i]).all(axis=1).any()]
    assert sorted(left_out) == list(range(24))


def test_no_source_is_the_plain_estimator(seen, rng):
    weight = rng.uniform(0.5, 2.0, 24)
    for adaptation in ("pooled", "independent", Pooled(3.0)):
        model = TransferEstimator(Ridge(), adaptation=adaptation).fit(X, Y, weight)
        np.testing.assert_array_equal(model.predict(X), Ridge().fit(X, Y, weight).predict(X))
        assert isinstance(model.adaptation_, Independent)
        assert model.source_weights_.shape == model.transfer_report_["source"].shape == (0,)
    TransferEstimator(Spy()).fit(X, Y)
    assert seen[0][2] is None  # weights are not mentioned where there are none


def test_independent_ignores_the_source():
    model = TransferEstimator(source=SOURCE, adaptation="independent").fit(X, Y)
    np.testing.assert_array_equal(model.predict(X), Ridge().fit(X, Y).predict(X))
    np.testing.assert_array_equal(model.source_weights_, np.zeros(3))


# ----------------------------------------------------------------------------- scikit-learn's tools


@pytest.mark.parametrize("n_jobs", [None, 2])
def test_grid_over_sources(n_jobs):
    wrong = Source(XS, -YS)
    few = X[:8], Y[:8]
    grid = {"source": [wrong, SOURCE, None], "adaptation": [Pooled(1.0)]}
    search = GridSearchCV(
        TransferEstimator(), grid, cv=4, n_jobs=n_jobs, scoring="neg_mean_squared_error"
    ).fit(*few)
    assert search.best_params_["source"] is SOURCE and search.best_estimator_.source is SOURCE
    order = np.argsort(search.cv_results_["rank_test_score"])
    assert [search.cv_results_["params"][i]["source"] for i in order] == [SOURCE, None, wrong]


def _mapped(array):
    while array is not None and not isinstance(array, np.memmap):
        array = getattr(array, "base", None)
    return array is not None


class Mapped(Adaptation):
    """Asks the same of the rows that an adaptation is given."""

    needs_numbers = False

    def fit(self, problem, random_state, progress):
        predictor = Spy().fit(problem.X, problem.y)
        mapped = all(_mapped(s.X) and _mapped(s.y) for s in problem.sources)
        predictor.predict = _Constant(float(mapped))
        return AdaptationResult(predictor, np.ones(len(problem.sources)))


class _Constant:
    def __init__(self, value):
        self.value = value

    def __call__(self, X):
        return np.full(len(X), self.value)


@pytest.fixture
def told_to_workers():
    """This module is none that a worker could import: what it defines is sent along."""
    cloudpickle = pytest.importorskip("cloudpickle")  # what joblib sends with
    module = sys.modules[__name__]
    cloudpickle.register_pickle_by_value(module)
    yield
    cloudpickle.unregister_pickle_by_value(module)


@pytest.mark.usefixtures("told_to_workers")
def test_workers_of_a_grid_search_map_the_source_from_disk():
    big = Source(np.zeros((150_000, 3)), np.zeros(150_000), np.repeat([0, 1], 75_000))
    model = TransferEstimator(Spy(), source=big, adaptation=Mapped())
    assert cross_val_predict(model, X, Y, cv=2, n_jobs=2).tolist() == [1.0] * 24
    assert cross_val_predict(model, X, Y, cv=2).tolist() == [0.0] * 24


def test_stacking_and_out_of_fold_predictions():
    model = TransferEstimator(source=SOURCE)
    out = cross_val_predict(model, X, Y, cv=4)
    assert np.mean((out - Y) ** 2) < 0.3
    stack = StackingRegressor([("transfer", model), ("plain", Ridge())], cv=3).fit(X, Y)
    assert stack.named_estimators_["transfer"].source is SOURCE
    assert stack.score(X, Y) > 0.9
    scores = cross_validate(model, X, Y, cv=3, scoring=["r2", "neg_mean_absolute_error"])
    assert scores["test_r2"].min() > 0.5


def test_inside_a_pipeline_of_steps_that_keep_the_columns():
    pipe = make_pipeline(FunctionTransformer(), TransferEstimator(source=SOURCE))
    search = GridSearchCV(pipe, {"transferestimator__source": [SOURCE, None]}, cv=3).fit(X, Y)
    assert search.best_params_ == {"transferestimator__source": SOURCE}


def test_parameters_inside_parameters():
    model = TransferEstimator(Ridge(), source=SOURCE, adaptation=Pooled())
    model.set_params(estimator__alpha=3.0, adaptation__target_weight=4.0)
    assert model.estimator.alpha == 3.0 and model.adaptation.target_weight == 4.0
    GridSearchCV(model, {"adaptation__target_weight": [1.0, 9.0]}, cv=2).fit(X, Y)
    with pytest.raises(ValueError, match=r"adaptation='auto', which is a string.*Auto\(\)"):
        TransferEstimator().set_params(adaptation__target_weight=2.0)
    with pytest.raises(ValueError, match="cannot be set on estimator=None.*Ridge"):
        TransferEstimator().set_params(estimator__alpha=2.0)
    with pytest.raises(ValueError, match="preprocessor__x cannot be set on preprocessor='auto'"):
        TransferEstimator(preprocessor="auto").set_params(preprocessor__x=2.0)


def test_weights_reach_score_with_routing_on():
    weight = np.r_[np.ones(12), np.zeros(12)]
    with sklearn.config_context(enable_metadata_routing=True):
        model = TransferEstimator(source=SOURCE).set_fit_request(sample_weight=True)
        scores = cross_val_score(
            model, X, Y, cv=[(np.arange(24), np.arange(24))], params={"sample_weight": weight}
        )
    fitted = TransferEstimator(source=SOURCE).fit(X, Y, weight)
    np.testing.assert_allclose(scores, fitted.score(X[:12], Y[:12]))


# ---------------------------------------------------------------------------- type, tags, methods


def test_type_tags_and_methods_follow_the_estimator():
    assert is_regressor(TransferEstimator()) and not is_classifier(TransferEstimator())
    for estimator, methods in (
        (LogisticRegression(), ["predict_proba", "predict_log_proba", "decision_function"]),
        (make_pipeline(MinMaxScaler(), GaussianNB()), ["predict_proba", "predict_log_proba"]),
        (LinearSVC(), ["decision_function"]),
        (Ridge(), []),
    ):
        for model in (
            TransferEstimator(estimator, source=LABELS),
            TransferEstimator(estimator).fit(X, L if is_classifier(estimator) else Y),
        ):
            assert is_classifier(model) == is_classifier(estimator)
            for name in ("predict_proba", "predict_log_proba", "decision_function"):
                assert hasattr(model, name) == (name in methods)
    tags = get_tags(TransferEstimator(HistGradientBoostingRegressor()))
    assert tags.input_tags.allow_nan and not tags.input_tags.sparse
    assert get_tags(TransferEstimator(preprocessor="auto")).input_tags.string


def test_predictor_with_its_own_idea_of_missing_values_and_categories():
    frame = pd.DataFrame(X, columns=NAMES).assign(
        c=pd.Categorical(np.where(X[:, 2] > 0, "p", "q"), categories=["p", "q"])
    )
    frame.iloc[::5, 0] = np.nan
    others = pd.DataFrame(XS, columns=NAMES).assign(
        c=pd.Categorical(np.where(XS[:, 2] > 0, "p", "q"), categories=["p", "q"])
    )
    gbm = HistGradientBoostingRegressor(categorical_features="from_dtype", min_samples_leaf=5)
    model = TransferEstimator(gbm, source=Source(others, YS)).fit(frame, Y)
    assert model.score(frame, Y) > 0.5 and model.estimator_.is_categorical_.tolist()[2]


# ------------------------------------------------------------------------------ preparing steps


def test_first_steps_are_fitted_on_source_and_target_rows_alike():
    pipe = make_pipeline(StandardScaler(), Ridge())
    for adaptation in ("pooled", "independent"):
        model = TransferEstimator(pipe, source=SOURCE, adaptation=adaptation).fit(X, Y)
        both = StandardScaler().fit(np.vstack([XS, X]))
        np.testing.assert_allclose(model.estimator_[0].mean_, both.mean_)
        np.testing.assert_allclose(model.estimator_[0].scale_, both.scale_)
        assert model.estimator_[0].n_samples_seen_ == 114
    assert not hasattr(pipe[0], "mean_") and not hasattr(pipe[1], "coef_")
    outer = TransferEstimator(Ridge(), source=SOURCE, preprocessor=StandardScaler()).fit(X, Y)
    inner = TransferEstimator(pipe, source=SOURCE).fit(X, Y)
    np.testing.assert_allclose(outer.predict(X), inner.predict(X))
    assert [name for name, _ in outer.estimator_.steps] == ["preprocessor", "ridge"]


def test_first_steps_do_not_see_rows_of_weight_zero():
    junk, weight = X.copy(), np.ones(24)
    junk[:4], weight[:4] = 1e6, 0.0
    pipe = make_pipeline(StandardScaler(), Ridge())
    model = TransferEstimator(pipe, source=SOURCE, adaptation=Pooled(2.0)).fit(junk, Y, weight)
    other = TransferEstimator(pipe, source=SOURCE, adaptation=Pooled(2.0)).fit(X[4:], Y[4:])
    np.testing.assert_allclose(model.predict(X), other.predict(X))


def test_weights_go_to_the_last_step_only(rng):
    weight = rng.uniform(0.5, 2.0, 24)
    model = TransferEstimator(
        make_pipeline(StandardScaler(), Ridge()), source=SOURCE, adaptation=Pooled(2.0)
    ).fit(X, Y, weight)
    rows, labels = np.vstack([SOURCE.X, X]), np.concatenate([SOURCE.y, Y])
    scaled = StandardScaler().fit_transform(rows)
    ridge = Ridge().fit(scaled, labels, np.concatenate([np.full(90, 0.5), weight]))
    np.testing.assert_allclose(model.estimator_[-1].coef_, ridge.coef_)


FRAME = pd.DataFrame(X, columns=NAMES).assign(kind=np.where(X[:, 0] > 0, "big", "small"))
FRAME_S = pd.DataFrame(XS, columns=NAMES).assign(kind=np.where(XS[:, 0] > 0, "big", "small"))
BY_NAME = make_column_transformer((OneHotEncoder(), ["kind"]), (StandardScaler(), NAMES))


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_columns_by_name(library):
    def made(frame):
        return frame if library == "pandas" else pl.from_pandas(frame)

    source = Source(made(FRAME_S), YS, TASK)
    pipe = make_pipeline(clone(BY_NAME), Ridge())
    model = TransferEstimator(pipe, source=source).fit(made(FRAME), Y)
    assert model.score(made(FRAME), Y) > 0.9
    assert list(model.feature_names_in_) == [*NAMES, "kind"] and model.n_features_in_ == 4
    other = Source(made(FRAME_S[["kind", "c", "a", "b"]]), YS, TASK)  # in any order
    again = TransferEstimator(pipe, source=other).fit(made(FRAME), Y)
    np.testing.assert_allclose(again.predict(made(FRAME)), model.predict(made(FRAME)))
    auto = TransferEstimator(source=source, preprocessor="auto").fit(made(FRAME), Y)
    assert auto.score(made(FRAME), Y) > 0.9
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        np.testing.assert_array_equal(
            auto.estimator_.predict(made(FRAME)), auto.predict(made(FRAME))
        )
        plain = TransferEstimator(source=Source(made(FRAME_S[NAMES]), YS)).fit(
            made(FRAME[NAMES]), Y
        )
        plain.estimator_.predict(made(FRAME[NAMES]))
    assert list(plain.estimator_.feature_names_in_) == NAMES


def test_frames_arrays_and_sparse_matrices_agree():
    wanted = TransferEstimator(source=SOURCE).fit(X, Y).predict(X)
    frame = pd.DataFrame(X, columns=NAMES)
    in_frames = TransferEstimator(source=Source(pd.DataFrame(XS, columns=NAMES), YS, TASK))
    np.testing.assert_allclose(in_frames.fit(frame, Y).predict(frame), wanted)
    for kind in (sparse.csr_matrix, sparse.csr_array):
        thin = TransferEstimator(Ridge(solver="lsqr", tol=1e-10), source=Source(kind(XS), YS, TASK))
        np.testing.assert_allclose(thin.fit(kind(X), Y).predict(kind(X)), wanted, rtol=1e-5)
        mixed = TransferEstimator(Ridge(solver="lsqr", tol=1e-10), source=SOURCE)
        np.testing.assert_allclose(mixed.fit(kind(X), Y).predict(X), wanted, rtol=1e-5)


def test_named_sources_and_a_target_without_names_are_refused():
    # Behind a scaler the target's rows are scaled, and the source's are not.
    frame, source = pd.DataFrame(X, columns=NAMES), pd.DataFrame(XS, columns=NAMES)
    said = r"source is a data frame .* 'a', but X has no column names.*inside.*preprocessor="
    piped = make_pipeline(StandardScaler(), TransferEstimator(source=Source(source, YS, TASK)))
    with pytest.raises(ValueError, match=said):
        piped.fit(frame, Y)
    piped.set_output(transform="pandas").fit(frame, Y)  # names are kept: the same columns
    with pytest.raises(ValueError, match=r"unlabeled is a data frame .*Unlabeled\(X.to_numpy"):
        TransferEstimator(
            source=SOURCE, unlabeled=Unlabeled(source), adaptation="coral"
        ).fit(X, Y)  # fmt: skip
    with pytest.raises(ValueError, match="X is a data frame, but source has no column names"):
        TransferEstimator(source=SOURCE).fit(frame, Y)
    by_position = TransferEstimator(source=Source(source.to_numpy(), YS, TASK)).fit(X, Y)
    inside = TransferEstimator(
        make_pipeline(StandardScaler(), Ridge()), source=Source(source, YS, TASK)
    )
    assert inside.fit(frame, Y).score(frame, Y) > 0.8 < by_position.score(X, Y)


# -------------------------------------------------------------------------------------- classes


def test_classes_are_those_of_source_and_target():
    three = Source(XS, np.where(YS > 1, "most", LS))
    for adaptation in ("pooled", "independent"):
        model = TransferEstimator(LogisticRegression(), source=three, adaptation=adaptation)
        model.fit(X, L)
        assert list(model.classes_) == ["most", "no", "yes"]
        p = model.predict_proba(X)
        assert p.shape == (24, 3)
        np.testing.assert_allclose(p.sum(axis=1), 1.0)
        assert (p[:, 0] == 0).all() == (adaptation == "independent")
        scores = model.decision_function(X)
        assert scores.shape == (24, 3)
        np.testing.assert_array_equal(model.classes_[scores.argmax(axis=1)], model.predict(X))
        assert model.predict_log_proba(X).shape == (24, 3)
    own = LogisticRegression().fit(X, L)
    np.testing.assert_allclose(p[:, 1:], own.predict_proba(X))


def test_probabilities_out_of_fold_and_stacking_of_classifiers():
    """scikit-learn hands these an encoded y; labels 0, 1, ... stay what they are."""
    for n_classes in (2, 3):
        codes_s, codes = (np.searchsorted([0.0, 1.0][: n_classes - 1], v) for v in (YS, Y))
        model = TransferEstimator(LogisticRegression(), source=Source(XS, codes_s))
        p = cross_val_predict(model, X, codes, cv=3, method="predict_proba")
        assert p.shape == (24, n_classes) and (p.argmax(axis=1) == codes).mean() > 0.7
        stack = StackingClassifier([("transfer", model), ("plain", GaussianNB())], cv=3)
        assert stack.fit(X, codes).score(X, codes) > 0.7
        model.set_params(source=Source(XS, codes_s + 1))
        with pytest.warns(UserWarning, match="equal labels mean the same class.*replace y by 0, 1"):
            cross_val_predict(model, X, codes + 1, cv=3, method="predict")
            cross_val_predict(model, X, codes, cv=3, method="predict")
    model.set_params(source=Source(XS, YS > 0))
    assert cross_val_predict(model, X, Y > 0, cv=3, method="predict_proba").shape == (24, 2)
    model.set_params(source=LABELS)
    assert set(cross_val_predict(model, X, L, cv=3)) == {"no", "yes"}
    with pytest.raises(ValueError, match="(?s)string labels.*cross_val_predict of probabilities"):
        cross_val_predict(model, X, L, cv=3, method="predict_proba")


def test_target_rows_of_one_class():
    fold = np.flatnonzero(L == "yes")
    model = TransferEstimator(LogisticRegression(), source=LABELS).fit(X[fold], L[fold])
    assert list(model.classes_) == ["no", "yes"] and model.predict_proba(X).shape == (24, 2)
    with pytest.raises(ValueError, match="class"):
        TransferEstimator(LogisticRegression()).fit(X[fold], L[fold])


def test_classes_as_the_target_writes_them():
    for theirs, ours in (
        (np.float64, np.int64), (np.int8, np.int64), (np.int64, np.float64), (bool, bool),
        (bool, np.int64), (np.int64, bool),
    ):  # fmt: skip
        source = Source(XS, (YS > 0).astype(theirs))
        model = TransferEstimator(GaussianNB(), source=source).fit(X, (Y > 0).astype(ours))
        assert model.classes_.dtype == ours == model.predict(X).dtype


# --------------------------------------------------------------------- what is kept, what is not


def test_what_to_deploy_is_small_and_self_contained():
    big = Source(np.tile(XS, (1000, 1)), np.tile(YS, 1000))
    for estimator in (None, make_pipeline(StandardScaler(), Ridge())):
        model = TransferEstimator(estimator, source=big, adaptation=Pooled(2.0)).fit(X, Y)
        assert len(pickle.dumps(model.estimator_)) < 3000
        again = pickle.loads(pickle.dumps(model.estimator_))
        np.testing.assert_array_equal(again.predict(X), model.predict(X))
        lean = copy.copy(model).set_params(source=None)
        assert len(pickle.dumps(lean)) < 6000
        np.testing.assert_array_equal(lean.predict(X), model.predict(X))
    again = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(again.predict(X), model.predict(X))


def test_nothing_of_the_callers_is_changed():
    tables = [XS.copy(), YS.copy(), X.copy(), Y.copy()]
    frames = FRAME.copy(), FRAME_S.copy()
    pipe, adaptation = make_pipeline(clone(BY_NAME), Ridge()), Pooled()
    model = TransferEstimator(pipe, source=Source(FRAME_S, YS), adaptation=adaptation)
    before = joblib.hash(model.get_params())
    state = np.random.get_state()[1].copy()
    model.fit(FRAME, Y)
    TransferEstimator(Ridge(copy_X=False), source=SOURCE).fit(X, Y)
    np.testing.assert_array_equal(np.random.get_state()[1], state)
    assert joblib.hash(model.get_params()) == before
    for now, then in zip((XS, YS, X, Y), tables, strict=True):
        np.testing.assert_array_equal(now, then)
    pd.testing.assert_frame_equal(FRAME, frames[0])
    pd.testing.assert_frame_equal(FRAME_S, frames[1])


def test_the_same_twice():
    for seed in (None, 7):
        one, two = (TransferEstimator(source=SOURCE, random_state=seed).fit(X, Y) for _ in "ab")
        np.testing.assert_array_equal(one.predict(X), two.predict(X))


def test_verbose_says_what_is_done(capsys):
    TransferEstimator(source=SOURCE, verbose=1).fit(X, Y)
    said = capsys.readouterr().out
    assert "[TransferEstimator] evaluating 3 sources" in said and "and 3 of 3 sources" in said


def test_callbacks_are_told():
    callback = pytest.importorskip("sklearn.callback")
    pytest.importorskip("rich")
    search = GridSearchCV(TransferEstimator(), {"source": [SOURCE, None]}, cv=2)
    search.set_callbacks(callback.ProgressBar()).fit(X, Y)
    assert search.best_params_ == {"source": SOURCE}


# ------------------------------------------------------------------------------------ adaptations


class Demanding(Adaptation):
    """Needs everything; keeps the problem."""

    needs_labels, needs_unlabeled, uses_unlabeled, needs_weights = False, True, True, True
    only = "regressor"
    got: list = []

    def fit(self, problem, random_state, progress):
        Demanding.got[:] = [problem]
        y = np.zeros(len(problem.unlabeled)) if problem.y is None else problem.y
        rows = problem.unlabeled if problem.y is None else problem.X
        predictor = clone(problem.estimator).fit(rows, y)
        report = {"n_columns": np.array([s.X.shape[1] for s in problem.sources])}
        return AdaptationResult(
            predictor, np.ones(len(problem.sources)), report, {"step": np.arange(2)}
        )


UNLABELED = Unlabeled(X[:7] + 1.0)


def test_what_an_adaptation_is_given():
    model = TransferEstimator(
        Ridge(), source=SOURCE, unlabeled=UNLABELED, adaptation=Demanding(), cv=3,
        preprocessor=PolynomialFeatures(2, include_bias=False),
    ).fit(X, Y)  # fmt: skip
    (problem,) = Demanding.got
    assert problem.X.shape == (24, 9) and problem.unlabeled.shape == (7, 9)
    assert [s.label for s in problem.sources] == [0, 1, 2]
    for s in problem.sources:
        assert s.weight is None and s.X.shape == (30, 9)
        np.testing.assert_array_equal(s.X[:, :3], XS[TASK == s.label])
        np.testing.assert_array_equal(s.y, YS[TASK == s.label])
    assert len(problem.splits) == 3 and problem.classes is None and problem.weight is None
    assert sorted(np.concatenate([test for _, test in problem.splits])) == list(range(24))
    assert model.transfer_report_["n_columns"].tolist() == [9, 9, 9]
    assert model.transfer_report_["source"].tolist() == [0, 1, 2]
    assert model.transfer_report_["n_samples"].tolist() == [30, 30, 30]
    assert model.history_["step"].tolist() == [0, 1]


def test_without_labels():
    model = TransferEstimator(Ridge(), source=SOURCE, adaptation=Demanding()).fit(X)
    (problem,) = Demanding.got
    assert problem.y is None and problem.X.shape == (0, 3) and problem.splits == []
    np.testing.assert_array_equal(problem.unlabeled, X)
    np.testing.assert_array_equal(model.predict(X), np.zeros(24))
    model.set_params(unlabeled=UNLABELED).fit(X)
    np.testing.assert_array_equal(Demanding.got[0].unlabeled, np.vstack([X, UNLABELED.X]))


def test_numbers_of_a_frame_for_an_adaptation():
    source = Source(pd.DataFrame(XS, columns=NAMES), YS, TASK)
    frame = pd.DataFrame(X, columns=NAMES)
    params = {"adaptation": Demanding(), "unlabeled": Unlabeled(frame[:7])}
    model = TransferEstimator(Ridge(), source=source, **params).fit(frame, Y)
    problem = Demanding.got[0]
    for table in (problem.X, problem.unlabeled, problem.sources[0].X):
        assert isinstance(table, np.ndarray) and table.dtype == np.float64
    assert source.numbers() is source.numbers()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.estimator_.predict(frame)
    with pytest.raises(ValueError, match="feature names"):
        model.estimator_.predict(frame[["c", "b", "a"]])


def test_what_is_lacking_is_said_before_anything_changes():
    model = TransferEstimator(Ridge(), source=SOURCE).fit(X, Y)
    before = joblib.hash(vars(model))
    lacking = [
        (dict(adaptation=Demanding()), (X, Y), "needs target rows without labels.*Unlabeled"),
        (dict(adaptation=Demanding(), unlabeled=UNLABELED, estimator=KNeighborsRegressor()),
         (X, Y), "weights rows, but estimator=KNeighborsRegressor does not support sample_weight"),
        (dict(adaptation=Demanding(), unlabeled=UNLABELED, estimator=LogisticRegression(),
              source=LABELS), (X, L), "is for a regressor, but estimator=LogisticRegression"),
        ({}, (X,), "Auto requires y to be passed"),
        (dict(adaptation=Demanding()), (X, None, np.ones(24)), "given without y"),
        (dict(adaptation=Pooled(-1.0)), (X, Y), "target_weight=-1.0 must be 'auto' or a number"),
        (dict(adaptation=Pooled(-1.0), source=None), (X, Y), "target_weight=-1.0 must be 'auto'"),
        (dict(adaptation=Pooled("much")), (X, Y), "target_weight='much' must be"),
        (dict(adaptation="best"), (X, Y), "'adaptation' parameter .* must be"),
        (dict(source=(XS, YS)), (X, Y), "'source' parameter .* must be an instance of"),
        (dict(unlabeled=X), (X, Y), "'unlabeled' parameter .* must be an instance of"),
        (dict(estimator=StandardScaler()), (X, Y), "must be a classifier or a regressor"),
        (dict(estimator=1), (X, Y), "'estimator' parameter .* must be"),
        (dict(estimator=KMeans()), (X, Y), "must be a classifier or a regressor"),
        (dict(cv=1), (X, Y), "'cv' parameter .* must be an int in"),
        (dict(cv=[(np.arange(24), [])]), (X, Y), "split 0 has no training rows or no test rows"),
        (dict(source=Source(XS[:, :2], YS)), (X, Y), "source has 2 features, but X has 3.*inside"),
        (dict(source=Source(XS, LS)), (X, Y), "source has labels such as '(yes|no)', but .* numbe"),
        (dict(source=Source(FRAME_S, YS)), (FRAME[NAMES], Y), r"source has \['kind'\], which X"),
        (dict(source=Source(FRAME_S[NAMES], YS)), (FRAME, Y), r"source lacks \['kind'\]"),
        (dict(source=SOURCE), (FRAME[NAMES], Y), "source has no column names"),
        (dict(source=Source(pl.from_pandas(FRAME_S[NAMES]), YS)), (FRAME[NAMES], Y),
         "frame of polars, but X one of pandas"),
        (dict(estimator=LogisticRegression(), source=Source(XS, YS > 0)), (X, L),
         "source has boolean labels such as (True|False), but y has string labels such as"),
        (dict(estimator=LogisticRegression(), source=Source(XS, YS)), (X, Y > 0), "source: Unkn"),
        (dict(source=Source(FRAME_S, YS)), (FRAME, Y), "could not convert .*preprocessor=.auto"),
    ]  # fmt: skip
    for params, rows, message in lacking:
        other = copy.copy(model).set_params(**params)
        with pytest.raises((ValueError, TypeError), match=f"(?s){message}"):
            other.fit(*rows)
        fitted = {k: v for k, v in vars(other).items() if k.endswith("_")}
        assert fitted == {k: v for k, v in vars(model).items() if k.endswith("_")}, message
    assert joblib.hash(vars(model)) == before


def test_weights_need_an_estimator_that_takes_them():
    near = TransferEstimator(KNeighborsRegressor(), source=SOURCE)
    with pytest.raises(ValueError, match="rows have weights, but estimator=KNeighborsRegressor"):
        near.fit(X, Y, np.ones(24))
    near.set_params(source=Source(XS, YS, sample_weight=np.ones(90)))
    with pytest.raises(ValueError, match="rows have weights, but estimator=KNeighborsRegressor"):
        near.fit(X, Y)


# ---------------------------------------------------------------------------------------- weights


def test_weight_two_is_the_row_twice(rng):
    often = rng.integers(0, 4, 24)
    rows = np.repeat(np.arange(24), often)
    of_source = np.repeat(np.arange(90), 2)
    cv = [(np.flatnonzero(np.arange(24) % 3 != k), np.flatnonzero(np.arange(24) % 3 == k))
          for k in range(3)]  # fmt: skip
    repeated = [tuple(np.flatnonzero(np.isin(rows, part)) for part in split) for split in cv]
    for estimator, y, y_source in (
        (Ridge(), Y, YS),
        (LogisticRegression(tol=1e-10, max_iter=1000), L, LS),
    ):
        weighted = TransferEstimator(
            estimator, source=Source(XS, y_source, sample_weight=np.full(90, 2)), cv=cv
        ).fit(X, y, often)
        twice = TransferEstimator(
            estimator, source=Source(XS[of_source], y_source[of_source]), cv=repeated
        ).fit(X[rows], y[rows])
        for key in ("error", "weight", "share"):
            np.testing.assert_allclose(
                weighted.history_[key], twice.history_[key], rtol=1e-5, err_msg=key
            )
        np.testing.assert_allclose(
            weighted.estimator_.coef_, twice.estimator_.coef_, rtol=1e-4, atol=1e-6
        )


def test_few_rows():
    for n in (1, 2, 3):
        model = TransferEstimator(source=SOURCE).fit(X[:n], Y[:n])
        assert np.isfinite(model.predict(X)).all()
        model = TransferEstimator(LogisticRegression(), source=LABELS).fit(X[:n], L[:n])
        assert model.predict_proba(X).shape == (24, 2)


def test_a_pipeline_within_a_pipeline():
    flat = make_pipeline(PolynomialFeatures(2), StandardScaler(), Ridge())
    nested = make_pipeline(PolynomialFeatures(2), make_pipeline(StandardScaler(), Ridge()))
    one, two = (TransferEstimator(pipe, source=SOURCE).fit(X, Y) for pipe in (flat, nested))
    np.testing.assert_array_equal(one.predict(X), two.predict(X))
    names = [name for name, _ in two.estimator_.steps]
    assert names == ["polynomialfeatures", "pipeline_steps", "ridge"]


def test_a_step_that_is_named_as_ours():
    pipe = Pipeline([("preprocessor", MinMaxScaler()), ("ridge", Ridge())])
    model = TransferEstimator(pipe, source=SOURCE, preprocessor=StandardScaler()).fit(X, Y)
    assert [n for n, _ in model.estimator_.steps] == ["outer_preprocessor", "preprocessor", "ridge"]


def test_error_rate_judges_where_there_are_no_probabilities():
    for estimator in (LinearSVC(), SGDClassifier(random_state=0)):
        model = TransferEstimator(estimator, source=LABELS).fit(X, L)
        assert ((model.history_["error"] >= 0) & (model.history_["error"] <= 1)).all()
    assert isinstance(clone(model), TransferEstimator)
    with pytest.raises(AttributeError):
        TransferEstimator(LinearRegression()).predict_proba  # noqa: B018


def test_folds_are_dealt_where_an_adaptation_asks_for_them(monkeypatch):
    def deal(*given):
        raise RuntimeError("dealt")

    monkeypatch.setattr("skmtl.transfer.reading._deal", deal)
    model = TransferEstimator(Ridge(), source=SOURCE, adaptation="tradaboost_r2").fit(X, Y)
    assert model.history_["error"].size
    with pytest.raises(RuntimeError, match="dealt"):
        model.set_params(adaptation="pooled").fit(X, Y)
    with pytest.raises(ValueError, match="cv: split 0 has no training rows"):  # one's own: at once
        model.set_params(adaptation="tradaboost_r2", cv=[([], [0, 1])]).fit(X, Y)


def test_column_names_are_read_a_few_times(monkeypatch):
    source, target = (pd.DataFrame(rows, columns=list("abc")) for rows in (XS, X))
    handles = {"source": Source(source, YS), "unlabeled": Unlabeled(target)}
    calls, real = [], columns.column_names

    def counted(table):
        calls.append(table)
        return real(table)

    for module in list(sys.modules.values()):
        if vars(module).get("column_names") is real:
            monkeypatch.setattr(module, "column_names", counted)
    model = TransferEstimator(**handles, adaptation="coral").fit(target, Y)
    assert len(model.history_["error"]) > 1  # candidates are judged without reading names again
    assert 0 < len(calls) < 10


def test_arrays_forget_the_names_of_an_earlier_fit():
    source = Source(pd.DataFrame(XS, columns=list("abc")), YS)
    model = TransferEstimator(Ridge(), source=source, adaptation="independent")
    model.fit(pd.DataFrame(X, columns=list("abc")), Y)
    assert model.feature_names_in_.tolist() == list("abc")
    model.set_params(source=SOURCE).fit(X, Y)
    assert not hasattr(model, "feature_names_in_")
    model.set_params(source=source).fit(pd.DataFrame(X, columns=list("abc")), Y)
    with pytest.warns(UserWarning, match="does not have valid feature names"):
        model.predict(X)


def test_classes_and_numbers_of_jobs_that_make_no_sense():
    with pytest.raises(ValueError, match=r"preprocessor=StandardScaler is a class.*\(\)"):
        TransferEstimator(source=SOURCE, preprocessor=StandardScaler).fit(X, Y)
    with pytest.raises(ValueError, match="n_jobs == 0"):
        TransferEstimator(source=SOURCE, n_jobs=0).fit(X, Y)


@pytest.mark.parametrize("kind", ["datetime64[D]", "timedelta64[s]", "complex128"])
def test_arrays_that_are_no_numbers(kind):
    odd = (10 * X).astype(np.int64).astype(kind)
    model = TransferEstimator(LogisticRegression(), source=LABELS).fit(X, L)
    with pytest.raises(
        ValueError, match=r"TransferEstimator: X is an array of type.*preprocessor="
    ):
        model.predict(odd)
    with pytest.raises(
        ValueError, match=r"TransferEstimator: X is an array of type.*preprocessor="
    ):
        model.fit(odd, L)
    if kind == "complex128":
        return
    with pytest.raises(ValueError, match="source: X is an array of type"):
        TransferEstimator(source=Source(odd, Y)).fit(X, Y)
    read = FunctionTransformer(lambda Z: Z.astype(np.float64))  # a step may make numbers of dates
    piped = TransferEstimator(make_pipeline(read, Ridge()), source=Source(odd, Y)).fit(odd, Y)
    assert np.isfinite(piped.predict(odd)).all()
