"""The loss of every task, by name."""

import numpy as np
import pytest

from skmtl import MultiTaskClassifier, MultiTaskRegressor
from skmtl.losses import LOG_LOSS, POISSON, SQUARED_ERROR, TaskLosses
from skmtl.sharing import PartialPooling

LABELS = np.array(["north", "east"], dtype=object)


class Squares(PartialPooling):
    """A structure that minimises squared errors only."""

    takes_scores = False


class Mixing(Squares):
    """A structure that says that it takes the squared error and the log-loss by task."""

    mixes_losses = True


def test_names_become_losses():
    one = TaskLosses.of("log_loss", LABELS, SQUARED_ERROR)
    assert one.single is LOG_LOSS and one.of_task(1) is LOG_LOSS
    several = TaskLosses.of({"east": "log_loss"}, LABELS, SQUARED_ERROR)
    assert several.single is None
    assert [several.of_task(t) for t in range(2)] == [SQUARED_ERROR, LOG_LOSS]
    assert several.take(np.array([1])).single is LOG_LOSS
    assert TaskLosses.of({}, LABELS, LOG_LOSS).single is LOG_LOSS


@pytest.mark.parametrize(
    ("loss", "message"),
    [
        ("mse", "loss is 'mse', which is not a loss; available are .'absolute_error', 'gamma'"),
        ({"east": "hinge"}, "loss gives task 'east' 'hinge', which is not a loss; available"),
        ({"east": 3}, "loss gives task 'east' 3, which"),
        ({"west": "log_loss"}, "a key of loss='west' is not a task"),
    ],
)
def test_unknown_names(loss, message):
    with pytest.raises(ValueError, match=message):
        TaskLosses.of(loss, LABELS, SQUARED_ERROR)


def test_structures_that_take_one_loss():
    several = TaskLosses.of({"east": "log_loss"}, LABELS, SQUARED_ERROR)
    one = TaskLosses.of("poisson", LABELS, SQUARED_ERROR)
    with pytest.raises(ValueError, match="sharing=Squares minimises 'squared_error'; set loss="):
        several.check(SQUARED_ERROR, Squares(), "MultiTaskRegressor")
    with pytest.raises(ValueError, match="loss='poisson': .* 'squared_error' and 'log_loss'; set"):
        one.check(SQUARED_ERROR, Mixing(), "MultiTaskRegressor")
    several.check(SQUARED_ERROR, Mixing(), "MultiTaskRegressor")
    for losses in (several, one):
        losses.check(SQUARED_ERROR, PartialPooling(), "MultiTaskRegressor")


def test_predictions_of_several_losses():
    losses = TaskLosses.of({"east": "log_loss"}, LABELS, SQUARED_ERROR).with_new(SQUARED_ERROR)
    assert losses.of_task(-1) is SQUARED_ERROR
    scores = np.array([[2.0, 0.0], [-1.0, 3.0]])
    wanted = np.array([[2.0, 0.5], [-1.0, 1.0 / (1.0 + np.exp(-3.0))]])
    np.testing.assert_allclose(losses.means(scores, np.arange(2)), wanted)
    codes = np.array([1, -1, 0])
    found = losses.means(np.array([3.0, 7.0, -1.0]), codes)
    np.testing.assert_allclose(found, [wanted[1, 1], 7.0, -1.0])
    alone = TaskLosses.of("log_loss", LABELS, SQUARED_ERROR).means(scores, np.arange(2))
    np.testing.assert_allclose(alone, 1.0 / (1.0 + np.exp(-scores)))


def test_the_loss_of_a_task_never_seen():
    labels = np.array(["a", "b", "c"], dtype=object)
    counts = {"a": "poisson", "b": "log_loss", "c": "poisson"}
    assert TaskLosses.of(counts, labels, SQUARED_ERROR).of_new(SQUARED_ERROR) is POISSON
    some = {"a": "poisson", "b": "poisson"}
    assert TaskLosses.of(some, labels, SQUARED_ERROR).of_new(SQUARED_ERROR) is SQUARED_ERROR


@pytest.mark.parametrize(
    ("make", "own", "other"),
    [
        (MultiTaskRegressor, "squared_error", "log_loss"),
        (MultiTaskClassifier, "log_loss", "squared_error"),
    ],
)
def test_estimators(make, own, other, rng):
    X, task = rng.normal(size=(40, 2)), np.repeat(["a", "b"], 20)
    y = (X[:, 0] + rng.normal(size=40) > 0).astype(float)
    sharing = PartialPooling(1.0, alpha_shared=1.0)
    plain = make(sharing, cv=None).fit(X, y, task=task)
    for loss in (own, {"a": own}, {"a": own, "b": own}):
        model = make(sharing, cv=None, loss=loss).fit(X, y, task=task)
        np.testing.assert_array_equal(model.coef_, plain.coef_)
    refused = [
        (other, f"loss='{other}': {make.__name__} .*minimises '{own}'; "),
        ({"a": other}, "loss mixes 'log_loss' and 'squared_error': .* minimises"),
    ]
    taken = make is MultiTaskRegressor
    for loss, message in (
        *([] if taken else refused),
        ({"c": own}, "a key of loss='c' is not a task seen in fit"),
        ("mse", "which is not a loss"),
    ):
        with pytest.raises(ValueError, match=message):
            plain.set_params(loss=loss).fit(X, y, task=task)
        assert plain.predict(X, task=task).shape == (40,)  # the fitted model is unchanged
