r"""Shares of the classes in a task whose labelled rows were not drawn at random.

Rows that were sampled by class (case-control sampling, "five of each") contain no information on
how frequent the classes are. With shares :math:`s_c` in the sample and :math:`\pi_c` in the task,
the scores of the classes in the sample are those in the task plus :math:`\log s_c - \log \pi_c`;
the slopes are the same.

References
----------
King, G. and Zeng, L. (2001). Logistic regression in rare events data. Political Analysis 9(2).
:doi:`10.1093/oxfordjournals.pan.a004868`
"""

from collections.abc import Mapping
from dataclasses import dataclass
from numbers import Real

import numpy as np
from scipy.special import gammaln, softmax

__all__ = [
    "Prevalence", "check_class_prior", "prior_weights", "sampling_offset", "shift_to_prior",
]  # fmt: skip

# A class without rows in the sample counts as this many rows, since the task may have the class.
_LEAST_ROWS = 0.5
# Concentrations of the distribution of the shares, weighted by their likelihood: from tasks that
# differ as much as possible to tasks with equal shares.
_CONCENTRATIONS = 10.0 ** np.arange(-1.0, 4.25, 0.25)
# Prior probabilities that rows were sampled by class, that they are then balanced, and that the
# shares of a task are unlike those of all others.
_BY_CLASS, _BALANCED, _UNLIKE = 0.03, 0.9, 0.01
# Limits of the iteration that computes a shift.
_MOST_STEPS, _LEAST_STEP = 1000, 1e-10
# Largest number of tasks from which the distribution of the shares is learned.
_MOST_TASKS = 5000


def check_class_prior(class_prior, classes):
    """Check the shares of the classes in a task, and return them in the order of `classes`.

    Parameters
    ----------
    class_prior : mapping
        From each class to its share of the rows of the task; the shares are positive and sum to 1.
    classes : ndarray of shape (n_classes,)

    Returns
    -------
    ndarray of shape (n_classes,)

    Raises
    ------
    TypeError
        If `class_prior` is not a mapping.
    ValueError
        If classes are unknown or missing, if shares are not positive numbers, or if they do not add
        up to 1.
    """
    known = classes.tolist()
    if not isinstance(class_prior, Mapping):
        example = ", ".join(f"{c!r}: ..." for c in known[:2])
        raise TypeError(
            f"class_prior={class_prior!r} must be a dict from each class to its share of the rows "
            f"of the task, such as {{{example}}}."
        )
    given = {getattr(c, "item", lambda c=c: c)(): share for c, share in class_prior.items()}
    unknown = [c for c in given if c not in known]
    if unknown:
        raise ValueError(f"class_prior has {unknown[0]!r}, which is not among the classes {known}.")
    missing = [c for c in known if c not in given]
    if missing:
        raise ValueError(
            f"class_prior has no share for {missing[0]!r}; pass a share for each of the classes "
            f"{known}; the shares must add up to 1."
        )
    for c, share in given.items():
        number = isinstance(share, Real) and not isinstance(share, (bool, np.bool_))
        if not number or not 0.0 < share < 1.0:
            raise ValueError(
                f"class_prior[{c!r}]={share!r} must be a number above 0 and below 1: the share of "
                "the class in the rows of the task."
            )
    prior = np.array([float(given[c]) for c in known])
    if abs(prior.sum() - 1.0) > 1e-6:
        raise ValueError(
            f"class_prior={class_prior!r} adds up to {prior.sum():.6g}; the classes' shares must "
            "add up to 1."
        )
    return prior / prior.sum()


def sampling_offset(counts, prior):
    r"""Return the offsets of the scores of the classes due to sampling by class.

    Parameters
    ----------
    counts : ndarray of shape (..., n_classes)
        Number of rows of each class in the sample.
    prior : ndarray of shape (..., n_classes)
        Shares of the classes in the task.

    Returns
    -------
    ndarray of shape (..., n_classes)
        :math:`\log s_c - \log \pi_c`.
    """
    counts = np.maximum(counts, _LEAST_ROWS)
    return np.log(counts / counts.sum(axis=-1, keepdims=True)) - np.log(prior)


def prior_weights(y, weight, prior):
    """Reweight rows so that the classes have the shares `prior`; the sum of weights stays the same.

    Parameters
    ----------
    y : ndarray of shape (n_rows,)
        Position of the class of each row in `prior`.
    weight : ndarray of shape (n_rows,)
    prior : ndarray of shape (n_classes,)

    Returns
    -------
    ndarray of shape (n_rows,)
    """
    counts = np.bincount(y, weight, minlength=len(prior))
    factor = np.divide(prior, counts, out=np.zeros_like(prior), where=counts > 0)
    factor *= weight.sum() / max((factor * counts).sum(), 1e-300)
    return weight * factor[y]


def shift_to_prior(log_probabilities, weight, prior):
    """Return the shift of the scores for which the mean probabilities equal `prior`.

    Parameters
    ----------
    log_probabilities : ndarray of shape (n_rows, n_classes)
        Log-probabilities of the classes in a representative sample of the task.
    weight : ndarray of shape (n_rows,)
        Weights that make the rows representative, for example from `prior_weights`.
    prior : ndarray of shape (n_classes,)

    Returns
    -------
    ndarray of shape (n_classes,)
    """
    shift, weight = np.zeros(len(prior)), weight / weight.sum()
    for _ in range(_MOST_STEPS):
        step = np.log(prior) - np.log(weight @ softmax(log_probabilities + shift, axis=1))
        shift += step
        if np.abs(step).max() < _LEAST_STEP:
            break
    return shift


@dataclass(frozen=True)
class Prevalence:
    """Distribution of the class shares over tasks: a mixture of Dirichlet distributions.

    Attributes
    ----------
    mean : ndarray of shape (n_classes,)
        Mean of the shares.
    alpha : ndarray of shape (n_components, n_classes)
        Parameters of the components, one for each concentration.
    share : ndarray of shape (n_components,)
        Weight of each component.
    """

    mean: np.ndarray
    alpha: np.ndarray
    share: np.ndarray

    @classmethod
    def of(cls, counts):
        """Learn the distribution from the numbers of rows ``counts (n_tasks, n_classes)``."""
        counts = counts[counts.sum(axis=1) > 0]
        counts = counts[:: max(1, -(-len(counts) // _MOST_TASKS))]
        n_classes, total = counts.shape[1], counts.sum(axis=1)
        alpha = np.empty((len(_CONCENTRATIONS), n_classes))
        evidence = np.empty(len(alpha))
        for g, concentration in enumerate(_CONCENTRATIONS):
            # The variance of a task's share is (n + c) / n / (1 + c) times that of a single row.
            precision = total * (1.0 + concentration) / (total + concentration)
            sums = (counts * (precision / total)[:, None]).sum(axis=0) + 1.0 / n_classes
            alpha[g] = concentration * sums / sums.sum()
            evidence[g] = _log_likelihood(counts, alpha[g]).sum()
        share = softmax(evidence)
        return cls(share @ (alpha / _CONCENTRATIONS[:, None]), alpha, share)

    def by_class(self, counts):
        """Return the probability that the rows of each task were sampled by class.

        It is high if the shares of the classes are unlike those of other tasks, and above all if
        they are equal. If a class is missing, the rows were not sampled by class.

        Parameters
        ----------
        counts : ndarray of shape (n_tasks, n_classes)

        Returns
        -------
        ndarray of shape (n_tasks,)
        """
        any_shares = np.exp(_log_likelihood(counts, np.ones(counts.shape[1])))
        at_random = np.exp([_log_likelihood(counts, a) for a in self.alpha]).T @ self.share
        at_random = (1.0 - _UNLIKE) * at_random + _UNLIKE * any_shares
        balanced = np.ptp(counts, axis=1) <= 1e-6 * counts.max(axis=1)
        designed = _BALANCED * balanced + (1.0 - _BALANCED) * any_shares
        designed = np.where((counts > 0.0).all(axis=1), designed, 0.0)
        odds = _BY_CLASS * designed / ((1.0 - _BY_CLASS) * at_random)
        return np.where(counts.sum(axis=1) > 0, odds / (1.0 + odds), 0.0)


def _log_likelihood(counts, alpha):
    """Return the Dirichlet-multinomial log-likelihood of the counts of each task."""
    total = counts.sum(axis=1)
    out = gammaln(total + 1.0) + gammaln(alpha.sum()) - gammaln(total + alpha.sum())
    terms = gammaln(counts + alpha) - gammaln(alpha) - gammaln(counts + 1.0)
    return out + terms.sum(axis=1)
