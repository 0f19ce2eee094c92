"""The door to all datasets."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol, runtime_checkable

from prune_cli.common.registry import Registry
from prune_cli.data.splits import Split, Splits

__all__ = ["Dataset", "Rendered", "Split", "Splits", "datasets"]


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


@runtime_checkable
class Rendered(Protocol):
    """A dataset that is rendered into a folder of its own, which can be verified."""

    def folder(self, home: Path) -> Path:
        """Where it is, or would be."""
        ...

    def verify(self, home: Path) -> None:
        """Compare the sha256 of every file. Raises DataError that names the damaged one."""
        ...


datasets: Registry[Dataset] = Registry("dataset", "prune_cli.data")
