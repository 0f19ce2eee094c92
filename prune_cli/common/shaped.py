"""What counting asks of a tensor; the outline of one (pipeline/outline.py) answers it too."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol


class Shaped(Protocol):
    """Something of a shape: a tensor, or the outline of one."""

    @property
    def shape(self) -> Sequence[int]:
        """Its sizes along each dimension."""
        ...

    @property
    def ndim(self) -> int:
        """How many dimensions it has."""
        ...

    def numel(self) -> int:
        """How many values it has."""
        ...

    def element_size(self) -> int:
        """Bytes of a value."""
        ...
