"""Align the features of source rows with those of target rows.

Alignments use features only, so that target rows need no labels. The estimator is then fitted on
the aligned source rows and on the labelled target rows (`_align`), and if there are several
candidates, cross-validation over the labelled target rows chooses one.
"""

from .coral import CORAL
from .optimal_transport import OptimalTransport
from .subspace import SubspaceAlignment
from .tca import TCA

__all__ = ["CORAL", "OptimalTransport", "SubspaceAlignment", "TCA"]
