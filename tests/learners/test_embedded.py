"""Learners of an embedding: formulas against readable twins, and properties."""

import pickle
from dataclasses import replace

import numpy as np
import pytest
import reference
from sklearn.base import clone

from skmtl.learners import Prototypes, RidgeHead, _episodes
from skmtl.learners._embedding import Embedding, Padded, padded_batches
from skmtl.learners._heads import PrototypeHead, RidgeSolve
from skmtl.learners.base import LabelledTasks
from skmtl.learners.embedded import Model

TWINS = {RidgeSolve: reference.ridge_head, PrototypeHead: reference.prototype_head}
WAYS = {"numbers": None, "shared": [3, 3, 3], "own": [2, 3, 2]}
HEADS = [(RidgeSolve, kind) for kind in WAYS] + [(PrototypeHead, "shared"), (PrototypeHead, "own")]
# Hidden layers and components: square and narrow linear maps; layers; both.
NETWORKS = [((), None), ((), 2), ((4,), None), ((5, 4), 3)]


def random_tasks(kind, lengths, seed, n_features=3):
    """Return weighted rows of ragged tasks, with all classes of a task if it has enough rows."""
    rng = np.random.default_rng(seed)
    offsets, ways = np.append(0, np.cumsum(lengths)), WAYS[kind]
    n = offsets[-1]
    X, weight, y = rng.normal(size=(n, n_features)), rng.uniform(0.5, 2.0, n), rng.normal(size=n)
    if ways is not None:
        y = np.arange(n) % np.repeat(ways, lengths)
        ways = np.array(ways)
    return LabelledTasks(X, y, weight, offsets, ways, kind != "own")


def random_model(head, kind, hidden, n_components, activation="tanh", seed=0):
    rng, state = np.random.default_rng(seed), np.random.RandomState(seed)
    embedding = Embedding.initial(3, hidden, n_components, activation, state)
    embedding.parameters = embedding.parameters + 0.2 * rng.normal(size=embedding.parameters.shape)
    head = head(embedding.width, 1 if kind == "numbers" else 3, kind != "own")
    rows = Padded.of(random_tasks(kind, [4, 6, 5], 5))
    model = Model(embedding, head, None)
    start = next(head.starts(model.embedded(rows), rows))
    return replace(model, head_parameters=0.4 * rng.normal(size=len(start)))


def twin_loss(model, flat, support, query):
    """Return the mean query loss, computed task by task."""
    embedding, n = model.embedding, len(model.embedding.parameters)
    losses = []
    for t in range(support.n_tasks):
        parts, ways = [], 1 if support.ways is None else support.ways[t]
        for rows in (support, query):
            mine = rows.codes == t
            y = rows.y[mine]
            target = y[:, None] if rows.ways is None else np.eye(ways)[y]
            Z = reference.embedded(
                flat[:n], embedding.sizes, embedding.activation == "tanh", embedding.linear,
                rows.X[mine],
            )  # fmt: skip
            parts.append((Z, target, rows.weight[mine]))
        head = TWINS[type(model.head)](flat[n:], *parts[0], model.head.shared)
        Z, target, weight = parts[1]
        losses.append(reference.head_query_loss(head, Z, target, weight / weight.sum()))
    return sum(losses) / len(losses)


@pytest.mark.parametrize("lengths", [[4, 5, 2], [9, 14, 3]], ids=["few rows", "many rows"])
@pytest.mark.parametrize(("hidden", "n_components"), NETWORKS)
@pytest.mark.parametrize(("head", "kind"), HEADS)
def test_loss_and_gradient(head, kind, hidden, n_components, lengths):
    if kind != "own":
        lengths = [*lengths[:2], 0]  # a task without rows
    support, query = random_tasks(kind, lengths, 1), random_tasks(kind, [4, 2, 3], 2)
    for activation in ("tanh", "relu"):
        model = random_model(head, kind, hidden, n_components, activation)
        grad = np.full(len(model.flat), np.nan)
        rows = Padded.of(support), Padded.of(query).normalised()
        loss = model.gradient(*rows, grad)
        wanted = reference.complex_step(
            lambda flat, model=model: twin_loss(model, flat, support, query), model.flat
        )
        np.testing.assert_allclose(
            loss, twin_loss(model, model.flat, support, query), rtol=1e-8, atol=1e-9
        )
        np.testing.assert_allclose(grad, wanted, atol=1e-10)
        np.testing.assert_allclose(model.evaluate(*rows)[0], loss, rtol=1e-8, atol=1e-9)


@pytest.mark.parametrize(("head", "kind"), HEADS)
def test_finite_differences(head, kind):
    model, step = random_model(head, kind, (4,), 3), 1e-5
    rows = [Padded.of(random_tasks(kind, [5, 8, 4], seed)) for seed in (1, 2)]
    grad, scrap = np.empty((2, len(model.flat)))
    model.gradient(*rows, grad)
    for j in range(len(grad)):
        around = []
        for sign in (-1, 1):
            flat = model.flat
            flat[j] += sign * step
            around.append(model.at(flat).gradient(*rows, scrap))
        assert abs((around[1] - around[0]) / (2 * step) - grad[j]) < 1e-6


def test_few_and_many_rows_meet():
    """Repeated rows of reduced weight change nothing, though they are solved differently."""
    tasks = random_tasks("numbers", [3, 3, 3], 1)
    model = random_model(RidgeSolve, "numbers", (), None)
    thrice = np.repeat(np.arange(9), 3)
    repeated = replace(
        tasks, X=tasks.X[thrice], y=tasks.y[thrice], weight=tasks.weight[thrice] / 3,
        offsets=3 * tasks.offsets,
    )  # fmt: skip
    np.testing.assert_allclose(
        model.heads(Padded.of(repeated)), model.heads(Padded.of(tasks)), rtol=1e-8
    )


def test_a_linear_embedding_starts_at_the_features():
    state = np.random.RandomState(0)
    X = np.random.default_rng(0).normal(size=(5, 4))
    np.testing.assert_array_equal(Embedding.initial(4, (), None, "relu", state)(X), X)
    for count in (2, 6):
        P = Embedding.initial(4, (), count, "relu", state).layers(
            Embedding.initial(4, (), count, "relu", state).parameters
        )[0][:-1]
        gram = P.T @ P if count == 2 else P @ P.T
        np.testing.assert_allclose(gram, np.eye(len(gram)), atol=1e-10)


def test_padded_batches_hold_every_task_once():
    rng = np.random.default_rng(0)
    lengths = np.r_[rng.integers(0, 9, 3000), 20_000]
    offsets = np.append(0, np.cumsum(lengths))
    tasks = LabelledTasks(
        rng.normal(size=(offsets[-1], 1)), np.arange(offsets[-1]) * 1.0, np.ones(offsets[-1]),
        offsets,
    )  # fmt: skip
    seen, total = [], np.zeros(len(lengths))
    for chosen, rows in padded_batches(tasks):
        seen.append(chosen)
        assert rows.weight.size <= 8192 or len(chosen) == 1
        total[chosen] = rows.target.sum(axis=(1, 2))
    np.testing.assert_array_equal(np.sort(np.concatenate(seen)), np.arange(3001))
    np.testing.assert_array_equal(total, np.bincount(tasks.codes, tasks.y, minlength=3001))


# ------------------------------------------------------------------------------------ learning

SMALL = {"max_iter": 300, "learning_rate": 0.01, "check_every": 50}
SHORT = SMALL | {"max_iter": 20}
BOTH = [RidgeHead, Prototypes]


def packed(X, y, lengths, ways=None, shared=True, labels=None):
    offsets = np.append(0, np.cumsum(lengths))
    return LabelledTasks(X, y, np.ones(len(y)), offsets, ways, shared, labels)


def lines(n_tasks=60, seed=0):
    """Return regression tasks that differ in the slope of one of four features."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(6, 14, n_tasks)
    X = rng.normal(size=(lengths.sum(), 4))
    slope = np.repeat(rng.normal(size=n_tasks), lengths)
    return packed(X, slope * X[:, 0] + X[:, 1] + 0.1 * rng.normal(size=len(X)), lengths)


def sides(n_tasks=60, seed=0, shared=True, n_features=8):
    """Return tasks with two classes on either side of zero; their order depends on the task."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(10, 24, n_tasks)
    X = rng.normal(size=(lengths.sum(), n_features))
    sign = np.repeat(rng.choice([-1.0, 1.0], n_tasks), lengths)
    y = (sign * X[:, 0] + 0.2 * rng.normal(size=len(X)) > 0).astype(int)
    return packed(X, y, lengths, np.full(n_tasks, 2), shared)


def rare(n_tasks=80, seed=0):
    """Return tasks with two shared classes, separated alike; one in four has one class only."""
    rng = np.random.default_rng(seed)
    lengths = np.full(n_tasks, 12)
    X = rng.normal(size=(lengths.sum(), 2))
    y = (X[:, 0] + 0.5 * rng.normal(size=len(X)) > 0.8).astype(int)
    y[np.repeat(np.arange(n_tasks) % 4 == 0, lengths)] = 0
    return packed(X, y, lengths, np.full(n_tasks, 2))


def learned(learner, tasks, seed=0):
    return learner.learn(tasks, np.random.RandomState(seed), lambda text: None)


def loss(knowledge, tasks):
    """Return the loss on query rows after adaptation to support rows."""
    support, query = _episodes.split(tasks, None, np.random.RandomState(1))
    expected = knowledge.adapt(support).predict(query.X, query.codes)
    if tasks.ways is None:
        return np.mean((expected - query.y) ** 2)
    return -expected[np.arange(len(query.y)), query.y].mean()


@pytest.fixture(scope="module", params=BOTH, ids=["ridge head", "prototypes"])
def own(request):
    return learned(request.param(**SMALL), sides(shared=False))


@pytest.mark.parametrize("hidden", [(), (16,)], ids=["linear", "network"])
@pytest.mark.parametrize(
    ("learner", "tasks"), [(RidgeHead, lines), (RidgeHead, sides), (Prototypes, sides)]
)
def test_the_embedding_helps_on_tasks_never_seen(learner, tasks, hidden):
    knowledge = learned(learner(hidden, **SMALL), tasks())
    untrained = learned(learner(hidden, **SMALL | {"max_iter": 1}), tasks())
    new = tasks(seed=7)
    assert loss(knowledge, new) < 0.8 * loss(untrained, new)
    history = knowledge.history
    assert history["held_out_loss"].min() < 0.8 * history["held_out_loss"][0]
    assert set(history) == {"step", "train_loss", "held_out_loss", "held_out_accuracy"}
    assert np.isnan(history["held_out_accuracy"]).all() == (new.ways is None)


def test_reproducible_from_the_random_state():
    for learner in BOTH:
        a, b, c = (learned(learner(**SHORT), sides(), seed).model.flat for seed in (0, 0, 1))
        np.testing.assert_array_equal(a, b)
        assert (a != c).any()


def test_adapted_does_not_depend_on_the_other_tasks_nor_on_row_order(own):
    new = sides(12, seed=3, shared=False)
    whole = own.adapt(new)
    wanted = whole.predict(new.X, new.codes)
    rng = np.random.default_rng(0)
    order = rng.permutation(len(new.y))
    found = whole.predict(new.X[order], new.codes[order])
    np.testing.assert_allclose(found, wanted[order], rtol=1e-8, atol=1e-9)
    within = np.lexsort((rng.uniform(size=len(new.y)), new.codes))
    shuffled = own.adapt(replace(new, X=new.X[within], y=new.y[within]))
    np.testing.assert_allclose(shuffled.predict(new.X, new.codes), wanted, rtol=1e-8, atol=1e-9)
    for t in (0, 5):
        mine = new.take([t])
        alone = own.adapt(mine).predict(mine.X, mine.codes)
        np.testing.assert_allclose(alone, wanted[new.codes == t], rtol=1e-8, atol=1e-9)
    part = whole.take(np.array([7, 2])).predict(new.X[:3], np.array([1, 0, 1]))
    np.testing.assert_allclose(
        part, whole.predict(new.X[:3], np.array([2, 7, 2])), rtol=1e-8, atol=1e-9
    )
    assert whole.predict(new.X[:0], new.codes[:0]).shape == (0, 2)


@pytest.mark.parametrize("learner", BOTH)
def test_what_is_said_of_tasks_of_one_class_and_of_none(learner):
    knowledge = learned(learner(**SMALL), rare())
    ways, grid = np.full(3, 2), np.column_stack([np.linspace(-3, 3, 7), np.zeros(7)])
    some = rare(9, seed=3).X[:30]
    right = (some[:, 0] > 0.8).astype(int)
    X, y = np.concatenate([some, some]), np.r_[np.zeros(30, int), right]
    tasks = packed(X, y, [30, 30, 0], ways)  # one class only; both classes; no rows
    one, both, none = (
        np.exp(knowledge.adapt(tasks).predict(grid, np.full(7, t))) for t in range(3)
    )
    assert (np.diff(none[:, 1]) > 0).all() and none[0, 1] < 0.15 and none[-1, 1] > 0.4
    assert (one > 0).all() and (one[3:, 1] < none[3:, 1]).all() and one[-1, 1] > 1e-4
    assert both[-1, 1] > one[-1, 1]
    unknown = loss_without_rows(knowledge, rare(300, seed=4))
    plain = rare(300, seed=4).y.mean()
    assert unknown < -(plain * np.log(plain) + (1 - plain) * np.log(1 - plain)) - 0.05


def loss_without_rows(knowledge, tasks):
    bare = packed(tasks.X[:0], tasks.y[:0], [0], tasks.ways[:1])
    expected = knowledge.adapt(bare).predict(tasks.X, np.zeros(len(tasks.y), int))
    return -expected[np.arange(len(tasks.y)), tasks.y].mean()


def test_numbers_of_a_task_without_rows_are_what_tasks_share():
    knowledge, new = learned(RidgeHead(**SMALL), lines()), lines(300, seed=5)
    bare = packed(new.X[:0], new.y[:0], [0])
    expected = knowledge.adapt(bare).predict(new.X, np.zeros(len(new.y), int))
    assert np.mean((expected - new.y) ** 2) < 1.3 < 1.8 < np.mean(new.y**2)


def test_prototypes_need_classes():
    with pytest.raises(ValueError, match='(?s)Prototypes.*classes.*learner="ridge_head"'):
        learned(Prototypes(), lines(4))


@pytest.mark.parametrize("learner", BOTH)
def test_new_tasks_may_bring_more_classes(learner):
    knowledge = learned(learner(**SMALL | {"max_iter": 5}), sides(shared=False))
    rng = np.random.default_rng(0)
    ways, lengths = np.array([4, 2, 1]), [20, 10, 5]
    y = np.r_[np.arange(20) % 4, np.arange(10) % 2, np.zeros(5, int)]
    X = rng.normal(size=(35, 8))
    X[np.arange(35), y] += 8.0
    new = packed(X, y, lengths, ways, False)
    p = np.exp(knowledge.adapt(new).predict(new.X, new.codes))
    assert p.shape == (35, 4)
    np.testing.assert_allclose(p.sum(1), 1.0)
    assert (p[new.codes == 1, 2:] == 0).all() and (p[new.codes == 2, 0] == 1).all()
    assert (p.argmax(1) == y)[:20].mean() > 0.9


def letters(n_tasks, classes, seed, n_features=12):
    """Return tasks with recurring own classes: centres in two features, noise in the others."""
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(99).normal(size=(40, 2)) * 3
    labels = np.sort([rng.choice(classes, 3, replace=False) for _ in range(n_tasks)], axis=1)
    y = np.tile(np.repeat(np.arange(3), 6), n_tasks)
    which = labels[np.repeat(np.arange(n_tasks), 18), y]
    X = 2.0 * rng.normal(size=(len(y), n_features))
    X[:, :2] = centres[which] + 0.7 * rng.normal(size=(len(y), 2))
    return packed(X, y, np.full(n_tasks, 18), np.full(n_tasks, 3), False, labels)


@pytest.mark.parametrize("learner", BOTH)
def test_own_classes_that_recur_are_held_out(learner):
    said = []
    learner = learner(learning_rate=0.01, max_iter=200, check_every=20)
    many = letters(150, range(24), 0)
    knowledge = learner.learn(many, np.random.RandomState(0), said.append)
    assert said.count("training on half of the classes") == 2
    new = letters(100, range(24, 40), 1)
    untrained = learned(clone(learner).set_params(max_iter=1), many)
    assert 20 <= knowledge.n_iter <= 200 and knowledge.n_iter % 4 == 0
    assert loss(knowledge, new) < 0.95 * loss(untrained, new)
    said.clear()  # each class is in one task only, so that held-out tasks have held-out classes
    once = replace(letters(30, range(24), 2), labels=np.arange(90).reshape(30, 3))
    once_learned = learner.learn(once, np.random.RandomState(0), said.append)
    assert "training on half of the classes" not in said
    assert "held_out_loss" in once_learned.history


def test_the_half_of_a_task_is_drawn_whatever_the_classes():
    tasks, state = sides(200), np.random.RandomState(0)
    support, _ = _episodes.split(tasks, None, state)
    np.testing.assert_array_equal(support.sizes, tasks.sizes // 2)
    n, s = (np.bincount(rows.codes, rows.y, minlength=200) for rows in (tasks, support))
    assert np.abs(s - n / 2).max() > 1.5
    assert abs((s - n / 2).mean()) < 0.4
    support = _episodes.split(tasks, 2, state)[0]  # with a number of shots per class
    s = np.bincount(support.codes, support.y, minlength=200)
    np.testing.assert_array_equal(s[n > 1], np.minimum(2, n - 1)[n > 1])


def test_weights_count():
    tasks = lines(20)
    heavy = replace(tasks, weight=np.where(np.arange(len(tasks.y)) % 2, 2.0, 1e-12))
    twice = np.repeat(np.flatnonzero(heavy.weight > 1), 2)
    knowledge = learned(RidgeHead(**SHORT), tasks)
    found = knowledge.adapt(heavy).predict(tasks.X, tasks.codes)
    repeated = tasks.pick(np.arange(20), twice, np.bincount(tasks.codes[twice], minlength=20))
    wanted = knowledge.adapt(repeated).predict(tasks.X, tasks.codes)
    np.testing.assert_allclose(found, wanted, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize(
    "bad, said",
    [
        ({"hidden_layer_sizes": (4, 0)}, "hidden_layer_sizes"), ({"activation": "gelu"}, "gelu"),
        ({"n_components": 0}, "n_components=0"), ({"n_components": 2.5}, "n_components=2.5"),
        ({"learning_rate": -1}, "learning_rate=-1"), ({"n_shots": 0}, "n_shots=0"),
        ({"meta_batch_size": 1.5}, "meta_batch_size=1.5"), ({"max_iter": 0}, "max_iter=0"),
        ({"validation_fraction": 1.0}, "validation_fraction"), ({"patience": -1}, "patience"),
        ({"check_every": None}, "check_every"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("learner", BOTH)
def test_bad_parameters(learner, bad, said):
    with pytest.raises(ValueError, match=said):
        learned(learner(**bad), sides(4))


def test_tasks_too_small_to_split():
    single = packed(np.eye(3), np.ones(3), [1, 1, 1])
    with pytest.warns(UserWarning, match="RidgeHead was not trained: none of the 3 tasks has two"):
        knowledge = learned(RidgeHead(), single)
    assert knowledge.n_iter == 0
    assert np.isfinite(knowledge.adapt(single).predict(single.X, single.codes)).all()
    one_class = packed(np.eye(4), np.zeros(4, int), [2, 2], np.ones(2, int), False)
    with pytest.warns(UserWarning, match="two rows of one class, and two classes"):
        knowledge = learned(Prototypes(), one_class)
    assert (knowledge.adapt(one_class).predict(np.eye(4), one_class.codes)[:, 0] == 0).all()
    few = learned(RidgeHead(**SHORT), lines(5))
    assert "held_out_loss" not in few.history and few.stopped == "max_iter"


def test_cloned_and_pickled(own):
    learner = RidgeHead((3,), "tanh", n_components=2)
    assert clone(learner).get_params() == learner.get_params()
    new = sides(2, shared=False)
    adapted = pickle.loads(pickle.dumps(own)).adapt(new)
    wanted = own.adapt(new).predict(new.X, new.codes)
    found = pickle.loads(pickle.dumps(adapted)).predict(new.X, new.codes)
    np.testing.assert_array_equal(found, wanted)
    assert len(pickle.dumps(own)) < 10_000
