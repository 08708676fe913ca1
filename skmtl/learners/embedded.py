r"""Learners of an embedding on which a head in closed form learns a new task.

The embedding :math:`g_\theta` is a linear map or a multilayer perceptron shared by all tasks. A
task's head :math:`h(S)` is computed in closed form from its embedded support rows S. The embedding
and the few parameters :math:`\eta` of the head are trained by Adam on query rows Q,

.. math:: \min_{\theta, \eta} \; \sum_t L\big(h_\eta(g_\theta(S_t)),\; g_\theta(Q_t)\big),

where L is the mean squared error or the cross-entropy. Gradients are exact, back through the head.

References
----------
Bertinetto, L., Henriques, J. F., Torr, P. H. S. and Vedaldi, A. (2019). Meta-learning with
differentiable closed-form solvers. ICLR. :arxiv:`1805.08136`

Snell, J., Swersky, K. and Zemel, R. (2017). Prototypical networks for few-shot learning. NeurIPS.
:arxiv:`1703.05175`
"""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from threadpoolctl import threadpool_limits

from ..solvers.adam import adam, steps_along
from . import _episodes
from ._embedding import Embedding, Padded, padded_batches
from ._episodic import MAX_HELD_OUT, EpisodicLearner, hidden_widths
from ._families import feature_weights
from ._heads import PrototypeHead, RidgeSolve, losses_of_heads
from ._held_out import folds
from ._requirements import OPTIONAL_COUNT
from ._scaling import inverse_kurtosis
from .base import Adapted, Knowledge
from .closed_form import LinearHeads

__all__ = ["Prototypes", "RidgeHead"]

# Number of steps whose episodes are drawn at once.
_DRAWN_STEPS = 25
# Share of the episodes without support rows, if tasks without any are to be predicted.
_NO_SUPPORT_SHARE = 0.1
# Number of episodes on which initial values are compared.
_START_EPISODES = 100
# Number of trial runs without half of the classes, which show how many steps help new classes.
_TRIAL_RUNS = 2
# The best model of a trial run may come after few steps: evaluations are more frequent by the first
# factor, and patience counts more of them by the second.
_TRIAL_FREQUENCY, _TRIAL_PATIENCE = 5, 2


@dataclass
class Model:
    """An embedding, a head on it, and the parameters of the head.

    Attributes
    ----------
    embedding : Embedding
    head : RidgeSolve or PrototypeHead
    head_parameters : ndarray
    """

    embedding: Embedding
    head: object
    head_parameters: np.ndarray

    @property
    def flat(self):
        """All parameters in one vector."""
        return np.concatenate([self.embedding.parameters, self.head_parameters])

    def at(self, flat):
        """Return the model with other parameters."""
        n = len(self.embedding.parameters)
        return Model(replace(self.embedding, parameters=flat[:n]), self.head, flat[n:])

    def embedded(self, rows):
        """Return the embedding of padded rows."""
        Z = self.embedding.forward(rows.flat)[-1]
        return Z.reshape(*rows.weight.shape, self.embedding.width)

    def heads(self, rows):
        """Return the heads of tasks, given their support rows."""
        return self.head.fit(self.head_parameters, self.embedded(rows), rows)[0]

    def gradient(self, support, query, out):
        """Return the mean query loss of the tasks, and write its gradient to `out`."""
        n, n_rows, width = len(self.embedding.parameters), support.weight.size, self.embedding.width
        units = self.embedding.forward(np.concatenate([support.flat, query.flat]))
        Z = units[-1][:n_rows].reshape(*support.weight.shape, width)
        query_Z = units[-1][n_rows:].reshape(*query.weight.shape, width)
        heads, saved = self.head.fit(self.head_parameters, Z, support)
        losses, by_heads, by_query, _ = losses_of_heads(heads, query_Z, query)
        out[:] = 0.0
        by_Z = self.head.pull_back(saved, by_heads, out[n:])
        slope = np.concatenate([part.reshape(-1, width) for part in (by_Z, by_query)])
        self.embedding.backward(units, slope, out[:n])
        out /= len(losses)
        return losses.mean()

    def evaluate(self, support, query):
        """Return the mean query loss and the mean accuracy (NaN for numbers) of the tasks."""
        losses, _, _, scores = losses_of_heads(self.heads(support), self.embedded(query), query)
        if scores.shape[2] == 1:
            return losses.mean(), np.nan
        predicted = np.where(query.inside[:, None], scores, -np.inf).argmax(axis=2)
        correct = predicted == query.target.argmax(axis=2)
        return losses.mean(), (correct * query.weight).sum(axis=1).mean()


class _EmbeddedLearner(EpisodicLearner):
    """Base of the learners of an embedding; subclasses differ in the head."""

    _head: type
    _requirements = EpisodicLearner._requirements | {"n_components": OPTIONAL_COUNT}

    def __init__(
        self,
        hidden_layer_sizes: int | Sequence[int] = (),
        activation: Literal["relu", "tanh"] = "relu",
        *,
        n_components: int | None = None,
        learning_rate: float = 3e-3,
        meta_batch_size: int = 25,
        max_iter: int = 5000,
        n_shots: int | None = None,
        validation_fraction: float = 0.1,
        check_every: int = 50,
        patience: int = 10,
    ) -> None:
        super().__init__(
            hidden_layer_sizes, activation, learning_rate, meta_batch_size, max_iter, n_shots,
            validation_fraction, check_every, patience,
        )  # fmt: skip
        self.n_components = n_components

    def _learn(self, tasks, random_state, progress):
        with threadpool_limits(1, user_api="blas"):  # small products, reproducible sums
            training, held, n_steps = self._plan(tasks, random_state, progress)
            model, result = self._train(training, held, n_steps, random_state, progress)
        return EmbeddedKnowledge(model.at(result.x), result)

    def _plan(self, tasks, random_state, progress):
        """Return training tasks, episodes for early stopping (or None), and the number of steps."""
        usable, reason = self._usable(tasks)
        if not len(usable):
            warnings.warn(f"{type(self).__name__} was not trained: {reason}", stacklevel=2)
            return tasks, None, 0
        n_steps = self._steps_for_new_classes(tasks.take(usable), random_state, progress)
        if n_steps is not None:
            return tasks.take(usable), None, n_steps
        return *self._hold_out(tasks, usable, random_state), self.max_iter

    def _steps_for_new_classes(self, tasks, random_state, progress):
        """Return the best number of steps for new classes, from training without half of them.

        It is None if classes are shared, if few of them recur from task to task, or if nothing is
        to be held out.
        """
        if self.validation_fraction == 0 or not _recurring(tasks):
            return None
        check_every = max(1, self.check_every // _TRIAL_FREQUENCY)
        options = {"check_every": check_every, "patience": _TRIAL_PATIENCE * self.patience}
        curves = []
        for parts in folds(tasks, _TRIAL_RUNS, random_state):
            train, held = (part.take(self._usable(part)[0]) for part in parts)
            if min(train.n_tasks, held.n_tasks) == 0:
                continue
            progress("training on half of the classes")
            held = held.take(random_state.permutation(held.n_tasks)[:MAX_HELD_OUT])
            held = self._held_out_episodes(held, random_state)
            _, result = self._train(train, held, self.max_iter, random_state, progress, **options)
            curves.append(result.history["held_out_loss"])
            if result.stopped == "interrupted":
                break
        if not curves:
            return None
        length = min(len(curve) for curve in curves)
        best = np.mean([curve[:length] - curve[0] for curve in curves], axis=0).argmin()
        return min(int(best) * check_every, self.max_iter)

    def _train(self, tasks, held, max_iter, random_state, progress, **options):
        """Return the initial model and the result of Adam."""
        options = {"check_every": self.check_every, "patience": self.patience} | options
        model = self._start(tasks, random_state)
        result = adam(
            model.flat, self._steps(model, tasks, random_state), max_iter=max_iter,
            held_out=held and _evaluator(model, *held), progress=progress, **options,
        )  # fmt: skip
        return model, result

    def _start(self, tasks, random_state):
        """Return the best of the head's initial values on an untrained embedding."""
        embedding = Embedding.initial(
            tasks.n_features, hidden_widths(self.hidden_layer_sizes), self.n_components,
            self.activation, random_state,
        )  # fmt: skip
        drawn = _episodes.draw(tasks, _START_EPISODES, self.n_shots, random_state)
        support, query = (Padded.of(rows) for rows in drawn)
        head = self._head(embedding.width, support.target.shape[2], not tasks.own_classes)
        starts = []
        for weights in feature_weights(replace(tasks, inverse_kurtosis=inverse_kurtosis(tasks))):
            model = Model(embedding.weighted(weights), head, None)
            Z = model.embedded(support)
            starts += [replace(model, head_parameters=x) for x in head.starts(Z, support)]
        query = query.normalised()
        return starts[int(np.argmin([start.evaluate(support, query)[0] for start in starts]))]

    def _steps(self, model, tasks, random_state):
        """Return the steps of Adam on episodes of the tasks."""
        queue = []

        def gradient(x, step, out):
            if not queue:
                queue.extend(self._batches(tasks, model.head.shared, random_state))
            return model.at(x).gradient(*queue.pop(), out)

        return steps_along(gradient, self.learning_rate)

    def _batches(self, tasks, shared, random_state):
        size = self.meta_batch_size
        drawn = _episodes.draw(tasks, _DRAWN_STEPS * size, self.n_shots, random_state)
        support, query = (Padded.of(rows) for rows in drawn)
        if shared:
            bare = random_state.uniform(size=len(support.weight)) < _NO_SUPPORT_SHARE
            support.weight[bare] = 0.0
        query = query.normalised()
        for start in range(0, _DRAWN_STEPS * size, size):
            batch = slice(start, start + size)
            yield support.take(batch), query.take(batch)


def _recurring(tasks):
    """Return whether most rows are of own classes that other tasks have, too."""
    if not tasks.own_classes or tasks.labels is None:
        return False
    n_tasks = np.bincount(tasks.labels[tasks.labels >= 0])
    return np.mean(n_tasks[tasks.labels[tasks.codes, tasks.y]] > 1) > 0.5


def _evaluator(model, support, query):
    """Return a function that evaluates the model at given parameters on held-out tasks."""
    support, query = Padded.of(support), Padded.of(query).normalised()

    def evaluate(x):
        loss, accuracy = model.at(x).evaluate(support, query)
        return {"held_out_loss": loss, "held_out_accuracy": accuracy}

    return evaluate


class EmbeddedKnowledge(Knowledge):
    """An embedding and a head for new tasks.

    Attributes
    ----------
    model : Model
    n_iter : int
        Number of steps taken.
    stopped : str
        Why training ended: "no_change", "max_iter", "diverged" or "interrupted".
    history : dict of arrays
        For each evaluation "step", "train_loss" and, if tasks were held out, "held_out_loss" and
        "held_out_accuracy" (NaN for numbers).
    """

    def __init__(self, model, result):
        self.model = model
        self.history, self.n_iter, self.stopped = result.history, result.n_iter, result.stopped

    def adapt(self, tasks):
        n_outputs = 1 if tasks.ways is None else tasks.max_ways
        heads = np.zeros((tasks.n_tasks, n_outputs, 1 + self.model.embedding.width))
        for chosen, rows in padded_batches(tasks):
            batch = self.model.heads(rows)
            heads[chosen, : batch.shape[2], 1:] = batch[:, :-1].transpose(0, 2, 1)
            heads[chosen, : batch.shape[2], 0] = batch[:, -1]
        return EmbeddedHeads(self.model.embedding, LinearHeads(heads, tasks.ways))


@dataclass
class EmbeddedHeads(Adapted):
    """Linear heads of several tasks on an embedding that they share.

    Attributes
    ----------
    embedding : Embedding
    heads : LinearHeads
    """

    embedding: Embedding
    heads: LinearHeads

    def predict(self, X, codes):
        return self.heads.predict(self.embedding(X), codes)

    def take(self, tasks):
        return EmbeddedHeads(self.embedding, self.heads.take(tasks))


class RidgeHead(_EmbeddedLearner):
    r"""Ridge regression on a learned embedding (R2D2).

    With embedded rows z and a head :math:`f(z) = m'z + b` shared by all tasks, the scores of a
    task are

    .. math:: f(z) + \alpha V'\tilde z, \quad V = \arg\min_V \sum_i w_i
              \|r_i - V'\tilde z_i\|^2 + \lambda \|V\|^2, \quad \tilde z = (z, \kappa),

    where the sum is over its labelled rows and :math:`r_i` are the residuals of f: :math:`y_i -
    f(z_i)` for numbers (with :math:`\alpha = 1`), indicators of the classes minus the softmax of
    :math:`f(z_i)` for classes. The embedding, :math:`\lambda, \kappa, \alpha`, m and b are learned.
    A task without rows is predicted by f; a task whose rows all belong to one class still gets
    scores that differ from f. If each task has its own classes, f is zero, and a new task may have
    any number of classes.

    Parameters
    ----------
    hidden_layer_sizes : tuple of int, default=()
        Width of each hidden layer of the embedding; () is a linear map.
    activation : {"relu", "tanh"}, default="relu"
        Activation of the hidden layers.
    n_components : int or None, default=None
        Width of a final linear map. With None, the last hidden layer is the embedding; without
        hidden layers, the embedding is then a linear map with as many components as features,
        initialised at the identity. If tasks differ in few directions only, few components learn
        them better.
    learning_rate : float, default=0.003
        Learning rate of Adam.
    meta_batch_size : int, default=25
        Number of tasks drawn for each step of Adam.
    max_iter : int, default=5000
        Maximum number of steps of Adam.
    n_shots : int or None, default=None
        Number of support rows of an episode (per class, in classification); None means half of the
        task's rows.
    validation_fraction : float, default=0.1
        Share of the tasks held out for early stopping; with fewer than ten tasks none are held
        out. With 0, training takes `max_iter` steps, without trial runs (see Notes).
    check_every : int, default=50
        Number of steps between evaluations on the held-out tasks.
    patience : int, default=10
        Training stops after this number of evaluations without a lower held-out loss.

    Notes
    -----
    If each task has its own classes, and most rows are of classes that several tasks have (few-shot
    recognition), held-out tasks do not show how well classes never seen are predicted. In this case
    there are two trial runs, each trained on half of the classes and evaluated on the other half.
    Training on all classes then takes the number of steps that was best in these, which may be
    zero. The embedding starts from standardised features, or from features weighted by their
    inverse kurtosis, whichever suits the tasks better. There is no guard as in ``learner="auto"``.

    The paper solves for one-hot targets, which is the same up to a constant if each task has
    equally many rows of each class. The shared m and b are an addition; in the paper, tasks share
    no classes.

    References
    ----------
    Bertinetto, L., Henriques, J. F., Torr, P. H. S. and Vedaldi, A. (2019). Meta-learning with
    differentiable closed-form solvers. ICLR. :arxiv:`1805.08136`

    Examples
    --------
    Waves that differ in height and phase, adapted to ten points:

    >>> import numpy as np
    >>> from skmtl import MetaLearnerRegressor
    >>> from skmtl.learners import RidgeHead
    >>> rng = np.random.default_rng(0)
    >>> x, wave = rng.uniform(-5, 5, size=(4000, 1)), np.repeat(np.arange(200), 20)
    >>> height, phase = rng.uniform(1, 5, size=200), rng.uniform(0, np.pi, size=200)
    >>> y = height[wave] * np.sin(x[:, 0] - phase[wave])
    >>> learner = RidgeHead(hidden_layer_sizes=(40, 40), max_iter=500)
    >>> model = MetaLearnerRegressor(learner, random_state=0).fit(x, y, task=wave)
    >>> x_new = rng.uniform(-5, 5, size=(100, 1))
    >>> y_new = 3 * np.sin(x_new[:, 0] - 1)
    >>> model.adapt(x_new[:10], y_new[:10]).score(x_new[10:], y_new[10:]) > 0.9
    True
    """

    _head = RidgeSolve


class Prototypes(_EmbeddedLearner):
    r"""Classification by the nearest class mean on a learned embedding.

    With embedded rows z, the total weight :math:`N_c` of a task's rows of class c and the sum
    :math:`S_c` of their embeddings, the score of the class is

    .. math:: -\gamma \|z - p_c\|^2 + \log s_c, \quad p_c = \frac{S_c + k q_c}{N_c + k}, \quad
              s_c = \frac{N_c + h \pi_c}{N + h}.

    If classes are the same in every task, prototypes :math:`q_c` and shares :math:`\pi_c` of the
    classes, and the numbers k and h of rows that they count as, are learned together with the
    embedding and :math:`\gamma`; a class without rows in a task keeps a positive probability.
    Otherwise :math:`s_c` is 1 and :math:`q_c` is the mean of the task's rows. With k = 0 these are
    the prototypical networks of the paper. A new task may then have any number of classes. For
    classification only.

    Parameters
    ----------
    hidden_layer_sizes : tuple of int, default=()
        Width of each hidden layer of the embedding; () is a linear map.
    activation : {"relu", "tanh"}, default="relu"
        Activation of the hidden layers.
    n_components : int or None, default=None
        Width of a final linear map, see `RidgeHead`.
    learning_rate : float, default=0.003
        Learning rate of Adam.
    meta_batch_size : int, default=25
        Number of tasks drawn for each step of Adam.
    max_iter : int, default=5000
        Maximum number of steps of Adam.
    n_shots : int or None, default=None
        Number of support rows per class of an episode; None means half of the task's rows.
    validation_fraction : float, default=0.1
        Share of the tasks held out for early stopping, see `RidgeHead`.
    check_every : int, default=50
        Number of steps between evaluations on the held-out tasks.
    patience : int, default=10
        Training stops after this number of evaluations without a lower held-out loss.

    Notes
    -----
    Early stopping and trial runs are those of `RidgeHead`.

    References
    ----------
    Snell, J., Swersky, K. and Zemel, R. (2017). Prototypical networks for few-shot learning.
    NeurIPS. :arxiv:`1703.05175`

    Examples
    --------
    Adapt to five images each of four digits that were not seen in fit, where each task had three of
    the other six digits:

    >>> import numpy as np
    >>> from sklearn.datasets import load_digits
    >>> from skmtl import MetaLearnerClassifier
    >>> from skmtl.learners import Prototypes
    >>> X, y = load_digits(return_X_y=True)
    >>> rng = np.random.default_rng(0)
    >>> def rows_of(classes):
    ...     return np.concatenate([rng.choice(np.flatnonzero(y == c), 10) for c in classes])
    >>> rows = np.concatenate([rows_of(rng.permutation(6)[:3]) for _ in range(60)])
    >>> task = np.repeat(np.arange(60), 30)
    >>> learner = Prototypes(max_iter=100)
    >>> model = MetaLearnerClassifier(learner).fit(X[rows], y[rows], task=task)
    >>> support = np.concatenate([np.flatnonzero(y == c)[:5] for c in (6, 7, 8, 9)])
    >>> new = model.adapt(X[support], y[support])
    >>> query = np.flatnonzero(y >= 6)
    >>> new.score(X[query], y[query]) > 0.85
    True
    """

    _head = PrototypeHead

    def _learn(self, tasks, random_state, progress):
        if tasks.ways is None:
            raise ValueError(
                "Prototypes are means of classes, but the target is numeric; use "
                'learner="ridge_head", or MetaLearnerClassifier if the numbers are class labels.'
            )
        return super()._learn(tasks, random_state, progress)
