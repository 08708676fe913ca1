"""Additional features: copies of the columns per domain, or predictions of the sources' models."""

import copy
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal

import numpy as np
from joblib import Parallel, delayed
from sklearn.pipeline import Pipeline

from ..._compat import LinearClassifierMixin, LinearModel
from ..base import (
    Adaptation,
    AdaptationResult,
    boolean,
    choice,
    enough_classes,
    fit_rows,
    fit_target,
    is_auto,
    number,
    require_two_classes,
    splits_with_classes,
)  # fmt: skip
from ..evaluation import best_candidate
from ..maps import AppendPredictions, RepeatColumns
from ..pooled_rows import stack_groups

__all__ = ["FeatureAugmentation", "PredictionFeature"]

# Candidates for the scale; sources count most at the first. Of equals the first is chosen.
_SCALES = (np.inf, 10.0, 10.0**0.5, 1.0, 10.0**-0.5, 0.1, 0.0)
_RESPONSES = ("auto", "decision_function", "predict_proba")


class _Augmentation(Adaptation):
    """Base class with the choice of the scale.

    Subclasses define ``_prepare(problem, progress)``, which returns what all candidates share;
    ``_candidates(problem)``, which returns scales to try and the splits to evaluate them; and
    ``_fit_one(problem, prepared, rows, scale)``, which returns a predictor fitted on the target
    rows `rows`.
    """

    _checks = {
        "scale": number(
            least=0.0,
            auto=True,
            infinite=True,
            why="the scale of what sources contribute, relative to the target's own columns",
        ),
    }

    def _fit(self, problem, random_state, progress):
        """Choose the scale, and fit on all rows."""
        prepared = self._prepare(problem, progress)
        scale, history = self.scale, {}
        if is_auto(scale):
            scale, history = self._choose(problem, prepared, progress)
        progress(f"fitting at scale {scale:g}")
        predictor = self._fit_one(problem, prepared, problem.all_rows, float(scale))
        source_weights = self._used(problem, prepared) * float(scale > 0.0)
        return AdaptationResult(predictor, source_weights, history=history)

    def _used(self, problem, prepared):
        """Return 1.0 for sources that are used, otherwise 0.0."""
        return np.ones(len(problem.sources))

    def _choose(self, problem, prepared, progress):
        """Return the scale with the smallest cross-validated error, and the history."""
        scales, splits = self._candidates(problem)
        if not splits:
            return 1.0, {}
        models = partial(self._models, problem, prepared, scales)
        scale, errors = best_candidate(replace(problem, splits=splits), scales, models, progress)
        return scale, {"scale": np.array(scales), "error": errors}

    def _models(self, problem, prepared, scales, index):
        for scale in scales:
            yield self._fit_one(problem, prepared, index, scale)


def _factors(scale):
    """Return the factors of the part at `scale` and of the rest; the larger one is 1."""
    return min(scale, 1.0), 1.0 / max(scale, 1.0)


def _with_coefficients(model, coef, intercept):
    """Return a copy of a fitted linear model with these coefficients."""
    model = copy.copy(model)
    model.coef_, model.intercept_ = np.ascontiguousarray(coef), intercept
    model.n_features_in_ = coef.shape[-1]
    return model


# -------------------------------------------------------------------------- columns per domain


class FeatureAugmentation(_Augmentation):
    r"""One model for all rows, with common columns and additional columns for every domain.

    The table has the columns of X once for all rows, once for the target's rows alone (zero for
    other rows), and once for each source's rows. The estimator learns from all rows what domains
    have in common and what is specific to one. A linear model's coefficients for the target are the
    sum of both. With the penalty of a ridge, for instance,

    .. math:: \min_{u, v} \sum_{d} \sum_{i \in d} \ell\big(y_i, x_i^\top (u + v_d)\big)
        + \alpha \Big(\frac{\lVert u \rVert^2}{c^2}
        + \sum_d \frac{\lVert v_d \rVert^2}{o^2}\Big)

    where d is the target or a source, common columns are multiplied by c, and domain-specific
    columns by o. At `scale` s, :math:`c = \min(s, 1)` and :math:`o = \min(1 / s, 1)`: 1 is the
    paper's choice, 0 is the estimator for the target's rows alone (*independent*), and infinity is
    one model for all rows (*pooled*), each with the estimator's own penalty.

    The assumption is that the relation of labels to features differs little from domain to domain,
    in the estimator's terms, and that features have the same meaning. A source with the opposite
    relation is fitted by its own columns, but not left out.

    Target labels are needed.

    Parameters
    ----------
    scale : "auto" or float, default="auto"
        Scale of common columns relative to domain-specific ones, from 0 to ``np.inf``. "auto"
        chooses among seven values (0, 0.1, 0.32, 1, 3.2, 10, infinity) by cross-validation over
        target rows (``cv`` of `TransferEstimator`), with all source rows in training, and with the
        squared error, or the log-loss (the error rate if the estimator has no probabilities). With
        a single target row it is 1. For estimators that do not depend on scales, such as trees, all
        values between 0 and infinity are equal.
    own_level : bool, default=True
        Whether each domain has an additional constant column, so that levels may differ too.

    Notes
    -----
    For a linear model (scikit-learn's with ``coef_``) the predictor is a fitted copy of it for the
    target, with as many coefficients as columns; for any other, a Pipeline that first adds the
    columns. Neither keeps rows. The fitted table has ``n_sources + 2`` times the columns; sparse
    rows (CSR) stay sparse.

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

    _checks = {
        **_Augmentation._checks,
        "own_level": boolean(),
    }

    def __init__(self, scale: float | Literal["auto"] = "auto", own_level: bool = True):
        self.scale = scale
        self.own_level = own_level

    def _prepare(self, problem, progress):
        return None

    def _candidates(self, problem):
        # The target's rows alone may lack classes; all rows together do not.
        alone = len(splits_with_classes(problem)) == len(problem.splits)
        return [scale for scale in _SCALES if scale > 0.0 or alone], problem.splits

    def _fit_one(self, problem, prepared, rows, scale):
        if scale == 0.0:
            return fit_target(problem, rows)
        domains, (common, specific) = [problem.take(rows), *problem.sources], _factors(scale)
        if specific > 0.0:
            n = len(domains)
            factors = np.column_stack([np.full(n, common), specific * np.eye(n)])
            steps = [RepeatColumns(row, bool(self.own_level)) for row in factors]
            pairs = zip(domains, steps, strict=True)
            domains = [replace(domain, X=step.transform(domain.X)) for domain, step in pairs]
        model = fit_rows(problem.estimator, *stack_groups([*domains[1:], domains[0]]))
        return model if specific == 0.0 else _collapse_blocks(model, steps[0], problem.X.shape[1])


def _collapse_blocks(model, step, p):
    """Return a model of the columns of X, given one of the blocks that `step` makes."""
    if not isinstance(model, (LinearModel, LinearClassifierMixin)):
        return Pipeline([("augment", step), ("model", model)])
    common, specific = step.factors[:2]
    wide = model.coef_
    coef = common * wide[..., :p] + specific * wide[..., p : 2 * p]
    level = specific * wide[..., 2 * p] if step.level else 0.0
    return _with_coefficients(model, coef, model.intercept_ + level)


# ------------------------------------------------------------------------- sources' predictions


@dataclass(frozen=True, eq=False)
class SourceScorer:
    """A source's fitted model, with the mean and standard deviation of its scores."""

    model: object
    method: str
    center: np.ndarray
    unit: np.ndarray

    def scores(self, X):
        """Return standardised scores of shape ``(n_rows, n_scores)``."""
        return (_scores(self.model, self.method, X) - self.center) / self.unit

    @property
    def linear(self):
        kinds = {"predict": LinearModel, "decision_function": LinearClassifierMixin}
        return isinstance(self.model, kinds.get(self.method, ()))

    def coefficients(self):
        """Return coefficients ``(n_scores, n_features)`` and intercepts of the scores."""
        coef = np.atleast_2d(self.model.coef_) / self.unit[:, None]
        return coef, (np.atleast_1d(self.model.intercept_) - self.center) / self.unit


def _scores(model, method, X):
    scores = getattr(model, method)(X)
    if scores.ndim == 1:
        return scores[:, None]
    return scores[:, 1:] if method == "predict_proba" and scores.shape[1] == 2 else scores


class PredictionFeature(_Augmentation):
    r"""The prediction of each source's model as an additional feature of the target's model.

    One clone of the estimator is fitted on each source, and another on the target's rows, with
    columns

    .. math:: o\,x, \quad c\,z_1(x), \; \dots, \; c\,z_S(x)

    where :math:`z_s` is the prediction of the model of source s, standardised to mean zero and
    variance one over that source's rows. At `scale` s, :math:`c = \min(s, 1)` and
    :math:`o = \min(1 / s, 1)`: 1 is the paper's choice, 0 uses no source (*independent*), and
    infinity uses the predictions only.

    The assumption is that a source's prediction, or its opposite, is informative about the target's
    labels. The labels of source and target may have other scales, and classes may be others.

    Target labels are needed; for a classifier, those of every class that is to be predicted.

    Parameters
    ----------
    scale : "auto" or float, default="auto"
        Scale of the predictions relative to the features, from 0 to ``np.inf``. "auto" chooses
        among seven values (0, 0.1, 0.32, 1, 3.2, 10, infinity) by cross-validation over target rows
        (``cv`` of `TransferEstimator`), with the squared error, or the log-loss (the error rate if
        the estimator has no probabilities). With a single target row it is 1.
    response_method : {"auto", "decision_function", "predict_proba"}, default="auto"
        The method of a source's classifier that gives the predictions: one column for two classes
        (of probabilities, that of the second), otherwise one per class. "auto" is the first that
        the estimator has. Not used for a regressor.

    Notes
    -----
    If the models of sources and target are linear (scikit-learn's, with ``coef_``), the predictor
    is a fitted copy of the target's model, with as many coefficients as columns; otherwise a
    Pipeline that contains the sources' models. Neither keeps rows. A source with rows of one class
    only is left out.

    References
    ----------
    Daumé III (2007), "Frustratingly easy domain adaptation", ACL, section 2 ("PRED"),
    :doi:`10.48550/arXiv.0907.1815`

    Examples
    --------
    The source's labels have another unit and the opposite sign:

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

    _checks = {
        **_Augmentation._checks,
        "response_method": choice(*_RESPONSES),
    }

    def __init__(
        self,
        scale: float | Literal["auto"] = "auto",
        response_method: Literal["auto", "decision_function", "predict_proba"] = "auto",
    ):
        self.scale = scale
        self.response_method = response_method

    def _check_given(self, *, estimator: Any, **given: bool) -> None:
        super()._check_given(estimator=estimator, **given)
        wanted = _RESPONSES[1:] if self.response_method == "auto" else (self.response_method,)
        if given["classifier"] and not any(hasattr(estimator, name) for name in wanted):
            raise ValueError(
                f"response_method={self.response_method!r} needs {' or '.join(wanted)}, which "
                f"estimator={type(estimator).__name__} does not have."
            )

    def _prepare(self, problem, progress):
        """Return a `SourceScorer` for each source; None if the source has one class only."""
        require_two_classes(problem, self)
        progress(f"fitting {len(problem.sources)} models of sources")
        return Parallel(n_jobs=problem.n_jobs)(
            delayed(self._fit_source)(problem, source) for source in problem.sources
        )

    def _fit_source(self, problem, source):
        if not enough_classes(problem, source.y):
            return None
        model, method = fit_rows(problem.estimator, source.X, source.y, source.weight), "predict"
        if problem.classifier:
            method = self.response_method
            if method == "auto":
                method = next(name for name in _RESPONSES[1:] if hasattr(model, name))
        scores = _scores(model, method, source.X)
        center = np.average(scores, axis=0, weights=source.weight)
        unit = np.sqrt(np.average((scores - center) ** 2, axis=0, weights=source.weight))
        return SourceScorer(model, method, center, np.where(unit > 0.0, unit, 1.0))

    def _used(self, problem, prepared):
        return np.array([float(scorer is not None) for scorer in prepared])

    def _candidates(self, problem):
        return _SCALES, splits_with_classes(problem)

    def _fit_one(self, problem, prepared, rows, scale):
        scorers = [scorer for scorer in prepared if scorer is not None]
        if scale == 0.0 or not scorers:
            return fit_target(problem, rows)
        of_scores, of_features = _factors(scale)
        step, target = AppendPredictions(scorers, (of_features, of_scores)), problem.take(rows)
        model = fit_rows(problem.estimator, step.transform(target.X), target.y, target.weight)
        return _collapse_scores(model, step, problem.X.shape[1])


def _collapse_scores(model, step, p):
    """Return a model of the columns of X, given one of the columns that `step` makes."""
    linear = isinstance(model, (LinearModel, LinearClassifierMixin))
    if not linear or not all(scorer.linear for scorer in step.scorers):
        return Pipeline([("predictions", step), ("model", model)])
    of_features, of_scores = step.factors
    parts = zip(*(scorer.coefficients() for scorer in step.scorers), strict=True)
    coefs, levels = map(np.concatenate, parts)
    wide = model.coef_
    coef = of_features * wide[..., :p] + of_scores * wide[..., p:] @ coefs
    return _with_coefficients(model, coef, model.intercept_ + of_scores * wide[..., p:] @ levels)
