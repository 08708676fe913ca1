"""The exponential function against that of numpy."""

import numpy as np
import pytest

from skmtl.kernels.exponential import exponentiate


@pytest.mark.parametrize("lowest", [1e-12, 1.0, 50.0, 707.0])
@pytest.mark.parametrize("n", [0, 1, 1023, 1024, 3000])
def test_exponentiate(lowest, n):
    x = -np.random.default_rng(0).uniform(0.0, lowest, n)
    found = x.copy()
    exponentiate(found)
    np.testing.assert_allclose(found, np.exp(x), rtol=1e-15)


def test_ends():
    x = np.array([0.0, -0.0, 1e-17, 3.0, -707.9, -708.1, -800.0, -np.inf, np.nan])
    exponentiate(x)
    np.testing.assert_array_equal(x[:4], 1.0)
    assert 0 < x[4] < 1e-307 and (x[5:8] == 0.0).all() and np.isnan(x[8])
