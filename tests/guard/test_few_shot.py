"""Weights by the number of labelled rows, against slow twins."""

import numpy as np
import pytest
import reference

from skmtl.guard.few_shot import BlendWeights, JudgedRows, advantage, mixture_weights


def held_out(rng, are_numbers, n_episodes=40):
    sizes = rng.choice([2.0, 5.0, 20.0], n_episodes)
    codes = np.repeat(np.arange(n_episodes), rng.integers(3, 12, n_episodes))
    if are_numbers:
        values = rng.normal(size=(len(codes), 3)) * [1.0, 0.8, 1.0] + rng.normal(
            size=(len(codes), 1)
        )
    else:
        values = 1 / (1 + np.exp(-rng.normal([0.2, 0.6, 0.3], 1.0, (len(codes), 3))))
    values[codes % 3 == 0, 2] = np.nan
    weight = rng.uniform(0.5, 2.0, len(codes))
    return JudgedRows(values, weight, codes, sizes, rng.integers(15, size=n_episodes), are_numbers)


@pytest.mark.parametrize("are_numbers", [False, True])
def test_weights_are_those_of_the_twin(rng, are_numbers):
    data = held_out(rng, are_numbers)
    found = BlendWeights.learn(data, required=0.5)
    size, weights = reference.blend_weights(
        data.values, data.weight, data.codes, data.sizes, data.groups, are_numbers, required=0.5
    )
    np.testing.assert_allclose(found.size, size)
    np.testing.assert_allclose(found.weights, weights, atol=0.02)
    np.testing.assert_allclose(found.weights.sum(axis=1), 1.0)


def test_advantage_is_that_of_the_twin(rng):
    gain, weight = rng.normal(0.3, 1.0, 60), rng.uniform(0.5, 2.0, 60)
    groups = rng.integers(9, size=60)
    wanted = reference.advantage(gain, weight, groups)
    assert advantage(gain, weight, groups) == pytest.approx(wanted, rel=1e-5)
    assert advantage(gain, weight, np.zeros(60, dtype=int)) == 0.0  # one task says nothing


def test_mixtures_are_optimal(rng):
    values, weight = rng.uniform(size=(200, 3)), rng.uniform(size=200)
    found = mixture_weights(values, weight)
    # The derivatives are equal where weights are positive, and no larger elsewhere.
    slope = (weight / (values @ found)) @ values / weight.sum()
    assert found.sum() == pytest.approx(1.0)
    assert (slope <= 1.0 + 0.02).all()
    np.testing.assert_allclose(slope[found > 0.05], 1.0, atol=0.01)


def test_episodes_without_evidence_leave_all_to_the_first():
    weights = BlendWeights.learn(JudgedRows.join([]))
    np.testing.assert_array_equal(weights.at(np.array([0.0, 3.0])), [[1, 0, 0]] * 2)
