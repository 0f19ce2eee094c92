"""The door to all datasets."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from prune_cli.common.registry import Registry
from prune_cli.data.splits import Split, Splits

__all__ = ["Dataset", "Split", "Splits", "datasets"]


class Dataset(Protocol):
    """A dataset. The fields of its dataclass are its options."""

    name: str
    title: str  # how tables write it

    def load(self, home: Path) -> Splits:
        """Read what is ready under `home` (or elsewhere), or make it in memory. Raises DataError, with how to get it."""
        ...

    def build(self, home: Path) -> None:
        """Write what can be made under `home`, unless it is there and whole. Raises DataError."""
        ...


datasets: Registry[Dataset] = Registry("dataset", "prune_cli.data")
