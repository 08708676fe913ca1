r"""Adam, for objectives with noisy gradients.

With the gradient g of step t the moments are :math:`m = \beta_1 m + (1 - \beta_1) g` and
:math:`v = \beta_2 v + (1 - \beta_2) g^2`, and x moves by
:math:`-\eta\,\hat m / (\sqrt{\hat v} + \epsilon)`, where the hats divide by :math:`1 - \beta^t`.

As x fluctuates around its limit, the held-out loss is measured for, and the result is, its running
mean :math:`\bar x = a \bar x + (1 - a) x` with :math:`a = \min(average, t / (t + 30))`: over
about a thirtieth of the steps at first, and over the last ``1 / (1 - average)`` steps later.

References
----------
Kingma, D. P. and Ba, J. (2015). Adam: a method for stochastic optimization. ICLR.
:arxiv:`1412.6980`

Polyak, B. T. and Juditsky, A. B. (1992). Acceleration of stochastic approximation by averaging.
SIAM Journal on Control and Optimization 30(4). :doi:`10.1137/0330046`
"""

import warnings
from dataclasses import dataclass

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from .. import kernels

__all__ = ["AdamResult", "adam", "steps_along"]

# Decays of the two moments, and epsilon.
CONSTANTS = 0.9, 0.999, 1e-8


@dataclass
class AdamResult:
    """Result of `adam`.

    Attributes
    ----------
    x : ndarray
        The running mean with the lowest held-out loss, or the last one without held-out data.
    n_iter : int
        Number of steps, including those after the best one.
    stopped : str
        "max_iter", "no_change", "diverged", "interrupted" or "callback".
    history : dict of arrays
        "step", "train_loss" (the mean since the previous entry), and the output of `held_out`.
    """

    x: np.ndarray
    n_iter: int
    stopped: str
    history: dict


def steps_along(gradient, learning_rate, average=0.0):
    """Return the `advance` of `adam` for a function ``gradient(x, step, out)``.

    The function writes the gradient to `out` and returns the loss. `average` is the decay of the
    running mean of x; with 0 it is x itself.
    """
    constants = np.array([learning_rate, *CONSTANTS, average])

    def advance(x, moments, step, n_steps):
        losses, grad = np.empty(n_steps), np.empty_like(x)
        for i in range(n_steps):
            losses[i] = gradient(x, step + i, grad)
            kernels.adam.adam_update(x, grad, *moments, step + i + 1, constants)
        return losses

    return advance


def adam(x, advance, *, max_iter, held_out=None, check_every=100, patience=10, tol=0.0,
         progress=None, stop=None):  # fmt: skip
    """Minimise by Adam, and stop when the held-out loss no longer decreases.

    Parameters
    ----------
    x : ndarray of shape (n,)
        Starting point, float32 or float64; not modified.
    advance : callable
        ``advance(x, moments, step, n_steps)`` takes `n_steps` steps from number `step`, updates `x`
        and `moments` (3, n) in place, the last of which is the running mean of x, and returns the
        losses of the steps; see `steps_along`.
    max_iter : int
        Largest number of steps.
    held_out : callable, optional
        ``held_out(x)`` returns a dict of numbers or arrays for the history, which includes
        "held_out_loss". It is called with the running mean.
    check_every : int
        Number of steps between two checks of the held-out loss.
    patience : int
        Number of checks without a loss lower by more than `tol`, after which the run ends.
    tol : float
        Smallest decrease of the held-out loss that counts.
    progress : callable, optional
        Called with a message after every check.
    stop : callable, optional
        Called with the new entry of the history after every check but the first; the run ends if it
        returns True.

    Returns
    -------
    AdamResult

    Notes
    -----
    Ctrl-C ends the run with a warning, as in scikit-learn's perceptrons, and the best parameters so
    far are returned. So does an overflow, with a ConvergenceWarning.

    Examples
    --------
    >>> import numpy as np
    >>> from skmtl.solvers.adam import adam, steps_along
    >>> def gradient(x, step, out):
    ...     out[:] = 2 * (x - 3.0)
    ...     return ((x - 3.0) ** 2).sum()
    >>> result = adam(np.zeros(2), steps_along(gradient, 0.1), max_iter=500)
    >>> result.x.round(3)
    array([3., 3.])
    """
    x, step, stopped = x.copy(), 0, "max_iter"
    moments = np.zeros((3, len(x)), x.dtype)
    average = moments[2]
    average[:] = x
    best, best_loss, best_step, history = x.copy(), np.inf, 0, []

    def check(losses):
        nonlocal best_loss, best_step
        entry = {"step": step, "train_loss": np.mean(losses) if len(losses) else np.nan}
        if held_out is not None:
            entry |= held_out(average)
        if held_out is None or entry["held_out_loss"] < best_loss - tol:
            best_loss, best_step = entry.get("held_out_loss", np.inf), step
            best[:] = average
        history.append(entry)
        if progress is not None and step:
            shown = {k: v for k, v in entry.items() if np.ndim(v) == 0 and k != "step"}
            values = ", ".join(f"{k.replace('_', ' ')} {v:.4g}" for k, v in shown.items())
            progress(f"step {step}: {values}")

    try:
        check([])
        while step < max_iter:
            n_steps = min(check_every, max_iter - step)
            losses = advance(x, moments, step, n_steps)
            if not (np.isfinite(losses).all() and np.isfinite(x).all()):
                stopped = "diverged"
                warnings.warn(
                    f"Adam met numbers that are not finite between steps {step} and "
                    f"{step + n_steps}; the best parameters before are kept. A lower learning rate "
                    "may help.",
                    ConvergenceWarning,
                    stacklevel=2,
                )
                break
            step += n_steps
            check(losses)
            if held_out is not None and step - best_step >= patience * check_every:
                stopped = "no_change"
                break
            if stop is not None and stop(history[-1]):
                stopped = "callback"
                break
    except KeyboardInterrupt:
        warnings.warn(
            f"Interrupted after step {step}; the best parameters so far are kept.", stacklevel=2
        )
        stopped = "interrupted"
    curves = {k: np.array([entry[k] for entry in history]) for k in (history or [{}])[0]}
    return AdamResult(best, step, stopped, curves)
