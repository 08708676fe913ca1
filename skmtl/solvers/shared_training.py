"""Training of shared hidden layers by Adam, and of the heads after it."""

import itertools
from dataclasses import dataclass, replace

import numpy as np

from .. import kernels
from .adam import CONSTANTS, adam
from .shared_heads import SQUARED, HeadRows, fit_heads, learn_prior

__all__ = ["Layers", "Options", "Trained", "Training", "loss_of", "scores_of"]

# Strength on deviations in training if it is learned for the final heads.
_ALPHA_HEAD = 3.0
# Decay of the running mean of the parameters.
_AVERAGE = 0.99
# Batches of at most this many samples; smaller ones if an epoch would have fewer than 20.
_LARGEST_BATCH, _SMALLEST_BATCH, _BATCHES = 200, 16, 20
# Least number of steps between two checks of the validation loss, and most in a call of the kernel.
_STEPS, _STEPS_PER_CALL = 50, 2_000
# Rows that the noise of a task counts as at the common noise while it is learned.
_NOISE_ROWS = 10.0
_MIN_LOSS = 1e-6
# Steps of the learning of the prior, before training and after it.
_FIRST_STEPS, _STEPS_AFTER = 3, 10
# The prior is learned from about this many labels, of every k-th task if at least this many remain.
_PRIOR_LABELS, _PRIOR_TASKS = 20_000, 200
_LABELS_AT_ONCE = 100_000  # labels whose heads are solved for at once
# With more tasks the history has quantiles of their noise, as it should not outgrow the model.
TASKS_IN_HISTORY = 100
QUANTILES = 0.0, 0.25, 0.5, 0.75, 1.0
_ROWS_AT_ONCE = 512  # rows without a gradient


@dataclass(frozen=True)
class Layers:
    """Hidden layers.

    Attributes
    ----------
    sizes : int64 ndarray
        Widths of all layers, from the features to the last hidden units.
    activation : int
        Code of `kernels.mlp`.
    parameters : float32 ndarray
        As in `kernels.shared_layers`.
    centre, scale : ndarray of shape (n_features,)
        Standardised features are ``(X - centre) * scale``.
    """

    sizes: np.ndarray
    activation: int
    parameters: np.ndarray
    centre: np.ndarray
    scale: np.ndarray

    @classmethod
    def random(cls, sizes, activation, centre, scale, rng):
        """Return untrained layers: weights are uniform as in scikit-learn, and intercepts zero."""
        parts = []
        for q, m in itertools.pairwise(sizes):
            bound = np.sqrt(6.0 / (q + m))
            parts += [rng.uniform(-bound, bound, q * m), np.zeros(m)]
        return cls(sizes, activation, np.concatenate(parts).astype(np.float32), centre, scale)

    def settings(self, decay=0.0, factor=0.0, constants=None):
        """Return the settings as the kernels take them."""
        constants = np.zeros(5) if constants is None else constants
        return kernels.shared_layers.Settings(
            self.sizes, self.activation, float(decay), float(factor), constants
        )

    def standardised(self, X):
        """Return standardised rows in single precision."""
        return np.ascontiguousarray((X - self.centre) * self.scale, np.float32)

    def units(self, X):
        """Return the last hidden units of standardised rows."""
        n = max(1, min(len(X), _ROWS_AT_ONCE))
        space = kernels.shared_layers.workspace(self.sizes, n, 1, 1, np.float32)
        out = np.empty((len(X), self.sizes[-1]), np.float32)
        kernels.shared_layers.hidden_units(self.parameters, X, self.settings(), space, out)
        return out


@dataclass(frozen=True)
class Options:
    """Parameters of `fit_shared_layers` that concern training.

    Attributes
    ----------
    alpha : float
    alpha_head : float or None
        None: learned.
    learned_noise : bool
    batch_size : int or "auto"
    learning_rate : float
    n_iter_no_change : int
    tol : float
    callback : callable or None
    """

    alpha: float
    alpha_head: float | None
    learned_noise: bool
    batch_size: int | str
    learning_rate: float
    n_iter_no_change: int
    tol: float
    callback: object


@dataclass(frozen=True)
class Trained:
    """Result of `Training.run`.

    Attributes
    ----------
    layers : Layers
    heads : ndarray of shape (n_tasks + 1, width + 1)
        Heads of the tasks, and the mean head.
    history : dict of arrays
    n_iter, best_epoch : int
    stopped : str
    """

    layers: Layers
    heads: np.ndarray
    history: dict
    n_iter: int
    best_epoch: int
    stopped: str


class Training:
    """Training on some of the samples.

    Parameters
    ----------
    samples : PackedSamples
    layers : Layers
        Initial layers.
    chosen : ndarray of shape (n_samples,)
        Mask of the samples that are trained on.
    options : Options
    seed : int
        Seed of the batches.
    """

    def __init__(self, samples, layers, chosen, options, seed):
        self.samples, self.layers, self.chosen = samples, layers, chosen
        self.options, self.rng = options, np.random.default_rng(seed)
        self.index = np.flatnonzero(chosen)
        n, labels = len(self.index), samples.labels_of(chosen)
        batch = options.batch_size
        if batch == "auto":
            power = 2 ** int(np.log2(max(n / _BATCHES, 1.0)))
            batch = int(np.clip(power, _SMALLEST_BATCH, _LARGEST_BATCH))
        self.batch = max(1, min(batch, n))
        codes, weight = samples.codes[labels], samples.weight[labels]
        self.task_weight = np.bincount(codes, weight, samples.n_tasks)
        self.weight = max(self.task_weight.sum(), 1e-300)
        self.relative = np.ones(samples.n_tasks) if options.learned_noise else None
        strength = _ALPHA_HEAD if options.alpha_head is None else options.alpha_head
        self.tasks = kernels.shared_layers.Tasks(
            samples.losses,
            samples.emphasis.copy(),
            strength / np.maximum(self.task_weight, 1e-300),
        )
        constants = np.array([options.learning_rate, *CONSTANTS, _AVERAGE])
        self.settings = layers.settings(options.alpha / self.weight, n / self.weight, constants)
        self.n_layer_parameters = len(layers.parameters)

    def run(self, max_iter, held_out):
        """Train for up to `max_iter` epochs; validate on the mask `held_out` unless empty."""
        samples, options, layers = self.samples, self.options, self.layers
        n, n_tasks, start = len(self.index), samples.n_tasks, self.n_layer_parameters
        width = layers.sizes[-1] + 1
        prior, _ = self.learn_prior(layers, self.chosen, _FIRST_STEPS)
        heads = self.exact_heads(layers, prior, self.chosen)
        own = heads[:-1] - prior.mean
        x = np.concatenate([layers.parameters, prior.mean, own.ravel()]).astype(np.float32)
        counts = np.zeros(n_tasks + 1, np.int64)
        space = kernels.shared_layers.workspace(
            layers.sizes, self.batch, len(x), n_tasks, np.float32
        )
        packed = samples.for_kernel()
        starts = np.arange(0, n, self.batch)
        every, noises = max(1, -(-_STEPS // len(starts))), []

        def advance(x, moments, step, n_epochs):
            state, sums = kernels.shared_layers.State(x, moments, counts), np.zeros(n_tasks)
            order = np.concatenate(
                [self.index[self.rng.permutation(n)] for _ in range(n_epochs)]
            )  # fmt: skip
            edges = np.append((np.arange(n_epochs)[:, None] * n + starts).ravel(), len(order))
            total = 0.0
            for first in range(0, len(edges) - 1, _STEPS_PER_CALL):
                total += kernels.shared_layers.train(
                    order, edges[first : first + _STEPS_PER_CALL + 1], packed, self.tasks, state,
                    self.settings, space, sums,
                )  # fmt: skip
            mean = total / n_epochs / self.weight
            if options.learned_noise:
                mean = profiled(2.0 * mean, self.task_weight * samples.emphasis, self.relative)
                noises.append(summary_of(self._update_noise(sums / n_epochs)))
            return np.full(n_epochs, mean)

        def unpack(x):
            mean, own = x[start : start + width], x[start + width :].reshape(n_tasks, width)
            heads = np.vstack([mean + own, mean]).astype(np.float64)
            return replace(layers, parameters=x[:start].copy()), heads

        labels = samples.labels_of(held_out)
        features, sample, rows = self._parts(labels)

        def validate(x):
            if not counts[-1]:  # untrained layers are never the best
                return {"held_out_loss": np.inf}
            trained, heads = unpack(x)
            scores = scores_of(heads, trained.units(features)[sample], rows.codes)
            return {"held_out_loss": loss_of(scores, rows, self.relative, samples.emphasis)}

        def stop(entry):
            validated = entry.get("held_out_loss", np.nan)
            return bool(options.callback(entry["step"], entry["train_loss"], validated))

        result = adam(
            x, advance, max_iter=max_iter, held_out=validate if len(labels) else None,
            check_every=every, patience=options.n_iter_no_change, tol=options.tol,
            stop=stop if options.callback else None,
        )  # fmt: skip
        return Trained(*unpack(result.x), *history_of(result, noises, n_tasks), result.stopped)

    def _update_noise(self, sums):
        """Set and return each task's noise, the minimiser for its present loss, 2 sums / weight.

        Only the ratios of the tasks' noise enter the training: its level falls as the layers begin
        to over-fit, and strengths would mean less and less.
        """
        total = max(self.task_weight.sum(), 1e-300)
        rows = _NOISE_ROWS * total / max(len(self.samples.labels_of(self.chosen)), 1)
        common = max(sums.sum() / total, _MIN_LOSS)
        noise = 2.0 * (sums + rows * common) / (self.task_weight + rows)
        noise = np.maximum(noise, 2.0 * _MIN_LOSS)
        self.relative = relative_noise(noise, self.task_weight)
        self.tasks.precision[:] = self.samples.emphasis / self.relative
        return noise

    # ------------------------------------------------------------------------------- heads

    def _parts(self, labels, tasks=None):
        """Return features and, of each label, the row in them; and `HeadRows` that lack H."""
        samples = self.samples
        offsets, losses = samples.offsets_of(labels), samples.losses
        if tasks is not None:
            offsets, losses = np.append(offsets[tasks], len(labels)), losses[tasks]
        used, inverse = samples.sample[labels], slice(None)
        if len(samples.sample) > samples.n:  # rows with several labels
            used, inverse = np.unique(used, return_inverse=True)
        rows = HeadRows(None, samples.y[labels], samples.weight[labels], offsets, losses)
        return samples.X[used], inverse, rows

    def head_rows(self, layers, labels, tasks=None):
        """Return the `HeadRows` of labels, given by position, of some tasks (all by default)."""
        features, sample, rows = self._parts(labels, tasks)
        return replace(rows, H=layers.units(features)[sample].astype(np.float64))

    def learn_prior(self, layers, chosen, n_steps=_STEPS_AFTER, start=None):
        """Return the prior of the heads on the last hidden units, and the noise of all tasks."""
        samples, options, tasks = self.samples, self.options, None
        labels = samples.labels_of(chosen)
        step = -(-len(labels) // _PRIOR_LABELS)
        if step > 1 and samples.n_tasks // step >= _PRIOR_TASKS and not options.learned_noise:
            tasks = np.arange(0, samples.n_tasks, step)
            labels = labels[samples.codes[labels] % step == 0]
        elif step > 1:
            labels = labels[::step]
        rows = self.head_rows(layers, labels, tasks)
        prior, noise = learn_prior(
            rows, options.learned_noise, n_steps, strength=options.alpha_head, start=start
        )
        if tasks is not None:
            prior, noise = (
                replace(prior, noise=self._for_all(prior.noise, tasks)),
                self._for_all(noise, tasks),
            )
        return prior, noise

    def _for_all(self, noise, tasks):
        """Return the common noise of each loss for all tasks, from that of some tasks."""
        out = np.ones(self.samples.n_tasks)
        for loss in np.unique(self.samples.losses[tasks]):
            common = noise[self.samples.losses[tasks] == loss][0]
            out[self.samples.losses == loss] = common
        return out

    def exact_heads(self, layers, prior, chosen):
        """Return the heads of the tasks under the prior, and last the mean head."""
        samples, heads = self.samples, []
        labels = samples.labels_of(chosen)
        offsets = samples.offsets_of(labels)
        first = 0
        while first < samples.n_tasks:  # as many tasks at once as have this many labels
            last = int(np.searchsorted(offsets, offsets[first] + _LABELS_AT_ONCE, "right")) - 1
            last = max(last, first + 1)
            part = labels[offsets[first] : offsets[last]]
            rows = self.head_rows(layers, part, np.arange(first, last))
            of_part = replace(prior, noise=prior.noise[first:last])
            heads.append(prior.mean + fit_heads(rows, of_part).deviations)
            first = last
        return np.vstack([*heads, prior.mean])

    def finish(self, trained, exact, prior):
        """Return final heads, their prior, and the noise, from all samples."""
        everything = np.ones(self.samples.n, bool)
        prior, noise = self.learn_prior(trained.layers, everything, start=prior)
        if exact:
            return self.exact_heads(trained.layers, prior, everything), prior, noise
        return trained.heads, replace(prior, mean=trained.heads[-1]), noise


def history_of(result, noises, n_tasks):
    """Return the history of an `AdamResult` in our terms, the number of epochs and the best one.

    `noises` has the `summary_of` the tasks' noise at every check, and perhaps after the last one;
    it is empty if no noise is learned.
    """
    entries = result.history
    losses = entries.get("held_out_loss", np.full(len(entries["step"]), np.nan))
    best = result.n_iter
    if "held_out_loss" in entries:
        best = int(entries["step"][np.nanargmin(losses)])
    history = {
        "epoch": entries["step"][1:],
        "train_loss": entries["train_loss"][1:],
        "validation_loss": losses[1:],
    }
    if noises:
        name = "task_noise" if n_tasks <= TASKS_IN_HISTORY else "task_noise_quantiles"
        history[name] = np.array(noises)[: len(history["epoch"])]
    return history, result.n_iter, best


def summary_of(noise):
    """Return the noise of each task or, if these are many, its quantiles."""
    return noise if len(noise) <= TASKS_IN_HISTORY else np.quantile(noise, QUANTILES)


def scores_of(heads, H, codes):
    """Return the scores of rows H of the given tasks."""
    head = heads[codes]
    return np.einsum("ij,ij->i", H, head[:, :-1]) + head[:, -1]


def relative_noise(noise, weight):
    """Return the noise of the tasks, scaled such that the weighted mean of 1 / noise is one."""
    return noise * (weight @ (1.0 / noise) / max(weight.sum(), 1e-300))


def profiled(ratio, weight, relative):
    r"""Return the mean loss with noise, at the level of the noise that minimises it.

    With noise :math:`s^2 v_t`, this is :math:`\frac12 (1 + \log s^2 + \overline{\log v})` for the
    mean `ratio` :math:`s^2` of twice the loss divided by :math:`v_t`.
    """
    level = np.log(max(ratio, _MIN_LOSS)) if np.isfinite(ratio) else ratio
    return 0.5 * (1.0 + level + weight @ np.log(relative) / max(weight.sum(), 1e-300))


def loss_of(scores, rows, relative, emphasis):
    """Return the mean loss of rows, or that of `profiled` with the given noise of the tasks."""
    codes = rows.codes
    of_classes = rows.losses[codes] != SQUARED
    values = 0.5 * (scores - rows.y) ** 2
    if of_classes.any():
        sign = np.where(rows.y > 0.5, -1.0, 1.0)
        values = np.where(of_classes, np.logaddexp(0.0, sign * scores), values)
    weight = rows.weight * emphasis[codes]
    total = max(weight.sum(), 1e-300)
    if relative is None:
        return weight @ values / total
    relative = relative[codes]
    return profiled(2.0 * (weight @ (values / relative)) / total, weight, relative)
