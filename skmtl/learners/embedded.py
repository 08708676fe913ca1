r"""Learners of an embedding in which a head in closed form learns a new task.

The embedding :math:`g_\theta` is a linear map or a multilayer perceptron that all tasks share. A
task's head :math:`h(S)` follows in closed form from its embedded support rows S, and the embedding
and the head's own few parameters :math:`\eta` are trained on query rows Q by Adam,

.. math:: \min_{\theta, \eta} \; \sum_t L\big(h_\eta(g_\theta(S_t)),\; g_\theta(Q_t)\big),

with L the mean squared error or the cross-entropy. Gradients are exact, back through the head.

References
----------
Bertinetto, L., Henriques, J. F., Torr, P. H. S. and Vedaldi, A. (2019). Meta-learning with
differentiable closed-form solvers. ICLR. :arxiv:`1805.08136`

Snell, J., Swersky, K. and Zemel, R. (2017). Prototypical networks for few-shot learning. NeurIPS.
:arxiv:`1703.05175`
"""

import warnings
from dataclasses import dataclass, replace

import numpy as np
from threadpoolctl import threadpool_limits

from ..solvers.adam import adam, steps_along
from . import _episodes
from ._embedding import Embedding, Padded, padded_chunks
from ._episodic import MOST_HELD_OUT, EpisodicLearner, hidden_widths, is_count
from ._families import metrics
from ._frame import evenness
from ._heads import PrototypeHead, RidgeSolve, losses_of_heads
from ._held_out import folds
from .base import Adapted, Knowledge
from .closed_form import LinearHeads

__all__ = ["Prototypes", "RidgeHead"]

# Steps whose episodes are drawn at once.
_STEPS = 25
# Share of the episodes without support rows, where tasks without any are to be predicted.
_SHARE_BARE = 0.1
# Episodes that starts are compared on.
_EPISODES_TO_START = 100
# Times that half of the classes are left out to see how long training serves new ones.
_REHEARSALS = 2
# Where the best may come after few steps, looks are so many times more frequent, and patience
# counts so many more of them.
_FINER, _MORE_PATIENCE = 5, 2


@dataclass
class Model:
    """An embedding and a head, with the head's parameters.

    Attributes
    ----------
    embedding : Embedding
    head : RidgeSolve or PrototypeHead
    parameters : ndarray
    """

    embedding: Embedding
    head: object
    parameters: np.ndarray

    @property
    def flat(self):
        """All parameters in one vector."""
        return np.concatenate([self.embedding.theta, self.parameters])

    def at(self, flat):
        """The same at other parameters."""
        n = len(self.embedding.theta)
        return Model(replace(self.embedding, theta=flat[:n]), self.head, flat[n:])

    def embedded(self, rows):
        """Padded rows, embedded."""
        Z = self.embedding.forward(rows.flat)[-1]
        return Z.reshape(*rows.weight.shape, self.embedding.width)

    def heads(self, rows):
        """Heads of tasks from their support rows."""
        return self.head.fit(self.parameters, self.embedded(rows), rows)[0]

    def gradient(self, support, query, out):
        """Mean query loss of the tasks; its gradient is put into `out`."""
        n, n_tasks = len(self.embedding.theta), len(support.weight)
        n_rows, width = support.weight.size, self.embedding.width
        units = self.embedding.forward(np.concatenate([support.flat, query.flat]))
        Z = units[-1][:n_rows].reshape(*support.weight.shape, width)
        query_Z = units[-1][n_rows:].reshape(*query.weight.shape, width)
        heads, kept = self.head.fit(self.parameters, Z, support)
        losses, by_heads, by_query, _ = losses_of_heads(heads, query_Z, query)
        out[:] = 0.0
        by_Z = self.head.pull_back(kept, by_heads, out[n:])
        slope = np.concatenate([part.reshape(-1, width) for part in (by_Z, by_query)])
        self.embedding.backward(units, slope, out[:n])
        out /= n_tasks
        return losses.mean()

    def judge(self, support, query):
        """Mean query loss of the tasks, and their mean accuracy (NaN of numbers)."""
        heads, Z = self.heads(support), self.embedded(query)
        losses, _, _, scores = losses_of_heads(heads, Z, query)
        if scores.shape[2] == 1:
            return losses.mean(), np.nan
        found = np.where(query.inside[:, None], scores, -np.inf).argmax(axis=2)
        right = found == query.target.argmax(axis=2)
        return losses.mean(), (right * query.weight).sum(axis=1).mean()


class _EmbeddedLearner(EpisodicLearner):
    """What the learners of an embedding have in common."""

    _head = None

    def __init__(self, hidden_layer_sizes=(), activation="relu", *, n_components=None,
                 learning_rate=3e-3, meta_batch_size=25, max_iter=5000, n_shots=None,
                 validation_fraction=0.1, check_every=50, patience=10):  # fmt: skip
        self.hidden_layer_sizes = hidden_layer_sizes
        self.activation = activation
        self.n_components = n_components
        self.learning_rate = learning_rate
        self.meta_batch_size = meta_batch_size
        self.max_iter = max_iter
        self.n_shots = n_shots
        self.validation_fraction = validation_fraction
        self.check_every = check_every
        self.patience = patience

    def check(self):
        """Raise a ValueError for parameters that make no sense."""
        super().check()
        count = self.n_components
        if count is not None and not is_count(count):
            raise ValueError(
                f"n_components={count!r}: it must be an integer of at least 1, or None."
            )

    def learn(self, tasks, random_state, progress):
        """Learn the embedding, and what the head has to know beside a task's rows.

        Parameters
        ----------
        tasks : LabelledTasks
        random_state : numpy.random.RandomState
        progress : callable

        Returns
        -------
        EmbeddedKnowledge

        Raises
        ------
        ValueError
            For parameters that make no sense.

        Warns
        -----
        UserWarning
            Where no task has rows enough to be split: nothing is learned then.
        """
        self.check()
        with threadpool_limits(1, user_api="blas"):  # small products, sums always alike
            training, held, n_steps = self._plan(tasks, random_state, progress)
            model, result = self._train(training, held, n_steps, random_state, progress)
        return EmbeddedKnowledge(model.at(result.x), result)

    def _plan(self, tasks, random_state, progress):
        """Tasks to train on, episodes to stop by (or None), and most steps."""
        usable, none = self._usable(tasks)
        if not len(usable):
            warnings.warn(f"{type(self).__name__} was not trained: {none}", stacklevel=2)
            return tasks, None, 0
        n_steps = self._rehearsed(tasks.take(usable), random_state, progress)
        if n_steps is not None:
            return tasks.take(usable), None, n_steps
        return *self._hold_out(tasks, usable, random_state), self.max_iter

    def _rehearsed(self, tasks, random_state, progress):
        """Steps that serve classes never seen, by training without half of the classes.

        None where classes are shared, or where few of them recur from task to task, or where
        nothing is to be held out.
        """
        if self.validation_fraction == 0 or not _recurring(tasks):
            return None
        every = max(1, self.check_every // _FINER)
        options = {"check_every": every, "patience": _MORE_PATIENCE * self.patience}
        curves = []
        for train, held in folds(tasks, _REHEARSALS, random_state):
            train, held = (some.take(self._usable(some)[0]) for some in (train, held))
            if min(train.n_tasks, held.n_tasks) == 0:
                continue
            progress("training on half of the classes")
            held = held.take(random_state.permutation(held.n_tasks)[:MOST_HELD_OUT])
            held = self._episodes_to_look_at(held, random_state)
            _, result = self._train(train, held, self.max_iter, random_state, progress, **options)
            curves.append(result.history["held_out_loss"])
            if result.stopped == "interrupted":
                break
        if not curves:
            return None
        looks = min(len(curve) for curve in curves)
        best = np.mean([curve[:looks] - curve[0] for curve in curves], axis=0).argmin()
        return min(int(best) * every, self.max_iter)

    def _train(self, tasks, held, max_iter, random_state, progress, **options):
        """The model at its start, and where Adam led from there."""
        options = {"check_every": self.check_every, "patience": self.patience} | options
        model = self._start(tasks, random_state)
        result = adam(
            model.flat, self._steps(model, tasks, random_state), max_iter=max_iter,
            held_out=held and _look(model, *held), progress=progress, **options,
        )  # fmt: skip
        return model, result

    def _start(self, tasks, random_state):
        """The best of the head's starts on an untrained embedding."""
        plain = Embedding.start(
            tasks.n_features, hidden_widths(self.hidden_layer_sizes), self.n_components,
            self.activation, random_state,
        )  # fmt: skip
        drawn = _episodes.draw(tasks, _EPISODES_TO_START, self.n_shots, random_state)
        support, query = (Padded.of(rows) for rows in drawn)
        head = self._head(plain.width, support.target.shape[2], not tasks.own_classes)
        starts = []
        for metric in metrics(replace(tasks, evenness=evenness(tasks))):
            model = Model(plain.stretched(metric), head, None)
            Z = model.embedded(support)
            starts += [replace(model, parameters=x) for x in head.starts(Z, support)]
        query = query.averaging()
        return starts[int(np.argmin([start.judge(support, query)[0] for start in starts]))]

    def _steps(self, model, tasks, random_state):
        """Steps of Adam on episodes of the tasks."""
        waiting, size = [], self.meta_batch_size

        def gradient(x, step, out):
            if not waiting:
                waiting.extend(self._batches(tasks, model.head.shared, size, random_state))
            return model.at(x).gradient(*waiting.pop(), out)

        return steps_along(gradient, self.learning_rate)

    def _batches(self, tasks, shared, size, random_state):
        drawn = _episodes.draw(tasks, _STEPS * size, self.n_shots, random_state)
        support, query = (Padded.of(rows) for rows in drawn)
        if shared:
            support.weight[random_state.uniform(size=len(support.weight)) < _SHARE_BARE] = 0.0
        query = query.averaging()
        for start in range(0, _STEPS * size, size):
            yield support.some(start, start + size), query.some(start, start + size)


def _recurring(tasks):
    """Whether most rows of own classes are of classes that other tasks have, too."""
    if not tasks.own_classes or tasks.labels is None:
        return False
    n_tasks = np.bincount(tasks.labels[tasks.labels >= 0])
    return np.mean(n_tasks[tasks.labels[tasks.codes, tasks.y]] > 1) > 0.5


def _look(model, support, query):
    """What measures a model on held-out tasks."""
    support, query = Padded.of(support), Padded.of(query).averaging()

    def look(x):
        loss, accuracy = model.at(x).judge(support, query)
        return {"held_out_loss": loss, "held_out_accuracy": accuracy}

    return look


class EmbeddedKnowledge(Knowledge):
    """An embedding, and how heads on it follow from rows.

    Attributes
    ----------
    model : Model
    n_iter : int
        Steps taken.
    stopped : str
        Why training ended: "no_change", "max_iter", "diverged" or "interrupted".
    history : dict of arrays
        By look: "step", "train_loss" and, where tasks were held out, "held_out_loss" and
        "held_out_accuracy" (NaN for numbers).
    """

    def __init__(self, model, result):
        self.model = model
        self.history, self.n_iter, self.stopped = result.history, result.n_iter, result.stopped

    def adapt(self, tasks):
        """Heads of the tasks; where classes are their own, as many as each has."""
        n_outputs = 1 if tasks.ways is None else tasks.most_ways
        heads = np.zeros((tasks.n_tasks, n_outputs, 1 + self.model.embedding.width))
        for chosen, rows in padded_chunks(tasks):
            some = self.model.heads(rows)
            heads[chosen, : some.shape[2], 1:] = some[:, :-1].transpose(0, 2, 1)
            heads[chosen, : some.shape[2], 0] = some[:, -1]
        return EmbeddedHeads(self.model.embedding, LinearHeads(heads, tasks.ways))


@dataclass
class EmbeddedHeads(Adapted):
    """Linear heads of some tasks on an embedding that they share.

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
    r"""An embedding in which a ridge solve on a task's rows predicts well (R2D2).

    With embedded rows z and a head :math:`f(z) = m'z + b` that all tasks share, a task's scores
    are

    .. math:: f(z) + \alpha V'\tilde z, \quad V = \arg\min_V \sum_i w_i
              \|r_i - V'\tilde z_i\|^2 + \lambda \|V\|^2, \quad \tilde z = (z, \kappa),

    where the sum goes over its labelled rows and :math:`r_i` is what f leaves of their targets:
    :math:`y_i - f(z_i)` of numbers (with :math:`\alpha = 1`), indicators of the classes less the
    softmax of :math:`f(z_i)` otherwise. The embedding, :math:`\lambda, \kappa, \alpha`, m and b
    are learned. A task without rows gets f, and one of a single class something in between. Where
    every task has classes of its own f is zero, and a new task may have any number of them.

    Parameters
    ----------
    hidden_layer_sizes : tuple of int, default=()
        Width of every hidden layer of the embedding; () is a linear map.
    activation : {"relu", "tanh"}, default="relu"
    n_components : int or None, default=None
        Width of a linear map that ends the embedding. None: none, the last hidden layer is the
        embedding; or without hidden layers, a map to as many components as there are features,
        which training starts from the features themselves. Tasks that differ in few directions
        are learned better by few components.
    learning_rate : float, default=0.003
        Adam's.
    meta_batch_size : int, default=25
        Tasks drawn for each of its steps.
    max_iter : int, default=5000
        Most of its steps.
    n_shots : int or None, default=None
        Support rows of an episode, a class in classification; None is half of the task's rows.
    validation_fraction : float, default=0.1
        Share of the tasks held out to stop early by; of fewer than ten tasks none are. 0 is for
        `max_iter` steps, without rehearsal (see Notes).
    check_every : int, default=50
        Steps from one look at the held-out tasks to the next.
    patience : int, default=10
        Looks without a lower held-out loss after which training ends.

    Notes
    -----
    Where most rows are of classes that several tasks have as their own (few-shot recognition),
    tasks held out tell nothing of classes never seen. There, training is rehearsed twice on half
    of the classes, judged on the other half, and then takes on all as many steps as served best;
    that may be none. The embedding starts from standardised features or from those in the user's
    units, whichever suits the tasks better. There is no guard as that of ``learner="auto"``.

    The paper solves for one-hot targets, which is the same up to a constant where each task has
    as many rows of every class; m and b are ours, as its tasks share no classes.

    References
    ----------
    Bertinetto, L., Henriques, J. F., Torr, P. H. S. and Vedaldi, A. (2019). Meta-learning with
    differentiable closed-form solvers. ICLR. :arxiv:`1805.08136`

    Examples
    --------
    Waves that differ in height and phase, of which ten points are known:

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
    r"""An embedding in which the nearest of the classes' means tells the class.

    With embedded rows z, the weight :math:`N_c` of a task's rows of class c and the sum
    :math:`S_c` of their embeddings, the class's score is

    .. math:: -\gamma \|z - p_c\|^2 + \log s_c, \quad p_c = \frac{S_c + k q_c}{N_c + k}, \quad
              s_c = \frac{N_c + h \pi_c}{N + h}.

    Where classes mean the same in every task, prototypes :math:`q_c` and shares :math:`\pi_c` of
    the classes, and how many rows k and h stand behind them, are learned with the embedding and
    :math:`\gamma`: a class that a task has not shown keeps a chance. Otherwise :math:`s_c` is 1
    and :math:`q_c` the mean of the task's rows; with k = 0 these are the prototypical networks of
    the paper, and a new task may have any number of classes. Classification only.

    Parameters
    ----------
    hidden_layer_sizes : tuple of int, default=()
        Width of every hidden layer of the embedding; () is a linear map.
    activation, n_components, learning_rate, meta_batch_size, max_iter
        As in `RidgeHead`.
    n_shots, validation_fraction, check_every, patience
        As in `RidgeHead`.

    Notes
    -----
    Training stops, and rehearses, as that of `RidgeHead`.

    References
    ----------
    Snell, J., Swersky, K. and Zemel, R. (2017). Prototypical networks for few-shot learning.
    NeurIPS. :arxiv:`1703.05175`

    Examples
    --------
    Four digits never seen in fit, five of each known; the tasks of fit had three others each:

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

    def learn(self, tasks, random_state, progress):
        """As that of `RidgeHead`; a ValueError for tasks of numbers."""
        if tasks.ways is None:
            raise ValueError(
                "Prototypes are means of classes, and the target is numbers; for these use "
                'learner="ridge_head", or a MetaLearnerClassifier where they are labels.'
            )
        return super().learn(tasks, random_state, progress)
