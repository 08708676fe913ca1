"""Move the features of source rows to where those of the target are.

All alignments look at features only, so that target rows need no labels. What follows is alike
too (`_align`): the estimator is fitted on aligned source rows and on those target rows that have
labels, and which of several candidates is best is judged on the latter.
"""

from .coral import CORAL
from .optimal_transport import OptimalTransport
from .subspace import SubspaceAlignment
from .tca import TCA

__all__ = ["CORAL", "OptimalTransport", "SubspaceAlignment", "TCA"]
