r"""Shares of the classes in a task, where its labelled rows were not drawn at random.

Rows sampled by class (case-control sampling, "five of each") say what the classes look like and
nothing about how frequent they are. With shares :math:`s_c` in the sample and :math:`\pi_c` in
the task, scores of the classes on the sample are those in the task plus
:math:`\log s_c - \log \pi_c`, and slopes are the same in both.

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

# A class without rows counts as so many: that none was sampled does not prove that none is.
_LEAST_ROWS = 0.5
# Concentrations of the tasks' shares that are weighed by their likelihood: prevalence varies
# between tasks from as much as it can to not at all.
_CONCENTRATIONS = 10.0 ** np.arange(-1.0, 4.25, 0.25)
# Prior probabilities: that labelled rows were sampled by class, that if so equally many of each
# class were, and that a task is unlike all others.
_BY_CLASS, _BALANCED, _UNLIKE = 0.03, 0.9, 0.01
# Steps that find a shift.
_MOST_STEPS, _LEAST_STEP = 1000, 1e-10
# Tasks that the shares' distribution is learned from.
_MOST_TASKS = 5000


def check_class_prior(class_prior, classes):
    """Check a task's shares of the classes, and return them in the order of `classes`.

    Parameters
    ----------
    class_prior : mapping
        From every class to its share of the task's rows: above zero, together 1.
    classes : ndarray of shape (n_classes,)

    Returns
    -------
    ndarray of shape (n_classes,)

    Raises
    ------
    TypeError
        If it is not a mapping.
    ValueError
        For classes that are unknown or missing, shares that are not numbers above zero, or that
        do not add up to 1.
    """
    known = classes.tolist()
    if not isinstance(class_prior, Mapping):
        example = ", ".join(f"{c!r}: ..." for c in known[:2])
        raise TypeError(
            f"class_prior={class_prior!r} must be a dict from each class to its share of the "
            f"task's rows, such as {{{example}}}."
        )
    given = {getattr(c, "item", lambda c=c: c)(): share for c, share in class_prior.items()}
    unknown = [c for c in given if c not in known]
    if unknown:
        raise ValueError(f"class_prior has {unknown[0]!r}, which is not among the classes {known}.")
    missing = [c for c in known if c not in given]
    if missing:
        raise ValueError(
            f"class_prior has no share for {missing[0]!r}; give one for each of the classes "
            f"{known}, together 1."
        )
    for c, share in given.items():
        number = isinstance(share, Real) and not isinstance(share, (bool, np.bool_))
        if not number or not 0.0 < share < 1.0:
            raise ValueError(
                f"class_prior[{c!r}]={share!r} must be a number above 0 and below 1: the class's "
                "share of the task's rows."
            )
    prior = np.array([float(given[c]) for c in known])
    if abs(prior.sum() - 1.0) > 1e-6:
        raise ValueError(
            f"class_prior={class_prior!r} adds up to {prior.sum():.6g}; the classes' shares must "
            "add up to 1."
        )
    return prior / prior.sum()


def sampling_offset(counts, prior):
    r"""Return what sampling by class has added to the scores of the classes.

    Parameters
    ----------
    counts : ndarray of shape (..., n_classes)
        Rows of every class in the sample.
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
    """Weigh rows so that classes have the shares `prior`, and all rows together weigh as before.

    Parameters
    ----------
    y : ndarray of shape (n_rows,)
        Positions of the classes in `prior`.
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
    """Return what to add to the classes' scores so that probabilities have the mean `prior`.

    Parameters
    ----------
    log_probabilities : ndarray of shape (n_rows, n_classes)
        Of rows that stand for the task, as where `prior_weights` weigh them.
    weight : ndarray of shape (n_rows,)
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
    """How the classes' shares vary from task to task: a mixture of Dirichlet distributions.

    Attributes
    ----------
    mean : ndarray of shape (n_classes,)
        Of a task's shares.
    alpha : ndarray of shape (n_components, n_classes)
        Parameters of the components, one for every concentration.
    share : ndarray of shape (n_components,)
        Of each component.
    """

    mean: np.ndarray
    alpha: np.ndarray
    share: np.ndarray

    @classmethod
    def of(cls, counts):
        """Learn it from the classes' rows ``counts (n_tasks, n_classes)`` of tasks."""
        counts = counts[counts.sum(axis=1) > 0]
        counts = counts[:: max(1, -(-len(counts) // _MOST_TASKS))]
        n_classes, total = counts.shape[1], counts.sum(axis=1)
        alpha = np.empty((len(_CONCENTRATIONS), n_classes))
        evidence = np.empty(len(alpha))
        for g, concentration in enumerate(_CONCENTRATIONS):
            # A task's share varies by (n + c) / n / (1 + c) of what a single row's varies by.
            voice = total * (1.0 + concentration) / (total + concentration)
            sums = (counts * (voice / total)[:, None]).sum(axis=0) + 1.0 / n_classes
            alpha[g] = concentration * sums / sums.sum()
            evidence[g] = _log_likelihood(counts, alpha[g]).sum()
        share = np.exp(evidence - evidence.max())
        share /= share.sum()
        return cls(share @ (alpha / _CONCENTRATIONS[:, None]), alpha, share)

    def by_class(self, counts):
        """Return how probable it is that rows were sampled by class.

        What speaks for it is that their classes' shares are unlike those of tasks, and above all
        that these are equal. Rows that lack a class were not sampled by class.

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
    """Of the rows' classes under a Dirichlet-multinomial, whatever their order."""
    total = counts.sum(axis=1)
    out = gammaln(total + 1.0) + gammaln(alpha.sum()) - gammaln(total + alpha.sum())
    terms = gammaln(counts + alpha) - gammaln(alpha) - gammaln(counts + 1.0)
    return out + terms.sum(axis=1)
