"""Map the principal components of source rows to those of target rows."""

from typing import Literal

import numpy as np
from scipy import linalg

from ..maps import LinearMap
from ._align import Alignment, require_spread
from ._components import check_components, component_candidates, signs_of

__all__ = ["SubspaceAlignment"]


class SubspaceAlignment(Alignment):
    r"""Alignment of the principal components of source and target.

    Let the columns of :math:`P_s` and :math:`P_t` be the first d principal components of source and
    target, each standardised separately: every feature has mean zero and variance one. A target row
    is described by its components :math:`z P_t`, a source row by

    .. math:: z P_s M, \qquad M = P_s^\top P_t
        = \arg\min_M \lVert P_s M - P_t \rVert_F

    The estimator is fitted on these d numbers, for source rows and for the labelled target rows.
    Each of several sources is aligned to the target separately.

    The assumption is that labels depend on the directions in which rows vary most, and that these
    directions, means and variances have the same meaning in source and target. If the rows differ
    rather than how they are measured, the alignment does harm, as with `CORAL`.

    Target labels are not needed: ``fit(X)`` fits on aligned source rows alone. Rows passed as
    ``unlabeled=`` improve the estimate of the target's components.

    Parameters
    ----------
    n_components : "auto" or int, default="auto"
        The number d, at least 1; at most the dimension that the target's rows span, and for a
        source at most the dimension that its rows span. "auto" chooses among up to six numbers, in
        equal ratios, by cross-validation over labelled target rows. Without labels it is the number
        that explains 90 % of the target's variance.
    target_weight : "auto" or float, default="auto"
        The weight of a labelled target row, relative to a source row, as in `Pooled`.

    Notes
    -----
    The predictor is a Pipeline: the map to components, then the estimator. It keeps no rows. The
    alignment uses the features of held-out target rows, though not their labels.

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

    _checks = {
        **Alignment._checks,
        "n_components": check_components,
    }

    def __init__(
        self,
        n_components: int | Literal["auto"] = "auto",
        target_weight: float | Literal["auto"] = "auto",
    ):
        self.n_components = n_components
        self.target_weight = target_weight

    def _candidates(self, problem, sources, target):
        require_spread(target, "SubspaceAlignment")
        mean, scale, spread, basis = _components(target)
        of_sources = [_components(source) for source in sources]

        def align(n_components):
            target_basis, tables = basis[:, :n_components], []
            for source, (center, unit, _, source_basis) in zip(sources, of_sources, strict=True):
                B = source_basis[:, :n_components]
                tables.append((source.X - center) / unit @ (B @ (B.T @ target_basis)))
            to_target = target_basis / scale[:, None]
            return tables, LinearMap(to_target, -mean @ to_target)

        return *component_candidates(self.n_components, spread, len(spread)), align


def _components(domain):
    """Return means and units of features, and variances and directions of the components."""
    mean, scale = domain.mean, np.sqrt(domain.variance())
    scale = np.where(scale > 0.0, scale, 1.0)
    Z = (domain.X - mean) / scale * np.sqrt(domain.share)[:, None]
    _, values, vectors = linalg.svd(Z, full_matrices=False)
    live = values > max(Z.shape) * np.finfo(np.float64).eps * max(values[0], 1.0)
    basis = vectors[live].T
    return mean, scale, values[live] ** 2, basis * signs_of(basis)
