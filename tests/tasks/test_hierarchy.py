"""Levels above the tasks, as labels and codes."""

import numpy as np
import pytest

from skmtl.tasks.encode import TaskLabels
from skmtl.tasks.hierarchy import TaskLevels, nested_columns

TASKS = [("n", "a", 1), ("n", "a", 2), ("n", "b", 1), ("s", "a", 1), ("s", "c", 3)]


def labels_of(tasks):
    return TaskLabels.from_rows(tasks)[0]


def test_levels_of_columns():
    levels = TaskLevels.of_columns(labels_of(TASKS), ["country", "region", "store"])
    assert levels.names == ["country", "region"] and levels.sizes == (2, 4)
    assert levels.labels[1].classes.tolist() == [("n", "a"), ("n", "b"), ("s", "a"), ("s", "c")]
    np.testing.assert_array_equal(levels.parents, [[0, 0], [0, 0], [0, 1], [1, 2], [1, 3]])
    np.testing.assert_array_equal(levels.outer[1], [[0], [0], [1], [1]])
    rows = [("n", "a", 9), ("s", "b", 1), ("w", "a", 1)]
    np.testing.assert_array_equal(levels.of_labels(rows), [[0, 0], [1, -1], [-1, -1]])
    sums = levels.inner_sums([np.array([[1.0], [2.0]]), np.array([[10.0], [20.0], [30.0], [40.0]])])
    np.testing.assert_array_equal(sums[0].ravel(), [1, 2])
    np.testing.assert_array_equal(sums[1].ravel(), [11, 21, 32, 42])


def test_levels_of_a_mapping():
    """Its order is of no account, and it may have more tasks and groups than the fit."""
    groups = {"d": ("s", "y"), "a": ("n", "x"), "z": ("n", "q"), "b": ("n", "x"), "c": ("s", "y")}
    levels = TaskLevels.of_mapping(groups, labels_of(list("abcd")))
    assert levels.names == ["group_1", "group_2"] and levels.sizes == (2, 2)
    np.testing.assert_array_equal(levels.parents, [[0, 0], [0, 0], [1, 1], [1, 1]])
    np.testing.assert_array_equal(levels.of_labels(["z", "d", "no"]), [[0, -1], [1, 1], [-1, -1]])


@pytest.mark.parametrize(
    ("columns", "found"),
    [
        (["aabbcc", "123456"], [1]),  # stores in regions
        (["aabbcc", "121212"], []),  # they cross
        (["aaaaaa", "123456"], []),  # a single region
        (["123456", "123456"], []),  # two names of the same
        (["ppqqqq", "aabbcc", "123456"], [1, 2]),
        (["ppqqqq", "aabbcc", "121212"], [1]),  # countries in regions, and items that cross
        (["aabbcc", "112121", "123456"], [1, 2]),  # both in stores
    ],
)
def test_nested_columns(columns, found):
    assert nested_columns(labels_of(list(zip(*columns, strict=True)))) == found
