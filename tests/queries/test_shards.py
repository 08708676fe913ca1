"""Fits to moments in shards are those to all moments in memory."""

import numpy as np
import polars as pl
import pytest
from engines import assert_same_fit, make, many_tasks, regressor_of_many

from skmtl.sharing import PartialPooling
from skmtl.tasks.shards import ShardStore

FIXED = PartialPooling(5.0, alpha_intercept=1.0, alpha_shared=0.5)


# What is compared: given strengths, chosen ones, limits of partial pooling, weights of the tasks.
SETTINGS = {
    "given": (FIXED, {"cv": None}),
    "judged": (FIXED, {}),
    "tuned": ("partial_pooling", {}),
    "free intercepts": (PartialPooling(2.0, alpha_intercept=0.0), {}),
    "independent": ("independent", {}),
    "pooled": ("pooled", {}),
    "balanced": ("partial_pooling", {"task_weight": "balanced"}),
    "weights": (FIXED, {"task_weight": {3: 5.0, 7: 0.0}}),
    "tuples": ("partial_pooling", {"task_column": ["region", "task"]}),
    "strings": ("partial_pooling", {"task_column": "shop"}),
}


@pytest.mark.parametrize("setting", SETTINGS)
def test_a_fit_in_shards_is_that_in_memory(rng, setting):
    sharing, options = SETTINGS[setting]
    lazy = many_tasks(rng).lazy()
    wanted = regressor_of_many(sharing, **options).fit(lazy, "y")
    found = regressor_of_many(sharing, memory_limit="1MB", **options).fit(lazy, "y")
    assert_same_fit(found, wanted, tol=1e-11)
    assert found.kkt_residual_ < 1e-12
    for name, values in wanted.history_.items():
        np.testing.assert_array_equal(np.isnan(found.history_[name]), np.isnan(values))
        np.testing.assert_allclose(found.history_[name], values, rtol=1e-9, atol=1e-12)
    a, b = found.summary(), wanted.summary()
    for one, other in ((a.coefficients, b.coefficients), (a.components, b.components)):
        for name, values in other.items():
            if values.dtype.kind == "f":
                # The restricted likelihood is flat at its optimum.
                np.testing.assert_allclose(one[name], values, rtol=1e-4, atol=1e-10)
    new = many_tasks(rng, n=500)
    kept = new.drop("y")
    np.testing.assert_allclose(found.predict(kept), wanted.predict(kept), rtol=1e-9, atol=1e-9)
    if wanted.cv is not None:
        low, _ = found.predict_interval(kept)
        np.testing.assert_allclose(low, wanted.predict_interval(kept)[0], rtol=1e-9, atol=1e-9)
    rows = kept.head(8), new["y"].head(8).to_numpy()
    one, other = found.adapt(*rows), wanted.adapt(*rows)
    np.testing.assert_allclose(one.coef_, other.coef_, rtol=1e-8, atol=1e-9)


@pytest.mark.parametrize("engine", ["duckdb", "dask"])
def test_shards_of_other_engines(rng, engine):
    frame = many_tasks(rng, n=2500, n_tasks=200)
    wanted = regressor_of_many().fit(frame.lazy(), "y")
    found = regressor_of_many(memory_limit=1e6).fit(make(engine, frame), "y")
    assert_same_fit(found, wanted, tol=1e-10)


def test_products_of_held_out_errors_do_not_depend_on_the_limit(rng):
    lazy = many_tasks(rng).lazy()
    few, many = (regressor_of_many(memory_limit=limit).fit(lazy, "y") for limit in (1e6, 1.6e6))
    assert_same_fit(few, many, tol=1e-11)


def test_what_shards_do_not_take_is_refused_by_name(rng):
    lazy = many_tasks(rng).lazy()
    for options, text in (
        ({"keep_moments": True}, "keep_moments=True"),
        ({"target_scale": "task"}, "target_scale='task'"),
        ({"sharing": PartialPooling(varying=["a"])}, "slopes that have a sign or are the same"),
        ({"sharing": PartialPooling(positive=["a"])}, "slopes that have a sign or are the same"),
    ):
        model = regressor_of_many(memory_limit="1MB").set_params(**options)
        with pytest.raises(ValueError, match=text):
            model.fit(lazy, "y")
        model.set_params(memory_limit="1GB").fit(lazy, "y")  # where one shard is enough
    for limit in ("1 potato", 10, "GB", -1.0):
        with pytest.raises(ValueError, match="memory_limit"):
            regressor_of_many(memory_limit=limit).fit(lazy, "y")


def test_tasks_in_other_units_are_warned_of(rng):
    frame = many_tasks(rng)
    factor = pl.Series(np.exp(3.0 * rng.normal(size=400)))
    frame = frame.with_columns(y=pl.col("y") * factor.gather(frame["task"]))
    in_units = regressor_of_many().set_params(target_scale="auto").fit(frame.lazy(), "y")
    assert in_units.target_scale_ == "task"
    sharded = regressor_of_many(memory_limit="1MB").set_params(target_scale="auto")
    with pytest.warns(UserWarning, match="raise memory_limit, or set target_scale='table'"):
        sharded.fit(frame.lazy(), "y")
    assert sharded.target_scale_ == "table"
    assert_same_fit(sharded, regressor_of_many().fit(frame.lazy(), "y"), tol=1e-11)


def test_files_of_shards_are_removed(rng, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    folders = []
    make_store = ShardStore.__init__

    def init(self):
        make_store(self)
        folders.extend(tmp_path.glob("skmtl_shards_*"))

    monkeypatch.setattr(ShardStore, "__init__", init)
    model = regressor_of_many(memory_limit="1MB").fit(many_tasks(rng).lazy(), "y")
    assert folders and not list(tmp_path.iterdir())
    assert model.coef_.shape == (400, 3)
