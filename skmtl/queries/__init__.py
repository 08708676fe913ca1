"""Lazy frames, whose rows are not in memory: what a fit needs of them, as queries."""

from .frames import QueryError

__all__ = ["QueryError"]
