"""Models that an earlier version pickled are loaded, and predict what they did."""

import importlib.util
import pickle
import warnings
from pathlib import Path

import numpy as np
import pytest
from sklearn.exceptions import InconsistentVersionWarning

FOLDER = Path(__file__).parent / "pickles"
_spec = importlib.util.spec_from_file_location("pickled_models", FOLDER / "models.py")
models = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(models)
PICKLES = sorted(path.relative_to(FOLDER).as_posix() for path in FOLDER.glob("*/*.pickle"))


def test_every_model_is_pickled():
    assert {Path(name).stem for name in PICKLES} >= set(models.MODELS)


@pytest.mark.skipif(np.__version__ < "2", reason="numpy 1 cannot load arrays pickled by numpy 2")
@pytest.mark.parametrize("name", PICKLES)
def test_a_pickled_model_predicts_as_before(name):
    path = FOLDER / name
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", InconsistentVersionWarning)
        model = pickle.loads(path.read_bytes())
    with np.load(path.parent / "predictions.npz") as wanted:
        found = models.predictions(path.stem, model)
        np.testing.assert_allclose(found, wanted[path.stem], rtol=1e-8, atol=1e-10)
