"""Move the features of source rows to where those of the target are."""

from .alignment import CORAL, TCA, OptimalTransport, SubspaceAlignment

__all__ = ["CORAL", "OptimalTransport", "SubspaceAlignment", "TCA"]
