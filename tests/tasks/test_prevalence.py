"""Shares of classes: how they vary between tasks, samples by class, and their correction."""

import numpy as np
import pytest
import reference
from scipy.special import expit
from sklearn.linear_model import LogisticRegression

from skmtl.tasks import prevalence
from skmtl.tasks.prevalence import (
    Prevalence,
    check_class_prior,
    prior_weights,
    sampling_offset,
    shift_to_prior,
)


def counts_of(n_tasks, rows, mean, concentration, seed=0):
    """Classes of tasks' rows, whose shares are drawn from a Dirichlet distribution."""
    rng = np.random.default_rng(seed)
    shares = rng.dirichlet(concentration * np.asarray(mean), size=n_tasks)
    return np.array([rng.multinomial(rows, share) for share in shares])


@pytest.mark.parametrize("mean", [(0.9, 0.1), (0.6, 0.3, 0.1)])
@pytest.mark.parametrize("concentration", [2.0, 300.0])
def test_by_class_is_that_of_the_twin(mean, concentration):
    tables = counts_of(12, 15, mean, concentration)
    asked = [np.full(len(mean), n) for n in (1, 5)]
    asked += [counts_of(1, 20, mean, 5.0, 1)[0], np.append(9, np.zeros(len(mean) - 1, int))]
    found = Prevalence.of(tables.astype(float)).by_class(np.array(asked, dtype=float))
    wanted = [
        reference.sampled_by_class(
            counts, tables, prevalence._CONCENTRATIONS, prevalence._BY_CLASS,
            prevalence._BALANCED, prevalence._UNLIKE,
        )
        for counts in asked
    ]  # fmt: skip
    np.testing.assert_allclose(found, wanted, rtol=1e-9)


def test_equal_shares_tell_of_sampling_only_where_the_tasks_do_not_have_them():
    found = {}
    for rate in (0.08, 0.5):
        tasks = Prevalence.of(counts_of(200, 40, (1 - rate, rate), 100.0).astype(float))
        np.testing.assert_allclose(tasks.mean, (1 - rate, rate), atol=0.025)
        samples = np.array([[5.0, 5.0], [10.0, 10.0], [10.0, 0.0], [9.0, 1.0], [0.0, 0.0]])
        found[rate] = tasks.by_class(samples)
    np.testing.assert_array_less([0.9, 0.9], found[0.08][:2])
    np.testing.assert_array_less(found[0.08][2:], 0.01)
    np.testing.assert_array_less(found[0.5], 0.2)
    assert found[0.5][4] == 0.0
    # Where prevalence varies a lot, a sample's shares are evidence about its own task.
    varied = Prevalence.of(counts_of(200, 40, (0.5, 0.5), 1.5).astype(float))
    assert (varied.by_class(np.array([[18.0, 2.0], [3.0, 17.0], [0.0, 12.0]])) < 0.1).all()


def test_the_correction_of_a_sample_by_class_is_the_fit_of_the_whole():
    rng = np.random.default_rng(3)
    X = rng.normal(size=(400_000, 2))
    y = rng.random(len(X)) < expit(X @ [1.0, -0.5] - 4.0)
    chosen = np.concatenate([np.flatnonzero(y)[:4000], np.flatnonzero(~y)[:4000]])
    sample = LogisticRegression(C=1e6).fit(X[chosen], y[chosen])
    prior = [1 - y.mean(), y.mean()]
    found = sample.intercept_[0] - np.diff(sampling_offset(np.array([4000, 4000]), prior))[0]
    assert abs(found + 4.0) < 0.1
    assert abs(sample.intercept_[0] + 4.0) > 2.0
    np.testing.assert_allclose(
        found, sample.intercept_[0] + np.log(prior[1] / prior[0]), rtol=1e-12
    )
    # Of three classes: the scores' intercepts, each by its own shares.
    both = -sampling_offset(np.array([[2, 4, 4]]), [0.5, 0.25, 0.25])
    np.testing.assert_allclose(both, np.log([[2.5, 0.625, 0.625]]), rtol=1e-12)
    assert np.isfinite(sampling_offset(np.array([3.0, 0.0]), np.array([0.9, 0.1]))).all()


def test_prior_weights():
    y, weight = np.array([0, 0, 1, 1, 1]), np.array([1.0, 3.0, 1.0, 1.0, 2.0])
    found = prior_weights(y, weight, np.array([0.9, 0.1]))
    np.testing.assert_allclose(np.bincount(y, found), [7.2, 0.8], rtol=1e-12)
    np.testing.assert_allclose(found[1] / found[0], 3.0, rtol=1e-12)
    one = prior_weights(np.zeros(2, dtype=int), np.ones(2), np.array([0.3, 0.7]))
    np.testing.assert_allclose(one, 1.0, rtol=1e-12)


def test_the_shift_after_which_probabilities_have_the_prior_as_mean():
    rng = np.random.default_rng(2)
    for n_classes in (2, 4):
        scores, weight = 3.0 * rng.normal(size=(12, n_classes)), rng.uniform(0.5, 2.0, 12)
        prior = rng.dirichlet(np.ones(n_classes))
        shifted = np.exp(scores + shift_to_prior(scores, weight, prior))
        means = np.average(shifted / shifted.sum(1, keepdims=True), axis=0, weights=weight)
        np.testing.assert_allclose(means, prior, rtol=1e-7)


def test_a_class_prior_in_the_order_of_the_classes():
    classes = np.array(["no", "yes"])
    found = check_class_prior({"yes": 0.08, "no": 0.92}, classes)
    np.testing.assert_allclose(found, [0.92, 0.08], rtol=1e-12)
    found = check_class_prior({np.int64(1): 0.25, 0: np.float32(0.75)}, np.array([0, 1]))
    np.testing.assert_allclose(found, [0.75, 0.25], rtol=1e-12)
    found = check_class_prior({True: 0.25, False: 0.75}, np.array([False, True]))
    np.testing.assert_allclose(found, [0.75, 0.25], rtol=1e-12)


@pytest.mark.parametrize(
    ("prior", "error", "message"),
    [
        ([0.9, 0.1], TypeError, r"class_prior=\[0.9, 0.1\] must be a dict"),
        (0.08, TypeError, "must be a dict"),
        ({}, ValueError, "no share for 'no'"),
        ({"yes": 0.08}, ValueError, "no share for 'no'"),
        ({"no": 0.5, "yes": 0.3, "maybe": 0.2}, ValueError, "'maybe', which is not among"),
        ({"no": 0.9, "yes": 0.08}, ValueError, "adds up to 0.98"),
        ({"no": 1.0, "yes": 0.0}, ValueError, "above 0 and below 1"),
        ({"no": 1.5, "yes": -0.5}, ValueError, "above 0 and below 1"),
        ({"no": np.nan, "yes": 0.5}, ValueError, r"class_prior\['no'\]=nan"),
        ({"no": "0.9", "yes": 0.1}, ValueError, r"class_prior\['no'\]='0.9'"),
        ({"no": True, "yes": 0.1}, ValueError, r"class_prior\['no'\]=True"),
    ],
)
def test_unfit_class_priors(prior, error, message):
    with pytest.raises(error, match=message):
        check_class_prior(prior, np.array(["no", "yes"]))
