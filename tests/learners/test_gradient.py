"""MAML and Reptile."""

import pickle
from dataclasses import replace

import numpy as np
import pytest
from sklearn.base import clone

from skmtl.learners import _episodes
from skmtl.learners._network import pack
from skmtl.learners.base import LabelledTasks
from skmtl.learners.gradient import MAML, Reptile

SMALL = {"hidden_layer_sizes": (12,), "max_iter": 300, "learning_rate": 0.005}
SHORT = SMALL | {"max_iter": 30}


def packed(X, y, lengths, ways=None, shared=True):
    offsets = np.append(0, np.cumsum(lengths))
    return LabelledTasks(X, y, np.ones(len(y)), offsets, ways, shared)


def lines(n_tasks=60, seed=0):
    """Return ragged regression tasks, each with its own slope."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(6, 20, n_tasks)
    X = rng.normal(size=(lengths.sum(), 2))
    return packed(X, np.repeat(rng.normal(size=n_tasks), lengths) * X[:, 0], lengths)


def sides(n_tasks=60, seed=0, shared=True):
    """Return tasks with two classes on either side of zero; their order depends on the task."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(10, 24, n_tasks)
    X = rng.normal(size=(lengths.sum(), 3))
    sign = np.repeat(rng.choice([-1.0, 1.0], n_tasks), lengths)
    return packed(X, (sign * X[:, 0] > 0).astype(int), lengths, np.full(n_tasks, 2), shared)


def learned(learner, tasks, seed=0):
    return learner.learn(tasks, np.random.RandomState(seed), lambda text: None)


def loss(knowledge, tasks, n_steps=None):
    """Return the loss on query rows after steps on support rows."""
    support, query = _episodes.split(tasks, None, np.random.RandomState(1))
    prediction = knowledge.adapt(support, n_steps).predict(query.X, query.codes)
    if tasks.ways is None:
        return np.mean((prediction - query.y) ** 2)
    return -prediction[np.arange(len(query.y)), query.y].mean()


@pytest.fixture(scope="module")
def regression():
    return learned(MAML(**SMALL), lines())


@pytest.fixture(scope="module")
def classification():
    return learned(MAML(**SMALL), sides(shared=False))


@pytest.mark.parametrize(
    "learner",
    [
        MAML(**SMALL), MAML(**SMALL, first_order=True), MAML(**SMALL, adapted_layers="head"),
        MAML(**SMALL, learn_inner_rates=True), Reptile(**SMALL), MAML(**SMALL, activation="tanh"),
    ],
    ids=["MAML", "FOMAML", "ANIL", "Meta-SGD", "Reptile", "tanh"],
)  # fmt: skip
@pytest.mark.parametrize("tasks", [lines, sides], ids=["regression", "classification"])
def test_steps_help_on_tasks_never_seen(learner, tasks):
    knowledge = learned(learner, tasks())
    new = tasks(seed=7)
    plain = np.mean(new.y**2) if new.ways is None else np.log(2)
    assert loss(knowledge, new) < 0.9 * min(loss(knowledge, new, 0), plain)


def test_history(classification):
    history, n_looks = classification.history, len(classification.history["step"])
    assert history["step"].tolist() == [0, 100, 200, 300][:n_looks] and n_looks >= 3
    for name in ("held_out_loss_by_step", "held_out_accuracy_by_step"):
        assert history[name].shape == (n_looks, 6)
    np.testing.assert_array_equal(history["held_out_loss"], history["held_out_loss_by_step"][:, -1])
    assert history["train_loss"][-1] < history["train_loss"][1]
    assert history["held_out_accuracy_by_step"][-1, -1] > 0.8


def test_reproducible_from_the_random_state():
    a, b, c = (learned(MAML(**SHORT), lines(), seed).network.parameters for seed in (0, 0, 1))
    np.testing.assert_array_equal(a, b)
    assert (a != c).any()


def test_adapted_does_not_depend_on_the_other_tasks_nor_on_row_order(classification):
    new = sides(12, seed=3, shared=False)
    whole = classification.adapt(new)
    wanted = whole.predict(new.X, new.codes)
    order = np.random.default_rng(0).permutation(len(new.y))
    found = whole.predict(new.X[order], new.codes[order])
    np.testing.assert_allclose(found, wanted[order], rtol=1e-4, atol=1e-5)
    for t in (0, 5):
        mine = new.take([t])
        alone = classification.adapt(mine).predict(mine.X, mine.codes)
        np.testing.assert_allclose(alone, wanted[new.codes == t], rtol=1e-4, atol=1e-5)
    part = whole.take(np.array([7, 2])).predict(new.X[:3], np.array([1, 0, 1]))
    np.testing.assert_allclose(part, whole.predict(new.X[:3], np.array([2, 7, 2])), rtol=1e-5)


def test_more_tasks_than_are_adapted_at_a_time(regression):
    many = lines(300, seed=4)
    last = many.take(np.arange(290, 300))
    wanted = regression.adapt(last).predict(last.X, last.codes)
    found = regression.adapt(many).predict(last.X, last.codes + 290)
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("adapted_layers", ["all", "head"])
def test_tasks_without_rows_get_the_start(adapted_layers):
    knowledge = learned(MAML(**SHORT, adapted_layers=adapted_layers), lines())
    new = lines(3)
    bare = new.select_rows(new.codes == 1)  # now the first task has no rows
    got = knowledge.adapt(bare).predict(new.X[:4], np.zeros(4, int))
    start = knowledge.adapt(new, 0).predict(new.X[:4], np.zeros(4, int))
    np.testing.assert_allclose(got, start, rtol=1e-6)
    assert knowledge.adapt(new).predict(new.X[:0], np.zeros(0, int)).shape == (0,)


def test_probabilities_live_on_the_tasks_own_classes():
    rng = np.random.default_rng(0)
    ways = np.tile([2, 3], 20)
    lengths = 6 * ways
    y = np.concatenate([np.arange(n) % w for n, w in zip(lengths, ways, strict=True)])
    X = rng.normal(size=(len(y), 3)) + 3 * np.eye(3)[y]
    tasks = packed(X, y, lengths, ways, False)
    knowledge = learned(MAML(**SMALL), tasks)
    p = np.exp(knowledge.adapt(tasks).predict(X, tasks.codes))
    np.testing.assert_allclose(p.sum(1), 1.0)
    assert (p[ways[tasks.codes] == 2, 2] == 0).all()
    assert (p.argmax(1) == y).mean() > 0.8


def test_new_tasks_may_bring_more_classes(classification):
    X, y = np.random.default_rng(0).normal(size=(20, 3)), np.arange(20) % 4
    new = packed(X, y, [20], np.array([4]), False)
    p = np.exp(classification.adapt(new).predict(new.X, new.codes))
    assert p.shape == (20, 4)
    np.testing.assert_allclose(p.sum(1), 1.0)


def test_tasks_too_small_to_split_take_no_part():
    tasks = lines(12)
    X, y = np.r_[tasks.X, [[9.0, 9.0]]], np.r_[tasks.y, 1e6]
    lonely = packed(X, y, np.r_[tasks.sizes, 1])
    found, wanted = (learned(MAML(**SHORT), some).network.parameters for some in (lonely, tasks))
    np.testing.assert_array_equal(found, wanted)
    with pytest.raises(ValueError, match="none of the 3 tasks has two rows"):
        learned(MAML(), packed(np.ones((3, 1)), np.ones(3), [1, 1, 1]))


def test_few_tasks_are_not_held_out():
    knowledge = learned(MAML(**SHORT), lines(5))
    assert "held_out_loss" not in knowledge.history and knowledge.stopped == "max_iter"


def test_weights_count():
    tasks = lines(20)
    heavy = replace(tasks, weight=np.where(np.arange(len(tasks.y)) % 2, 5.0, 1e-9))
    knowledge = learned(MAML(**SHORT), tasks)
    found = knowledge.adapt(heavy).predict(tasks.X, tasks.codes)
    wanted = knowledge.adapt(tasks.select_rows(heavy.weight > 1)).predict(tasks.X, tasks.codes)
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("n_shots", [None, 1, 3])
def test_split_is_stratified(n_shots):
    tasks = replace(sides(30), shared_classes=n_shots is not None)
    support, query = _episodes.split(tasks, n_shots, np.random.RandomState(0))
    n, s = (
        np.sort([np.bincount(r.codes[r.y == c], minlength=30) for c in (0, 1)], axis=0)
        for r in (tasks, support)
    )  # sorted, as own classes are permuted
    several = n >= 2
    wanted = n // 2 if n_shots is None else np.minimum(n_shots, n - 1)
    np.testing.assert_array_equal(s[several], wanted[several])
    rows = np.r_[np.c_[support.codes, support.X], np.c_[query.codes, query.X]]
    kept = np.c_[tasks.codes, tasks.X]
    np.testing.assert_array_equal(rows[np.lexsort(rows.T)], kept[np.lexsort(kept.T)])


def test_long_tasks_are_not_taken_whole():
    long = packed(np.zeros((1000, 1)), np.zeros(1000), [1000])
    support, query = _episodes.split(long, None, np.random.RandomState(0))
    assert len(support.y) == len(query.y) == 40


def test_positions_are_permuted_only_where_they_have_no_meaning():
    tasks, state = sides(40), np.random.RandomState(0)
    label = dict(zip(map(tuple, tasks.X), tasks.y, strict=True))
    swapped = np.zeros((2, 40))
    for i, shared in enumerate((True, False)):
        for part in _episodes.split(replace(tasks, shared_classes=shared), None, state):
            true = [label[tuple(x)] for x in part.X]
            swapped[i] += np.bincount(part.codes, part.y != true, minlength=40)
    assert not swapped[0].any()
    assert 5 < (swapped[1] > 0).sum() < 35
    assert np.isin(swapped[1], [0, *tasks.sizes]).all()  # all rows of a task or none


def test_small_tasks_take_part_whatever_their_labels():
    tasks = packed(np.zeros((400, 1)), np.arange(400) // 100 % 2, [2] * 200, np.full(200, 2))
    assert _episodes.can_be_split(tasks).all()
    differing = replace(tasks, y=np.tile([0, 1], 200))
    assert _episodes.can_be_split(differing).all()
    assert not _episodes.can_be_split(differing, n_shots=1).any()
    assert not _episodes.can_be_split(replace(differing, shared_classes=False)).any()


def test_a_row_that_weighs_more_falls_on_one_side():
    tasks = lines(20)
    n_rows = len(tasks.y)
    tasks = replace(tasks, weight=np.full(n_rows, 2.5))
    support, query = _episodes.split(tasks, None, np.random.RandomState(0))
    assert (support.weight == 2.5).all() and len(support.y) + len(query.y) == n_rows
    assert not set(map(tuple, support.X)) & set(map(tuple, query.X))


def test_an_episode_of_a_large_task_looks_at_some_of_its_rows():
    large = packed(np.arange(9000.0)[:, None], np.arange(9000) % 2, [9000], np.full(1, 2))
    support, query = _episodes.draw(large, 50, None, np.random.RandomState(0))
    assert (support.sizes == 40).all() and (query.sizes == 40).all()
    assert abs(np.r_[support.X, query.X].mean() - 4500) < 150
    assert len(np.unique(support.X)) > 1500


def test_pack_makes_means():
    rows = pack(lines(4), 1, np.dtype("float32"))
    assert all(a.dtype == np.float32 for a in rows[:3])
    np.testing.assert_allclose(np.add.reduceat(rows[2], rows[4][:-1]), 1.0, rtol=1e-6)


@pytest.mark.parametrize(
    "bad, said",
    [
        ({"hidden_layer_sizes": (4, 0)}, "hidden_layer_sizes"), ({"activation": "gelu"}, "gelu"),
        ({"inner_rate": 0.0}, "inner_rate=0.0"), ({"learning_rate": "auto"}, "learning_rate"),
        ({"inner_steps": 0}, "inner_steps=0"), ({"meta_batch_size": 1.5}, "meta_batch_size=1.5"),
        ({"n_shots": 0}, "n_shots=0"), ({"validation_fraction": 1.0}, "validation_fraction"),
        ({"dtype": "float16"}, "dtype"), ({"adapted_layers": "body"}, "adapted_layers"),
        ({"max_iter": 0}, "max_iter"), ({"patience": -1}, "patience"),
        ({"hidden_layer_sizes": ""}, "hidden_layer_sizes=''"),
        ({"hidden_layer_sizes": {}}, "hidden_layer_sizes={}"),
        ({"hidden_layer_sizes": b"x"}, "hidden_layer_sizes=b'x'"),
        ({"hidden_layer_sizes": True}, "hidden_layer_sizes=True"),
        ({"hidden_layer_sizes": (8, True)}, "hidden_layer_sizes"),
        ({"hidden_layer_sizes": np.ones(2)}, "hidden_layer_sizes"),
        ({"hidden_layer_sizes": np.ones((2, 2), int)}, "hidden_layer_sizes"),
        ({"first_order": "no"}, "first_order='no'"), ({"first_order": None}, "first_order=None"),
        ({"learn_inner_rates": {}}, "learn_inner_rates={}"),
        ({"learn_inner_rates": "no"}, "learn_inner_rates='no'"),
        ({"learn_inner_rates": 1}, "learn_inner_rates=1"),
        ({"activation": np.ones(2)}, "activation=array"), ({"activation": []}, "activation="),
        ({"dtype": np.ones(2)}, "dtype=array"), ({"adapted_layers": None}, "adapted_layers=None"),
        ({"learning_rate": True}, "learning_rate=True"), ({"inner_rate": True}, "inner_rate=True"),
        ({"inner_rate": np.ones(2)}, "inner_rate=array"), ({"inner_rate": np.nan}, "inner_rate"),
        ({"learning_rate": np.ones(1)}, "learning_rate=array"),
        ({"validation_fraction": False}, "validation_fraction=False"),
        ({"validation_fraction": np.ones(2)}, "validation_fraction=array"),
        ({"n_shots": np.ones(2)}, "n_shots=array"), ({"max_iter": True}, "max_iter=True"),
        ({"max_iter": np.bool_(True)}, "max_iter"), ({"inner_steps": np.ones(2)}, "inner_steps"),
    ],
)  # fmt: skip
def test_bad_parameters(bad, said):
    with pytest.raises(ValueError, match=said):
        learned(MAML(**bad), lines(4))


def test_reptile_needs_two_steps():
    with pytest.raises(ValueError, match="inner_steps=1"):
        learned(Reptile(inner_steps=1), lines(4))


def test_cloned_and_pickled(regression):
    learner = MAML(hidden_layer_sizes=(3,), first_order=True)
    assert clone(learner).get_params() == learner.get_params()
    new = lines(2)
    adapted = pickle.loads(pickle.dumps(regression)).adapt(new)
    wanted = regression.adapt(new).predict(new.X, new.codes)
    found = pickle.loads(pickle.dumps(adapted)).predict(new.X, new.codes)
    np.testing.assert_array_equal(found, wanted)
    assert len(pickle.dumps(regression)) < 10_000


def test_a_linear_network_in_double_precision():
    knowledge = learned(MAML((), dtype="float64", max_iter=300, learning_rate=0.02), lines())
    assert (
        knowledge.network.parameters.dtype == np.float64 and len(knowledge.network.parameters) == 3
    )
    assert loss(knowledge, lines(seed=7)) < 0.5
