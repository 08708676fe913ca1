"""Give source rows the mean and covariance of the target rows."""

from typing import Literal

import numpy as np
from scipy import linalg

from ..base import boolean, is_auto, number
from ._align import Alignment, common_scale

__all__ = ["CORAL"]

# Strengths that are tried, and the paper's, which is used without labels.
_STRENGTHS, _STRENGTH = (np.inf, 1.0, 0.01), 1.0


class CORAL(Alignment):
    r"""Alignment of the covariances of source and target features.

    CORAL (correlation alignment) whitens the rows of a source and recolours them with the target's
    covariance. The estimator is fitted on these rows and on the labelled target rows. With the
    source's mean :math:`\mu_s`, the covariances :math:`C_s, C_t` (divided by the number of rows)
    and the diagonal matrix :math:`D` of the features' units, a source row becomes

    .. math:: \mu + (x - \mu_s) D^{-1} (D^{-1} C_s D^{-1} + \lambda I)^{-1/2}
        (D^{-1} C_t D^{-1} + \lambda I)^{1/2} D

    where :math:`\mu` is the target's mean, or :math:`\mu_s`. A feature's unit is the root of the
    mean of its variances in source and target: for features scaled to variance one, as in the
    paper, :math:`D` is the identity. Each of several sources is aligned to the target separately.

    The assumption is that source and target measure the same quantities in different ways: the
    features differ by gains, offsets and mixing, and labels depend on the quantities behind them.
    (Covariances determine such a map only up to a rotation; a map with a large rotation is not
    found.) If the *rows* differ instead (the target has older patients, and the relation between
    features and labels is the same), features mean the same in both, and aligning them does harm;
    leave them as they are, or reweight source rows.

    Target labels are not needed: ``fit(X)`` fits on aligned source rows alone. Rows passed as
    ``unlabeled=`` improve the estimate of the target's covariance.

    Parameters
    ----------
    regularization : "auto" or float, default="auto"
        :math:`\lambda`, from 0 to ``np.inf``, added to the variances of features in their units.
        Larger values change rows less; at infinity only their mean changes. At zero, directions in
        which a source does not vary (because it has fewer rows than features) are dropped. "auto"
        chooses among infinity, 1 and 0.01 by cross-validation over labelled target rows; without
        labels it is 1, as in the paper.
    align_means : "auto" or bool, default="auto"
        Whether source rows are moved to the target's mean. (The paper's features have mean zero in
        both.) "auto" tries both with each `regularization`; without labels it is True.
    target_weight : "auto" or float, default="auto"
        The weight of a labelled target row, relative to a source row, as in `Pooled`.

    Notes
    -----
    By default, unchanged rows (`Pooled`) are among the candidates, so that CORAL is guarded against
    an alignment that does harm, as far as the labelled target rows can show it.

    The predictor is the estimator itself, fitted for the target's features as they are. Sparse rows
    become dense. Each source costs an eigendecomposition of an ``(n_features, n_features)`` matrix.
    The alignment uses the features of held-out target rows, though not their labels.

    References
    ----------
    Sun, Feng & Saenko (2016), "Return of frustratingly easy domain adaptation", AAAI,
    :doi:`10.1609/aaai.v30i1.10306`

    Examples
    --------
    Another device has different gains and mixes what it measures; it has no labelled rows:

    >>> import numpy as np
    >>> from sklearn.linear_model import LinearRegression
    >>> from skmtl import Source, TransferEstimator
    >>> from skmtl.adaptation import CORAL
    >>> rng = np.random.default_rng(0)
    >>> X, X_there = rng.normal(size=(500, 2)), rng.normal(size=(500, 2))
    >>> device = np.array([[2.0, 0.5], [0.5, 1.0]])
    >>> source = Source(X, X @ [1.0, -1.0])
    >>> model = TransferEstimator(LinearRegression(), source=source, adaptation=CORAL(0.0))
    >>> model = model.fit(X_there @ device)
    >>> bool(np.abs(model.estimator_.coef_ - np.linalg.solve(device, [1.0, -1.0])).max() < 0.2)
    True
    """

    _checks = {
        **Alignment._checks,
        "regularization": number(
            least=0.0,
            auto=True,
            infinite=True,
            why="the strength that is added to variances",
        ),
        "align_means": boolean(auto=True),
    }

    def __init__(
        self,
        regularization: float | Literal["auto"] = "auto",
        align_means: bool | Literal["auto"] = "auto",
        target_weight: float | Literal["auto"] = "auto",
    ):
        self.regularization = regularization
        self.align_means = align_means
        self.target_weight = target_weight

    def _candidates(self, problem, sources, target):
        strengths = [float(self.regularization)] if not is_auto(self.regularization) else _STRENGTHS
        means = [bool(self.align_means)] if not is_auto(self.align_means) else [False, True]
        recolourings = [_Recolouring(source, target) for source in sources]

        def align(align_means, regularization):
            moved = []
            for source, recolouring in zip(sources, recolourings, strict=True):
                centred = source.X - source.mean
                if regularization < np.inf:
                    centred = centred @ recolouring.matrix(regularization)
                moved.append(centred + (target.mean if align_means else source.mean))
            return moved, None

        candidates = [{"align_means": m, "regularization": s} for m in means for s in strengths]
        strength = _STRENGTH if is_auto(self.regularization) else strengths[0]
        return candidates, {"align_means": means[-1], "regularization": strength}, align


class _Recolouring:
    """Units of the features, and eigenpairs of the covariances in these units."""

    def __init__(self, source, target):
        self.scale = scale = common_scale(source, target)
        self.source = linalg.eigh(source.covariance() / np.outer(scale, scale))
        self.target = linalg.eigh(target.covariance() / np.outer(scale, scale))

    def matrix(self, regularization):
        """Return the matrix that maps centred source rows to aligned rows."""
        whiten = _root(*self.source, regularization, -0.5)
        return whiten @ _root(*self.target, regularization, 0.5) / self.scale[:, None] * self.scale


def _root(values, vectors, regularization, exponent):
    """Return a power of a covariance plus a multiple of I; zero directions stay zero."""
    values = values + regularization
    live = values > len(values) * np.finfo(np.float64).eps * max(values[-1], 0.0)
    return vectors[:, live] * values[live] ** exponent @ vectors[:, live].T
