"""Weigh source rows by how much likelier the target has such rows."""

from .density_ratio import KLIEP, KMM, RuLSIF

__all__ = ["KLIEP", "KMM", "RuLSIF"]
