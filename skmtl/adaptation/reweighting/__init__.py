"""Weights of source rows by estimates of the density ratio of target to source rows."""

from .kliep import KLIEP
from .kmm import KMM
from .rulsif import RuLSIF

__all__ = ["KLIEP", "KMM", "RuLSIF"]
