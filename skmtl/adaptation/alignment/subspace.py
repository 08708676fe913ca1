"""Turn the principal components of source rows to those of the target's."""

import numpy as np
from scipy import linalg

from ..maps import LinearMap
from ._align import Alignment, need_spread
from ._components import check_components, component_ways, signs_of

__all__ = ["SubspaceAlignment"]


class SubspaceAlignment(Alignment):
    r"""Principal components of a source are turned to those of the target.

    Let the columns of :math:`P_s` and :math:`P_t` be the first d principal components of source and
    target, each of which is brought to mean zero and variance one, feature by feature, on its own.
    A target row is described by its components :math:`z P_t`, a source row by

    .. math:: z P_s M, \qquad M = P_s^\top P_t
        = \arg\min_M \lVert P_s M - P_t \rVert_F

    A model is fitted on these d numbers, of source rows and of target rows that have labels. With
    several sources each is aligned to the target on its own.

    Assumes that what matters lies in the directions in which rows vary most, and that these
    directions, means and variances mean the same in source and target. Where rows differ rather
    than how they are measured, this does harm, as with `CORAL`.

    Needs no target labels: ``fit(X)`` fits on aligned source rows alone. Rows given as
    ``unlabeled=`` help to know the target's components.

    Parameters
    ----------
    n_components : "auto" or int, default="auto"
        d, from 1; at most as many are used as the target's rows span, and of a source no more than
        its rows span. "auto" takes the best of up to six numbers, in equal ratios, by
        cross-validation over labelled target rows. Without labels it is as many as explain 90 % of
        the target's variance.
    target_weight : "auto" or float, default="auto"
        How many source rows a labelled target row counts for, as in `Pooled`.

    Notes
    -----
    The predictor is a Pipeline: the map to components, then the estimator. It keeps no rows.
    What is judged on left-out target rows has seen their features, though not their labels.

    References
    ----------
    Fernando, Habrard, Sebban & Tuytelaars (2013), "Unsupervised visual domain adaptation using
    subspace alignment", ICCV, :doi:`10.1109/ICCV.2013.368`

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.linear_model import LinearRegression
    >>> from skmtl import Source, TransferEstimator
    >>> from skmtl.adaptation import SubspaceAlignment
    >>> rng = np.random.default_rng(0)
    >>> spread = np.array([3.0, 1.0, 0.1])
    >>> X, X_there = (rng.normal(size=(500, 3)) * spread for _ in range(2))
    >>> mix = np.array([[1.0, 0.9, 0.8], [0.0, 1.0, -1.0], [0.1, 0.0, 0.0]])
    >>> source = Source(X @ mix, X[:, 0])
    >>> model = TransferEstimator(
    ...     LinearRegression(), source=source, adaptation=SubspaceAlignment(n_components=2)
    ... )
    >>> model = model.fit(10.0 * X_there @ mix + 5.0)
    >>> model.score(10.0 * X_there @ mix + 5.0, X_there[:, 0]) > 0.95
    True
    """

    def __init__(self, n_components="auto", target_weight="auto"):
        self.n_components = n_components
        self.target_weight = target_weight

    def check(self):
        """Raise a ValueError for parameters that make no sense."""
        super().check()
        check_components(self)

    def _ways(self, problem, sources, target):
        need_spread(target, "SubspaceAlignment")
        mean, scale, spread, basis = _components(target)
        theirs = [_components(source) for source in sources]

        def align(n_components):
            ours, tables = basis[:, :n_components], []
            for source, (center, unit, _, own) in zip(sources, theirs, strict=True):
                own = own[:, :n_components]
                tables.append((source.X - center) / unit @ (own @ (own.T @ ours)))
            to_target = ours / scale[:, None]
            return tables, LinearMap(to_target, -mean @ to_target)

        return *component_ways(self.n_components, spread, len(spread)), align


def _components(domain):
    """Mean, unit of every feature, variances and directions of the principal components."""
    mean, scale = domain.mean, np.sqrt(domain.variance())
    scale = np.where(scale > 0.0, scale, 1.0)
    Z = (domain.X - mean) / scale * np.sqrt(domain.share)[:, None]
    _, values, vectors = linalg.svd(Z, full_matrices=False)
    live = values > max(Z.shape) * np.finfo(np.float64).eps * max(values[0], 1.0)
    basis = vectors[live].T
    return mean, scale, values[live] ** 2, basis * signs_of(basis)
