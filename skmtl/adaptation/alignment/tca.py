"""Transfer component analysis."""

from typing import Literal

import numpy as np
from scipy import linalg
from sklearn.metrics.pairwise import rbf_kernel

from ..base import choice, is_auto, number
from ..maps import KernelMap, LinearMap
from ._align import Alignment, Domain, common_scale
from ._components import check_components, component_candidates, signs_of

__all__ = ["TCA"]

# The largest number of components that is tried with a kernel that is not linear.
_MOST_OF_KERNEL = 64
# Components that explain less than this share of the best one's variance are noise.
_LEAST_GAIN = 1e-8


class TCA(Alignment):
    r"""Components that vary much while their means in source and target are close.

    Transfer component analysis looks for components of a kernel's features that vary much over all
    rows, while the means of source and target are close. With the kernel matrix :math:`K` of all
    rows, the centring matrix :math:`H`, and :math:`L = \ell \ell^\top`, where :math:`\ell` is
    :math:`1/n_s` for source rows and :math:`-1/n_t` for target rows, it solves

    .. math:: \min_W \operatorname{tr}(W^\top K L K W) + \mu \operatorname{tr}(W^\top W)
        \quad \text{subject to} \quad W^\top K H K W = I

    and describes a row x by :math:`\sqrt{n}\, k(x) W`, components of variance one. The estimator is
    fitted on these, for source rows and for the labelled target rows. With several sources
    :math:`L` is the sum of such matrices over sources, in proportion to their rows: the mean of
    each source is drawn to that of the target, and all rows share the components.

    The assumption is that labels depend on directions in which source and target have the same
    mean; the directions that separate them are dropped. If the rows differ rather than how they are
    measured, and labels depend on these directions, TCA does harm.

    Target labels are not needed: ``fit(X)`` fits on source rows alone. Rows passed as
    ``unlabeled=`` are target rows like the others.

    Parameters
    ----------
    n_components : "auto" or int, default="auto"
        Number of components, at least 1; no more are used than exist. "auto" chooses among up to
        six numbers, in equal ratios (up to 64 with the kernel "rbf"), by cross-validation over
        labelled target rows. Without labels it is the number that makes up 90 % of the objective.
    kernel : {"linear", "rbf"}, default="linear"
        The kernel :math:`u^\top v`, or :math:`\exp(-\gamma \lVert u - v \rVert^2)`, of features
        centred at the midpoint of both means, in units of their standard deviation (the root of the
        mean of the variances in source and target).
    gamma : float or None, default=None
        :math:`\gamma` of the kernel "rbf". None: one over the number of features.
    regularization : float, default=1.0
        :math:`\mu`, above zero. With larger values the means of the components may differ more.
    target_weight : "auto" or float, default="auto"
        The weight of a labelled target row, relative to a source row, as in `Pooled`.

    Notes
    -----
    The predictor is a Pipeline: the map to components, then the estimator. With the linear kernel
    the map is a matrix. **With "rbf" it keeps all source and target rows** (features only), which
    the kernel needs; the fit takes time in the cube of the number of rows, and memory in its
    square. The components use the features of held-out target rows, though not their labels.

    References
    ----------
    Pan, Tsang, Kwok & Yang (2011), "Domain adaptation via transfer component analysis", IEEE
    Transactions on Neural Networks 22(2), :doi:`10.1109/TNN.2010.2091281`

    Examples
    --------
    One sensor of the target has a large offset:

    >>> import numpy as np
    >>> from sklearn.linear_model import Ridge
    >>> from skmtl import Source, TransferEstimator
    >>> from skmtl.adaptation import TCA
    >>> rng = np.random.default_rng(0)
    >>> X, X_there = rng.normal(size=(300, 4)), rng.normal(size=(300, 4))
    >>> source = Source(X, X @ [1.0, 1.0, 1.0, 1.0])
    >>> truth = X_there @ [1.0, 1.0, 1.0, 1.0]
    >>> X_there[:, 0] += 5.0
    >>> model = TransferEstimator(Ridge(), source=source, adaptation=TCA(3)).fit(X_there)
    >>> model.score(X_there, truth) > 0.6
    True
    >>> Ridge().fit(X, source.y).score(X_there, truth) < 0
    True
    """

    _checks = {
        **Alignment._checks,
        "n_components": check_components,
        "kernel": choice("linear", "rbf"),
        "gamma": number(above=0.0, none=True, why="the inverse width of the kernel"),
        "regularization": number(above=0.0, why="the strength of the penalty"),
    }

    def __init__(
        self,
        n_components: int | Literal["auto"] = "auto",
        kernel: Literal["linear", "rbf"] = "linear",
        gamma: float | None = None,
        regularization: float = 1.0,
        target_weight: float | Literal["auto"] = "auto",
    ):
        self.n_components = n_components
        self.kernel = kernel
        self.gamma = gamma
        self.regularization = regularization
        self.target_weight = target_weight

    def _candidates(self, problem, sources, target):
        rows, source = Domain.concatenate([*sources, target]), Domain.concatenate(sources)
        center, scale = 0.5 * (source.mean + target.mean), common_scale(source, target)
        Z = (rows.X - center) / scale
        if not Z.any():
            raise ValueError(
                "the adaptation TCA needs rows that differ, but those of sources and target are "
                f"all equal (n_samples = {len(target.X)} in the target); leave out the source."
            )
        # A row of weight r counts as r rows. Their coefficients are equal, and are summed here.
        root, pulls = np.sqrt(rows.weight), _mean_differences(sources, target)
        if self.kernel == "linear":
            left, values, right = linalg.svd(root[:, None] * Z, full_matrices=False)
            live = values > max(Z.shape) * np.finfo(np.float64).eps * values[0]
            gain, C = self._solve(values[live] ** 2, left[:, live], pulls, root)
            components = right[live].T * values[live] @ C
        else:
            gamma = 1.0 / Z.shape[1] if self.gamma is None else float(self.gamma)
            values, left = linalg.eigh(rbf_kernel(Z, gamma=gamma) * np.outer(root, root))
            live = values > len(Z) * np.finfo(np.float64).eps * values[-1]
            gain, C = self._solve(values[live], left[:, live], pulls, root)
            components = root[:, None] * (left[:, live] @ C)
        components *= signs_of(components)

        def align(n_components):
            matrix = components[:, :n_components]
            if self.kernel == "linear":
                matrix = matrix / scale[:, None]
                step = LinearMap(matrix, -center @ matrix)
            else:
                step = KernelMap(center, scale, Z, np.ascontiguousarray(matrix), gamma)
            return [step.transform(source.X) for source in sources], step

        tunes_kernel = self.kernel != "linear" and is_auto(self.n_components)
        most = min(len(gain), _MOST_OF_KERNEL) if tunes_kernel else len(gain)
        return *component_candidates(self.n_components, gain, most), align

    def _solve(self, values, U, pulls, root):
        """Return objectives, the best first, and coordinates C of all components W = U C.

        The kernel matrix is U diag(values) U', and L is `pulls` times its transpose.
        """
        KU = U * values
        centred = KU - np.outer(root, root @ KU / (root @ root))
        spread, pulled = centred.T @ centred, KU.T @ pulls
        cost = pulled @ pulled.T
        cost[np.diag_indices(len(cost))] += self.regularization
        gain, C = linalg.eigh(spread, cost)
        live = gain > _LEAST_GAIN * gain[-1]
        gain, C = gain[live][::-1], C[:, live][:, ::-1]
        norm = np.sqrt(np.einsum("ij,ij->j", C, spread @ C))
        return gain, C / norm * np.sqrt(root @ root)


def _mean_differences(sources, target):
    """Return one column per source, whose product with the rows is the difference of means."""
    parts = [np.sqrt(s.weight) / s.weight.sum() for s in sources]
    of_target = np.sqrt(target.weight) / target.weight.sum()
    total = sum(s.weight.sum() for s in sources)
    columns = np.vstack([linalg.block_diag(*parts).T, np.tile(-of_target[:, None], len(parts))])
    return columns * np.sqrt([s.weight.sum() / total for s in sources])
