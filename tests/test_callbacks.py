"""scikit-learn's callbacks (1.9 on), through the bridge."""

import numpy as np
import pytest
from checks import Recorder
from sklearn.model_selection import GridSearchCV

from skmtl import MultiTaskRegressor
from skmtl.datasets import load_grunfeld
from skmtl.model_selection import TaskKFold

callback = pytest.importorskip("sklearn.callback")
pytestmark = pytest.mark.jit


@pytest.fixture
def table():
    return load_grunfeld(return_X_y=True, as_frame=True)


@pytest.mark.parametrize("method", ["fit", "partial_fit"])
def test_every_step_is_reported(table, method):
    recorder = Recorder()
    model = MultiTaskRegressor("partial_pooling", task_column="firm").set_callbacks(recorder)
    getattr(model, method)(*table)
    log = recorder.log
    assert log[:2] == ["setup", "begin fit"] and log[-2:] == ["end fit", "teardown"]
    steps = log[2:-2]
    assert len(steps) > 4 and steps[0].startswith("begin screening")
    assert [s.partition(" ")[2] for s in steps[::2]] == [s.partition(" ")[2] for s in steps[1::2]]
    np.testing.assert_array_equal(recorder.fitted.predict(table[0]), model.predict(table[0]))


def test_torn_down_after_an_error(table):
    recorder = Recorder()
    model = MultiTaskRegressor("partial_pooling", task_column="nowhere").set_callbacks(recorder)
    with pytest.raises(ValueError, match="nowhere"):
        model.fit(*table)
    assert recorder.log[-1] == "teardown"
    assert not hasattr(model, "coef_")


def test_progress_bar_around_a_search(table):
    pytest.importorskip("rich")
    search = GridSearchCV(
        MultiTaskRegressor("partial_pooling", task_column="firm"),
        {"sharing": ["pooled", "independent"]},
        cv=TaskKFold(2, task_column="firm"),
    )
    search.set_callbacks(callback.ProgressBar()).fit(*table)
    assert search.n_splits_ == 2


def test_scoring_monitor(table):
    monitor = callback.ScoringMonitor(scoring="r2")
    model = (
        MultiTaskRegressor("partial_pooling", task_column="firm").set_callbacks(monitor).fit(*table)
    )
    scores = monitor.get_logs(select="most_recent").data_as_pandas
    assert model.score(*table) == pytest.approx(scores["r2"].iloc[-1])
