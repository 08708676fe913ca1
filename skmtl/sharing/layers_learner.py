"""Shared hidden layers as a learner: losses and weights of the tasks, and training curves."""

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from scipy.special import expit

from ..solvers.shared_layers import LOG_LOSS, SQUARED, fit_shared_layers
from ..solvers.shared_training import QUANTILES, TASKS_IN_HISTORY

__all__ = ["FittedLayers", "LayersLearner", "curves_of"]

# Names of the losses, as in `loss=`.
LOSSES = {"squared_error": SQUARED, "log_loss": LOG_LOSS}
# Every so many checks of the validation loss are reported.
_REPORTED = 10
_BY_TASK, _QUANTILES = "task_noise", "task_noise_quantiles"


@dataclass
class LayersLearner:
    r"""Shared layers as a learner, whose last column is the code of the task.

    Attributes
    ----------
    options : dict
        Keyword arguments of `fit_shared_layers`.
    loss : str or mapping of int to str
        "squared_error" or "log_loss", for all tasks or by their codes. Targets of the log-loss are
        0 and 1; its scores are log-odds.
    task_weight : None, "balanced", "uncertainty" or mapping of int to float
        Factors of the tasks' losses in the training of the layers: one; such that all tasks count
        the same; :math:`1 / \sigma_t^2`, learned (Kendall et al. 2018); or by the codes of the
        tasks, where those that are missing have one.
    report : callable
        Called with a line of text after every tenth check.
    new_loss : "squared_error", "log_loss" or None
        Loss of tasks that `loss` does not name, and of new tasks. If it is given, predictions are
        means: numbers, or the probabilities of 1 of tasks with the log-loss.
    """

    options: dict
    loss: str | Mapping = "squared_error"
    task_weight: str | Mapping | None = None
    report: object = None
    new_loss: str | None = None
    task: str = "code"
    takes_gaps: bool = False
    fewest_rows = 2
    in_processes = False  # they report, and have threads of their own
    sorts_columns = False
    n_fits: int = field(default=0, init=False)

    def fit(self, M, categorical, target, weight, validation, seed, n_classes=0):
        """Return fitted `FittedLayers`; see `BoostedTrees.fit`.

        With two classes, whose codes are the target, all tasks have the log-loss, and predictions
        are probabilities. Otherwise predictions are scores, in the unit of each task's loss, or
        means with `new_loss`.

        Raises
        ------
        ValueError
            For more than two classes, an unknown loss or `task_weight`, and for targets of a
            log-loss task other than 0 and 1.
        KeyboardInterrupt
            If the training was interrupted, after the epoch.
        """
        if n_classes > 2:
            raise ValueError(f"shared hidden layers support two classes, not {n_classes}.")
        codes, code = np.unique(M[:, -1], return_inverse=True)
        losses = self._losses("log_loss" if n_classes else self.loss, codes, code, target)
        emphasis = self._emphasis(codes, code, weight)
        options = dict(self.options)
        if isinstance(self.task_weight, str) and self.task_weight == "uncertainty":
            options["noise"] = "learned"
        self.n_fits += 1
        order = np.argsort(code, kind="stable")
        offsets = np.searchsorted(code[order], np.arange(len(codes) + 1))
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Interrupted after step", UserWarning)
            # The samples stay in their order, so that the batches do not depend on the codes.
            layers = fit_shared_layers(
                np.ascontiguousarray(M[:, :-1]), target[order], weight[order],
                offsets.astype(np.int64), rows=order, losses=losses, emphasis=emphasis, seed=seed,
                callback=self._callback(), **options,
            )  # fmt: skip
        if layers.stopped == "interrupted":
            # The other splits would still have to be trained.
            raise KeyboardInterrupt
        if self.new_loss is None:
            return FittedLayers(layers, codes, bool(n_classes))
        given = self.loss if isinstance(self.loss, Mapping) else {}
        of_classes = [c for c, name in given.items() if name == "log_loss"]
        return FittedLayers(layers, codes, False, self.new_loss, np.array(of_classes))

    @staticmethod
    def _losses(loss, codes, code, target):
        """Return the codes of the losses of the tasks."""
        names = [loss] * len(codes)
        if isinstance(loss, Mapping):
            names = [loss.get(int(c)) for c in codes]
        for name in names:
            if name not in LOSSES:
                raise ValueError(f"loss={name!r} is unknown; give one of {sorted(LOSSES)}.")
        losses = np.array([LOSSES[name] for name in names])
        wrong = (losses[code] == LOG_LOSS) & (target != 0.0) & (target != 1.0)
        if wrong.any():
            at = int(np.argmax(wrong))
            raise ValueError(
                f"task {codes[code[at]]:.0f} has loss='log_loss', but the target "
                f"{target[at]!r} in row {at}; give 0 and 1, or loss='squared_error'."
            )
        return losses

    def _emphasis(self, codes, code, weight):
        """Return the factors of the tasks' losses."""
        given = self.task_weight
        if given is None or (isinstance(given, str) and given == "uncertainty"):
            return None
        if isinstance(given, str) and given == "balanced":
            rows = np.bincount(code, weight, len(codes))
            mean = rows.sum() / len(rows)
            return np.divide(mean, rows, out=np.ones(len(codes)), where=rows > 0)
        if not isinstance(given, Mapping):
            raise ValueError(
                f"task_weight={given!r} is unknown; give None, 'balanced', 'uncertainty', or a "
                "mapping of tasks to numbers above 0."
            )
        factors = np.array([float(given.get(int(c), 1.0)) for c in codes])
        wrong = ~((factors > 0.0) & (factors < np.inf))
        if wrong.any():
            at = int(np.argmax(wrong))
            raise ValueError(
                f"task_weight of task {codes[at]:.0f} is {factors[at]}; give a number above 0."
            )
        return factors

    def _callback(self):
        """Return what `fit_shared_layers` calls after every check."""
        report, split = self.report, self.n_fits
        if report is None:
            return None
        last, count = np.inf, 0

        def callback(epoch, train, validation):
            nonlocal last, count
            count = 0 if epoch <= last else count + 1  # another strength starts anew
            last = epoch
            if count % _REPORTED == 0:
                report(
                    f"hidden_layers: split {split}, epoch {epoch}: training loss {train:.4g}, "
                    f"validation loss {validation:.4g}"
                )
            return False

        return callback


@dataclass
class FittedLayers:
    """Fitted layers, and the codes of the tasks that they have heads for.

    Attributes
    ----------
    layers : SharedLayers
    codes : ndarray of shape (n_tasks,)
    gives_probabilities : bool
        Whether predictions are probabilities of two classes, ``(n_rows, 2)``, rather than scores.
    new_loss : str or None
        Loss of new tasks; None if predictions are scores rather than means.
    log_loss_codes : ndarray of shape (n_log_loss_tasks,) or None
        Codes of the tasks with the log-loss, of those without a head as well.
    """

    layers: object
    codes: np.ndarray
    gives_probabilities: bool = False
    new_loss: str | None = None
    log_loss_codes: np.ndarray | None = None

    @property
    def noise(self):
        """Variance of each task's noise, in the order of `codes`; see `SharedLayers`."""
        return self.layers.noise

    def predict(self, M):
        """Return predictions of rows; tasks without a head have the mean head."""
        place = np.minimum(np.searchsorted(self.codes, M[:, -1]), len(self.codes) - 1)
        head = np.where(self.codes[place] == M[:, -1], place, -1)
        scores = self.layers.predict(np.ascontiguousarray(M[:, :-1]), head)
        if self.new_loss is not None:
            return self._means(scores, M[:, -1], head)
        return _probabilities(scores) if self.gives_probabilities else scores

    def _means(self, scores, code, head):
        """Return the means of rows of tasks `code`, whose heads have the positions `head`."""
        classes = np.isin(code, self.log_loss_codes)
        if self.new_loss == "log_loss":
            classes |= head < 0
        # The mean head has the unit of squared errors, and log-odds have none.
        bare = np.where(head < 0, self.layers.target.apply(scores, head), scores)
        return np.where(classes, expit(bare), scores)

    def adapted(self, M, target, weight, loss=None):
        """Return the network with a head for a new task, from some of its rows.

        `loss` is by default the one that new tasks have, or that of all tasks.

        Raises
        ------
        ValueError
            If `loss` is None, and the tasks have different ones.
        """
        loss = loss or self.new_loss
        X, code = np.ascontiguousarray(M[:, :-1]), LOSSES.get(loss, self.layers.losses[0])
        if loss is None and (self.layers.losses != code).any():
            raise ValueError(f"tasks have different losses; give loss, one of {sorted(LOSSES)}.")
        layers = self.layers.adapt(X, target, weight, code)
        gives_means = self.new_loss is not None
        return _LayersOfNewTask(layers, self.gives_probabilities, gives_means)

    def take_history(self):
        """Return the training curve, and remove it from the layers."""
        history = self.layers.history
        self.layers = replace(self.layers, history={})
        return history


@dataclass
class _LayersOfNewTask:
    """Layers with the head of a new task."""

    layers: object
    gives_probabilities: bool
    gives_means: bool = False

    def predict(self, M):
        """Return predictions of rows, of the kind of `FittedLayers`."""
        X = np.ascontiguousarray(M[:, :-1])
        scores = self.layers.predict(X, np.zeros(len(X), dtype=np.int64))
        if self.gives_means and self.layers.losses[0] == LOG_LOSS:
            return expit(scores)
        return _probabilities(scores) if self.gives_probabilities else scores

    def left_out_errors(self, M, target, weight):
        """Return the leave-one-out residuals of the rows of the new task, of squared error."""
        return self.layers.left_out_errors(np.ascontiguousarray(M[:, :-1]), target, weight)


def _probabilities(scores):
    """Return the probabilities of both classes from log-odds."""
    return expit(np.column_stack([-scores, scores]))


def curves_of(fitted, n_tasks):
    """Return the training curves of several fits, one after the other, and take them away.

    Parameters
    ----------
    fitted : list of FittedLayers
    n_tasks : int
        Number of all tasks; the noise of those that a fit lacks is NaN.

    Returns
    -------
    dict of arrays
        "split", from 1, "epoch", "train_loss", "validation_loss", "alpha" and "kept", of shape
        (n_rows,), and the noise, if it was learned.
    """
    parts = []
    for number, one in enumerate(fitted, 1):
        curve, best = one.take_history(), one.layers.best_epoch
        n = len(curve["epoch"])
        columns = {
            "split": np.full(n, number), **curve, "alpha": np.full(n, one.layers.alpha),
            "kept": curve["epoch"] == best,
        }  # fmt: skip
        if _BY_TASK in columns:
            noise = columns.pop(_BY_TASK)
            if n_tasks > TASKS_IN_HISTORY:
                columns[_QUANTILES] = np.quantile(noise, QUANTILES, axis=1).T
            else:
                columns[_BY_TASK] = np.full((n, n_tasks), np.nan)
                columns[_BY_TASK][:, one.codes.astype(np.int64)] = noise
        parts.append(columns)
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
