"""Searches whose folds and candidates run elsewhere: processes, threads, a cluster of Dask."""

import os
import subprocess
import sys
import warnings

import joblib
import numpy as np
import pandas as pd
import pytest
from joblib.parallel import get_active_backend
from sklearn.base import clone
from sklearn.ensemble import RandomForestRegressor
from sklearn.model_selection import GridSearchCV

from skmtl import MultiTaskClassifier, MultiTaskRegressor, _warnings
from skmtl._jit import on_this_machine, worker_pool
from skmtl.base import UnknownTaskWarning
from skmtl.sharing import Pooled, SharedEstimator

REGRESSION = GridSearchCV(
    MultiTaskRegressor(task_column="shop", random_state=0),
    {"sharing": ["auto", "partial_pooling", "pooled"]},
    cv=2,
)
CLASSES = GridSearchCV(
    MultiTaskClassifier("partial_pooling", task_column="shop"),
    {"sharing": ["partial_pooling", "independent"], "class_weight": [None, "balanced"]},
    cv=2,
)


def sales(n_rows=600):
    """A table whose response bends, so that learners have weight, with a shop of a single row."""
    rng = np.random.default_rng(0)
    codes = rng.integers(6, size=n_rows)
    X = pd.DataFrame(rng.normal(size=(n_rows, 3)), columns=list("uvw"))
    X["shop"] = np.array(list("abcdef"))[codes]
    y = np.sin(2 * X["u"]) + X["v"] * X["w"] + 0.5 * codes + 0.3 * rng.normal(size=n_rows)
    X.loc[0, "shop"] = "rare"
    return X, y


@pytest.fixture(scope="module")
def cluster():
    """A client of two workers, which are processes."""
    pytest.importorskip("dask")
    distributed = pytest.importorskip("distributed")
    options = {"n_workers": 2, "threads_per_worker": 1, "processes": True}
    with (
        distributed.LocalCluster(dashboard_address=None, **options) as cluster,
        distributed.Client(cluster) as client,
    ):
        yield client


def recording():
    """Let a worker keep its warnings; scikit-learn's handling of filters leaves this alone."""
    import warnings

    from skmtl import _warnings

    _warnings.shown = shown = []
    _warnings._occurred.clear()
    warnings.showwarning = lambda message, category, *args, **kwargs: shown.append(str(message))


def recorded():
    from skmtl import _warnings

    return [text for text in _warnings.shown if "never seen in fit" in text]


def everywhere(client, function):
    """Call a function in all workers, which cannot import this module."""
    cloudpickle = pytest.importorskip("cloudpickle")
    module = sys.modules[__name__]
    cloudpickle.register_pickle_by_value(module)
    try:
        return list(client.run(function).values())
    finally:
        cloudpickle.unregister_pickle_by_value(module)


@pytest.mark.jit
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::skmtl.base.UnknownTaskWarning")
@pytest.mark.parametrize("search", [REGRESSION, CLASSES], ids=["numbers", "classes"])
def test_a_search_on_a_cluster_is_the_sequential_search(search, cluster):
    X, y = sales()
    y = y if search is REGRESSION else (y > y.median()).astype(int)
    wanted, got = clone(search).fit(X, y), clone(search)
    everywhere(cluster, recording)
    with warnings.catch_warnings(), joblib.parallel_config("dask"):
        warnings.simplefilter("always")  # which scikit-learn hands to the workers
        got.fit(X, y)
    assert got.best_params_ == wanted.best_params_
    for name, column in wanted.cv_results_.items():
        if name.endswith("_score"):
            np.testing.assert_allclose(got.cv_results_[name], column, rtol=0, atol=1e-10)
    np.testing.assert_allclose(got.predict(X), wanted.predict(X), rtol=0, atol=1e-10)
    found = everywhere(cluster, recorded)
    assert len(found) == 2 and max(map(len, found)) == 1  # of the fold with the rare shop


@pytest.mark.jit
@pytest.mark.slow
def test_a_fit_on_a_worker_has_one_thread(cluster):
    # Inside the test, as workers that cannot import this module are sent its code.
    def threads_and_depth():
        """What a task of a cluster sees: threads of BLAS and OpenMP, of a fit, of its learners."""
        import threadpoolctl
        from joblib import effective_n_jobs

        from skmtl._jit import on_this_machine, worker_pool

        with worker_pool(None) as executor, on_this_machine():
            libraries = [info["num_threads"] for info in threadpoolctl.threadpool_info()]
            return [*libraries, 1 if executor is None else 2, effective_n_jobs(None)]

    with joblib.parallel_config("dask"):
        found = joblib.Parallel()(joblib.delayed(threads_and_depth)() for _ in range(4))
    assert {count for counts in found for count in counts} == {1}


@pytest.mark.jit
@pytest.mark.slow
def test_a_fit_stays_on_its_machine(cluster):
    """Neither the trees of its learners nor its own threads follow joblib's backend."""
    X, y = sales(300)
    forest = SharedEstimator(RandomForestRegressor(5, random_state=0))
    submitted = cluster.run_on_scheduler(count_of_transitions)
    for sharing in ("auto", forest):
        model = MultiTaskRegressor(sharing, task_column="shop", random_state=0)
        wanted = clone(model).fit(X, y).predict(X)
        with joblib.parallel_config("dask"):
            np.testing.assert_allclose(clone(model).fit(X, y).predict(X), wanted, atol=1e-10)
    # The five trees of a forest alone would be fifteen; tasks of the last test may still end.
    assert cluster.run_on_scheduler(count_of_transitions) < submitted + 10


def count_of_transitions(dask_scheduler):
    return dask_scheduler.transition_counter


class Remote(joblib.parallel.ThreadingBackend):
    """A backend of another package, with a hundred cores."""

    def effective_n_jobs(self, n_jobs):
        return 100


@pytest.fixture
def remote():
    joblib.register_parallel_backend("remote of a test", Remote)
    yield "remote of a test"
    joblib.parallel.BACKENDS.pop("remote of a test", None)


def test_threads_are_those_of_this_machine(remote):
    with joblib.parallel_backend(remote, n_jobs=-1):
        assert joblib.effective_n_jobs(None) == 100
        with on_this_machine():
            assert joblib.effective_n_jobs(None) == 1 and joblib.effective_n_jobs(2) == 2
        assert isinstance(get_active_backend()[0], Remote)
        with worker_pool(None) as none, worker_pool(2) as two:
            assert none is None and two._max_workers == 2
    with joblib.parallel_backend("threading", n_jobs=3), on_this_machine():
        assert joblib.effective_n_jobs(None) == 3  # which is of this machine


# ---------------------------------------------------------------------------------- warnings


def unseen(search, X, y):
    """Return the warnings of unseen tasks in a search that runs in threads."""
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        with joblib.parallel_config("threading", n_jobs=2):
            clone(search).fit(X, y)
    return [w for w in found if issubclass(w.category, UnknownTaskWarning)]


def test_unseen_tasks_are_told_once_in_a_search_in_threads(monkeypatch):
    """scikit-learn sets the filters anew for every candidate, and Python forgets what it told."""
    X, y = sales(60)
    fixed = MultiTaskRegressor(Pooled(1.0), task_column="shop", cv=None)
    search = GridSearchCV(fixed, {"handle_unknown": ["shared"], "max_iter": [1, 2, 3]}, cv=2)
    _warnings._occurred.clear()
    now = 1e6
    monkeypatch.setattr(_warnings, "monotonic", lambda: now)
    assert len(unseen(search, X, y)) == 1
    assert len(unseen(search, X, y)) == 0  # which may be the same search
    now += 2 * _warnings._SILENCE
    assert len(unseen(search, X, y)) == 1
    classifier = MultiTaskClassifier(Pooled(1.0), task_column="shop", cv=None)
    other = clone(search).set_params(estimator=classifier)
    assert len(unseen(other, X, y > y.median())) == 1  # another estimator


SEARCH = """
import sys
sys.path.insert(0, {folder!r})
from test_cluster import GridSearchCV, MultiTaskRegressor, Pooled, sales
if __name__ == "__main__":
    X, y = sales(60)
    fixed = MultiTaskRegressor(Pooled(1.0), task_column="shop", cv=None)
    GridSearchCV(fixed, {{"max_iter": [1, 2, 3, 4]}}, cv=2, n_jobs=2).fit(X, y)
"""


@pytest.mark.slow
def test_unseen_tasks_are_told_once_per_process():
    code = SEARCH.format(folder=os.path.dirname(__file__))
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert 1 <= found.stderr.count("UnknownTaskWarning:") <= 2, found.stderr
