"""The tables that are part of the package."""

import sys

import numpy as np
import pytest

from skmtl.datasets import load_grunfeld


def test_array_form():
    panel = load_grunfeld()
    assert panel.data.shape == (220, 4)
    assert panel.data.dtype == float
    assert panel.target.shape == panel.task.shape == (220,)
    assert panel.feature_names == ["firm", "value", "capital", "year"]
    assert (panel.task_name, panel.target_name) == ("firm", "invest")
    assert panel.frame is None
    assert np.isfinite(panel.data).all() and (panel.target > 0).all()


def test_codes_and_labels_agree():
    panel = load_grunfeld()
    assert list(panel.task_labels) == sorted(set(panel.task))
    assert (panel.task_labels[panel.data[:, 0].astype(int)] == panel.task).all()
    assert (np.bincount(panel.data[:, 0].astype(int)) == 20).all()


def test_known_values():
    panel = load_grunfeld()
    motors = panel.task == "General Motors"
    first = motors & (panel.data[:, 3] == 1935)
    assert panel.data[first, 1:].tolist() == [[3078.5, 2.8, 1935.0]]
    assert panel.target[first].tolist() == [317.6]
    # Kleiber and Zeileis, "The Grunfeld Data at 50": pooled least squares on General Motors
    design = np.column_stack([np.ones(motors.sum()), panel.data[motors, 1:3]])
    coef = np.linalg.lstsq(design, panel.target[motors], rcond=None)[0]
    np.testing.assert_allclose(coef, [-149.782, 0.1193, 0.3714], atol=5e-4)


def test_same_as_statsmodels():
    grunfeld = pytest.importorskip("statsmodels.datasets.grunfeld")
    theirs = grunfeld.load_pandas().data
    panel = load_grunfeld()
    assert (panel.task == theirs["firm"].to_numpy()).all()
    np.testing.assert_array_equal(panel.target, theirs["invest"])
    np.testing.assert_array_equal(panel.data[:, 1:], theirs[["value", "capital", "year"]])


def test_frame_form():
    pd = pytest.importorskip("pandas")
    panel = load_grunfeld(as_frame=True)
    assert isinstance(panel.data, pd.DataFrame) and isinstance(panel.target, pd.Series)
    assert list(panel.data.columns) == panel.feature_names
    assert list(panel.frame.columns) == [*panel.feature_names, "invest"]
    assert (panel.data["firm"] == panel.task).all()
    assert panel.data["year"].dtype == np.int64
    np.testing.assert_array_equal(panel.data.drop(columns="firm"), load_grunfeld().data[:, 1:])


@pytest.mark.parametrize("as_frame", [False, True])
def test_return_X_y(as_frame):
    if as_frame:
        pytest.importorskip("pandas")
    X, y = load_grunfeld(return_X_y=True, as_frame=as_frame)
    panel = load_grunfeld(as_frame=as_frame)
    assert X.shape == (220, 4)
    assert (np.asarray(X) == np.asarray(panel.data)).all()
    assert (np.asarray(y) == np.asarray(panel.target)).all()


def test_arrays_need_no_pandas(monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    assert load_grunfeld().data.shape == (220, 4)
    with pytest.raises(ImportError, match="pip install pandas"):
        load_grunfeld(as_frame=True)


def test_goes_into_an_estimator():
    from skmtl import MultiTaskRegressor

    X, y = load_grunfeld(return_X_y=True)
    model = MultiTaskRegressor("partial_pooling", task_column=0).fit(X, y)
    assert model.coef_.shape == (11, 3)


def test_says_where_it_comes_from():
    text = load_grunfeld().DESCR + load_grunfeld.__doc__
    for word in ("public domain", "statsmodels", "Kleiber", "1947 dollars"):
        assert word in text
