"""One update of Adam, see `solvers.adam`."""

import numpy as np

from .._jit import njit


@njit
def adam_update(x, grad, mean, square, average, step, constants):
    """Update number `step` (from 1) of Adam, in place of `x`, its moments and its average.

    `constants` are the rate, the moments' decays, what keeps from dividing by zero, and the
    average's decay, which is less in the first steps.
    """
    one = x.dtype.type(1)
    b, c = x.dtype.type(constants[1]), x.dtype.type(constants[2])
    length = x.dtype.type(constants[0] / (1.0 - constants[1] ** step))
    unbias = x.dtype.type(1.0 / (1.0 - constants[2] ** step))
    floor = x.dtype.type(constants[3])
    keep = x.dtype.type(min(constants[4], step / (step + 30.0)))
    for j in range(x.shape[0]):
        mean[j] = b * mean[j] + (one - b) * grad[j]
        square[j] = c * square[j] + (one - c) * grad[j] * grad[j]
        x[j] -= length * mean[j] / (np.sqrt(square[j] * unbias) + floor)
        average[j] = keep * average[j] + (one - keep) * x[j]
