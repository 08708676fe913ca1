r"""A multilayer perceptron whose hidden layers are shared by all tasks, with one head per task.

The features are standardised over all rows, and so are the targets of squared error, over all rows
or by task. With the last hidden units z, :math:`\tilde z = (z, 1)` and the score
:math:`f = \tilde z'(m + d_t)` of task t, training minimises

.. math:: \sum_t \frac{c_t}{v_t} \sum_{i \in t} w_i\, \ell(f_i; y_i)
          + \frac{\alpha}{2} \Big(\sum_l \|W_l\|^2 + \|m\|^2\Big)
          + \frac{\alpha_h}{2} \sum_t \|d_t\|^2

over the weights of the layers, the mean head m and the deviations :math:`d_t`. The loss is half the
squared error, or the log-loss of the score as log-odds. Intercepts of the layers and of m have no
penalty. The emphasis :math:`c_t` on a task, one by default, directs what the layers learn; the
final heads are solved for without it, as it does not make a task's rows tell more about its head.

The :math:`v_t` are one unless the noise is learned. Then :math:`v_t` is proportional to the noise
:math:`\sigma_t^2` that minimises the sum over the task's labels of
:math:`w_i (\ell_i / \sigma_t^2 + \log \sigma_t)` (Kendall et al. 2018): twice its mean loss,
averaged with the mean over all tasks, which counts as ten rows. The weighted mean of
:math:`1 / v_t` is one, so that strengths mean the same for any level of the noise, which falls
where layers over-fit.

Adam takes steps on batches of samples drawn from all tasks. A sample is a row of X with all its
labels, so that the hidden units of a row with labels of many tasks are computed once. Training ends
when the loss on a validation part of the samples no longer decreases; the running mean of the
parameters with the lowest validation loss is restored. Then heads are solved for exactly, under a
Gaussian prior learned from the tasks (`solvers.shared_heads`), and are kept if their validation
loss is lower. At last training is repeated on all samples for the best number of epochs, unless
there are so many that this would change little.

References
----------
Caruana, R. (1997). Multitask learning. Machine Learning 28. :doi:`10.1023/A:1007379606734`

Kendall, A., Gal, Y. and Cipolla, R. (2018). Multi-task learning using uncertainty to weigh losses
for scene geometry and semantics. CVPR. :doi:`10.1109/CVPR.2018.00781`
"""

from dataclasses import dataclass, replace

import numpy as np

from .. import kernels
from .shared_heads import LOG_LOSS, SQUARED, HeadPrior, HeadRows, fit_heads
from .shared_samples import TargetScale, pack_samples, validation_part
from .shared_training import Layers, Options, Trained, Training, loss_of, scores_of

__all__ = ["LOG_LOSS", "SQUARED", "SharedLayers", "fit_shared_layers"]

ACTIVATIONS = "relu", "tanh"
# Share of the validation part: this number of samples within the limits.
_VALIDATION_SAMPLES, _VALIDATION_SHARES = 50, (0.1, 0.25)
# With fewer samples nothing is validated, and with more validation samples training on them adds
# little.
_FEWEST_SAMPLES, _MANY_VALIDATION_SAMPLES = 10, 2_000
# Strengths that are tried, and the one that is used if there is no choice.
_ALPHAS, _ALPHA = (10.0, 3.0, 1.0), 3.0
# Ways in which training ends unless someone stops it.
_REGULAR = ("no_change", "max_iter")


@dataclass(frozen=True)
class SharedLayers:
    """Hidden layers shared by tasks, and the tasks' heads. No training rows are kept.

    Attributes
    ----------
    layers : Layers
    heads : ndarray of shape (n_tasks + 1, width + 1)
        Slopes and intercept of each task's head, and last those of the mean head.
    prior : HeadPrior
        Prior of the heads of new tasks.
    losses : ndarray of shape (n_tasks,)
        Codes of the losses.
    target : TargetScale
        Standardisation of the targets.
    noise : ndarray of shape (n_tasks,)
        Variance of each task's noise, in the squared unit of its target; the same for all tasks in
        standardised units unless it is learned. For the log-loss, twice the mean loss if it is
        learned, otherwise one.
    history : dict of arrays
        "epoch", "train_loss" (in standardised units, the mean since the previous entry) and
        "validation_loss", one entry per check, of the training with the strength that was used. If
        noise is learned, also "task_noise" of shape (n_checks, n_tasks), the variances in
        standardised units or, with more than 100 tasks, "task_noise_quantiles" (n_checks, 5): the
        least, the quartiles and the largest of them; and losses are means of Kendall's objective
        at the level of the noise that minimises it, on the training samples and on the validation
        samples. The final noise is estimated anew.
    n_iter : int
        Number of epochs, without those of the final training on all samples.
    best_epoch : int
        Epoch with the lowest validation loss.
    stopped : str
        Why training ended: "max_iter", "no_change", "callback", "interrupted" or "diverged".
    exact_heads : bool
        Whether the heads were solved for; otherwise they are those of Adam.
    alpha : float
        Strength that was used.
    """

    layers: Layers
    heads: np.ndarray
    prior: HeadPrior
    losses: np.ndarray
    target: TargetScale
    noise: np.ndarray
    history: dict
    n_iter: int
    best_epoch: int
    stopped: str
    exact_heads: bool
    alpha: float

    @property
    def n_tasks(self):
        return len(self.losses)

    def hidden_features(self, X):
        """Return the last hidden units of rows, ``(n_rows, width)``."""
        return self.layers.units(self.layers.standardised(X)).astype(np.float64)

    def predict(self, X, codes):
        """Return scores: predictions of numbers, or log-odds of the second class.

        Parameters
        ----------
        X : ndarray of shape (n_rows, n_features)
        codes : int ndarray of shape (n_rows,)
            Tasks of the rows; -1 stands for a task without training rows, and the mean head.

        Returns
        -------
        ndarray of shape (n_rows,)
        """
        scores = scores_of(self.heads, self.hidden_features(X), codes)
        return self.target.restore(scores, codes)

    def predict_all(self, X):
        """Return the scores of every task, ``(n_rows, n_tasks)``."""
        heads = self.heads[:-1]
        scores = self.hidden_features(X) @ heads[:, :-1].T + heads[:, -1]
        return self.target.restore(scores, np.arange(self.n_tasks))

    def adapt(self, X, y, weight=None, loss=SQUARED):
        """Return the model of a new task, with code 0; the hidden layers stay as they are.

        The head is shrunk towards the mean head, with the covariance learned from the spread of the
        tasks' heads. This takes one pass over the given rows.

        Parameters
        ----------
        X : ndarray of shape (n_rows, n_features)
        y, weight : ndarray of shape (n_rows,)
            Weights are one by default. Targets of the log-loss are 0 and 1.
        loss : int
            Code of the loss.

        Returns
        -------
        SharedLayers
        """
        weight = np.ones(len(y)) if weight is None else np.asarray(weight, np.float64)
        losses, offsets = np.array([loss]), np.array([0, len(y)])
        target = self.target.of_new(y, weight, loss == SQUARED)
        rows = HeadRows(
            self.hidden_features(X), target.apply(y, np.zeros(len(y), np.int64)), weight, offsets,
            losses,
        )  # fmt: skip
        like = self.losses == loss
        noise = np.array([np.exp(np.log(self.prior.noise[like]).mean()) if like.any() else 1.0])
        prior = replace(self.prior, noise=noise)
        head = prior.mean + fit_heads(rows, prior).deviations
        heads = np.vstack([head, prior.mean])
        return replace(
            self, heads=heads, prior=prior, losses=losses, target=target,
            noise=noise * target.scale[:-1] ** 2,
        )  # fmt: skip

    def left_out_errors(self, X, y, weight):
        r"""Return the leave-one-out residuals of the rows that `adapt` was given.

        The loss is the squared error. With the leverages :math:`h_i` of the ridge regression of the
        head, they are :math:`(y_i - f(x_i)) / (1 - h_i)`.

        Parameters
        ----------
        X : ndarray of shape (n_rows, n_features)
        y, weight : ndarray of shape (n_rows,)

        Returns
        -------
        ndarray of shape (n_rows,)
            In the unit of y.
        """
        units = self.hidden_features(X) @ self.prior.root[:-1] + self.prior.root[-1]
        weighted = units * (weight / self.prior.noise[0])[:, None]
        inner = np.eye(units.shape[1]) + weighted.T @ units
        leverage = np.einsum("ij,ij->i", weighted, np.linalg.solve(inner, units.T).T)
        error = y - self.predict(X, np.zeros(len(y), np.int64))
        return error / np.maximum(1.0 - leverage, 1e-12)


def fit_shared_layers(
    X, y, weight, offsets, *, rows=None, losses=None, emphasis=None, hidden=(64, 32),
    activation="relu", alpha="auto", alpha_head="auto", noise="fixed", scale_by_task=False,
    max_iter=1000, batch_size="auto", learning_rate=3e-3, validation_fraction="auto",
    n_iter_no_change=10, tol=0.0, refit="auto", seed=0, callback=None,
):  # fmt: skip
    """Fit hidden layers shared by all tasks, and one linear head per task.

    Parameters
    ----------
    X : ndarray of shape (n_samples, n_features)
        C-ordered float64. A standardised copy in single precision is made, of half the size.
    y : ndarray of shape (n_labels,)
        Labels sorted by task; 0 and 1 for the log-loss.
    weight : ndarray of shape (n_labels,) or None
        Weights of the labels. They act as numbers of copies in the loss.
    offsets : int64 ndarray of shape (n_tasks + 1,)
        Task t has the labels ``offsets[t]`` to ``offsets[t + 1]``.
    rows : int ndarray of shape (n_labels,), optional
        Row of X of each label, as in `TaskTable`; by default label i belongs to row i.
    losses : int ndarray of shape (n_tasks,), optional
        SQUARED, the default, or LOG_LOSS.
    emphasis : ndarray of shape (n_tasks,), optional
        Positive factors of the tasks' losses in training and validation. Only their ratios count:
        they are scaled to a mean of one over the labels.
    hidden : tuple of int
        Widths of the hidden layers, at least one.
    activation : {"relu", "tanh"}
    alpha : float or "auto"
        Ridge strength on the weights of the hidden layers and on the mean head, in the unit of the
        loss summed over labels, for standardised targets. "auto" trains with 10, 3 and 1 and keeps
        the lowest validation loss; with 2,000 validation samples or more, or none, it is 3.
    alpha_head : float or "auto"
        Ridge strength on the deviations of heads from the mean head, in the same unit. "auto"
        learns a covariance matrix of the heads from the tasks.
    noise : {"fixed", "learned"}
        Whether every task has noise of its own, whose variance divides its loss.
    scale_by_task : bool
        Whether targets are standardised by task, as for tasks in different units; otherwise over
        all rows.
    max_iter : int
        Largest number of epochs.
    batch_size : int or "auto"
        Number of samples per step. "auto" is at most 200, at least 16, and between these a
        twentieth of the samples, rounded down to a power of two.
    learning_rate : float
        Step size of Adam.
    validation_fraction : float or "auto"
        Share of samples that decide when to stop, drawn from every task alike; 0 for none. "auto"
        is 50 samples, but at least a tenth and at most a quarter.
    n_iter_no_change : int
        Number of checks without a validation loss lower by more than `tol` after which training
        ends. There is a check after every epoch, or after as many epochs as have 20 steps.
    tol : float
        Smallest decrease of the validation loss that counts.
    refit : bool or "auto"
        Whether to train again on all samples for the best number of epochs. "auto" does if the
        validation part has fewer than 2,000 samples.
    seed : int
    callback : callable, optional
        ``callback(epoch, train_loss, validation_loss)``, called at every check; all training stops
        if it returns True. Epochs are counted anew for every `alpha` that is tried.

    Returns
    -------
    SharedLayers

    Raises
    ------
    ValueError
        If `hidden`, `activation` or `noise` is none of the above.

    Examples
    --------
    >>> import numpy as np
    >>> from skmtl.solvers.shared_layers import fit_shared_layers
    >>> rng = np.random.default_rng(0)
    >>> X = rng.normal(size=(400, 2))
    >>> y = np.abs(X[:, 0]) + np.repeat([0.0, 1.0], 200) * X[:, 1]
    >>> model = fit_shared_layers(X, y, None, np.array([0, 200, 400]), hidden=(16,))
    >>> model.predict(np.array([[1.0, 1.0], [1.0, 1.0]]), np.array([0, 1])).round()
    array([1., 2.])
    """
    if activation not in ACTIVATIONS or noise not in ("fixed", "learned"):
        raise ValueError(
            f"got activation={activation!r} and noise={noise!r}; the activation is one of "
            f"{sorted(ACTIVATIONS)}, the noise 'fixed' or 'learned'."
        )
    if not len(hidden) or min(hidden) < 1:
        raise ValueError(f"hidden={hidden!r} must name the width of at least one layer, from 1.")
    rng = np.random.default_rng(seed)
    samples = pack_samples(X, y, weight, offsets, rows, losses, scale_by_task, emphasis)
    sizes = np.array([X.shape[1], *hidden], np.int64)
    code = kernels.mlp.RELU if activation == "relu" else kernels.mlp.TANH
    layers = Layers.random(sizes, code, *samples.standards, rng)
    held_out = validation_part(samples, _share(validation_fraction, samples.n), rng)
    few = 0 < held_out.sum() < _MANY_VALIDATION_SAMPLES
    alphas = (alpha,) if alpha != "auto" else (_ALPHAS if few else (_ALPHA,))
    options = Options(
        alphas[0], None if alpha_head == "auto" else float(alpha_head), noise == "learned",
        batch_size, learning_rate, n_iter_no_change, tol, callback,
    )  # fmt: skip
    seed = rng.integers(2**32)  # the same batches whatever the strength
    found = None
    for value in alphas:
        one = _train(samples, layers, held_out, replace(options, alpha=value), seed, max_iter)
        found = one if found is None or one.loss < found.loss else found
        if one.trained.stopped not in _REGULAR:
            break
    trained = result = found.trained
    refit = few if refit == "auto" else refit and held_out.any()
    if refit and result.best_epoch and one.trained.stopped in _REGULAR:
        everything = np.ones(samples.n, bool)
        options = replace(found.training.options, callback=None)
        training = Training(samples, layers, everything, options, seed)
        again = training.run(result.best_epoch, ~everything)
        if again.stopped in _REGULAR:
            trained = again
        else:  # what was trained on a part to the end is better than half of a training
            result = replace(result, stopped=again.stopped)
    heads, prior, noise = found.training.finish(trained, found.exact, found.prior)
    return SharedLayers(
        trained.layers, heads, prior, samples.losses, samples.target,
        noise * samples.target.scale[:-1] ** 2, result.history, result.n_iter, result.best_epoch,
        result.stopped, found.exact, found.training.options.alpha,
    )  # fmt: skip


@dataclass(frozen=True)
class Validated:
    """A training, its result, the prior of the heads, and the lower of two validation losses.

    These are the losses of the heads of Adam, and of the heads under the prior (`exact`).
    """

    training: Training
    trained: Trained
    prior: HeadPrior | None
    loss: float
    exact: bool


def _train(samples, layers, held_out, options, seed, max_iter):
    """Train on the samples that are not held out, and validate both kinds of heads."""
    training = Training(samples, layers, ~held_out, options, seed)
    trained = training.run(max_iter, held_out)
    if not held_out.any():
        return Validated(training, trained, None, np.inf, True)
    prior, _ = training.learn_prior(trained.layers, ~held_out)
    heads = training.exact_heads(trained.layers, prior, ~held_out)
    rows = training.head_rows(trained.layers, samples.labels_of(held_out))
    noise = prior.noise if options.learned_noise else None
    scores = scores_of(heads, rows.H, rows.codes)
    loss = loss_of(scores, rows, noise, samples.emphasis)
    of_adam = np.nanmin(trained.history["validation_loss"], initial=np.inf)
    return Validated(training, trained, prior, min(loss, of_adam), bool(loss <= of_adam))


def _share(fraction, n_samples):
    """Return the share of the samples that are validated."""
    if n_samples < _FEWEST_SAMPLES:
        return 0.0
    if fraction == "auto":
        return float(np.clip(_VALIDATION_SAMPLES / n_samples, *_VALIDATION_SHARES))
    return fraction
