"""Cross-validation splitters for tables of several tasks."""

from ._few_shot import FewShotSplit
from ._source_target import source_target_split
from ._task_k_fold import TaskKFold
from ._time_series import TaskTimeSeriesSplit

__all__ = ["FewShotSplit", "TaskKFold", "TaskTimeSeriesSplit", "source_target_split"]
