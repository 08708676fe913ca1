"""Source rows are moved to where the target's are, or both into a space where they are alike.

All of them look at features only, so that target rows need no labels. What follows is alike too
(`_align`): the estimator is fitted on aligned source rows and on those target rows that have
labels, and which of several candidates is best is judged on the latter.
"""

import warnings
from dataclasses import dataclass

import numpy as np
from scipy import linalg
from scipy.spatial.distance import cdist
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics.pairwise import rbf_kernel

from ..checks import check_bool, check_choice, check_number, is_auto
from ..maps import KernelMap, LinearMap
from ._align import Alignment, Domain, common_scale, need_spread

__all__ = ["CORAL", "TCA", "OptimalTransport", "SubspaceAlignment"]

# Without labels to judge by: components are kept until they explain this share of the variance.
_SHARE = 0.9
# Strengths of CORAL that are tried, and that of the paper, where there is nothing to judge by.
_STRENGTHS, _STRENGTH = (np.inf, 1.0, 0.01), 1.0
# Numbers of components that are tried, at most, and the largest of them for a kernel.
_N_CANDIDATES, _MOST_OF_KERNEL = 6, 64
# Rounds of linearising the class term of optimal transport, and what keeps its slope finite.
_ROUNDS, _SMALL = 10, 1e-3
# Components that explain less than this share of what the best one does are noise.
_LEAST_GAIN = 1e-8


# -------------------------------------------------------------------------------------- CORAL


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
        why = "what is added to variances"
        check_number(self, "regularization", least=0.0, auto=True, infinite=True, why=why)
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


# -------------------------------------------------------------------------- subspace alignment


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
        _check_components(self)

    def _ways(self, problem, sources, target):
        need_spread(target, "SubspaceAlignment")
        mean, scale, spread, basis = _components(target)
        theirs = [_components(source) for source in sources]

        def align(n_components):
            d = n_components
            ours, tables = basis[:, :d], []
            for source, (center, unit, _, own) in zip(sources, theirs, strict=True):
                own = own[:, :d]
                tables.append((source.X - center) / unit @ (own @ (own.T @ ours)))
            to_target = ours / scale[:, None]
            return tables, LinearMap(to_target, -mean @ to_target)

        return *_component_ways(self.n_components, spread, len(spread)), align


def _components(domain):
    """Mean, unit of every feature, variances and directions of the principal components."""
    mean, scale = domain.mean, np.sqrt(domain.variance())
    scale = np.where(scale > 0.0, scale, 1.0)
    Z = (domain.X - mean) / scale * np.sqrt(domain.share)[:, None]
    _, values, vectors = linalg.svd(Z, full_matrices=False)
    live = values > max(Z.shape) * np.finfo(np.float64).eps * max(values[0], 1.0)
    basis = vectors[live].T
    return mean, scale, values[live] ** 2, basis * _signs(basis)


def _signs(vectors):
    """Factors that make the largest entry of each column positive."""
    largest = vectors[np.argmax(np.abs(vectors), axis=0), np.arange(vectors.shape[1])]
    return np.where(largest < 0.0, -1.0, 1.0)


# ---------------------------------------------------------------------------------------- TCA


class TCA(Alignment):
    r"""Source and target rows are described by components whose means are alike.

    Transfer component analysis looks for components of a kernel's features that vary much over all
    rows, while the means of source and target are near each other. With the kernel matrix
    :math:`K` of all rows, centring :math:`H`, and
    :math:`L = \ell \ell^\top`, where :math:`\ell` is :math:`1/n_s` for source and :math:`-1/n_t`
    for target rows, it solves

    .. math:: \min_W \operatorname{tr}(W^\top K L K W) + \mu \operatorname{tr}(W^\top W)
        \quad \text{subject to} \quad W^\top K H K W = I

    and describes a row x by :math:`\sqrt{n}\, k(x) W`, components of variance one. A model is
    fitted on these, of source rows and of target rows that have labels. With several sources
    :math:`L` is the sum over sources, in proportion to their rows, of such matrices: each is drawn
    to the target on its own, and all rows share the components.

    Assumes that labels depend on directions in which source and target have the same mean; what
    separates the two is dropped. Where rows differ rather than how they are measured, and labels
    depend on just that, this does harm.

    Needs no target labels: ``fit(X)`` fits on source rows alone. Rows given as ``unlabeled=`` are
    target rows like the others.

    Parameters
    ----------
    n_components : "auto" or int, default="auto"
        Number of components, from 1; at most as many are used as there are. "auto" takes the best
        of up to six numbers, in equal ratios (up to 64 with a kernel that is not linear), by
        cross-validation over labelled target rows. Without labels it is as many as make up 90 % of
        the objective.
    kernel : {"linear", "rbf"}, default="linear"
        Of features in units of their standard deviation (the root of the mean of the variances of
        source and target), from the mid of both means: :math:`u^\top v`, or
        :math:`\exp(-\gamma \lVert u - v \rVert^2)`.
    gamma : float or None, default=None
        Of the kernel "rbf". None is one over the number of features.
    regularization : float, default=1.0
        :math:`\mu`, above zero. The more, the less it matters that means are alike.
    target_weight : "auto" or float, default="auto"
        How many source rows a labelled target row counts for, as in `Pooled`.

    Notes
    -----
    The predictor is a Pipeline: the map to components, then the estimator. With the linear kernel
    the map is a matrix. **With "rbf" it keeps all source and target rows** (features only), which
    the kernel needs; and fitting takes time of the cube of the number of rows, and memory of its
    square. What is judged on left-out target rows has seen their features, though not their labels.

    References
    ----------
    Pan, Tsang, Kwok & Yang (2011), "Domain adaptation via transfer component analysis", IEEE
    Transactions on Neural Networks 22(2), :doi:`10.1109/TNN.2010.2091281`

    Examples
    --------
    One sensor is off by a lot, the others are not:

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

    def __init__(
        self,
        n_components="auto",
        kernel="linear",
        gamma=None,
        regularization=1.0,
        target_weight="auto",
    ):
        self.n_components = n_components
        self.kernel = kernel
        self.gamma = gamma
        self.regularization = regularization
        self.target_weight = target_weight

    def check(self):
        """Raise a ValueError for parameters that make no sense."""
        super().check()
        _check_components(self)
        check_choice(self, "kernel", ("linear", "rbf"))
        if self.gamma is not None:
            check_number(self, "gamma", above=0.0, why="how narrow the kernel is")
        check_number(self, "regularization", above=0.0, why="how little the means matter")

    def _ways(self, problem, sources, target):
        every = Domain.together([*sources, target])
        center, scale = _middle(Domain.together(sources), target)
        Z = (every.X - center) / scale
        if not Z.any():
            raise ValueError(
                "the adaptation TCA needs rows that differ, but those of sources and target are "
                f"all alike (n_samples = {len(target.X)} in the target); leave out the source."
            )
        # A row of weight r counts as r rows, whose coefficients are alike and are summed here.
        root, pulls = np.sqrt(every.weight), _pulls(sources, target)
        if self.kernel == "linear":
            left, values, right = linalg.svd(root[:, None] * Z, full_matrices=False)
            live = values > max(Z.shape) * np.finfo(np.float64).eps * values[0]
            gain, C = self._solve(values[live] ** 2, left[:, live], pulls, root)
            components = right[live].T * values[live] @ C
            components *= _signs(components)
            most = len(gain)
        else:
            gamma = 1.0 / Z.shape[1] if self.gamma is None else float(self.gamma)
            values, left = linalg.eigh(rbf_kernel(Z, gamma=gamma) * np.outer(root, root))
            live = values > len(Z) * np.finfo(np.float64).eps * values[-1]
            gain, C = self._solve(values[live], left[:, live], pulls, root)
            components = root[:, None] * (left[:, live] @ C)
            components *= _signs(components)
            most = min(len(gain), _MOST_OF_KERNEL)

        def align(n_components):
            d = n_components
            if self.kernel == "linear":
                matrix = components[:, :d] / scale[:, None]
                step = LinearMap(matrix, -center @ matrix)
            else:
                step = KernelMap(center, scale, Z, np.ascontiguousarray(components[:, :d]), gamma)
            return [step.transform(source.X) for source in sources], step

        if not is_auto(self.n_components):
            most = len(gain)
        return *_component_ways(self.n_components, gain, most), align

    def _solve(self, values, U, pulls, root):
        """Objectives, best first, and coordinates C of all components W = U C.

        The kernel matrix is U diag(values) U', and L is `pulls` times its transpose.
        """
        KU = U * values
        flat = KU - np.outer(root, root @ KU / (root @ root))
        spread, pulled = flat.T @ flat, KU.T @ pulls
        cost = pulled @ pulled.T
        cost[np.diag_indices(len(cost))] += self.regularization
        gain, C = linalg.eigh(spread, cost)
        live = gain > _LEAST_GAIN * gain[-1]
        gain, C = gain[live][::-1], C[:, live][:, ::-1]
        norm = np.sqrt(np.einsum("ij,ij->j", C, spread @ C))
        return gain, C / norm * np.sqrt(root @ root)


def _middle(source, target):
    """The mid of both means, and the features' units."""
    return 0.5 * (source.mean + target.mean), common_scale(source, target)


def _pulls(sources, target):
    """A column a source whose product with the rows is the difference of means."""
    parts = [np.sqrt(s.weight) / s.weight.sum() for s in sources]
    of_target = np.sqrt(target.weight) / target.weight.sum()
    total = sum(s.weight.sum() for s in sources)
    pulls = np.vstack([linalg.block_diag(*parts).T, np.tile(-of_target[:, None], len(parts))])
    return pulls * np.sqrt([s.weight.sum() / total for s in sources])


# ------------------------------------------------------------------------- optimal transport


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


# ------------------------------------------------------------------------ numbers of components


def _check_components(owner):
    why = "how many components describe a row"
    check_number(owner, "n_components", least=1, auto=True, whole=True, why=why)


def _component_ways(wanted, spread, most):
    """Numbers of components to try, and the one to take where there is nothing to judge by.

    `spread`: what each component explains, descending. `most` is at least one.
    """
    if not is_auto(wanted):
        only = {"n_components": min(wanted, most)}
        return [only], only
    tried = np.unique(np.rint(np.geomspace(1, most, min(_N_CANDIDATES, most))).astype(int))
    explained = np.cumsum(spread) / spread.sum()
    default = min(1 + int(np.sum(explained < _SHARE)), most)
    return [{"n_components": d} for d in tried.tolist()], {"n_components": default}
