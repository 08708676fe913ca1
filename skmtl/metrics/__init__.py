"""Scores per task, their averages over tasks, and scorers that read the task column."""

from ._scorer import task_scorer
from ._scores import task_score, task_scores

__all__ = ["task_score", "task_scorer", "task_scores"]
