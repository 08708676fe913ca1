"""Golden numbers: what every face predicted on fixed data when a file of them was written.

A change that means to change predictions adds a file, named by the version, and says so in the
changelog; what the old file stood for stays tested under parameters named explicitly.
"""

import importlib.util
from pathlib import Path

import numpy as np
import pytest

FOLDER = Path(__file__).parent / "golden"
_spec = importlib.util.spec_from_file_location("golden_cases", FOLDER / "cases.py")
cases = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(cases)


@pytest.fixture(scope="module")
def golden():
    with np.load(FOLDER / "0.1.npz") as file:
        return dict(file)


def test_every_case_has_numbers(golden):
    assert sorted(golden) == sorted(cases.CASES)


@pytest.mark.parametrize("name", cases.CASES)
def test_numbers_are_as_before(name, golden):
    tolerance, wanted = cases.CASES[name][0], golden[name]
    found = cases.numbers_of(name)
    np.testing.assert_allclose(found, wanted, rtol=tolerance, atol=tolerance * np.ptp(wanted))
