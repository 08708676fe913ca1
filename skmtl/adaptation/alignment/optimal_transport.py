"""Carry source rows to target rows by optimal transport."""

import warnings

import numpy as np
from scipy.spatial.distance import cdist
from sklearn.exceptions import ConvergenceWarning

from ..base import check_number
from ._align import Alignment, common_scale

__all__ = ["OptimalTransport"]

# Rounds of linearising the class term, and what keeps its slope finite.
_ROUNDS, _SMALL = 10, 1e-3


class OptimalTransport(Alignment):
    r"""Source rows are carried to target rows at the least cost, all in all.

    An entropic transport plan tells how much of each source row goes to each target row, such that
    every row gives and takes its weight:

    .. math:: \min_\gamma \sum_{ij} \gamma_{ij} M_{ij}
        + \lambda \sum_{ij} \gamma_{ij} \log \gamma_{ij}
        + \eta \sum_j b_j \sum_c \Big(\sum_{i \in c} \gamma_{ij} / b_j\Big)^{1/2}

    with row sums :math:`a_i` and column sums :math:`b_j`, the rows' weights divided by their sum,
    and :math:`M` the squared distances of features in units of their standard deviation, divided by
    their mean. The last term is for classes c of the source: a target row should take from one
    class only. A source row moves to the mean of where it goes,
    :math:`\sum_j \gamma_{ij} x_j / a_i`, and a model is fitted on moved rows and on target rows
    that have labels. With several sources each is moved to the target on its own.

    Assumes that each source row has a counterpart among the target's rows (as many of each class),
    and that counterparts are near. Rows that have none, or a target whose classes have other
    shares, are carried to the wrong place. Where rows differ rather than how they are measured,
    this does harm, as with `CORAL`.

    Needs no target labels: ``fit(X)`` fits on moved source rows alone. Rows given as ``unlabeled=``
    are target rows like the others; few target rows are a poor picture of where the target is.
    Needs POT: ``pip install skmtl[ot]``.

    Parameters
    ----------
    regularization : float, default=0.1
        :math:`\lambda`, above zero, as a share of the mean cost. The more, the nearer all source
        rows come to the target's mean; the less, the more iterations it takes.
    class_regularization : float, default=0.0
        :math:`\eta`, zero or more, likewise. Above zero only for a classifier.
    max_iter : int, default=10000
        Sinkhorn iterations, at most; with the class term in each of ten rounds.
    tol : float, default=1e-6
        They stop where column sums are off by less than this, as the root of the sum of squares.
    target_weight : "auto" or float, default="auto"
        How many source rows a labelled target row counts for, as in `Pooled`.

    Raises
    ------
    ImportError
        In fit, where POT is not installed.

    Warns
    -----
    ConvergenceWarning
        Where `tol` is not reached.

    Notes
    -----
    The predictor is the estimator itself, on the target's features as they are. Memory and time
    grow with the rows of a source times those of the target. The class term is concave: ten rounds
    of linearising it, as its authors do, lead to a local optimum. What is judged on left-out target
    rows has seen their features, though not their labels.

    References
    ----------
    Courty, Flamary, Tuia & Rakotomamonjy (2017), "Optimal transport for domain adaptation", IEEE
    Transactions on Pattern Analysis and Machine Intelligence 39(9),
    :doi:`10.1109/TPAMI.2016.2615921`

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.linear_model import LogisticRegression
    >>> from skmtl import Source, TransferEstimator
    >>> from skmtl.adaptation import OptimalTransport
    >>> rng = np.random.default_rng(0)
    >>> y, y_there = rng.integers(2, size=200), rng.integers(2, size=200)
    >>> X = rng.normal(size=(200, 2)) + 4.0 * y[:, None]
    >>> X_there = rng.normal(size=(200, 2)) + 4.0 * y_there[:, None] * [1.0, 0.5] + [4.0, -1.0]
    >>> model = TransferEstimator(
    ...     LogisticRegression(), source=Source(X, y), adaptation=OptimalTransport()
    ... )
    >>> model.fit(X_there).score(X_there, y_there) > 0.9
    True
    """

    def __init__(
        self,
        regularization=0.1,
        class_regularization=0.0,
        max_iter=10000,
        tol=1e-6,
        target_weight="auto",
    ):
        self.regularization = regularization
        self.class_regularization = class_regularization
        self.max_iter = max_iter
        self.tol = tol
        self.target_weight = target_weight

    def check(self):
        """Raise a ValueError for parameters that make no sense."""
        super().check()
        check_number(self, "regularization", above=0.0, why="a share of the mean cost")
        check_number(self, "class_regularization", least=0.0, why="a share of the mean cost")
        check_number(self, "max_iter", least=1, whole=True, why="Sinkhorn iterations, at most")
        check_number(self, "tol", above=0.0, why="how far off column sums may be")

    def check_given(self, *, estimator, **given):
        super().check_given(estimator=estimator, **given)
        if self.class_regularization and not given["classifier"]:
            raise ValueError(
                f"class_regularization={self.class_regularization!r} is for classes, but "
                f"estimator={type(estimator).__name__} is a regressor; set it to 0.0."
            )
        _pot()

    def _ways(self, problem, sources, target):
        pairs = zip(sources, problem.sources, strict=True)
        moved = [self._move(domain, target, rows.y) for domain, rows in pairs]
        return [{}], {}, lambda: (moved, None)

    def _move(self, source, target, y):
        """Where the rows of a source go."""
        scale = common_scale(source, target)
        a, b = source.share, target.share
        cost = cdist(source.X / scale, target.X / scale, "sqeuclidean")
        mean = a @ cost @ b
        cost /= mean if mean > 0.0 else 1.0
        plan = self._plan(a, b, cost)
        if self.class_regularization:
            member = (y[:, None] == np.unique(y)).astype(np.float64)
            for _ in range(_ROUNDS - 1):
                slope = 0.5 / np.sqrt(member.T @ plan / b + _SMALL)
                plan = self._plan(a, b, cost + self.class_regularization * (member @ slope))
        self._warn(np.linalg.norm(plan.sum(axis=0) - b))
        return plan @ target.X / plan.sum(axis=1, keepdims=True)

    def _plan(self, a, b, cost):
        # What is taken off rows and columns leaves the plan as it is, and exp(-cost) above zero.
        cost = cost - cost.min(axis=1, keepdims=True)
        cost -= cost.min(axis=0)
        return _pot().sinkhorn(
            a, b, cost, float(self.regularization), method="sinkhorn_stabilized",
            numItermax=int(self.max_iter), stopThr=float(self.tol), warn=False,
        )  # fmt: skip

    def _warn(self, off):
        if not off <= self.tol:
            warnings.warn(
                f"OptimalTransport: after {self.max_iter} iterations column sums are off by "
                f"{off:.2g}, more than tol={self.tol:g}; increase max_iter, tol or "
                f"regularization={self.regularization:g}.",
                ConvergenceWarning,
                stacklevel=2,
            )


def _pot():
    try:
        import ot
    except ImportError as error:
        raise ImportError(
            "the adaptation OptimalTransport needs POT (Python Optimal Transport): "
            "pip install skmtl[ot]"
        ) from error
    return ot
