"""The exponential function for arrays of numbers of at most zero, in vector instructions."""

import numpy as np

from .._jit import njit

_LOG2_E = 1.4426950408889634
# log(2) in two parts; integer multiples of the first are exact.
_LN2_HIGH = 0.693147180369123816490
_LN2_LOW = 1.90821492927058770002e-10
# Adding this to a small number puts the nearest integer into the lowest bits.
_TO_INTEGER = 6755399441055744.0
_LOWEST = -708.0  # below, the result is set to zero, as it would be a subnormal number
_LEAST = 3.31e-308  # slightly more than exp(_LOWEST)
_BIAS = 1023 << 52
_WIDTH = 1024


def exponentiate(x):
    """Compute ``x[:] = exp(min(x, 0))`` for a 1-D array, up to a few units in the last place.

    ``exp(x) = 2^n exp(r)`` with ``|r| <= log(2) / 2``. The Taylor series of ``exp(r)`` is truncated
    after 13 terms, and the power of two is formed from the bits of n. numpy takes twice as long.
    """
    shifted = np.empty(_WIDTH)
    _exponentiate(x, shifted, shifted.view(np.int64))


@njit(fused=True)
def _exponentiate(x, shifted, bits):
    """Compute `exponentiate`; `bits` is a view of the workspace `shifted`."""
    for start in range(0, len(x), _WIDTH):
        m = min(_WIDTH, len(x) - start)
        part = x[start : start + m]
        for i in range(m):
            v = part[i]
            v = _LOWEST if v < _LOWEST else v  # NaN stays NaN
            v = 0.0 if v > 0.0 else v
            part[i] = v
            shifted[i] = v * _LOG2_E + _TO_INTEGER
        for i in range(m):
            n = shifted[i] - _TO_INTEGER
            r = (part[i] - n * _LN2_HIGH) - n * _LN2_LOW
            # Estrin's scheme: half the depth of Horner's, for more instructions in parallel.
            square = r * r
            fourth = square * square
            low = (1.0 + r) + (0.5 + 1.0 / 6.0 * r) * square
            middle = (1.0 / 24.0 + 1.0 / 120.0 * r) + (1.0 / 720.0 + 1.0 / 5040.0 * r) * square
            top = 1.0 / 3628800.0 + 1.0 / 39916800.0 * r
            high = (1.0 / 40320.0 + 1.0 / 362880.0 * r) + top * square
            high = high + 1.0 / 479001600.0 * fourth
            part[i] = (high * fourth + middle) * fourth + low
        for i in range(m):
            bits[i] = (bits[i] << 52) + _BIAS
        for i in range(m):
            v = part[i] * shifted[i]
            part[i] = 0.0 if v < _LEAST else v
