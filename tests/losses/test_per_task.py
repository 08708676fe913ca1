"""The loss of every task, by name."""

import numpy as np
import pytest

from skmtl import MultiTaskClassifier, MultiTaskRegressor
from skmtl.losses import LOG_LOSS, SQUARED_ERROR, TaskLosses
from skmtl.sharing import PartialPooling

LABELS = np.array(["north", "east"], dtype=object)


class Mixing(PartialPooling):
    """A structure that says that it takes a loss per task."""

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
    with pytest.raises(ValueError, match="sharing=PartialPooling minimises .* or sharing='layers'"):
        several.check(SQUARED_ERROR, PartialPooling(), ["layers"], "MultiTaskRegressor")
    with pytest.raises(ValueError, match="no structure of this version"):
        several.check(SQUARED_ERROR, PartialPooling(), [], "MultiTaskRegressor")
    several.check(SQUARED_ERROR, Mixing(), [], "MultiTaskRegressor")


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
    for loss, message in (
        (other, f"loss='{other}': {make.__name__} with sharing=PartialPooling minimises '{own}'"),
        ({"a": other}, "loss mixes 'log_loss' and 'squared_error', but sharing=PartialPooling"),
        ({"c": own}, "a key of loss='c' is not a task seen in fit"),
        ("mse", "which is not a loss"),
    ):
        with pytest.raises(ValueError, match=message):
            plain.set_params(loss=loss).fit(X, y, task=task)
        assert plain.predict(X, task=task).shape == (40,)  # the fitted model is unchanged
