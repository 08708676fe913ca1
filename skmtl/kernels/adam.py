"""The update of Adam, see `solvers.adam`."""

import numpy as np

from .._jit import njit


@njit
def adam_update(x, grad, mean, square, average, step, constants):
    """Apply update number `step` (from 1) of Adam to `x`, its moments and its average, in place.

    `constants` are the learning rate, the decays of the moments, epsilon, and the decay of the
    average, which is smaller in the first steps.
    """
    one = x.dtype.type(1)
    beta1, beta2 = x.dtype.type(constants[1]), x.dtype.type(constants[2])
    length = x.dtype.type(constants[0] / (1.0 - constants[1] ** step))
    unbias = x.dtype.type(1.0 / (1.0 - constants[2] ** step))
    epsilon = x.dtype.type(constants[3])
    decay = x.dtype.type(min(constants[4], step / (step + 30.0)))
    for j in range(x.shape[0]):
        mean[j] = beta1 * mean[j] + (one - beta1) * grad[j]
        square[j] = beta2 * square[j] + (one - beta2) * grad[j] * grad[j]
        x[j] -= length * mean[j] / (np.sqrt(square[j] * unbias) + epsilon)
        average[j] = decay * average[j] + (one - decay) * x[j]
