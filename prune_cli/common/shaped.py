"""The shape and size of a tensor, which an outline without values (pipeline/outline.py) has too."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol


class Shaped(Protocol):
    """An object with a shape: a tensor, or an outline of one."""

    @property
    def shape(self) -> Sequence[int]:
        """The size along each dimension."""
        ...

    @property
    def ndim(self) -> int:
        """The number of dimensions."""
        ...

    def numel(self) -> int:
        """The number of values."""
        ...

    def element_size(self) -> int:
        """The size of one value in bytes."""
        ...
