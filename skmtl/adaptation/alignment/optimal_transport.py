"""Move source rows to target rows by optimal transport."""

import warnings
from typing import Any, Literal

import numpy as np
from scipy.spatial.distance import cdist
from sklearn.exceptions import ConvergenceWarning

from ..base import number
from ._align import Alignment, common_scale

__all__ = ["OptimalTransport"]

# Rounds of linearising the class term, and a constant that keeps its slope finite.
_ROUNDS, _SMALL = 10, 1e-3


class OptimalTransport(Alignment):
    r"""Transport of source rows to target rows at the least total cost.

    An entropic transport plan :math:`\gamma` determines how much of each source row goes to each
    target row, such that every row gives or receives its weight:

    .. math:: \min_\gamma \sum_{ij} \gamma_{ij} M_{ij}
        + \lambda \sum_{ij} \gamma_{ij} \log \gamma_{ij}
        + \eta \sum_j b_j \sum_c \Big(\sum_{i \in c} \gamma_{ij} / b_j\Big)^{1/2}

    with row sums :math:`a_i` and column sums :math:`b_j`, the rows' weights divided by their sum,
    and :math:`M` the squared distances of features in units of their standard deviation, divided by
    their mean. The last term is over the classes c of the source: a target row should receive from
    one class only. A source row moves to the mean of its destinations,
    :math:`\sum_j \gamma_{ij} x_j / a_i`, and the estimator is fitted on moved rows and on the
    labelled target rows. Each of several sources is moved to the target separately.

    The assumption is that each source row has a counterpart among the target's rows (equally many
    of each class), and that counterparts are near. Rows without one are moved to a wrong place, and
    so are all rows if the classes have other shares in the target. If the rows differ rather than
    how they are measured, transport does harm, as with `CORAL`.

    Target labels are not needed: ``fit(X)`` fits on moved source rows alone. Rows passed as
    ``unlabeled=`` are target rows like the others; with few target rows the target's distribution
    is poorly known. The package POT is needed: ``pip install skmtl[ot]``.

    Parameters
    ----------
    regularization : float, default=0.1
        :math:`\lambda`, above zero, as a share of the mean cost. Larger values move all source rows
        nearer to the target's mean; smaller values take more iterations.
    class_regularization : float, default=0.0
        :math:`\eta`, zero or more, as a share of the mean cost. Above zero for classifiers only.
    max_iter : int, default=10000
        Maximum number of Sinkhorn iterations; with the class term, in each of ten rounds.
    tol : float, default=1e-6
        Iterations stop when the deviations of the column sums have a smaller Euclidean norm.
    target_weight : "auto" or float, default="auto"
        The weight of a labelled target row, relative to a source row, as in `Pooled`.

    Raises
    ------
    ImportError
        In fit, if POT is not installed.

    Warns
    -----
    ConvergenceWarning
        If `tol` is not reached.

    Notes
    -----
    The predictor is the estimator itself, fitted for the target's features as they are. Memory and
    time grow with the number of a source's rows times the number of target rows. The class term is
    concave: ten rounds of linearising it, as its authors do, lead to a local optimum. The alignment
    uses the features of held-out target rows, though not their labels.

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

    _checks = {
        **Alignment._checks,
        "regularization": number(above=0.0, why="a share of the mean cost"),
        "class_regularization": number(least=0.0, why="a share of the mean cost"),
        "max_iter": number(least=1, whole=True, why="the maximum number of Sinkhorn iterations"),
        "tol": number(above=0.0, why="the tolerance for column sums"),
    }

    def __init__(
        self,
        regularization: float = 0.1,
        class_regularization: float = 0.0,
        max_iter: int = 10000,
        tol: float = 1e-6,
        target_weight: float | Literal["auto"] = "auto",
    ):
        self.regularization = regularization
        self.class_regularization = class_regularization
        self.max_iter = max_iter
        self.tol = tol
        self.target_weight = target_weight

    def _check_given(self, *, estimator: Any, **given: bool) -> None:
        super()._check_given(estimator=estimator, **given)
        if self.class_regularization and not given["classifier"]:
            raise ValueError(
                f"class_regularization={self.class_regularization!r} is for classes, but "
                f"estimator={type(estimator).__name__} is a regressor; set it to 0.0."
            )
        _import_pot()

    def _candidates(self, problem, sources, target):
        pairs = zip(sources, problem.sources, strict=True)
        moved = [self._move(domain, target, rows.y) for domain, rows in pairs]
        return [{}], {}, lambda: (moved, None)

    def _move(self, source, target, y):
        """Return the moved rows of a source."""
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
        deviation = np.linalg.norm(plan.sum(axis=0) - b)
        if not deviation <= self.tol:
            warnings.warn(
                f"OptimalTransport: after {self.max_iter} iterations, column sums deviate by "
                f"{deviation:.2g}, more than tol={self.tol:g}; increase max_iter, tol or "
                f"regularization={self.regularization:g}.",
                ConvergenceWarning,
                stacklevel=2,
            )
        return plan @ target.X / plan.sum(axis=1, keepdims=True)

    def _plan(self, a, b, cost):
        # Constants subtracted from rows and columns do not change the plan, and keep exp(-cost)
        # above zero.
        cost = cost - cost.min(axis=1, keepdims=True)
        cost -= cost.min(axis=0)
        return _import_pot().sinkhorn(
            a, b, cost, float(self.regularization), method="sinkhorn_stabilized",
            numItermax=int(self.max_iter), stopThr=float(self.tol), warn=False,
        )  # fmt: skip


def _import_pot():
    try:
        import ot
    except ImportError as error:
        raise ImportError(
            "the adaptation OptimalTransport needs POT (Python Optimal Transport): "
            "pip install skmtl[ot]"
        ) from error
    return ot
