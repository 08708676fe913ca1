"""preprocessor="auto": kinds of columns, and warnings about columns that may be misread."""

import datetime
import decimal
import enum
import uuid
import warnings

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from scipy import sparse

from skmtl import MultiTaskRegressor
from skmtl.tasks.auto import MISSING, auto_preprocessor, sources_of_auto, warn_of_forgotten_task
from skmtl.tasks.features import FeatureColumns, output_sources

DAY = datetime.date(2024, 1, 2)


def kinds(X, **kwargs):
    """What each column is taken for."""
    transformer = auto_preprocessor(X, **kwargs)
    return {label: name for name, _, labels in transformer.transformers for label in labels}


def one(values):
    return pd.DataFrame({"x": values})


class Colour(enum.Enum):
    RED = 1
    BLUE = 2


@pytest.mark.parametrize(
    "values",
    [
        ["1", "2.5", "-3e4", " 7 "],
        ["1", None, "2"],
        ["1", "", "n/a", "2.5"],
        [b"1", b"2.5"],
        [decimal.Decimal("1.5"), "2"],
        ["0", "0.5", "-0.25"],
        pd.array(["1", None, "2"], dtype="string"),
    ],
)
def test_strings_that_are_numbers(values):
    frame = one(values)
    assert kinds(frame) == {"x": "numbers"}
    made = auto_preprocessor(frame).fit_transform(frame)[:, 0]
    read = [str(v.decode() if isinstance(v, bytes) else v).strip() for v in frame["x"]]
    gaps = {"", "n/a", "None", "nan", "<NA>"}
    present = np.array([v not in gaps for v in read])
    numbers = np.array([float(v) for v in read if v not in gaps])
    np.testing.assert_array_equal(made[present], numbers)
    np.testing.assert_array_equal(made[~present], np.full((~present).sum(), np.median(numbers)))


@pytest.mark.parametrize(
    "values",
    [
        ["01067", "10115", "80331"],  # postcodes
        ["1_000", "2_000"],
        ["1", "2", "x"],
        ["", "n/a"],
        [None, None],
        [Colour.RED, Colour.BLUE],
        [uuid.UUID(int=1), uuid.UUID(int=2)],
        pd.Categorical(["1", "2"]),
        pd.cut([1.0, 5.0], [0, 2, 6]),  # intervals, but the column says "categories"
    ],
)
def test_what_are_categories(values):
    assert kinds(one(values)) == {"x": "categories"}


def test_types_of_other_libraries_that_say_categories():
    codes = ["1", "2", "1"]
    assert kinds(pl.DataFrame({"x": codes}, schema={"x": pl.Categorical})) == {"x": "categories"}
    assert kinds(pl.DataFrame({"x": codes}, schema={"x": pl.Enum(["1", "2"])})) == {
        "x": "categories"
    }
    assert kinds(pa.table({"x": pa.array(codes).dictionary_encode()})) == {"x": "categories"}
    assert kinds(pa.table({"x": codes})) == {"x": "numbers"}


@pytest.mark.parametrize(
    "column",
    [
        [DAY] * 4,
        [datetime.datetime(2024, 1, 2, 3)] * 4,
        [datetime.time(3)] * 4,
        [datetime.timedelta(3)] * 4,
        pd.to_datetime(["2024-01-01"] * 4),
        pd.to_datetime(["2024-01-01"] * 4).tz_localize("Europe/Berlin"),
        pd.to_timedelta([1, 2, 3, 4], unit="D"),
        pd.period_range("2024", periods=4, freq="D"),
        pd.arrays.IntervalArray.from_breaks(range(5)),
        [1j] * 4,
        np.ones(4) * 1j,
        [[1, 2]] * 4,
        [(1, 2)] * 4,
        [{}] * 4,
        [{1}] * 4,
        [np.zeros(2)] * 4,
        [object()] * 4,
        [pd.Series([1])] * 4,
    ],
)
def test_what_is_neither_names_the_column(column):
    frame = pd.DataFrame({"x": np.arange(4.0)})
    frame["when"] = pd.Series(column) if isinstance(column, list) else column
    with pytest.raises(ValueError, match=r"column 'when' of X .*exclude_columns=\['when'\]"):
        auto_preprocessor(frame)
    # Said to be categories it is none either.
    with pytest.raises(ValueError, match="column 'when' of X"):
        auto_preprocessor(frame, categorical=[1])


@pytest.mark.parametrize(
    "column",
    [
        pl.Series([DAY] * 3), pl.Series([[1], [2], [3]]), pl.Series([{"a": 1}] * 3),
        pl.Series([datetime.timedelta(1)] * 3), pl.Series([datetime.time(1)] * 3),
    ],
)  # fmt: skip
def test_columns_of_polars_and_arrow_that_are_neither(column):
    frame = pl.DataFrame({"when": column})
    for table in (frame, frame.to_arrow()):
        with pytest.raises(ValueError, match="column 'when' of X"):
            auto_preprocessor(table)


def test_an_invalid_number_in_predict_names_the_column(rng):
    frame = pd.DataFrame({"x": rng.normal(size=20).astype(str)})
    model = MultiTaskRegressor("partial_pooling", preprocessor="auto").fit(
        frame, rng.normal(size=20)
    )
    with pytest.raises(ValueError, match="column 'x' of X held numbers in fit"):
        model.predict(one(["dear", "1"]))
    np.testing.assert_allclose(model.predict(one(["1.5", "2"])), model.predict(one([1.5, 2.0])))


# ---------------------------------------------------------------------- categorical_columns


def regions(rng, n=200):
    frame = pd.DataFrame(
        {"shop": np.arange(n) % 4, "x": rng.normal(size=n), "region": rng.integers(1, 6, size=n)}
    )
    effect = np.array([0.0, 3.0, -2.0, 4.0, -5.0, 1.0])
    return frame, (frame["x"] + effect[frame["region"]] + 0.1 * rng.normal(size=n)).to_numpy()


def test_codes_of_categories(rng):
    frame, y = regions(rng)
    params = {"sharing": "partial_pooling", "task_column": "shop", "preprocessor": "auto"}
    with pytest.warns(UserWarning, match=r"'region' \(5 distinct\).*categorical_columns") as caught:
        numbers = MultiTaskRegressor(**params).fit(frame, y)
    assert len(caught) == 1 and caught[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        categories = MultiTaskRegressor(**params, categorical_columns="region").fit(frame, y)
        silent = MultiTaskRegressor(**params, categorical_columns=[]).fit(frame, y)
        array = frame.to_numpy()
        params["task_column"] = 0
        by_index = MultiTaskRegressor(**params, categorical_columns=[-1]).fit(array, y)
    np.testing.assert_array_equal(silent.predict(frame), numbers.predict(frame))
    assert categories.score(frame, y) > 0.98 > 0.5 > numbers.score(frame, y)
    assert categories.coef_.shape == (4, 6) and by_index.coef_.shape == (4, 6)
    # What fit has read as codes may come as floats or strings later.
    wanted = categories.predict(frame)
    for form in (float, str):
        np.testing.assert_array_equal(categories.predict(frame.astype({"region": form})), wanted)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("zone", "categorical_columns names 'zone', not found"),
        (["shop"], "categorical_columns names 'shop', which is the task column"),
        (["x"], "categorical_columns names 'x', which is among exclude_columns"),
        (1.5, "categorical_columns"),
        ([None], "categorical_columns"),
        (99, "categorical_columns=99 is out of range"),
    ],
)
def test_categorical_columns_that_are_none(rng, given, message):
    frame, y = regions(rng)
    params = {"task_column": "shop", "exclude_columns": "x", "categorical_columns": given}
    with pytest.raises(ValueError, match=message):
        MultiTaskRegressor("partial_pooling", preprocessor="auto", **params).fit(frame, y)


def test_categorical_columns_want_auto(rng):
    frame, y = regions(rng)
    model = MultiTaskRegressor(
        "partial_pooling", task_column="shop", categorical_columns=["region"]
    )
    with pytest.raises(ValueError, match="categorical_columns=.*preprocessor=None"):
        model.fit(frame, y)
    X = sparse.csr_matrix(frame.to_numpy(dtype=float))
    model.set_params(task_column=0, categorical_columns=[2], preprocessor="auto")
    with pytest.raises(ValueError, match="categorical_columns .*sparse"):
        model.fit(X, y)


def test_whole_numbers_stored_as_strings_are_told(rng):
    frame = pd.DataFrame({"city": (np.arange(200) % 70).astype(str), "x": "1.5", "year": "1999"})
    with pytest.warns(UserWarning, match=r"'city' \(70 distinct, stored as strings\)") as caught:
        auto_preprocessor(frame, hints=True)
    assert len(caught) == 1 and "'x'" not in str(caught[0].message)
    assert kinds(frame, categorical=[0]) == {
        "city": "categories",
        "x": "numbers",
        "year": "numbers",
    }


@pytest.mark.parametrize(
    "values",
    [
        np.arange(200) % 2,  # yes or no
        np.arange(200) % 150,  # many
        np.arange(200) % 5 / 2,  # no whole numbers
        np.arange(200) % 5 - 2,  # below zero
        2000 + np.arange(200) % 9,  # years
        np.arange(200) % 5 > 2,
    ],
)
def test_numbers_that_are_no_codes(values):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        auto_preprocessor(one(values), hints=True)


def test_levels_that_are_cut_are_told(rng):
    frame = one([f"city {i}" for i in rng.integers(60, size=900)])
    with pytest.warns(UserWarning, match=r"'x' \(60 categories\)"):
        auto_preprocessor(frame, hints=True)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        auto_preprocessor(one([f"city {i % 30}" for i in range(900)]), hints=True)


def test_a_forgotten_task_is_told(rng):
    frame = pd.DataFrame({"x": rng.normal(size=90), "shop": [f"s{i % 9}" for i in range(90)]})
    y = rng.normal(size=90)
    model = MultiTaskRegressor("partial_pooling", preprocessor="auto")
    with pytest.warns(UserWarning, match=r"'shop' \(9 levels\).*task_column='shop'"):
        model.fit(frame, y)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.set_params(categorical_columns="shop").fit(frame, y)
        model.set_params(categorical_columns=None, task_column="shop").fit(frame, y)
        warn_of_forgotten_task(one([f"s{i % 3}" for i in range(90)]))  # few levels
        warn_of_forgotten_task(one([f"s{i}" for i in range(90)]))  # a text, or an id of rows


# --------------------------------------------------------------------------- sources of outputs


def test_sources_of_outputs(rng):
    n = 60
    frame = pd.DataFrame(
        {
            "kind": np.array(["p", "q", "r"])[rng.integers(3, size=n)],
            "a": np.where(rng.random(n) < 0.2, np.nan, rng.normal(size=n)),
            "rare": np.r_[np.repeat(["u", "v"], 26), np.repeat(["w", "x", "y", "z"], 2)],
            "b": rng.normal(size=n),
        }
    )
    for table in (frame, frame.to_numpy(dtype=object)):
        fitted = auto_preprocessor(table).fit(table)
        names = list(frame.columns)
        outputs = fitted.transform(table).shape[1]
        sources = sources_of_auto(fitted, 4)
        assert len(sources) == outputs
        if table is frame:
            made = fitted.get_feature_names_out()
            for name, source in zip(made, sources, strict=True):
                assert names[source] in name.replace("missingindicator_", "")
        np.testing.assert_array_equal(sources, [1, 3, 1, 0, 0, 0, 2, 2, 2])


def test_sources_of_other_transformers(rng):
    from sklearn.decomposition import PCA
    from sklearn.preprocessing import StandardScaler

    frame = pd.DataFrame(rng.normal(size=(30, 3)), columns=["a", "b", "c"])
    columns = FeatureColumns.find(frame)
    scaler = StandardScaler().fit(frame)
    np.testing.assert_array_equal(output_sources(scaler, columns, 3), [0, 1, 2])
    assert output_sources(PCA(2).fit(frame), columns, 2) is None
    assert output_sources(scaler, FeatureColumns.find(frame.to_numpy()), 3) is None
    X = sparse.csr_matrix(np.where(rng.random((30, 3)) < 0.5, 1.0, 0.0))
    np.testing.assert_array_equal(sources_of_auto(auto_preprocessor(X).fit(X), 3), [0, 1, 2])
    assert MISSING not in frame
