"""preprocessor= and exclude_columns=: messy tables in, finite numbers inside."""

import datetime
import pickle

import joblib
import numpy as np
import pandas as pd
import polars as pl
import pytest
from scipy import sparse
from sklearn.base import BaseEstimator, TransformerMixin, clone
from sklearn.compose import ColumnTransformer, make_column_transformer
from sklearn.feature_selection import SelectKBest, f_classif, f_regression
from sklearn.impute import SimpleImputer
from sklearn.model_selection import BaseCrossValidator, GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler
from sklearn.utils import get_tags

from skmtl import MultiTaskClassifier, MultiTaskRegressor
from skmtl.model_selection import TaskKFold
from skmtl.sharing import PartialPooling
from skmtl.tasks.auto import MISSING, auto_preprocessor
from skmtl.tasks.features import FeatureColumns

FIXED = PartialPooling(alpha=1.0, alpha_shared=1.0)
NAMES = [
    "price", "on_sale", "missingindicator_price", "colour_(missing)", "colour_blue", "colour_red",
    "size_L", "size_S",
]  # fmt: skip


def regressor(**params):
    params = {"task_column": "shop", "preprocessor": "auto", "cv": None, **params}
    return MultiTaskRegressor(clone(FIXED), **params)


def classifier(**params):
    params = {"task_column": "shop", "preprocessor": "auto", "cv": None, **params}
    return MultiTaskClassifier(clone(FIXED), **params)


def messy(n=120, seed=0):
    """Gaps, strings, categories, booleans and an id beside the task column."""
    rng = np.random.default_rng(seed)
    shop = np.array(["a", "b", "c", "d"], dtype=object)[np.arange(n) % 4]
    colour = rng.choice(np.array(["red", "blue", None], dtype=object), n, p=[0.5, 0.3, 0.2])
    price = rng.normal(5.0, 2.0, n)
    frame = pd.DataFrame(
        {
            "row": np.arange(n) + 1000,
            "price": np.where(rng.uniform(size=n) < 0.2, np.nan, price),
            "shop": shop,
            "on_sale": rng.uniform(size=n) < 0.5,
            "colour": colour,
            "size": pd.Categorical(rng.choice(["S", "L"], n)),
        }
    )
    y = price + 3.0 * (colour == "red") + frame["on_sale"] + (shop == "a") + rng.normal(size=n)
    return frame, y.to_numpy(dtype=float)


FRAME, Y = messy()
LABEL = np.where(np.median(Y) < Y, "dear", "cheap")
FEATURES = FRAME.drop(columns=["row", "shop"])


@pytest.fixture(scope="module")
def fitted():
    return regressor(exclude_columns="row").fit(FRAME, Y)


# ------------------------------------------------------------------------------------- "auto"


def test_none_names_the_remedy():
    for frame in (FRAME, FRAME[["shop", "price"]]):
        with pytest.raises(ValueError, match='preprocessor="auto" fills gaps'):
            regressor(preprocessor=None).fit(frame, Y)


def test_what_auto_makes(fitted):
    assert list(fitted.coef_feature_names_) == NAMES
    assert fitted.coef_.shape == (4, len(NAMES))
    assert list(fitted.feature_names_in_) == list(FRAME.columns) and fitted.n_features_in_ == 6
    made = pd.DataFrame(fitted.preprocessor_.transform(FEATURES), columns=NAMES)
    price = FRAME["price"].fillna(FRAME["price"].median())
    np.testing.assert_array_equal(made["price"], price)
    np.testing.assert_array_equal(made["missingindicator_price"], FRAME["price"].isna())
    np.testing.assert_array_equal(made["on_sale"], FRAME["on_sale"])
    np.testing.assert_array_equal(made["colour_red"], FRAME["colour"] == "red")
    np.testing.assert_array_equal(made["colour_(missing)"], FRAME["colour"].isna())
    np.testing.assert_array_equal(made["size_S"], FRAME["size"] == "S")


def test_auto_is_the_recipe_by_hand(fitted):
    by_hand = make_column_transformer(
        (SimpleImputer(strategy="median", add_indicator=True), ["price"]),
        (FunctionTransformer(), ["on_sale"]),
        (make_pipeline(SimpleImputer(strategy="constant"), OneHotEncoder()), ["colour", "size"]),
        sparse_threshold=0.0,
    )
    frame = FRAME.assign(
        colour=FRAME["colour"].astype(object).where(FRAME["colour"].notna(), np.nan)
    )
    Z = by_hand.fit_transform(frame)
    own = MultiTaskRegressor(clone(FIXED), cv=None).fit(Z, Y, task=FRAME["shop"])
    np.testing.assert_allclose(fitted.predict(FRAME), own.predict(Z, task=FRAME["shop"]))


KINDS = {
    "objects": FRAME.astype({"colour": object, "size": object, "shop": object}),
    "strings": FRAME.astype({"colour": "str", "size": "str"}),
    "categories": FRAME.astype({"colour": "category"}),
    "nullable": FRAME.astype({"price": "Float64", "on_sale": "boolean", "colour": "string"}),
    "objects of numbers": FRAME.astype({"price": object, "on_sale": object}),
    "polars": pl.from_pandas(FRAME, nan_to_null=True),
    "polars categories": pl.from_pandas(FRAME).with_columns(pl.col("colour").cast(pl.Categorical)),
    "polars enum": pl.from_pandas(FRAME).with_columns(
        pl.col("colour").cast(pl.Enum(["red", "blue"]))
    ),
}
if not KINDS["strings"]["colour"].isna().any():  # pandas before 3 makes "None" of a gap
    del KINDS["strings"]


@pytest.mark.parametrize("kind", KINDS)
def test_frames_of_every_kind(fitted, kind):
    frame = KINDS[kind]
    model = regressor(exclude_columns="row").fit(frame, Y)
    assert list(model.coef_feature_names_) == NAMES
    np.testing.assert_allclose(model.predict(frame), fitted.predict(FRAME))
    np.testing.assert_allclose(fitted.predict(frame), fitted.predict(FRAME))
    own = model.for_task("a").predict(frame)
    np.testing.assert_allclose(own, fitted.for_task("a").predict(FRAME))


@pytest.mark.parametrize("form", ["array", "list"])
def test_objects_without_names(fitted, form):
    X = FRAME.to_numpy(dtype=object)
    X = X.tolist() if form == "list" else X
    model = regressor(task_column=2, exclude_columns=0).fit(X, Y)
    np.testing.assert_allclose(model.predict(X), fitted.predict(FRAME))
    assert list(model.coef_feature_names_)[:3] == ["x0", "x1", "missingindicator_x0"]
    assert len(model.tasks_) == 4


def test_strings_of_digits_are_numbers():
    X = np.array([["1.5", "a"], ["2.5", "b"]] * 30, dtype=object)
    y = np.arange(60.0)
    model = MultiTaskRegressor(clone(FIXED), cv=None, preprocessor="auto").fit(X, y)
    assert list(model.coef_feature_names_) == ["x0", "x1_a", "x1_b"]
    frame = pd.DataFrame(X, columns=["price", "kind"])
    model.fit(frame, y)
    assert list(model.coef_feature_names_) == ["price", "kind_a", "kind_b"]
    model.set_params(categorical_columns="price").fit(frame, y)
    assert list(model.coef_feature_names_) == ["price_1.5", "price_2.5", "kind_a", "kind_b"]


def test_gaps_in_numbers():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(80, 3))
    y = X[:, 0] + rng.normal(size=80)
    gaps = X.copy()
    gaps[rng.uniform(size=80) < 0.3, 0] = np.nan
    model = MultiTaskRegressor(preprocessor="auto", cv=None, sharing=clone(FIXED)).fit(gaps, y)
    assert list(model.coef_feature_names_) == ["x0", "x1", "x2", "missingindicator_x0"]
    by_hand = SimpleImputer(strategy="median", add_indicator=True).fit(gaps)
    own = MultiTaskRegressor(clone(FIXED), cv=None).fit(by_hand.transform(gaps), y)
    np.testing.assert_allclose(model.predict(gaps), own.predict(by_hand.transform(gaps)))
    X[5, 2] = np.nan  # a gap in a column that had none
    np.testing.assert_allclose(model.predict(X), own.predict(by_hand.transform(X)))


@pytest.mark.parametrize("form", [sparse.csr_matrix, sparse.csc_array, sparse.coo_array])
def test_gaps_in_sparse_numbers(form):
    X = np.round(np.random.default_rng(0).normal(size=(60, 4)))
    y = X[:, 0] - X[:, 1]
    wanted = MultiTaskRegressor(clone(FIXED), cv=None).fit(X, y).predict(X)
    model = MultiTaskRegressor(clone(FIXED), cv=None, preprocessor="auto").fit(form(X), y)
    np.testing.assert_allclose(model.predict(form(X)), wanted)
    X[3, 1] = np.nan
    model.fit(form(X), y)
    assert list(model.coef_feature_names_) == ["x0", "x1", "x2", "x3", "missingindicator_x1"]
    assert np.isfinite(model.predict(form(X))).all()


def test_numbers_are_what_they_are_without_a_preprocessor():
    """No scaling: coefficients stay in the columns' units."""
    frame = FRAME[["shop", "on_sale"]].assign(length=np.arange(120.0) ** 2)
    auto, none = (regressor(preprocessor=p).fit(frame, Y) for p in ("auto", None))
    np.testing.assert_allclose(auto.coef_, none.coef_)
    np.testing.assert_allclose(auto.predict(frame), none.predict(frame))


def test_levels_at_predict(fitted):
    """Unknown levels count as none; a gap in a column that had none likewise."""
    row = FRAME.iloc[:2]
    slopes = dict(zip(fitted.coef_feature_names_, fitted.coef_[0], strict=True))
    own = fitted.for_task("a")
    red, new = own.predict(row.assign(colour="red")), own.predict(row.assign(colour="green"))
    np.testing.assert_allclose(red - new, slopes["colour_red"])
    gap = own.predict(row.assign(colour=None))
    np.testing.assert_allclose(gap - new, slopes["colour_(missing)"])
    np.testing.assert_allclose(
        own.predict(row.assign(size="S")) - own.predict(row.assign(size=None)), slopes["size_S"]
    )


def test_many_levels_share_a_column():
    rng = np.random.default_rng(0)
    city = np.concatenate([np.repeat(np.arange(40), 10), np.arange(100, 180)])
    frame = pd.DataFrame({"city": city, "shop": rng.integers(3, size=480)})
    model = regressor(categorical_columns="city").fit(frame, rng.normal(size=480))
    assert model.coef_.shape == (3, 30)
    assert model.coef_feature_names_[-1] == "city_infrequent_sklearn"
    rare, new = model.predict(frame.tail(1)), model.predict(frame.tail(1).assign(city=999))
    np.testing.assert_array_equal(rare, new)
    few = frame[frame["city"].isin([*range(3), 100, 101])]
    model.fit(few, np.arange(32.0))
    names = ["city_0", "city_1", "city_2", "city_infrequent_sklearn"]
    assert list(model.coef_feature_names_) == names


def test_constant_and_empty_columns():
    frame = FRAME.assign(
        one=1.0,
        word="same",
        nothing=np.nan,
        none=None,
        none_yet=pd.Series([None] * 120, dtype="str"),
    )
    model = regressor(exclude_columns="row").fit(frame, Y)
    wanted = regressor(exclude_columns="row").fit(FRAME, Y).predict(FRAME)
    np.testing.assert_allclose(model.predict(frame), wanted)
    full = frame.assign(nothing=3.0, none="word", none_yet="comes now")
    np.testing.assert_allclose(model.predict(full), wanted)


def test_integer_levels_with_gaps_are_the_same_levels():
    """pandas makes floats of integer categories with gaps: 1.0 is still 1."""
    level = np.arange(120) % 3
    frame = pd.DataFrame({"shop": FRAME["shop"], "level": pd.Categorical(level)})
    model = regressor().fit(frame, Y)
    assert list(model.coef_feature_names_) == ["level_0", "level_1", "level_2"]
    gap = frame.assign(level=pd.Categorical(np.where(np.arange(120) == 7, np.nan, level)))
    same = np.arange(120) != 7
    np.testing.assert_array_equal(model.predict(gap)[same], model.predict(frame)[same])


DAY = datetime.datetime(2024, 2, 29)
DATES = {
    "pandas": FRAME.assign(day=pd.Timestamp(DAY)),
    "time zone": FRAME.assign(day=pd.Timestamp(DAY, tz="UTC")),
    "objects": FRAME.assign(day=pd.Series([DAY.date()] * 120, dtype=object)),
    "differences": FRAME.assign(day=pd.Timedelta(days=1)),
    "polars": pl.from_pandas(FRAME).with_columns(day=pl.lit(DAY.date())),
    "polars time": pl.from_pandas(FRAME).with_columns(day=pl.lit(DAY.time())),
}


@pytest.mark.parametrize("kind", DATES)
def test_dates_raise(fitted, kind):
    message = r"column 'day' of X holds dates .* exclude_columns=\['day'\].* preprocessor="
    with pytest.raises(ValueError, match=message):
        regressor().fit(DATES[kind], Y)
    model = regressor(exclude_columns=["day", "row"]).fit(DATES[kind], Y)
    np.testing.assert_allclose(model.predict(DATES[kind]), fitted.predict(FRAME))


def test_dates_in_an_array_raise():
    X = np.array([[1.0, DAY]] * 10, dtype=object)
    with pytest.raises(ValueError, match="column 1 of X holds dates"):
        MultiTaskRegressor("partial_pooling", preprocessor="auto").fit(X, np.arange(10.0))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"price": np.inf}, "column 'price' of X contains infinity"),
        ({"price": "dear"}, "column 'price' of X held numbers in fit, but now .* 'dear'"),
    ],
)
def test_bad_values_at_predict(fitted, change, message):
    with pytest.raises(ValueError, match=message):
        fitted.predict(FRAME.assign(**change))
    with pytest.raises(ValueError, match=message):
        fitted.for_task("a").predict(FRAME.assign(**change))


def test_infinity_in_fit():
    with pytest.raises(ValueError, match="column 'price' of X contains infinity; make it"):
        regressor().fit(FRAME.assign(price=-np.inf), Y)


def test_judging_leaves_the_table_alone():
    before = FRAME.copy(deep=True)
    auto_preprocessor(FRAME).fit(FRAME)
    regressor().fit(FRAME, Y).predict(FRAME)
    pd.testing.assert_frame_equal(FRAME, before)


# ------------------------------------------------------------------------- weights, y, faces


@pytest.mark.parametrize("make", [regressor, classifier])
def test_rows_of_no_weight_do_not_matter(make):
    y = Y if make is regressor else LABEL
    weight = np.random.default_rng(1).uniform(0.5, 2.0, 120) * (np.arange(120) % 3 > 0)
    frame = FRAME.astype({"price": object})
    off = weight == 0
    frame.loc[off, "price"] = "no number"
    frame.loc[off, "colour"] = "colour of no row"
    weighted = make().fit(frame, y, sample_weight=weight)
    removed = make().fit(FRAME[~off], y[~off], sample_weight=weight[~off])
    assert list(weighted.coef_feature_names_) == list(removed.coef_feature_names_)
    np.testing.assert_allclose(weighted.coef_, removed.coef_, atol=1e-10)


@pytest.mark.jit
def test_rows_of_no_weight_and_splits():
    """Splits count all rows, those of no weight included."""
    weight = (np.arange(120) % 3 > 0).astype(float)
    model = MultiTaskRegressor(
        "partial_pooling",
        task_column="shop",
        preprocessor="auto",
        cv=TaskKFold(3, task_column="shop"),
    ).fit(FRAME, Y, sample_weight=weight)
    assert list(model.task_report_["n_samples"]) == [20, 20, 20, 20, 0]


def test_classifier():
    model = classifier(exclude_columns="row").fit(FRAME, LABEL)
    assert list(model.coef_feature_names_) == NAMES
    assert model.score(FRAME, LABEL) > 0.7
    proba = model.predict_proba(FRAME)
    mine = (FRAME["shop"] == "b").to_numpy()
    own = model.for_task("b")
    np.testing.assert_allclose(own.predict_proba(FEATURES[mine]), proba[mine])
    np.testing.assert_array_equal(own.predict(FRAME[mine]), model.predict(FRAME)[mine])


class Recorder(TransformerMixin, BaseEstimator):
    """Keeps what it was fitted on, and passes the first column."""

    def fit(self, X, y=None):
        self.X_, self.y_ = X, y
        return self

    def transform(self, X):
        return np.asarray(X.iloc[:, [0]] if hasattr(X, "iloc") else X[:, [0]], dtype=float)


def test_what_a_transformer_sees():
    frame = FRAME.drop(columns="price")
    theirs = Recorder()
    model = classifier(preprocessor=theirs).fit(frame, LABEL)
    assert not hasattr(theirs, "y_")  # a clone was fitted
    assert list(model.preprocessor_.X_.columns) == ["row", "on_sale", "colour", "size"]
    np.testing.assert_array_equal(model.preprocessor_.y_, LABEL)
    assert list(model.coef_feature_names_) == ["x0"]  # it has no get_feature_names_out
    Y2 = np.column_stack([Y, -Y])
    model = regressor(preprocessor=theirs, task_column=None).fit(frame, Y2)
    np.testing.assert_array_equal(model.preprocessor_.y_, Y2)
    assert model.predict(frame).shape == (120, 2)


class FitAndTransformOnly(BaseEstimator):
    """The least that a transformer is."""

    def fit(self, X, y=None):
        self.mean_ = np.mean(X, axis=0)
        return self

    def transform(self, X):
        return np.asarray(X - self.mean_)


TRANSFORMERS = {
    "scaler": StandardScaler(),
    "pipeline": make_pipeline(SimpleImputer(), StandardScaler()),
    "frame": StandardScaler().set_output(transform="pandas"),
    "polars": StandardScaler().set_output(transform="polars"),
    "selection": SelectKBest(f_regression, k=1),
    "sparse": make_column_transformer((StandardScaler(), [0]), (OneHotEncoder(), [1])),
    "no fit_transform": FitAndTransformOnly(),
    "function": make_pipeline(FunctionTransformer(np.abs)),
}


@pytest.mark.parametrize("name", TRANSFORMERS)
def test_a_transformer_of_ones_own(name):
    transformer = TRANSFORMERS[name]
    before = joblib.hash(transformer)
    frame = pd.DataFrame({"a": np.arange(120.0) % 17, "b": np.arange(120.0) % 3})
    Z = clone(transformer).fit_transform(frame, Y) if name != "no fit_transform" else frame
    wanted = MultiTaskRegressor(clone(FIXED), cv=None).fit(Z, Y, task=FRAME["shop"])
    model = regressor(preprocessor=transformer).fit(frame.assign(shop=FRAME["shop"]), Y)
    np.testing.assert_allclose(
        model.predict(frame.assign(shop=FRAME["shop"])), wanted.predict(Z, task=FRAME["shop"])
    )
    own, theirs = model.for_task("c").predict(frame), wanted.for_task("c").predict(Z)
    np.testing.assert_allclose(own, theirs)
    assert joblib.hash(transformer) == before
    names = {
        "scaler": ["a", "b"],
        "function": ["x0", "x1"],
        "no fit_transform": ["x0", "x1"],
    }
    if name in names:
        assert list(model.coef_feature_names_) == names[name]


def test_selection_in_a_classifier():
    frame = FEATURES[["on_sale"]].assign(noise=np.tile([0.0, 1.0], 60), shop=FRAME["shop"])
    model = classifier(preprocessor=SelectKBest(f_classif, k=1)).fit(frame, LABEL)
    assert list(model.coef_feature_names_) == ["on_sale"]


@pytest.mark.parametrize(
    ("preprocessor", "message"),
    [
        ("median", "'preprocessor' parameter .* must be"),
        (1, "'preprocessor' parameter .* must be"),
        (FunctionTransformer(), "could not convert .*\n.*preprocessor= must turn X into finite"),
        (
            ColumnTransformer([("keep", "passthrough", ["price"])]),
            "(?s)contains NaN.*preprocessor= must turn X into finite numbers",
        ),
        (FunctionTransformer(lambda X: np.zeros((3, 1))), "inconsistent numbers of samples"),
        (StandardScaler(), "could not convert string to float"),
    ],
)
def test_bad_preprocessors(preprocessor, message):
    with pytest.raises(ValueError, match=message):
        regressor(preprocessor=preprocessor).fit(FRAME, Y)


def test_a_failed_fit_changes_nothing(fitted):
    model = pickle.loads(pickle.dumps(fitted))
    wanted = model.predict(FRAME)
    for bad in (DATES["pandas"], FRAME.drop(columns="row"), FRAME.assign(price=np.inf)):
        with pytest.raises(ValueError):
            model.fit(bad, Y)
        np.testing.assert_array_equal(model.predict(FRAME), wanted)
    model.set_params(preprocessor=None).fit(FRAME[["row", "shop"]].assign(p=Y), Y)
    assert model.preprocessor_ is None


def test_tags():
    tags = get_tags(regressor()).input_tags
    assert tags.allow_nan and tags.string and tags.categorical and tags.sparse
    tags = get_tags(regressor(preprocessor=None)).input_tags
    assert not (tags.allow_nan or tags.string or tags.categorical) and tags.sparse
    tags = get_tags(regressor(preprocessor=StandardScaler())).input_tags
    assert not (tags.allow_nan or tags.sparse)


# ------------------------------------------------------------------------ scikit-learn's tools


def test_grid_search_into_the_preprocessor():
    prepare = make_column_transformer(
        (SimpleImputer(), ["price"]), (OneHotEncoder(handle_unknown="ignore"), ["colour"])
    )
    grid = {
        "preprocessor__simpleimputer__strategy": ["mean", "constant"],
        "preprocessor__simpleimputer__fill_value": [100.0],
    }
    search = GridSearchCV(
        regressor(preprocessor=prepare, exclude_columns=["row"]), grid, cv=3, error_score="raise"
    ).fit(FRAME, Y)
    assert search.best_params_["preprocessor__simpleimputer__strategy"] == "mean"
    choice = {"preprocessor": ["auto", prepare]}
    search = GridSearchCV(regressor(), choice, cv=3, error_score="raise").fit(FRAME, Y)
    assert len(set(search.cv_results_["mean_test_score"])) == 2


@pytest.mark.parametrize("value", ["auto", None])
def test_nested_parameters_of_no_object(value):
    message = f"preprocessor__strategy cannot be set on preprocessor={value!r}; pass a transf"
    with pytest.raises(ValueError, match=message):
        regressor(preprocessor=value).set_params(preprocessor__strategy="mean")
    both = regressor().set_params(preprocessor=SimpleImputer(), preprocessor__strategy="median")
    assert both.preprocessor.strategy == "median"


def test_cross_validation_with_new_levels():
    """A level in one row only is in one test fold only."""
    frame = FRAME.assign(colour=np.where(np.arange(120) == 5, "gold", FRAME["colour"]))
    assert cross_val_score(regressor(exclude_columns="row"), frame, Y, cv=3).min() > 0.2


class ByTime(BaseCrossValidator):
    """Later rows are tested; reads a column that is no feature."""

    def get_n_splits(self, X=None, y=None, groups=None):
        return 1

    def _iter_test_masks(self, X=None, y=None, groups=None):
        yield X["row"].to_numpy() >= 1080


@pytest.mark.jit
def test_splitters_see_excluded_columns():
    model = MultiTaskRegressor(
        "partial_pooling",
        task_column="shop",
        preprocessor="auto",
        exclude_columns=["row"],
        cv=ByTime(),
    ).fit(FRAME, Y)
    assert np.isfinite(model.task_report_["error_shared"][:-1]).all()


# ------------------------------------------------------------------------------- exclude_columns


@pytest.mark.parametrize("columns", ["row", ["row"], 0, (0,), np.array([-6]), ["row", 0]])
def test_excluded_columns_are_no_features(fitted, columns):
    model = regressor(exclude_columns=columns).fit(FRAME, Y)
    np.testing.assert_array_equal(model.coef_, fitted.coef_)
    frame = FRAME.assign(row="any thing")
    np.testing.assert_array_equal(model.predict(frame), fitted.predict(FRAME))


def test_excluded_columns_without_a_preprocessor():
    frame = pd.DataFrame({"id": ["x"] * 120, "shop": FRAME["shop"], "row": FRAME["row"]})
    model = regressor(preprocessor=None, exclude_columns="id").fit(frame, Y)
    wanted = regressor(preprocessor=None).fit(frame[["shop", "row"]], Y)
    np.testing.assert_array_equal(model.predict(frame), wanted.predict(frame[["shop", "row"]]))
    assert list(model.coef_feature_names_) == ["row"] and model.n_features_in_ == 3
    own = model.for_task("a")
    assert list(own.feature_names_in_) == ["row"] and own.n_features_in_ == 1
    for X in (frame, frame[["row"]], frame[["shop", "row"]], frame[["id", "row"]]):
        np.testing.assert_array_equal(own.predict(X), wanted.for_task("a").predict(frame[["row"]]))
    renamed = frame.rename(columns={"id": "remainder__id", "shop": "remainder__shop"})
    model.fit(renamed, Y)
    np.testing.assert_array_equal(model.predict(renamed), wanted.predict(frame[["shop", "row"]]))


def test_excluded_columns_of_arrays():
    X = np.column_stack([np.arange(120.0), np.arange(120) % 4, np.arange(120.0) % 7])
    model = regressor(preprocessor=None, task_column=1, exclude_columns=0).fit(X, Y)
    wanted = MultiTaskRegressor(clone(FIXED), cv=None).fit(X[:, [2]], Y, task=np.arange(120) % 4)
    np.testing.assert_array_equal(
        model.predict(X), wanted.predict(X[:, [2]], task=np.arange(120) % 4)
    )
    own = model.for_task(1)
    np.testing.assert_array_equal(own.predict(X), own.predict(X[:, [2]]))
    with pytest.raises(ValueError, match="X has 2 features, but LinearTaskModel is expecting 1"):
        own.predict(X[:, 1:])
    scattered = sparse.coo_array(X)
    model.fit(scattered, Y)
    np.testing.assert_allclose(model.predict(scattered), model.predict(X))


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ("nr", "exclude_columns names 'nr', not found in X, whose columns are: 'row', 'price'"),
        (["nr", "row", "time"], "exclude_columns names 'nr', 'time', not found in X"),
        (9, "exclude_columns=9 is out of range: X has 6 columns"),
        ("shop", "exclude_columns names 'shop', which is the task column"),
        (["row", 2], "exclude_columns names 2, which is the task column"),
        ([1.5], "exclude_columns=1.5 is of type float"),
        (1.5, "'exclude_columns' parameter .* must be"),
        (
            [c for c in FRAME if c != "shop"],
            r"0 feature\(s\).*needs a column besides task_column= and exclude",
        ),
    ],
)
def test_bad_exclude_columns(columns, message):
    with pytest.raises(ValueError, match=message):
        regressor(exclude_columns=columns).fit(FRAME, Y)


def test_names_to_exclude_from_an_array():
    with pytest.raises(ValueError, match="exclude_columns='row' is a name, but X is a ndarray"):
        regressor(task_column=2, exclude_columns="row").fit(FRAME.to_numpy(), Y)


def test_the_columns_of_fit_are_asked_for_at_predict(fitted):
    with pytest.raises(ValueError, match="exclude_columns names 'row', not found in X"):
        fitted.predict(FRAME.drop(columns="row"))
    with pytest.raises(ValueError, match="(?s)feature names should match.*same order"):
        fitted.predict(FRAME[FRAME.columns[::-1]])


# -------------------------------------------------------------- one task's model, and later rows


def test_the_model_of_one_task_takes_raw_rows(fitted):
    own = fitted.for_task("b")
    assert list(own.feature_names_in_) == list(FEATURES.columns) and own.n_features_in_ == 4
    mine = (FRAME["shop"] == "b").to_numpy()
    wanted = fitted.predict(FRAME)[mine]
    for X in (FRAME, FEATURES, FRAME.drop(columns="shop"), FRAME.drop(columns="row")):
        np.testing.assert_allclose(own.predict(X[mine]), wanted)
        np.testing.assert_allclose(own.predict(pl.from_pandas(X[mine])), wanted)
        np.testing.assert_allclose(own.predict(X[mine].iloc[:1]), wanted[:1])
    copy = pickle.dumps(own)
    np.testing.assert_array_equal(
        pickle.loads(copy).predict(FEATURES[mine]), own.predict(FEATURES[mine])
    )
    assert len(copy) < 20_000
    with pytest.raises(ValueError, match="feature names should match"):
        own.predict(FEATURES.rename(columns={"price": "cost"}))
    with pytest.raises(ValueError, match="feature names should match"):
        own.predict(FEATURES.assign(more=1))


def test_size_does_not_depend_on_rows():
    small, large = (
        len(pickle.dumps(regressor(exclude_columns="row").fit(*messy(n)).for_task("a")))
        for n in (120, 2400)
    )
    assert abs(large - small) < 200


def test_features_to_predict(fitted):
    """One method makes features of raw rows, for all who need them."""
    wanted = fitted.preprocessor_.transform(FEATURES)
    for X in (FRAME, FEATURES, FRAME.drop(columns="shop")):
        np.testing.assert_array_equal(fitted._features_to_predict(X), wanted)
    with pytest.raises(ValueError, match="X has 3 features, but MultiTaskRegressor is expecting 4"):
        fitted._features_to_predict(FEATURES.iloc[:, 1:])
    with pytest.raises(ValueError, match="feature names should match those in fit"):
        fitted._features_to_predict(FEATURES[FEATURES.columns[::-1]])


def test_partial_fit_keeps_the_first_preprocessor():
    first, later = np.arange(120) < 60, np.arange(120) >= 60
    parts = regressor(exclude_columns="row").partial_fit(FRAME[first], Y[first])
    wanted, kept = regressor(exclude_columns="row").fit(FRAME[first], Y[first]), parts.preprocessor_
    np.testing.assert_allclose(parts.coef_, wanted.coef_)
    changed = FRAME[later].assign(colour="green")
    parts.partial_fit(changed, Y[later])
    assert parts.preprocessor_ is kept
    assert list(parts.coef_feature_names_) == NAMES
    Z = kept.transform(pd.concat([FRAME[first], changed]).drop(columns=["row", "shop"]))
    whole = MultiTaskRegressor(clone(FIXED), cv=None).fit(Z, Y, task=FRAME["shop"])
    np.testing.assert_allclose(parts.coef_, whole.coef_, atol=1e-9)


def test_columns_of_a_table():
    columns = FeatureColumns.find(FRAME, "shop", ["row"])
    assert columns.names == list(FEATURES.columns) and columns.n_features == 4
    assert columns.others == [0, 2] and columns.other_names == ["row", "shop"]
    assert FeatureColumns.find(np.zeros((2, 3))).select(np.ones((1, 3))).shape == (1, 3)


def test_a_gap_is_a_level():
    transformer = auto_preprocessor(FEATURES).fit(FEATURES)
    encoder = transformer.named_transformers_["categories"][-1]
    assert MISSING in encoder.categories_[0]
