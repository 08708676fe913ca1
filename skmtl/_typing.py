"""Names for the types in public signatures."""

from collections.abc import Iterable, Sequence
from typing import Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import sparse

__all__ = [
    "CV",
    "ArrayLike",
    "Frame",
    "LazyFrame",
    "MatrixLike",
    "NDArray",
    "RandomState",
    "TaskColumn",
]


class Frame(Protocol):
    """A data frame of any library: pandas, polars, pyarrow and others that narwhals reads."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    @property
    def columns(self) -> Any: ...


class LazyFrame(Protocol):
    """A lazy frame or a query of any library that narwhals reads."""

    @property
    def columns(self) -> Any: ...


MatrixLike: TypeAlias = ArrayLike | sparse.spmatrix | sparse.sparray | Frame
TaskColumn: TypeAlias = str | int | Sequence[str | int] | None
RandomState: TypeAlias = int | np.random.RandomState | None


class Splitter(Protocol):
    """A cross-validation splitter of scikit-learn's kind."""

    def split(self, X: Any, y: Any = None, groups: Any = None) -> Any: ...


CV: TypeAlias = int | Splitter | Iterable[tuple[NDArray, NDArray]] | None
