"""Hidden layers shared by all tasks: training, heads, new tasks, and inputs at the edge."""

import pickle
import warnings

import numpy as np
import pytest
import reference
from sklearn.neural_network import MLPRegressor

from skmtl import kernels
from skmtl.solvers import shared_training
from skmtl.solvers.shared_heads import HeadPrior, HeadRows, fit_heads, learn_prior, noise_of
from skmtl.solvers.shared_layers import LOG_LOSS, SQUARED, fit_shared_layers
from skmtl.solvers.shared_samples import pack_samples, validation_part

SHORT = {"hidden": (12, 6), "max_iter": 15}


def offsets_of(sizes):
    return np.append(0, np.cumsum(sizes))


def curved(X, head):
    return np.abs(X[:, 0]) * head[0] + np.maximum(X[:, 1] + X[:, 2], 0.0) * head[1] + head[2]


def problem(rng, sizes, noise=0.1):
    """Return X, y and offsets of tasks that are linear in two curved functions of the features."""
    X, offsets = rng.normal(size=(sum(sizes), 4)), offsets_of(sizes)
    heads = rng.normal(size=(len(sizes), 3)) + 1.0
    parts = [curved(X[a:b], h) for a, b, h in zip(offsets, offsets[1:], heads, strict=False)]
    return X, np.concatenate(parts) + noise * rng.normal(size=len(X)), offsets, heads


def codes_of(offsets):
    return np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))


# -------------------------------------------------------------------------------- predictions


@pytest.mark.parametrize("activation", ["relu", "tanh"])
def test_better_than_one_perceptron_per_task(activation, rng):
    X, y, offsets, heads = problem(rng, [60] * 12)
    model = fit_shared_layers(X, y, None, offsets, activation=activation)
    X_test = rng.normal(size=(500, 4))
    ours, theirs = np.empty((2, 12))
    for t in range(12):
        rows, wanted = slice(offsets[t], offsets[t + 1]), curved(X_test, heads[t])
        ours[t] = ((model.predict(X_test, np.full(500, t)) - wanted) ** 2).mean()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            one = MLPRegressor(hidden_layer_sizes=(64, 32), max_iter=500, random_state=0)
            theirs[t] = ((one.fit(X[rows], y[rows]).predict(X_test) - wanted) ** 2).mean()
    assert ours.mean() < 0.7 * theirs.mean()


def test_a_new_task_is_learned_from_few_rows(rng):
    X, y, offsets, heads = problem(rng, [60] * 15)
    model = fit_shared_layers(X, y, None, offsets)
    head, X_test = heads.mean(axis=0) + [1.0, -1.0, 2.0], rng.normal(size=(500, 4))
    support, wanted = rng.normal(size=(12, 4)), curved(X_test, head)
    unseen = model.predict(X_test, np.full(500, -1))
    adapted = model.adapt(support, curved(support, head))
    found = adapted.predict(X_test, np.zeros(500, int))
    assert ((found - wanted) ** 2).mean() < 0.3 * ((unseen - wanted) ** 2).mean()
    assert adapted.n_tasks == 1 and len(pickle.dumps(adapted)) < 40_000
    np.testing.assert_array_equal(adapted.predict(X_test, np.full(500, -1)), unseen)
    nothing = model.adapt(support[:0], np.empty(0))
    np.testing.assert_allclose(nothing.predict(X_test, np.zeros(500, int)), unseen)


def test_weights_of_support_rows_are_copies(rng):
    X, y, offsets, _ = problem(rng, [30] * 6)
    model = fit_shared_layers(X, y, None, offsets, **SHORT)
    w = rng.integers(1, 4, 30).astype(float)
    once, copies = (
        model.adapt(*rows).heads
        for rows in ((X[:30], y[:30], w), (np.repeat(X[:30], w.astype(int), 0),
                                           np.repeat(y[:30], w.astype(int))))
    )  # fmt: skip
    np.testing.assert_allclose(once, copies, rtol=1e-5, atol=1e-7)


def test_classes_of_a_new_task(rng):
    X, y, offsets, _ = problem(rng, [80] * 8, noise=0.5)
    label = (y > np.median(y)).astype(float)
    model = fit_shared_layers(X, label, None, offsets, losses=np.full(8, LOG_LOSS), **SHORT)
    correct = (model.predict(X, codes_of(offsets)) > 0) == (label > 0.5)
    assert correct.mean() > 0.75
    one_class = model.adapt(X[:5], np.ones(5), loss=LOG_LOSS).predict(X, np.zeros(len(X), int))
    shared = model.predict(X, np.full(len(X), -1))
    assert np.isfinite(one_class).all()
    losses = [np.logaddexp(0.0, -scores[:5]).sum() for scores in (one_class, shared)]
    assert 0.0 < losses[0] < losses[1]  # shrunk, and nearer to the support rows


def test_numbers_and_classes(rng):
    X, y, offsets, _ = problem(rng, [60] * 6)
    losses = np.array([SQUARED, LOG_LOSS] * 3)
    codes = codes_of(offsets)
    mixed = np.where(losses[codes] == LOG_LOSS, y > np.median(y), 10.0 + 5.0 * y)
    model = fit_shared_layers(X, mixed, None, offsets, losses=losses)
    scores, numbers = model.predict(X, codes), losses[codes] == SQUARED
    assert np.corrcoef(scores[numbers], mixed[numbers])[0, 1] > 0.9
    assert ((scores > 0) == (mixed > 0.5))[~numbers].mean() > 0.85
    np.testing.assert_array_equal(model.noise[losses == LOG_LOSS], 1.0)


def test_two_outputs_are_two_tasks_of_the_same_rows(rng):
    X = rng.normal(size=(150, 4))
    Y = np.column_stack([curved(X, [1.0, 2.0, 0.0]), 100.0 * curved(X, [2.0, -1.0, 3.0])])
    rows, offsets = np.tile(np.arange(150), 2), np.array([0, 150, 300])
    model = fit_shared_layers(X, Y.T.ravel(), None, offsets, rows=rows, scale_by_task=True)
    found = model.predict_all(X)
    assert (((found - Y) ** 2).mean(axis=0) < 0.1 * Y.var(axis=0)).all()
    for t in range(2):
        np.testing.assert_allclose(model.predict(X, np.full(150, t)), found[:, t], rtol=1e-6)
    labelled = rng.random((150, 2)) < 0.7
    kept = labelled.T.ravel()
    part = fit_shared_layers(
        X, Y.T.ravel()[kept], None, offsets_of(labelled.sum(0)), rows=rows[kept],
        scale_by_task=True, **SHORT,
    )  # fmt: skip
    assert np.isfinite(part.predict_all(X)).all()


def test_hidden_features_and_heads_give_the_predictions(rng):
    X, y, offsets, _ = problem(rng, [30] * 4)
    model, codes = fit_shared_layers(X, y, None, offsets, **SHORT), codes_of(offsets)
    Z = np.column_stack([model.hidden_features(X), np.ones(len(X))])
    layers = model.layers
    wanted = reference.embedded(
        layers.parameters.astype(float), tuple(layers.sizes), False, False,
        (X - layers.centre) * layers.scale,
    )  # fmt: skip
    np.testing.assert_allclose(Z[:, :-1], wanted, atol=1e-5)
    scores = (Z * model.heads[codes]).sum(1)
    found = model.target.centre[codes] + model.target.scale[codes] * scores
    np.testing.assert_allclose(model.predict(X, codes), found)
    assert len(pickle.dumps(model)) < 20_000


# ---------------------------------------------------------------------------------- invariances


def test_tasks_may_be_relabelled(rng):
    """The rows of X stay in their order, which is that of the draws."""
    X, y, _, _ = problem(rng, [40] * 5)
    codes, swap = rng.permutation(np.repeat(np.arange(5), 40)), np.array([3, 1, 4, 0, 2])
    found = []
    for labels in (codes, swap[codes]):
        order = np.argsort(labels, kind="stable")
        model = fit_shared_layers(
            X, y[order], None, offsets_of(np.bincount(labels)), rows=order, hidden=(12, 6),
            max_iter=4,
        )  # fmt: skip
        found.append(model.predict(X, labels))
    np.testing.assert_allclose(*found, atol=1e-3)


def test_a_seed_determines_the_model(rng):
    X, y, offsets, _ = problem(rng, [30] * 4)
    one, same, other = (
        fit_shared_layers(X, y, None, offsets, seed=seed, **SHORT).predict(X, codes_of(offsets))
        for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(one, same)
    assert np.abs(one - other).max() > 1e-3


def test_units_do_not_matter(rng):
    X, y, offsets, _ = problem(rng, [30] * 4)
    codes = codes_of(offsets)
    one = fit_shared_layers(X, y, None, offsets, **SHORT).predict(X, codes)
    X_other = 3.0 + X * [1.0, 8.0, 0.25, 2.0]
    other = fit_shared_layers(X_other, 64.0 * y - 5.0, None, offsets, **SHORT)
    np.testing.assert_allclose((other.predict(X_other, codes) + 5.0) / 64.0, one, atol=2e-2)


def test_units_of_a_task_do_not_matter_if_scaled_by_task(rng):
    X, y, offsets, _ = problem(rng, [50] * 3)
    codes, unit = codes_of(offsets), np.array([1.0, 1.0, 1e4])
    errors = []
    for target in (y, unit[codes] * y):
        model = fit_shared_layers(X, target, None, offsets, scale_by_task=True, hidden=(12, 6))
        errors.append((model.predict(X, codes) - target) / unit[codes])
    assert np.sqrt((errors[1] ** 2).mean()) < 1.2 * np.sqrt((errors[0] ** 2).mean()) + 0.05


# -------------------------------------------------------------------------------------- training


def test_stops_early_and_restores_the_best(rng):
    X, y, offsets, _ = problem(rng, [20] * 4, noise=3.0)
    options = {"hidden": (12, 6), "n_iter_no_change": 5, "refit": False, "alpha": 5.0}
    model = fit_shared_layers(X, y, None, offsets, **options)
    history = model.history
    best = history["validation_loss"].argmin()
    assert model.stopped == "no_change" and model.n_iter < 1000
    assert history["epoch"][best] == model.best_epoch and best == len(history["epoch"]) - 6
    assert history["epoch"][-1] == model.n_iter and np.isfinite(history["train_loss"]).all()
    there = fit_shared_layers(X, y, None, offsets, **options, max_iter=model.best_epoch)
    np.testing.assert_array_equal(there.layers.parameters, model.layers.parameters)
    np.testing.assert_allclose(there.heads, model.heads)


def test_the_strength_with_the_lowest_validation_loss_is_kept(rng):
    X, y, offsets, _ = problem(rng, [25] * 5)
    options = {"refit": False, "max_iter": 60, "hidden": (12, 6)}
    model = fit_shared_layers(X, y, None, offsets, **options)
    given = {
        alpha: fit_shared_layers(X, y, None, offsets, alpha=alpha, **options)
        for alpha in (10.0, 3.0, 1.0)
    }
    np.testing.assert_array_equal(given[model.alpha].heads, model.heads)
    assert all(given[alpha].alpha == alpha for alpha in given)
    codes = codes_of(offsets)
    assert not np.array_equal(given[10.0].predict(X, codes), given[1.0].predict(X, codes))


def test_training_again_on_all_samples(rng):
    X, y, offsets, _ = problem(rng, [25] * 5)
    options = {"alpha": 3.0, "hidden": (12, 6)}
    part, everything = (
        fit_shared_layers(X, y, None, offsets, refit=refit, **options) for refit in (False, True)
    )
    np.testing.assert_array_equal(part.history["epoch"], everything.history["epoch"])
    assert part.best_epoch == everything.best_epoch
    assert not np.array_equal(part.layers.parameters, everything.layers.parameters)
    default = fit_shared_layers(X, y, None, offsets, **options)
    np.testing.assert_array_equal(default.layers.parameters, everything.layers.parameters)


def test_tol_and_patience(rng):
    X, y, offsets, _ = problem(rng, [20] * 4)
    ends = [
        fit_shared_layers(X, y, None, offsets, hidden=(12, 6), **options).n_iter
        for options in ({"n_iter_no_change": 3, "tol": 1.0}, {"n_iter_no_change": 3})
    ]
    assert ends[0] < ends[1]


def test_a_callback_is_told_and_may_stop(rng):
    X, y, offsets, _ = problem(rng, [40] * 4)
    seen = []

    def stop_at_the_third(*entry):
        seen.append(entry)
        return len(seen) == 3

    model = fit_shared_layers(X, y, None, offsets, callback=stop_at_the_third)
    assert model.stopped == "callback" and model.n_iter == seen[-1][0]
    told = np.array(seen).T
    for name, values in zip(("epoch", "train_loss", "validation_loss"), told, strict=True):
        np.testing.assert_array_equal(model.history[name], values)


def test_ctrl_c_keeps_the_best_so_far(rng):
    X, y, offsets, _ = problem(rng, [40] * 4)
    seen = []

    def press(*entry):
        seen.append(entry)
        if len(seen) == 3:
            raise KeyboardInterrupt

    with pytest.warns(UserWarning, match="Interrupted after step"):
        model = fit_shared_layers(X, y, None, offsets, callback=press)
    assert model.stopped == "interrupted" and model.n_iter == seen[-1][0]
    assert len(model.history["epoch"]) == 3 and model.best_epoch in model.history["epoch"]
    assert np.isfinite(model.predict(X, codes_of(offsets))).all()


@pytest.mark.parametrize("validation_fraction", [0.0, "auto"])
def test_history_of_learned_noise(validation_fraction, rng, monkeypatch):
    X, y, offsets, _ = problem(rng, [20] * 3)
    options = SHORT | {"noise": "learned", "validation_fraction": validation_fraction, "alpha": 3.0}
    by_task = fit_shared_layers(X, y, None, offsets, **options).history
    assert by_task["task_noise"].shape == (len(by_task["epoch"]), 3)
    monkeypatch.setattr(shared_training, "TASKS_IN_HISTORY", 2)
    quantiles = fit_shared_layers(X, y, None, offsets, **options).history["task_noise_quantiles"]
    wanted = np.quantile(by_task["task_noise"], [0, 0.25, 0.5, 0.75, 1], axis=1).T
    np.testing.assert_allclose(quantiles, wanted)


def test_without_a_validation_part_training_goes_to_the_end(rng):
    X, y, offsets, _ = problem(rng, [20] * 3)
    model = fit_shared_layers(X, y, None, offsets, validation_fraction=0.0, **SHORT)
    assert model.n_iter == 15 and model.stopped == "max_iter"
    assert np.isnan(model.history["validation_loss"]).all()


def test_a_noisy_task_has_larger_noise(rng):
    X, y, offsets, _ = problem(rng, [150] * 4, noise=0.1)
    y[offsets[2] : offsets[3]] += 2.0 * rng.normal(size=150)
    learned = fit_shared_layers(X, y, None, offsets, noise="learned", hidden=(24, 12)).noise
    fixed = fit_shared_layers(X, y, None, offsets, hidden=(24, 12)).noise
    assert learned.argmax() == 2 and 2.0 < learned[2] < 8.0
    assert np.delete(learned, 2).max() < 0.25 * learned[2]
    np.testing.assert_allclose(fixed, fixed[0])


def test_noise_of_classes(rng):
    X, y, offsets, _ = problem(rng, [150] * 2)
    label = (y > np.median(y)).astype(float)
    label[offsets[1] :] = rng.integers(2, size=150)
    model = fit_shared_layers(
        X, label, None, offsets, losses=np.ones(2, int), noise="learned", hidden=(24, 12)
    )  # fmt: skip
    assert model.noise[1] > 1.3 * model.noise[0]


def closed_form(losses, offsets):
    """Return twice the mean loss of each task, averaged with that of all, counted as ten rows."""
    sums, total = np.bincount(codes_of(offsets), losses), losses.mean()
    return 2.0 * (sums + 10.0 * total) / (np.diff(offsets) + 10.0)


@pytest.mark.parametrize(("learning_rate", "n_epochs", "rtol"), [(0.0, 1, 1e-4), (1e-3, 400, 0.1)])
def test_uncertainty_weights_are_their_closed_form(learning_rate, n_epochs, rtol, rng):
    """At rest exactly, and after training as closely as the losses have converged."""
    X, y, offsets, _ = problem(rng, [200, 150, 300], noise=0.0)
    codes, losses = codes_of(offsets), np.array([SQUARED, LOG_LOSS, SQUARED])
    y = y + np.array([0.3, 0.5, 1.0])[codes] * rng.normal(size=650)
    y[codes == 1] = y[codes == 1] > np.median(y)
    samples = pack_samples(X, y, None, offsets, None, losses, False)
    layers = shared_training.Layers.random(
        np.array([4, 6]), kernels.mlp.RELU, *samples.standards, rng
    )
    everything = np.ones(len(y), bool)
    options = shared_training.Options(3.0, 3.0, True, "auto", learning_rate, 10, 0.0, None)
    training = shared_training.Training(samples, layers, everything, options, 0)
    trained = training.run(n_epochs, ~everything)
    scores = shared_training.scores_of(trained.heads, trained.layers.units(samples.X), codes)
    sign = np.where(samples.y > 0.5, -1.0, 1.0)
    values = np.logaddexp(0.0, sign * scores)
    values = np.where(codes == 1, values, 0.5 * (scores - samples.y) ** 2)
    wanted = closed_form(values, offsets)
    np.testing.assert_allclose(trained.history["task_noise"][-1], wanted, rtol=rtol)
    relative = training.relative
    np.testing.assert_allclose(relative / relative[0], wanted / wanted[0], rtol=2.0 * rtol)
    np.testing.assert_allclose(np.diff(offsets) @ (1.0 / relative), len(y))
    np.testing.assert_allclose(training.tasks.precision, 1.0 / relative)

    def kendall(noise):
        rows = np.diff(offsets) + 10.0
        return rows @ (0.5 * wanted / noise + 0.5 * np.log(noise))

    steps = 1e-5 * wanted * np.eye(3)
    slopes = [kendall(wanted + step) - kendall(wanted - step) for step in steps]
    np.testing.assert_allclose(slopes, 0.0, atol=1e-8)


@pytest.mark.parametrize("losses", [[LOG_LOSS, LOG_LOSS], [SQUARED, LOG_LOSS]])
def test_gradient_of_a_training_by_differences(losses, rng):
    """Of the documented objective, with emphasis and noise, on all samples at once."""
    X, offsets = rng.normal(size=(30, 3)), np.array([0, 12, 30])
    codes, emphasis, noise = codes_of(offsets), np.array([2.0, 0.5]), np.array([0.4, 1.7])
    w = rng.uniform(0.5, 2.0, 30)
    y = np.where(np.array(losses)[codes] == LOG_LOSS, X[:, 0] > 0, rng.normal(size=30))
    samples = pack_samples(X, y.astype(float), w, offsets, None, np.array(losses), False, emphasis)
    c = emphasis * w.sum() / (w @ emphasis[codes])
    np.testing.assert_allclose(samples.emphasis, c)
    sizes = np.array([3, 4])
    layers = shared_training.Layers.random(sizes, kernels.mlp.RELU, *samples.standards, rng)
    options = shared_training.Options(2.0, 1.5, True, 30, 1e-3, 10, 0.0, None)
    training = shared_training.Training(samples, layers, np.ones(30, bool), options, 0)
    training.tasks.precision[:] = samples.emphasis / noise
    x = 0.5 * rng.normal(size=16 + 3 * 5)

    def objective(x):
        W, b, mean, own = x[:12].reshape(3, 4), x[12:16], x[16:21], x[21:].reshape(2, 5)
        Z = np.column_stack([np.maximum(samples.X @ W + b, 0.0), np.ones(30)])
        f = (Z * (mean + own)[codes]).sum(axis=1)
        sign = np.where(samples.y > 0.5, -1.0, 1.0)
        is_class = np.array(losses)[codes] == LOG_LOSS
        loss = np.where(is_class, np.logaddexp(0.0, sign * f), 0.5 * (f - samples.y) ** 2)
        total = w @ (loss * (c / noise)[codes])
        penalty = (W**2).sum() + (mean[:-1] ** 2).sum()
        return (total + 0.5 * 2.0 * penalty + 0.5 * 1.5 * (own**2).sum()) / w.sum()

    shared = kernels.shared_layers
    space = shared.workspace(sizes, 30, len(x), 2, np.float64)
    packed = samples.for_kernel()
    packed = packed._replace(X=packed.X.astype(float), values=packed.values.astype(float))
    state = shared.State(x, np.zeros((3, len(x))), np.ones(3, np.int64))
    shared.batch_gradient(
        packed, (np.arange(30), 0, 30), training.tasks, state, training.settings, space, np.zeros(2)
    )  # fmt: skip
    for j in range(len(x)):
        step = np.zeros(len(x))
        step[j] = 1e-6
        slope = (objective(x + step) - objective(x - step)) / 2e-6
        np.testing.assert_allclose(space.grad[j], slope, atol=1e-5)


def test_emphasis_is_on_the_layers_only(rng):
    """Equal factors change nothing; a task with a large one is fitted better by the layers."""
    X, y, offsets, _ = problem(rng, [40] * 3)
    codes, options = codes_of(offsets), SHORT | {"alpha": 3.0}
    plain = fit_shared_layers(X, y, None, offsets, **options).predict(X, codes)
    same = fit_shared_layers(X, y, None, offsets, emphasis=np.full(3, 7.0), **options)
    np.testing.assert_allclose(same.predict(X, codes), plain, atol=1e-3)
    y[codes == 0] = np.sin(4.0 * X[codes == 0, 3])  # unlike the others
    errors = []
    for factor in (0.01, 100.0):
        emphasis = np.array([factor, 1.0, 1.0])
        options = {"hidden": (4,), "alpha": 1.0, "validation_fraction": 0.0, "max_iter": 300}
        model = fit_shared_layers(X, y, None, offsets, emphasis=emphasis, **options)
        errors.append(((model.predict(X, codes) - y) ** 2)[codes == 0].mean())
    assert errors[1] < 0.9 * errors[0]


def test_strong_shrinkage_is_one_head_and_weak_is_many(rng):
    X, y, offsets, _ = problem(rng, [40] * 5)
    codes = codes_of(offsets)
    errors = {}
    for strength in (1e-2, 1e8):
        model = fit_shared_layers(X, y, None, offsets, alpha_head=strength, **SHORT)
        spread = np.abs(model.heads[:-1] - model.heads[-1]).max()
        errors[strength] = ((model.predict(X, codes) - y) ** 2).mean(), spread
    assert errors[1e8][1] < 1e-2 < 1e-1 < errors[1e-2][1]
    assert errors[1e-2][0] < 0.5 * errors[1e8][0]


# ------------------------------------------------------------------------------- inputs at the edge


@pytest.mark.parametrize("sizes", [[1], [3], [1, 1, 1], [1, 30, 2], [9, 0, 5], [200, 1]])
@pytest.mark.parametrize("loss", [SQUARED, LOG_LOSS])
@pytest.mark.parametrize("noise", ["fixed", "learned"])
def test_few_rows_and_constant_columns(sizes, loss, noise, rng):
    X = rng.normal(size=(sum(sizes), 3))
    X[:, 1] = 0.1
    y = np.ones(len(X)) if loss == LOG_LOSS else rng.normal(size=len(X))
    losses = np.full(len(sizes), loss)
    model = fit_shared_layers(
        X, y, None, offsets_of(sizes), losses=losses, noise=noise, hidden=(4,), max_iter=5
    )  # fmt: skip
    assert np.isfinite(model.predict(X, codes_of(offsets_of(sizes)))).all()
    assert np.isfinite(model.predict(X, np.full(len(X), -1))).all() and (model.noise > 0).all()


@pytest.mark.parametrize("by_task", [False, True])
def test_constant_targets(by_task, rng):
    X, offsets = rng.normal(size=(40, 2)), np.array([0, 20, 40])
    model = fit_shared_layers(
        X, np.repeat([3.0, 3.0], 20), None, offsets, scale_by_task=by_task, **SHORT
    )  # fmt: skip
    np.testing.assert_allclose(model.predict(X, codes_of(offsets)), 3.0, atol=0.05)


@pytest.mark.parametrize(
    "wrong", [{"hidden": ()}, {"hidden": (3, 0)}, {"activation": "sine"}, {"noise": "some"}]
)
def test_wrong_arguments(wrong, rng):
    X, y, offsets, _ = problem(rng, [20])
    with pytest.raises(ValueError, match=next(iter(wrong))):
        fit_shared_layers(X, y, None, offsets, **wrong)


# ------------------------------------------------------------------------------------------ parts


def head_rows(rng, sizes, losses):
    offsets = offsets_of(sizes)
    H, w = rng.normal(size=(offsets[-1], 3)), rng.uniform(0.5, 2.0, offsets[-1])
    y = rng.normal(size=offsets[-1])
    y = np.where(np.asarray(losses)[codes_of(offsets)] == LOG_LOSS, y > 0, y).astype(float)
    return HeadRows(H, y, w, offsets, np.asarray(losses))


def test_heads_against_their_twin(rng):
    rows = head_rows(rng, [9, 1, 0, 30, 12], [0, 0, 0, 1, 0])
    root = rng.normal(size=(4, 4))
    prior = HeadPrior(rng.normal(size=4), root, rng.uniform(0.5, 2.0, 5))
    heads, S, moment = fit_heads(rows, prior), root @ root.T, np.zeros((4, 4))
    for t in (0, 1, 2, 4):
        part = slice(rows.offsets[t], rows.offsets[t + 1])
        if t == 2:
            own, cov = np.zeros(4), S
        else:
            own, cov, error, weight = reference.ridge_deviation(
                rows.H[part], rows.y[part], rows.weight[part], prior.mean, S, prior.noise[t]
            )
            np.testing.assert_allclose(heads.error[t], error, rtol=1e-6)
            if t != 1:  # weights differ little from their mean within the task, but do
                np.testing.assert_allclose(heads.rows[t], weight, rtol=1e-6)
        np.testing.assert_allclose(heads.deviations[t], own, atol=1e-7)
        moment += np.outer(own, own) + cov
    part = slice(rows.offsets[3], rows.offsets[4])
    A = np.column_stack([rows.H[part], np.ones(30)])
    p = 1.0 / (1.0 + np.exp(-A @ (prior.mean + heads.deviations[3])))
    w = rows.weight[part] / prior.noise[3]
    gradient = A.T @ (w * (p - rows.y[part])) + np.linalg.solve(S, heads.deviations[3])
    np.testing.assert_allclose(gradient, 0.0, atol=1e-3)
    curve = np.linalg.inv(np.linalg.inv(S) + A.T @ ((w * p * (1 - p))[:, None] * A))
    moment += np.outer(heads.deviations[3], heads.deviations[3]) + curve
    np.testing.assert_allclose(heads.moment, moment, rtol=1e-3, atol=1e-3)


def test_the_prior_is_learned(rng):
    """Mean, covariance and noise of simulated tasks."""
    n_tasks, n = 400, 12
    mean, spread = np.array([1.0, -1.0, 0.5, 2.0]), np.array([1.0, 0.1, 0.5, 2.0])
    heads = mean + spread * rng.normal(size=(n_tasks, 4))
    H, offsets = rng.normal(size=(n_tasks * n, 3)), np.arange(n_tasks + 1) * n
    A = np.column_stack([H, np.ones(len(H))])
    y = (A * np.repeat(heads, n, axis=0)).sum(1) + 0.3 * rng.normal(size=len(H))
    rows = HeadRows(H, y, np.ones(len(H)), offsets, np.zeros(n_tasks, int))
    prior, noise = learn_prior(rows, False, 30)
    np.testing.assert_allclose(prior.mean, mean, atol=0.35)
    found = np.sqrt(np.diag(prior.root @ prior.root.T))
    np.testing.assert_allclose(found, spread, rtol=0.25, atol=0.06)
    np.testing.assert_allclose(noise, 0.09, rtol=0.15)
    own = noise_of(rows, fit_heads(rows, prior), by_task=True)
    assert own.std() > 0.0 and abs(own.mean() - 0.09) < 0.03


@pytest.mark.parametrize("sizes", [[50] * 4, [7] * 30, [1] * 40, [300, 2]])
def test_validation_part_is_of_every_task_alike(sizes, rng):
    offsets = offsets_of(sizes)
    X, y = rng.normal(size=(offsets[-1], 2)), rng.normal(size=offsets[-1])
    samples = pack_samples(X, y, None, offsets, None, None, False)
    part = validation_part(samples, 0.2, rng)
    assert part.sum() == round(0.2 * len(y))
    share = np.add.reduceat(part, offsets[:-1])
    assert (np.abs(share - 0.2 * np.array(sizes)) <= 1.0).all()


def test_heads_of_many_labels_are_solved_in_parts(rng, monkeypatch):
    X, y, offsets, _ = problem(rng, [30] * 9)
    whole = fit_shared_layers(X, y, None, offsets, **SHORT)
    monkeypatch.setattr("skmtl.solvers.shared_training._LABELS_AT_ONCE", 70)
    parts = fit_shared_layers(X, y, None, offsets, **SHORT)
    np.testing.assert_allclose(parts.heads, whole.heads, atol=1e-4)


@pytest.mark.parametrize("least", [3, 100])
def test_prior_of_many_labels_is_learned_from_some(least, rng, monkeypatch):
    """Of every k-th task, or of every k-th label."""
    X, y, offsets, _ = problem(rng, [30] * 12)
    monkeypatch.setattr("skmtl.solvers.shared_training._PRIOR_LABELS", 100)
    monkeypatch.setattr("skmtl.solvers.shared_training._PRIOR_TASKS", least)
    model = fit_shared_layers(X, y, None, offsets, hidden=(12, 6))
    error = ((model.predict(X, codes_of(offsets)) - y) ** 2).mean()
    assert error < 0.15 * y.var() and model.noise.shape == (12,)
