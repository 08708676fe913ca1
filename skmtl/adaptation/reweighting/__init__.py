"""Weigh source rows by how much likelier the target has such rows."""

from .kliep import KLIEP
from .kmm import KMM
from .rulsif import RuLSIF

__all__ = ["KLIEP", "KMM", "RuLSIF"]
