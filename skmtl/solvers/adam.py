r"""Adam, for objectives of which only noisy gradients are at hand.

With the gradient g of step t the moments are :math:`m = \beta_1 m + (1 - \beta_1) g` and
:math:`v = \beta_2 v + (1 - \beta_2) g^2`, and x moves by
:math:`-\eta\,\hat m / (\sqrt{\hat v} + \epsilon)`, the hats dividing by :math:`1 - \beta^t`.

Such an x goes on trembling about where it would settle. What is looked at and returned is its
running mean :math:`\bar x = a \bar x + (1 - a) x` with :math:`a = \min(average, t / (t + 30))`:
over about a thirtieth of the steps in the beginning, over the last ``1 / (1 - average)`` later.

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

# Decays of the moments, and what keeps from dividing by zero.
CONSTANTS = 0.9, 0.999, 1e-8


@dataclass
class AdamResult:
    """Where a run of `adam` ended.

    Attributes
    ----------
    x : ndarray
        The best running mean by the held-out loss; the last where nothing was held out.
    n_iter : int
        Steps taken, those after the best included.
    stopped : str
        "max_iter", "no_change", "diverged" or "interrupted".
    history : dict of arrays
        "step", "train_loss" (the mean since the entry before), and what `held_out` returned.
    """

    x: np.ndarray
    n_iter: int
    stopped: str
    history: dict


def steps_along(gradient, learning_rate, average=0.0):
    """What `adam` takes, of a ``gradient(x, step, out)`` that fills `out` and returns the loss.

    `average` is the decay of the running mean of x; 0 is x itself.
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
         progress=None):  # fmt: skip
    """Minimise by Adam, and stop when the held-out loss no longer falls.

    Parameters
    ----------
    x : ndarray of shape (n,)
        The start, float32 or float64; not modified.
    advance : callable
        ``advance(x, moments, step, n_steps)`` takes steps ``step .. step + n_steps`` in place of
        `x` and of `moments` (3, n), the last of which is the running mean of x, and returns their
        losses; see `steps_along`.
    max_iter : int
        Most steps.
    held_out : callable, optional
        ``held_out(x)`` returns a dict of numbers or arrays for the history, with "held_out_loss"
        among them. It gets the running mean.
    check_every : int
        Steps from one look at the held-out loss to the next.
    patience : int
        So many looks without a loss lower by more than `tol` end the run.
    tol : float
    progress : callable, optional
        Is told in words how it goes.

    Returns
    -------
    AdamResult

    Notes
    -----
    Ctrl-C ends the run with a warning, as in scikit-learn's perceptrons, and what was best so far
    is kept. So it is, with a ConvergenceWarning, when numbers overflow.

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

    def look(losses):
        nonlocal best_loss, best_step
        entry = {"step": step, "train_loss": np.mean(losses) if len(losses) else np.nan}
        if held_out is not None:
            entry |= held_out(average)
            if entry["held_out_loss"] < best_loss - tol:
                best_loss, best_step = entry["held_out_loss"], step
                best[:] = average
        else:
            best[:] = average
        history.append(entry)
        if progress is not None and step:
            shown = {k: v for k, v in entry.items() if np.ndim(v) == 0 and k != "step"}
            said = ", ".join(f"{k.replace('_', ' ')} {v:.4g}" for k, v in shown.items())
            progress(f"step {step}: {said}")

    try:
        look([])
        while step < max_iter:
            n_steps = min(check_every, max_iter - step)
            losses = advance(x, moments, step, n_steps)
            if not (np.isfinite(losses).all() and np.isfinite(x).all()):
                stopped = "diverged"
                warnings.warn(
                    f"Adam met numbers that are not finite between steps {step} and "
                    f"{step + n_steps}; what was best before is kept. A lower learning rate may "
                    "help.",
                    ConvergenceWarning,
                    stacklevel=2,
                )
                break
            step += n_steps
            look(losses)
            if held_out is not None and step - best_step >= patience * check_every:
                stopped = "no_change"
                break
    except KeyboardInterrupt:
        warnings.warn(f"Interrupted after step {step}; what was best is kept.", stacklevel=2)
        stopped = "interrupted"
    curves = {k: np.array([entry[k] for entry in history]) for k in (history or [{}])[0]}
    return AdamResult(best, step, stopped, curves)
