"""More features: columns once more for every domain, or what the sources' models say."""

import copy
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from joblib import Parallel, delayed
from sklearn.pipeline import Pipeline

from ..._compat import LinearClassifierMixin, LinearModel
from ..base import (
    Adaptation,
    AdaptationResult,
    check_bool,
    check_choice,
    check_number,
    fit_rows,
    fit_target,
    is_auto,
    need_two_classes,
    tells_classes,
)  # fmt: skip
from ..judge import candidate_errors
from ..maps import AppendPredictions, RepeatColumns
from ..pool import stack_groups

__all__ = ["FeatureAugmentation", "PredictionFeature"]

# Candidates for the scale, from where sources count most; of equals the first is taken.
_SCALES = (np.inf, 10.0, 10.0**0.5, 1.0, 10.0**-0.5, 0.1, 0.0)
_RESPONSES = ("auto", "decision_function", "predict_proba")


class _Augmentation(Adaptation):
    """What both have in common: a scale, and how it is chosen.

    Subclasses have ``_prepare(problem, progress)``, what all candidates have in common;
    ``_candidates(problem)``, scales to try and the splits to judge them in; and
    ``_fit_one(problem, prepared, rows, scale)``, a predictor from these target rows.
    """

    def check(self):
        """Raise a ValueError for parameters that make no sense."""
        check_number(
            self, "scale", least=0.0, auto=True, infinite=True,
            why="how much sources count beside the target's own",
        )  # fmt: skip

    def fit(self, problem, random_state, progress):
        """Choose the scale, and fit on all rows."""
        prepared = self._prepare(problem, progress)
        scale, history = self.scale, {}
        if is_auto(scale):
            scale, history = self._choose(problem, prepared, progress)
        progress(f"fitting at scale {scale:g}")
        predictor = self._fit_one(problem, prepared, np.arange(len(problem.y)), float(scale))
        used = self._used(problem, prepared) * float(scale > 0.0)
        return AdaptationResult(predictor, used, history=history)

    def _used(self, problem, prepared):
        return np.ones(len(problem.sources))

    def _choose(self, problem, prepared, progress):
        """The scale of least cross-validated error, and what was tried."""
        scales, splits = self._candidates(problem)
        if not splits:
            return 1.0, {}
        progress(f"judging {len(scales)} scales in {len(splits)} splits")
        judged = replace(problem, splits=splits)
        error = candidate_errors(judged, partial(self._models, problem, prepared, scales))
        return scales[int(np.argmin(error))], {"scale": np.array(scales), "error": error}

    def _models(self, problem, prepared, scales, index):
        for scale in scales:
            yield self._fit_one(problem, prepared, index, scale)


def _factors(scale):
    """Of the part at `scale` and of the rest: the larger is 1."""
    return min(scale, 1.0), 1.0 / max(scale, 1.0)


def _plain(model, coef, intercept):
    """A copy of a fitted linear model that has these coefficients."""
    plain = copy.copy(model)
    plain.coef_, plain.intercept_ = np.ascontiguousarray(coef), intercept
    plain.n_features_in_ = coef.shape[-1]
    return plain


# ----------------------------------------------------------------------------- a block a domain


class FeatureAugmentation(_Augmentation):
    r"""One model for all rows, in which every domain has columns of its own beside common ones.

    The columns of X stand in the table once for all rows, once for the target's rows alone (zero
    elsewhere), and once for each source's. The estimator learns from all rows what is common and
    what is a domain's own. A linear model's coefficients for the target are the sum of both:

    .. math:: \min_{u, v} \sum_{d} \sum_{i \in d} \ell\big(y_i, x_i^\top (u + v_d)\big)
        + \alpha \Big(\frac{\lVert u \rVert^2}{c^2}
        + \sum_d \frac{\lVert v_d \rVert^2}{o^2}\Big)

    for instance, where d is the target or a source, and the penalty that of a ridge model with
    common columns times c and own columns times o. At `scale` s, :math:`c = \min(s, 1)` and
    :math:`o = \min(1 / s, 1)`: 1 is the paper's, 0 the estimator for the target's rows alone
    (*independent*) and infinity one for all rows (*pooled*), each at the estimator's own penalty.

    Assumes that the law differs a little from domain to domain, in the estimator's terms, and that
    features mean the same. A source of an opposite law is told apart (its own columns take it up),
    but not left out.

    Needs target labels.

    Parameters
    ----------
    scale : "auto" or float, default="auto"
        Scale of common columns relative to own ones, from 0 to ``np.inf``. "auto" takes the best
        of seven (0, 0.1, 0.32, 1, 3.2, 10, infinity) by cross-validation over target rows (``cv``
        of `TransferEstimator`), source rows always in training; squared error, or log-loss (error
        rate where the estimator has no probabilities). With a single target row it is 1. Estimators
        that do not care for scales, such as trees, know 0, infinity and something between.
    own_level : bool, default=True
        Whether each domain has a column of its own that is constant, so that levels differ too.

    Notes
    -----
    A linear model (scikit-learn's with ``coef_``) comes out as a plain fitted copy for the
    target, with as many coefficients as columns; any other as a Pipeline that makes the columns
    and then predicts. Neither keeps rows. The table that is fitted has ``n_sources + 2`` times the
    columns: sparse rows (CSR) stay sparse.

    References
    ----------
    Daumé III (2007), "Frustratingly easy domain adaptation", ACL,
    :doi:`10.48550/arXiv.0907.1815`

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.linear_model import Ridge
    >>> from skmtl import Source, TransferEstimator
    >>> from skmtl.adaptation import FeatureAugmentation
    >>> rng = np.random.default_rng(0)
    >>> X, X_target = rng.normal(size=(300, 4)), rng.normal(size=(12, 4))
    >>> y = X @ [1.0, -2.0, 0.5, 3.0] + 0.1 * rng.normal(size=300)
    >>> y_target = X_target @ [1.0, -2.0, 0.5, 2.0] + 0.1 * rng.normal(size=12)
    >>> model = TransferEstimator(
    ...     Ridge(), source=Source(X, y), adaptation=FeatureAugmentation(scale=1.0)
    ... )
    >>> model.fit(X_target, y_target).estimator_.coef_.round(1)
    array([ 1. , -2. ,  0.5,  2. ])
    """

    def __init__(self, scale="auto", own_level=True):
        self.scale = scale
        self.own_level = own_level

    def check(self):
        """Raise a ValueError for parameters that make no sense."""
        super().check()
        check_bool(self, "own_level")

    def _prepare(self, problem, progress):
        return None

    def _candidates(self, problem):
        # The target's rows alone may lack classes, all rows together do not.
        alone = all(tells_classes(problem, problem.y[train]) for train, _ in problem.splits)
        return [scale for scale in _SCALES if scale > 0.0 or alone], problem.splits

    def _fit_one(self, problem, prepared, rows, scale):
        if scale == 0.0:
            return fit_target(problem, rows)
        domains, (common, of_own) = [problem.take(rows), *problem.sources], _factors(scale)
        if of_own > 0.0:
            steps = []
            for k in range(len(domains)):
                factors = np.zeros(len(domains) + 1)
                factors[0], factors[k + 1] = common, of_own
                steps.append(RepeatColumns(factors, bool(self.own_level)))
            pairs = zip(domains, steps, strict=True)
            domains = [replace(domain, X=step.transform(domain.X)) for domain, step in pairs]
        model = fit_rows(problem.estimator, *stack_groups([*domains[1:], domains[0]]))
        return model if of_own == 0.0 else _collapse_blocks(model, steps[0], problem.X.shape[1])


def _collapse_blocks(model, step, p):
    """A model of the columns as they are, from one of the blocks that `step` makes."""
    if not isinstance(model, (LinearModel, LinearClassifierMixin)):
        return Pipeline([("augment", step), ("model", model)])
    common, own = step.factors[:2]
    wide = model.coef_
    coef = common * wide[..., :p] + own * wide[..., p : 2 * p]
    level = own * wide[..., 2 * p] if step.level else 0.0
    return _plain(model, coef, model.intercept_ + level)


# ------------------------------------------------------------------------- sources' predictions


@dataclass(frozen=True, eq=False)
class _Voice:
    """A source's fitted model, and what brings its scores to mean zero and variance one."""

    model: object
    method: str
    center: np.ndarray
    unit: np.ndarray

    def said(self, X):
        """Scores of shape ``(n_rows, n_columns)``."""
        return (_scores(self.model, self.method, X) - self.center) / self.unit

    @property
    def linear(self):
        method = {"predict": LinearModel, "decision_function": LinearClassifierMixin}
        return isinstance(self.model, method.get(self.method, ()))

    def coefficients(self):
        """Of the scores, one row a column of them, and their intercepts."""
        coef = np.atleast_2d(self.model.coef_) / self.unit[:, None]
        return coef, (np.atleast_1d(self.model.intercept_) - self.center) / self.unit


def _scores(model, method, X):
    scores = getattr(model, method)(X)
    if scores.ndim == 1:
        return scores[:, None]
    return scores[:, 1:] if method == "predict_proba" and scores.shape[1] == 2 else scores


class PredictionFeature(_Augmentation):
    r"""What a model of each source predicts is one more feature of the target's model.

    A clone of the estimator is fitted on each source, on its own, and then another on the target's
    rows, with columns

    .. math:: o\,x, \quad c\,z_1(x), \; \dots, \; c\,z_S(x)

    where :math:`z_s` is the prediction of the model of source s, brought to mean zero and variance
    one over that source's rows. At `scale` s, :math:`c = \min(s, 1)` and
    :math:`o = \min(1 / s, 1)`: 1 is the paper's, 0 uses no source (*independent*), and infinity
    nothing but the predictions.

    Assumes that a source's prediction, or its opposite, says something about the target's labels.
    Labels of source and target may be on other scales, and classes may be others.

    Needs target labels; those of a classifier must show every class that is to be predicted.

    Parameters
    ----------
    scale : "auto" or float, default="auto"
        Scale of the predictions relative to the features, from 0 to ``np.inf``. "auto" takes the
        best of seven (0, 0.1, 0.32, 1, 3.2, 10, infinity) by cross-validation over target rows
        (``cv`` of `TransferEstimator`); squared error, or log-loss (error rate where the estimator
        has no probabilities). With a single target row it is 1.
    response_method : {"auto", "decision_function", "predict_proba"}, default="auto"
        What a source's classifier says: scores, or probabilities; of two classes those of the
        second, else one a class. "auto" is the first that it has. Not used for a regressor.

    Notes
    -----
    Where the models of sources and target are linear (scikit-learn's, with ``coef_``), the
    predictor is a plain fitted copy of the target's, with as many coefficients as columns;
    otherwise a Pipeline that holds the sources' models. Neither keeps rows. A source whose rows are
    all of one class says nothing and is left out.

    References
    ----------
    Daumé III (2007), "Frustratingly easy domain adaptation", ACL, section 2 ("PRED"),
    :doi:`10.48550/arXiv.0907.1815`

    Examples
    --------
    The source's labels are in other units, and of opposite sign:

    >>> import numpy as np
    >>> from sklearn.linear_model import Ridge
    >>> from skmtl import Source, TransferEstimator
    >>> from skmtl.adaptation import PredictionFeature
    >>> rng = np.random.default_rng(0)
    >>> coef = rng.normal(size=20)
    >>> X, X_target, X_later = (rng.normal(size=(n, 20)) for n in (300, 12, 500))
    >>> source = Source(X, -1000.0 * (X @ coef + 0.1 * rng.normal(size=300)))
    >>> y_target = X_target @ coef + 0.1 * rng.normal(size=12)
    >>> model = TransferEstimator(Ridge(), source=source, adaptation=PredictionFeature())
    >>> model.fit(X_target, y_target).score(X_later, X_later @ coef) > 0.95
    True
    """

    def __init__(self, scale="auto", response_method="auto"):
        self.scale = scale
        self.response_method = response_method

    def check(self):
        """Raise a ValueError for parameters that make no sense."""
        super().check()
        check_choice(self, "response_method", _RESPONSES)

    def check_given(self, *, estimator, **given):
        super().check_given(estimator=estimator, **given)
        wanted = _RESPONSES[1:] if self.response_method == "auto" else (self.response_method,)
        if given["classifier"] and not any(hasattr(estimator, name) for name in wanted):
            raise ValueError(
                f"response_method={self.response_method!r} needs {' or '.join(wanted)}, which "
                f"estimator={type(estimator).__name__} has not."
            )

    def _prepare(self, problem, progress):
        """A voice for each source; None where it has one class only."""
        need_two_classes(problem, self)
        progress(f"fitting {len(problem.sources)} models of sources")
        return Parallel(n_jobs=problem.n_jobs)(
            delayed(self._listen)(problem, source) for source in problem.sources
        )

    def _listen(self, problem, source):
        if not tells_classes(problem, source.y):
            return None
        model, method = fit_rows(problem.estimator, source.X, source.y, source.weight), "predict"
        if problem.classifier:
            method = self.response_method
            if method == "auto":
                method = next(name for name in _RESPONSES[1:] if hasattr(model, name))
        scores = _scores(model, method, source.X)
        center = np.average(scores, axis=0, weights=source.weight)
        unit = np.sqrt(np.average((scores - center) ** 2, axis=0, weights=source.weight))
        return _Voice(model, method, center, np.where(unit > 0.0, unit, 1.0))

    def _used(self, problem, prepared):
        return np.array([float(voice is not None) for voice in prepared])

    def _candidates(self, problem):
        splits = problem.splits
        return _SCALES, [s for s in splits if tells_classes(problem, problem.y[s[0]])]

    def _fit_one(self, problem, prepared, rows, scale):
        voices = [voice for voice in prepared if voice is not None]
        if scale == 0.0 or not voices:
            return fit_target(problem, rows)
        theirs, own = _factors(scale)
        step, target = AppendPredictions(voices, (own, theirs)), problem.take(rows)
        model = fit_rows(problem.estimator, step.transform(target.X), target.y, target.weight)
        return _collapse_voices(model, step, problem.X.shape[1])


def _collapse_voices(model, step, p):
    """A model of the columns as they are, from one of what `step` makes of them."""
    linear = isinstance(model, (LinearModel, LinearClassifierMixin))
    if not linear or not all(voice.linear for voice in step.voices):
        return Pipeline([("predictions", step), ("model", model)])
    own, theirs = step.factors
    said, levels = map(np.concatenate, zip(*(v.coefficients() for v in step.voices), strict=True))
    wide = model.coef_
    coef = own * wide[..., :p] + theirs * wide[..., p:] @ said
    return _plain(model, coef, model.intercept_ + theirs * wide[..., p:] @ levels)
