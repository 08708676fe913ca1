"""The boosting classics: TrAdaBoost, TrAdaBoost.R2 and two-stage TrAdaBoost.R2."""

import math

import numpy as np
from joblib import Parallel, delayed

from ..base import Adaptation, AdaptationResult, check_number
from ._boosted import BoostedClassifier, BoostedRegressor
from ._rounds import AllRows, boost, boost_lines, boost_target, find_steps, judge_steps, relative

__all__ = ["TrAdaBoost", "TrAdaBoostR2", "TwoStageTrAdaBoostR2"]

# Numbers in a temporary array, where many fits are made at once.
_AT_ONCE = 2**18


class Boosting(Adaptation):
    """What they have in common, and the rounds of TrAdaBoost and TrAdaBoost.R2."""

    needs_weights = True
    needs_numbers = False
    needs_random_state = False

    def __init__(self, n_estimators=10):
        self.n_estimators = n_estimators

    def check(self):
        """Raise a ValueError unless `n_estimators` is a whole number from 1 on."""
        check_number(self, "n_estimators", least=1, whole=True, why="how many rounds of boosting")

    def fit(self, problem, random_state, progress):
        """Fit a clone of the estimator on all rows in every round."""
        rows = AllRows.of(problem)
        progress(f"boosting {self.n_estimators} rounds on {len(rows.y)} rows")
        models, votes, weight, history = self._boost(problem, rows)
        first = math.ceil(len(models) / 2) - 1  # learners N/2, rounded up, to N; they count from 1
        models = [rows.learner.model(model) for model in models[first:]]
        predictor = self._predictor(models, votes[first:], problem)
        return AdaptationResult(predictor, rows.source_weights(weight), history=history)

    def _boost(self, problem, rows):
        """Learners, votes, weights and history, as `boost` gives them."""
        return boost(rows, self.n_estimators, *self._judge(problem, rows))


class TrAdaBoost(Boosting):
    r"""Boosting in which wrong target rows gain weight and wrong source rows lose it; classes.

    TrAdaBoost [1]_. In every round a learner h is fitted on all rows with weights w, whose sum
    stays that of the sample weights (without any, the number of rows). With :math:`\varepsilon`,
    the weighted share of target rows that it gets wrong,

    .. math:: w_i \leftarrow w_i \times
        \begin{cases} 1 / \beta_t & \text{wrong rows of the target,} \quad
            \beta_t = \frac{\varepsilon}{(1 - \varepsilon)(K - 1)} \\
        \beta & \text{wrong rows of sources,} \quad \beta = 1 / (1 + \sqrt{2 \ln n / N})
        \end{cases}

    for n source rows (the sum of their sample weights), N rounds and K classes. Learners from
    round :math:`\lceil N/2 \rceil` on vote with :math:`\ln(1 / \beta_t)`.

    It assumes that some source rows follow the target's law as they stand, so that those that do
    not can be told by being predicted wrongly. It needs labels of the target, and an estimator
    that takes ``sample_weight``. It has no guard against sources that do harm; see the guide.

    Parameters
    ----------
    n_estimators : int, default=10
        Rounds of boosting, N.

    Notes
    -----
    **More than two classes.** The paper has two. The factor :math:`K - 1` is that of SAMME [2]_:
    votes are positive where a learner beats a guess among K classes. K counts the classes of
    source and target together.

    **What the paper leaves open.** A learner with :math:`\varepsilon \ge 1 - 1/K` (a half, of two
    classes) ends the boosting and is dropped, and N in "from round N/2 on" is the number of
    learners left, as in TrAdaBoost.R2; the very first is kept, with a vote of one. An
    :math:`\varepsilon` of zero counts as 2.2e-16, so that a vote is at most 36. Of classes with
    equal votes the first is predicted.

    ``history_`` has a row a round: the `error` of target rows, `beta` (:math:`\beta_t`) and
    `target_share`, that of target rows in the weights the learner was fitted with.
    ``source_weights_`` are mean weights in the last round that was kept, beside the target's.

    References
    ----------
    .. [1] Dai, W., Yang, Q., Xue, G.-R., Yu, Y. (2007). Boosting for transfer learning. ICML.
       :doi:`10.1145/1273496.1273521`
    .. [2] Zhu, J., Zou, H., Rosset, S., Hastie, T. (2009). Multi-class AdaBoost. Statistics and
       Its Interface 2(3). :doi:`10.4310/SII.2009.v2.n3.a8`

    Examples
    --------
    Half of the source rows are labelled by another law:

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

    def _judge(self, problem, rows):
        most = 1.0 - 1.0 / max(len(problem.classes), 2)

        def wrong(predicted, weight):
            return (predicted != rows.y).astype(np.float64)

        return wrong, most, max(len(problem.classes), 2) - 1.0

    def _predictor(self, models, votes, problem):
        return BoostedClassifier._of(models, votes, problem.X, problem.classes)


class TrAdaBoostR2(Boosting):
    r"""Boosting in which wrong target rows gain weight and wrong source rows lose it; numbers.

    TrAdaBoost.R2. In every round a learner h is fitted on all rows with weights w, whose sum stays
    that of the sample weights (without any, the number of rows). With deviations of all rows
    relative to the largest, :math:`e_i = |y_i - h(x_i)| / \max_j |y_j - h(x_j)|`, and
    :math:`\varepsilon`, their weighted mean over target rows,

    .. math:: w_i \leftarrow w_i \times
        \begin{cases} \beta_t^{-e_i} & \text{rows of the target,} \quad
            \beta_t = \varepsilon / (1 - \varepsilon) \\
        \beta^{e_i} & \text{rows of sources,} \quad \beta = 1 / (1 + \sqrt{2 \ln n / N})
        \end{cases}

    for n source rows (the sum of their sample weights) and N rounds. Predicted is the median of
    the learners from round :math:`\lceil N/2 \rceil` on, weighted by :math:`\ln(1 / \beta_t)`.

    It assumes that some source rows follow the target's law as they stand. It needs labels of the
    target, and an estimator that takes ``sample_weight``. It has no guard against sources that do
    harm, and is often worse than the target's rows alone; see the guide.

    Parameters
    ----------
    n_estimators : int, default=10
        Rounds of boosting, N.

    Notes
    -----
    A learner with :math:`\varepsilon \ge 1/2` ends the boosting and is dropped, and N in "from
    round N/2 on" is the number of learners left; the very first is kept, as the only one. An
    :math:`\varepsilon` of zero counts as 2.2e-16, so that a vote is at most 36; where no deviation
    is above 1e-12 of the largest label, all count as none.

    ``history_`` has a row a round: the `error` of target rows, `beta` (:math:`\beta_t`) and
    `target_share`, that of target rows in the weights the learner was fitted with.
    ``source_weights_`` are mean weights in the last round that was kept, beside the target's.

    `Ridge` and `LinearRegression` are fitted by weighted normal equations, which give what
    scikit-learn gives, faster.

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
        made = boost_lines(rows, self.n_estimators)
        return super()._boost(problem, rows) if made is None else made

    def _judge(self, problem, rows):
        def deviation(predicted, weight):
            return relative((predicted - rows.y)[None], weight[None] > 0.0, rows.scale)[0]

        return deviation, 0.5, 1.0

    def _predictor(self, models, votes, problem):
        return BoostedRegressor._of(models, votes, problem.X)


class TwoStageTrAdaBoostR2(Boosting):
    r"""Takes weight from source rows step by step, and stops where cross-validation says; numbers.

    Two-stage TrAdaBoost.R2 [1]_. At step t = 1, ..., S the target has the share
    :math:`a_t = \frac{m}{n+m} + \frac{t-1}{S-1} (1 - \frac{m}{n+m})` of the weights, of m target
    and n source rows. From a step to the next, source rows lose by how badly a learner h of all
    rows predicts them:

    .. math:: w_i \leftarrow w_i \beta_t^{e_i}, \qquad
        e_i = |y_i - h(x_i)| / \max_j |y_j - h(x_j)|,

    where :math:`\beta_t` is such that the target's share becomes :math:`a_{t+1}`. At each step a
    model is boosted by AdaBoost.R2 [2]_ in which only target rows change their weights (and sum up
    to what they did). The model is that of the step with the least squared error in
    cross-validation over target rows, with all source rows in training.

    The first step is boosting from all rows alike, the last from the target's rows alone, so that
    there is something to fall back to. It assumes that rows which are predicted badly are those
    that do not belong. It needs labels of the target, and an estimator that takes
    ``sample_weight``.

    Parameters
    ----------
    n_steps : int, default=10
        Steps from all rows to the target's alone, S; two at least.
    n_estimators : int, default=10
        Rounds of AdaBoost.R2, at most, at each step.

    Notes
    -----
    Splits are those of ``cv`` of `TransferEstimator`. In training the target rows of a split have
    the weight that all target rows have at that step. With a single target row there is nothing to
    judge by, and the first step is taken. Weights of source rows at a step follow from the labels
    of all target rows, as in the paper, so that the error is a little optimistic.

    Weights always sum up to the sample weights (without any, to the number of rows), so that the
    penalty of a ridge counts less at later steps, where these are shared by fewer rows. m and n
    are sums of sample weights. :math:`\beta_t` is found to rounding, by Newton's method for its
    logarithm. Where rows that are fitted exactly keep too much weight for any :math:`\beta_t`,
    they are scaled down. Source rows of weight zero are left out, deviations included, so that the
    last step is AdaBoost.R2 on the target's rows. A learner of AdaBoost.R2 with a weighted mean
    deviation of 1/2 or more ends it and is dropped, but for the first; zero counts as 2.2e-16.

    ``history_`` has a row a step: `target_share`, `beta` (that led to the step) and `error`, the
    mean squared one of cross-validation. ``source_weights_`` are mean weights at the step that was
    taken, beside the target's.

    `Ridge` and `LinearRegression` are fitted by weighted normal equations, which give what
    scikit-learn gives, faster; anything else is fitted ``n_steps * n_estimators * n_splits``
    times, in parallel with `n_jobs`.

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

    def __init__(self, n_steps=10, n_estimators=10):
        self.n_steps = n_steps
        self.n_estimators = n_estimators

    def check(self):
        """Raise a ValueError for parameters that are no whole numbers, or too small."""
        check_number(
            self, "n_steps", least=2, whole=True, why="how many steps from all rows to the target's"
        )
        check_number(
            self, "n_estimators", least=1, whole=True, why="how many rounds of boosting a step"
        )

    def fit(self, problem, random_state, progress):
        """Find the weights of all steps, judge them, and boost at the best."""
        rows = AllRows.of(problem, apart=True)
        progress(f"weighing {rows.n_source} source rows in {self.n_steps} steps")
        weights, history = find_steps(rows, self.n_steps)
        best = 0
        if problem.splits:
            progress(f"judging {self.n_steps} steps in {len(problem.splits)} splits")
            history["error"] = self._errors(rows, weights, problem)
            best = int(np.argmin(history["error"]))
        progress(f"boosting at step {best + 1}")
        models, votes, _ = boost_target(
            rows, weights[best][None].copy(), np.zeros(1, dtype=int), self.n_estimators
        )
        used = np.flatnonzero(votes[:, 0])
        models = [rows.learner.model(models[t][0]) for t in used]
        predictor = BoostedRegressor._of(models, votes[used, 0], problem.X)
        return AdaptationResult(predictor, rows.source_weights(weights[best]), history=history)

    def _errors(self, rows, weights, problem):
        """The mean squared error of target rows at every step."""
        splits, n_splits = problem.splits, len(problem.splits)
        pairs = [(step, k) for step in range(len(weights)) for k in range(n_splits)]
        # Normal equations take many fits at once; others go one by one, side by side.
        at_once = max(1, _AT_ONCE // len(rows.y)) if rows.is_linear else 1
        groups = [pairs[i : i + at_once] for i in range(0, len(pairs), at_once)]
        jobs = [
            delayed(judge_steps)(rows, weights, splits, group, self.n_estimators)
            for group in groups
        ]
        n_jobs = None if rows.is_linear else problem.n_jobs
        missed = Parallel(n_jobs=n_jobs)(jobs)
        missed = np.reshape(np.concatenate(missed), (len(weights), n_splits)).sum(axis=1)
        return missed / sum(rows.sample_weight[rows.n_source :][test].sum() for _, test in splits)
