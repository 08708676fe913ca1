"""Fits on a cluster of Dask: processes that share nothing, one of which dies."""

import os

import pytest
from engines import assert_same_fit, make, many_tasks, regressor_of_many


@pytest.fixture
def client():
    """A client of a cluster of two processes, which are started again if they die."""
    distributed = pytest.importorskip("distributed")
    cluster = distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None
    )
    with cluster, distributed.Client(cluster) as client:
        yield client


@pytest.mark.slow
def test_a_worker_that_dies_does_not_change_the_fit(rng, tmp_path, client):
    frame = many_tasks(rng, n=2000, n_tasks=50)
    wanted = regressor_of_many().fit(frame.lazy(), "y")
    rows, flag = make("dask", frame), str(tmp_path / "died")

    def die_once(rows, flag):
        """Return the rows, but end the process in the first call for rows."""
        # Inside the test, as processes that cannot import the tests are sent its code.
        if len(rows) and not os.path.exists(flag):
            open(flag, "w").close()
            os._exit(1)
        return rows

    found = regressor_of_many().fit(rows.map_partitions(die_once, flag, meta=rows._meta), "y")
    assert os.path.exists(flag)
    assert_same_fit(found, wanted)
    predicted = found.predict(rows).compute().sort_values("id")["prediction"]
    kept = frame.sort("id").drop("y")
    assert abs(predicted.to_numpy() - wanted.predict(kept)).max() < 1e-9
