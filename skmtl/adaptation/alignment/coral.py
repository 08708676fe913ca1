"""Give source rows the means and covariances of the target's."""

from dataclasses import dataclass

import numpy as np
from scipy import linalg

from ..base import check_bool, check_number, is_auto
from ._align import Alignment, common_scale

__all__ = ["CORAL"]

# Strengths that are tried, and that of the paper, where there is nothing to judge by.
_STRENGTHS, _STRENGTH = (np.inf, 1.0, 0.01), 1.0


class CORAL(Alignment):
    r"""Source rows are stretched and turned until they vary as the target's rows do.

    CORAL (correlation alignment) whitens the rows of a source and recolours them with the target's
    covariance; a model is fitted on them, and on target rows that have labels. With the source's
    mean :math:`\mu_s`, the covariances :math:`C_s, C_t` (divided by the number of rows) and the
    diagonal matrix :math:`D` of the features' units, a source row becomes

    .. math:: \mu + (x - \mu_s) D^{-1} (D^{-1} C_s D^{-1} + \lambda I)^{-1/2}
        (D^{-1} C_t D^{-1} + \lambda I)^{1/2} D

    where :math:`\mu` is the target's mean, or :math:`\mu_s`. A unit is the root of the mean of the
    feature's variances in source and target: for features scaled to variance one, as in the paper,
    :math:`D` is the identity. With several sources each is aligned to the target on its own.

    Assumes that the same things are measured by other means: features of source and target differ
    by gains, offsets and mixing, and labels belong to what is behind them. (Covariances tell such a
    map but for a rotation; one that turns much is not found.) Where the *rows* differ instead (the
    target has older patients, and the same law holds), features mean the same in both, and aligning
    them does harm; leave them as they are, or weigh source rows.

    Needs no target labels: ``fit(X)`` fits on aligned source rows alone. Rows given as
    ``unlabeled=`` help to know the target's covariance.

    Parameters
    ----------
    regularization : "auto" or float, default="auto"
        :math:`\lambda`, from 0 to ``np.inf``, added to the variances of features in their units.
        The more, the less rows are changed; at infinity only their mean is. At zero, directions in
        which a source does not vary (it has fewer rows than features) are left out. "auto" takes
        the best of infinity, 1 and 0.01 by cross-validation over labelled target rows; without
        labels it is 1, as in the paper.
    align_means : "auto" or bool, default="auto"
        Whether source rows are moved to the target's mean. (The paper's features have mean zero in
        both.) "auto" tries both, with each `regularization`; without labels it is True.
    target_weight : "auto" or float, default="auto"
        How many source rows a labelled target row counts for, as in `Pooled`.

    Notes
    -----
    By default rows as they are (`Pooled`) are among the candidates, so that it is guarded against
    aligning what should not be, as far as labelled target rows can tell.

    The predictor is the estimator itself, on the target's features as they are. Sparse rows become
    dense. Costs an eigendecomposition of ``(n_features, n_features)`` a source. What is judged on
    left-out target rows has seen their features, though not their labels.

    References
    ----------
    Sun, Feng & Saenko (2016), "Return of frustratingly easy domain adaptation", AAAI,
    :doi:`10.1609/aaai.v30i1.10306`

    Examples
    --------
    Another device has other gains, and mixes what it measures; nothing is labelled there:

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

    def __init__(self, regularization="auto", align_means="auto", target_weight="auto"):
        self.regularization = regularization
        self.align_means = align_means
        self.target_weight = target_weight

    def check(self):
        """Raise a ValueError for parameters that make no sense."""
        super().check()
        check_number(
            self, "regularization", least=0.0, auto=True, infinite=True,
            why="what is added to variances",
        )  # fmt: skip
        check_bool(self, "align_means", auto=True)

    def _ways(self, problem, sources, target):
        strengths = [float(self.regularization)] if not is_auto(self.regularization) else _STRENGTHS
        means = [bool(self.align_means)] if not is_auto(self.align_means) else [False, True]
        pairs = [_Recolouring.of(source, target) for source in sources]

        def align(align_means, regularization):
            moved = []
            for source, pair in zip(sources, pairs, strict=True):
                centred = source.X - source.mean
                if regularization < np.inf:
                    centred = centred @ pair.matrix(regularization)
                moved.append(centred + (target.mean if align_means else source.mean))
            return moved, None

        ways = [{"align_means": m, "regularization": s} for m in means for s in strengths]
        default = {
            "align_means": means[-1],
            "regularization": _STRENGTH if is_auto(self.regularization) else strengths[0],
        }
        return ways, default, align


@dataclass(frozen=True, eq=False)
class _Recolouring:
    """Units of the features, and eigenpairs of the covariances in these."""

    scale: np.ndarray
    source: tuple
    target: tuple

    @classmethod
    def of(cls, source, target):
        scale = common_scale(source, target)
        pairs = (linalg.eigh(d.covariance() / np.outer(scale, scale)) for d in (source, target))
        return cls(scale, *pairs)

    def matrix(self, regularization):
        """What a source row, less its mean, is multiplied by."""
        whiten = _root(*self.source, regularization, -0.5)
        return whiten @ _root(*self.target, regularization, 0.5) / self.scale[:, None] * self.scale


def _root(values, vectors, regularization, exponent):
    """A power of a covariance plus a multiple of I; directions of zero variance stay zero."""
    values = values + regularization
    live = values > len(values) * np.finfo(np.float64).eps * max(values[-1], 0.0)
    return vectors[:, live] * values[live] ** exponent @ vectors[:, live].T
