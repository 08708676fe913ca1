"""Boosting-based adaptations: TrAdaBoost, TrAdaBoost.R2 and two-stage TrAdaBoost.R2."""

import math

import numpy as np
from joblib import Parallel, delayed

from ..base import Adaptation, AdaptationResult, number
from ._boosted import BoostedClassifier, BoostedRegressor
from ._rounds import (
    BoostingRows,
    boost,
    boost_linear,
    boost_target,
    find_steps,
    relative,
    step_errors,
)  # fmt: skip

__all__ = ["TrAdaBoost", "TrAdaBoostR2", "TwoStageTrAdaBoostR2"]

# Numbers in a temporary array, if many fits are computed at once.
_AT_ONCE = 2**18


class Boosting(Adaptation):
    """Base class with the rounds of TrAdaBoost and TrAdaBoost.R2."""

    needs_weights = True
    needs_numbers = False
    needs_random_state = False

    _checks = {
        "n_estimators": number(
            least=1,
            whole=True,
            why="the number of rounds of boosting",
        ),
    }

    def __init__(self, n_estimators: int = 10):
        self.n_estimators = n_estimators

    def _fit(self, problem, random_state, progress):
        """Fit a clone of the estimator on all rows in every round."""
        rows = BoostingRows(problem)
        progress(f"boosting {self.n_estimators} rounds on {len(rows.y)} rows")
        models, votes, weight, history = self._boost(problem, rows)
        first = math.ceil(len(models) / 2) - 1  # learner ceil(N / 2), counted from 1
        models = [rows.learner.model(model) for model in models[first:]]
        return AdaptationResult(
            self._predictor(models, votes[first:], problem), rows.source_weights(weight),
            history=history,
        )  # fmt: skip

    def _boost(self, problem, rows):
        """Return learners, votes, weights and history, as `boost` does."""
        return boost(rows, self.n_estimators, *self._boost_arguments(problem, rows))


class TrAdaBoost(Boosting):
    r"""Boosting for classes in which misclassified source rows lose weight.

    TrAdaBoost [1]_. In every round a learner h is fitted on all rows with weights w, whose sum
    stays that of the sample weights (without any, the number of rows). With :math:`\varepsilon`,
    the weighted share of target rows that h misclassifies,

    .. math:: w_i \leftarrow w_i \times
        \begin{cases} 1 / \beta_t & \text{misclassified target rows,} \quad
            \beta_t = \frac{\varepsilon}{(1 - \varepsilon)(K - 1)} \\
        \beta & \text{misclassified source rows,} \quad \beta = 1 / (1 + \sqrt{2 \ln n / N})
        \end{cases}

    for n source rows (the sum of their sample weights), N rounds and K classes. The learners from
    round :math:`\lceil N/2 \rceil` on vote with weights :math:`\ln(1 / \beta_t)`.

    The assumption is that for some source rows labels depend on features as they do in the target,
    and that the other source rows are recognised by being misclassified. Target labels are needed,
    and an estimator that supports ``sample_weight``. There is no guard against sources that do
    harm; see the guide.

    Parameters
    ----------
    n_estimators : int, default=10
        Number of rounds of boosting, N.

    Notes
    -----
    **More than two classes.** The paper has two. The factor :math:`K - 1` is that of SAMME [2]_:
    votes are positive if a learner is better than a random choice among K classes. K is the number
    of classes in source and target together.

    **What the paper leaves open.** A learner with :math:`\varepsilon \ge 1 - 1/K` (1/2 for two
    classes) ends the boosting and is dropped, and N in "from round N/2 on" is the number of
    remaining learners, as in TrAdaBoost.R2; the first learner is always kept, with a vote of one.
    An :math:`\varepsilon` of zero counts as 2.2e-16, so that a vote is at most 36. Among classes
    with equal votes the first is predicted.

    ``history_`` has one row per round: the `error` on target rows, `beta` (:math:`\beta_t`) and
    `target_share`, the share of target rows in the weights that the learner was fitted with.
    ``source_weights_`` are mean weights in the last round that was kept, relative to the target's.

    References
    ----------
    .. [1] Dai, W., Yang, Q., Xue, G.-R., Yu, Y. (2007). Boosting for transfer learning. ICML.
       :doi:`10.1145/1273496.1273521`
    .. [2] Zhu, J., Zou, H., Rosset, S., Hastie, T. (2009). Multi-class AdaBoost. Statistics and
       Its Interface 2(3). :doi:`10.4310/SII.2009.v2.n3.a8`

    Examples
    --------
    Half of the source rows have labels that depend on another feature:

    >>> import numpy as np
    >>> from sklearn.linear_model import LogisticRegression
    >>> from skmtl import Source, TransferEstimator
    >>> rng = np.random.default_rng(0)
    >>> X, X_target = rng.normal(size=(400, 3)), rng.normal(size=(30, 3))
    >>> y = np.where(np.arange(400) < 200, X[:, 0], X[:, 1]) > 0
    >>> source = Source(X, y, task=np.repeat(["like", "unlike"], 200))
    >>> model = TransferEstimator(LogisticRegression(), source=source, adaptation="tradaboost")
    >>> model = model.fit(X_target, X_target[:, 0] > 0)
    >>> like, unlike = model.source_weights_
    >>> bool(like > unlike)
    True
    """

    only = "classifier"

    def _boost_arguments(self, problem, rows):
        n_classes = max(len(problem.classes), 2)

        def wrong(predicted, weight):
            return (predicted != rows.y).astype(np.float64)

        return wrong, 1.0 - 1.0 / n_classes, n_classes - 1.0

    def _predictor(self, models, votes, problem):
        return BoostedClassifier._of(models, votes, problem.X, problem.classes)


class TrAdaBoostR2(Boosting):
    r"""Boosting for numbers in which badly predicted source rows lose weight.

    TrAdaBoost.R2. In every round a learner h is fitted on all rows with weights w, whose sum stays
    that of the sample weights (without any, the number of rows). With deviations of all rows
    relative to the largest, :math:`e_i = |y_i - h(x_i)| / \max_j |y_j - h(x_j)|`, and
    :math:`\varepsilon`, their weighted mean over target rows,

    .. math:: w_i \leftarrow w_i \times
        \begin{cases} \beta_t^{-e_i} & \text{target rows,} \quad
            \beta_t = \varepsilon / (1 - \varepsilon) \\
        \beta^{e_i} & \text{source rows,} \quad \beta = 1 / (1 + \sqrt{2 \ln n / N})
        \end{cases}

    for n source rows (the sum of their sample weights) and N rounds. The prediction is the median
    of the learners from round :math:`\lceil N/2 \rceil` on, weighted by :math:`\ln(1 / \beta_t)`.

    The assumption is that for some source rows labels depend on features as they do in the target.
    Target labels are needed, and an estimator that supports ``sample_weight``. There is no guard
    against sources that do harm, and the result is often worse than a fit on the target's rows
    alone; see the guide.

    Parameters
    ----------
    n_estimators : int, default=10
        Number of rounds of boosting, N.

    Notes
    -----
    A learner with :math:`\varepsilon \ge 1/2` ends the boosting and is dropped, and N in "from
    round N/2 on" is the number of remaining learners; the first learner is kept if there is no
    other. An :math:`\varepsilon` of zero counts as 2.2e-16, so that a vote is at most 36. If no
    deviation is above 1e-12 of the largest label, all count as zero.

    ``history_`` has one row per round: the `error` on target rows, `beta` (:math:`\beta_t`) and
    `target_share`, the share of target rows in the weights that the learner was fitted with.
    ``source_weights_`` are mean weights in the last round that was kept, relative to the target's.

    `Ridge` and `LinearRegression` are fitted by weighted normal equations, which is faster than
    scikit-learn and gives the same results up to rounding.

    References
    ----------
    Pardoe, D., Stone, P. (2010). Boosting for regression transfer. ICML, 863-870.
    https://icml.cc/Conferences/2010/papers/70.pdf

    Examples
    --------
    >>> import numpy as np
    >>> from skmtl import Source, TransferEstimator
    >>> rng = np.random.default_rng(0)
    >>> X, X_target = rng.normal(size=(400, 3)), rng.normal(size=(30, 3))
    >>> y = np.where(np.arange(400) < 200, X[:, 0], X[:, 1])
    >>> source = Source(X, y, task=np.repeat(["like", "unlike"], 200))
    >>> model = TransferEstimator(source=source, adaptation="tradaboost_r2")
    >>> model = model.fit(X_target, X_target[:, 0])
    >>> like, unlike = model.source_weights_
    >>> bool(like > 2 * unlike)
    True
    """

    only = "regressor"

    def _boost(self, problem, rows):
        boosted = boost_linear(rows, self.n_estimators)
        return super()._boost(problem, rows) if boosted is None else boosted

    def _boost_arguments(self, problem, rows):
        def deviation(predicted, weight):
            return relative((predicted - rows.y)[None], weight[None] > 0.0, rows.scale)[0]

        return deviation, 0.5, 1.0

    def _predictor(self, models, votes, problem):
        return BoostedRegressor._of(models, votes, problem.X)


class TwoStageTrAdaBoostR2(Boosting):
    r"""Boosting for numbers that reduces the weights of source rows in a chosen number of steps.

    Two-stage TrAdaBoost.R2 [1]_. At step t = 1, ..., S the target has the share
    :math:`a_t = \frac{m}{n+m} + \frac{t-1}{S-1} (1 - \frac{m}{n+m})` of the weights, for m target
    and n source rows. From one step to the next, the weights of source rows are reduced according
    to the errors of a learner h fitted on all rows:

    .. math:: w_i \leftarrow w_i \beta_t^{e_i}, \qquad
        e_i = |y_i - h(x_i)| / \max_j |y_j - h(x_j)|,

    where :math:`\beta_t` is such that the target's share becomes :math:`a_{t+1}`. At each step a
    model is boosted by AdaBoost.R2 [2]_ in which only the weights of target rows change, while
    their sum stays the same. The model is that of the step with the smallest squared error in
    cross-validation over target rows, with all source rows in training.

    At the first step all rows have their sample weights, and at the last one source rows have
    weight zero, so that a model of the target's rows alone is among the candidates. The assumption
    is that source rows which are predicted badly do not help. Target labels are needed, and an
    estimator that supports ``sample_weight``.

    Parameters
    ----------
    n_steps : int, default=10
        Number of steps from all rows to the target's alone, S; at least two.
    n_estimators : int, default=10
        Maximum number of rounds of AdaBoost.R2 at each step.

    Notes
    -----
    The splits are those of ``cv`` of `TransferEstimator`. The training rows of a split have the
    weight that all target rows have at that step. With a single target row cross-validation is not
    possible, and the first step is used. The weights of source rows at a step depend on the labels
    of all target rows, as in the paper, so that the error is slightly optimistic.

    The sum of all weights is always that of the sample weights (without any, the number of rows),
    so that the penalty of a ridge has less influence at later steps, where fewer rows share that
    sum. m and n are sums of sample weights. :math:`\beta_t` is found up to rounding, by Newton's
    method for its logarithm. If rows that are fitted exactly keep too much weight for any
    :math:`\beta_t`, they are scaled down. Source rows of weight zero are left out, also when
    deviations are scaled, so that the last step is AdaBoost.R2 on the target's rows. A learner of
    AdaBoost.R2 with a weighted mean deviation of 1/2 or more ends the rounds and is dropped, unless
    it is the first; a mean deviation of zero counts as 2.2e-16.

    ``history_`` has one row per step: `target_share`, `beta` (which led to the step) and `error`,
    the cross-validated mean squared error. ``source_weights_`` are mean weights at the chosen step,
    relative to the target's.

    `Ridge` and `LinearRegression` are fitted by weighted normal equations, which is faster than
    scikit-learn and gives the same results up to rounding. Other estimators are fitted ``n_steps *
    n_estimators * n_splits`` times, in parallel with `n_jobs`.

    References
    ----------
    .. [1] Pardoe, D., Stone, P. (2010). Boosting for regression transfer. ICML, 863-870.
       https://icml.cc/Conferences/2010/papers/70.pdf
    .. [2] Drucker, H. (1997). Improving regressors using boosting techniques. ICML, 107-115.

    Examples
    --------
    >>> import numpy as np
    >>> from skmtl import Source, TransferEstimator
    >>> rng = np.random.default_rng(0)
    >>> X, X_target = rng.normal(size=(400, 3)), rng.normal(size=(30, 3))
    >>> y = np.where(np.arange(400) < 200, X[:, 0], X[:, 1])
    >>> source = Source(X, y, task=np.repeat(["like", "unlike"], 200))
    >>> model = TransferEstimator(source=source, adaptation="two_stage_tradaboost_r2")
    >>> model = model.fit(X_target, X_target[:, 0])
    >>> like, unlike = model.source_weights_
    >>> bool(like > unlike)
    True
    >>> len(model.history_["error"])
    10
    """

    only = "regressor"

    _checks = {
        **Boosting._checks,
        "n_steps": number(
            least=2,
            whole=True,
            why="the number of steps from all rows to the target's",
        ),
    }

    def __init__(self, n_steps: int = 10, n_estimators: int = 10):
        self.n_steps = n_steps
        self.n_estimators = n_estimators

    def _fit(self, problem, random_state, progress):
        """Find the weights of all steps, choose a step, and boost with its weights."""
        rows = BoostingRows(problem, reuse=True)
        progress(f"weighting {rows.n_source} source rows in {self.n_steps} steps")
        weights, history = find_steps(rows, self.n_steps)
        best = 0
        if problem.splits:
            progress(f"evaluating {self.n_steps} steps in {len(problem.splits)} splits")
            history["error"] = self._errors(rows, weights, problem)
            best = int(np.argmin(history["error"]))
        progress(f"boosting at step {best + 1}")
        models, votes, _ = boost_target(
            rows, weights[best][None].copy(), np.zeros(1, dtype=int), self.n_estimators
        )
        used = np.flatnonzero(votes[:, 0])
        models = [rows.learner.model(models[t][0]) for t in used]
        return AdaptationResult(
            BoostedRegressor._of(models, votes[used, 0], problem.X),
            rows.source_weights(weights[best]), history=history,
        )  # fmt: skip

    def _errors(self, rows, weights, problem):
        """Return the mean squared error of target rows at every step."""
        splits, n_splits = problem.splits, len(problem.splits)
        pairs = [(step, k) for step in range(len(weights)) for k in range(n_splits)]
        # Normal equations solve many fits at once; other estimators are fitted one by one.
        at_once = max(1, _AT_ONCE // len(rows.y)) if rows.is_linear else 1
        groups = [pairs[i : i + at_once] for i in range(0, len(pairs), at_once)]
        sums = Parallel(n_jobs=None if rows.is_linear else problem.n_jobs)(
            delayed(step_errors)(rows, weights, splits, group, self.n_estimators)
            for group in groups
        )
        sums = np.reshape(np.concatenate(sums), (len(weights), n_splits)).sum(axis=1)
        return sums / sum(rows.sample_weight[rows.n_source :][test].sum() for _, test in splits)
