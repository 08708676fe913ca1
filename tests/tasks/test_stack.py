"""Tables one below the other: categories of frames."""

import pandas as pd
import polars as pl
import pytest
from sklearn.ensemble import HistGradientBoostingRegressor

from skmtl import Source, TransferEstimator
from skmtl.tasks.stack import stack_rows

KINDS = ["a", "b"], ["c", "b"]


def test_pandas_categories_are_joined():
    first = pd.DataFrame({"kind": pd.Categorical(["b", "a"], KINDS[0]), "x": [1, 2]})
    second = pd.DataFrame({"kind": pd.Categorical(["c", None], KINDS[1]), "x": [0.5, 3]})
    stacked = stack_rows([first, second])
    assert list(stacked["kind"].cat.categories) == ["a", "b", "c"]
    assert stacked["kind"].tolist()[:3] == ["b", "a", "c"] and stacked["kind"].isna()[3]
    assert stacked["x"].tolist() == [1.0, 2.0, 0.5, 3.0]
    assert list(first["kind"].cat.categories) == KINDS[0]  # the caller's stays as it was
    ordered = first.assign(kind=pd.Categorical(["b", "a"], KINDS[0], ordered=True))
    assert stack_rows([ordered, ordered])["kind"].cat.ordered


def test_polars_enums_are_joined():
    first = pl.DataFrame({"kind": ["b", "a"]}, schema={"kind": pl.Enum(KINDS[0])})
    second = pl.DataFrame({"kind": ["c", None]}, schema={"kind": pl.Enum(KINDS[1])})
    stacked = stack_rows([first, second])
    assert stacked.schema["kind"] == pl.Enum(["a", "b", "c"])
    assert stacked["kind"].to_list() == ["b", "a", "c", None]


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_a_source_with_other_categories(library):
    def frame(values, categories):
        table = pd.DataFrame({"kind": pd.Categorical(values, categories)})
        if library == "pandas":
            return table
        return pl.DataFrame({"kind": values}, schema={"kind": pl.Enum(categories)})

    estimator = HistGradientBoostingRegressor(
        max_iter=100, min_samples_leaf=2, categorical_features="from_dtype"
    )
    source = Source(frame(["b", "c"] * 20, ["b", "c"]), [5.0, 7.0] * 20)
    target = frame(["a", "b"] * 60, ["a", "b"])
    model = TransferEstimator(estimator, source=source).fit(target, [1.0, 5.0] * 60)
    assert model.predict(target)[:2] == pytest.approx([1.0, 5.0], abs=0.5)
