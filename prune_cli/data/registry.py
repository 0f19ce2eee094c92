"""The door to all datasets."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from torch import Tensor

from prune_cli.common.registry import Registry


@dataclass(frozen=True)
class Split:
    """Labelled images: images_NCHW uint8, labels_N int64."""

    images_NCHW: Tensor
    labels_N: Tensor

    def __len__(self) -> int:
        return len(self.labels_N)


@dataclass(frozen=True)
class Splits:
    """A dataset ready for use. validation is None where no share is kept apart: choices are then read on the test set."""

    train: Split
    validation: Split | None
    test: Split
    classes: tuple[str, ...]

    def named(self) -> dict[str, Split]:
        """The splits that exist, by name."""
        found = {"train": self.train, "validation": self.validation, "test": self.test}
        return {name: split for name, split in found.items() if split is not None}

    def digest(self) -> str:
        """sha256 over shapes and bytes of every split, in hex: what the run's identity knows of the data."""
        found = hashlib.sha256()
        for name, split in self.named().items():
            found.update(f"{name}{tuple(split.images_NCHW.shape)}".encode())
            found.update(split.images_NCHW.numpy().tobytes())
            found.update(split.labels_N.numpy().tobytes())
        return found.hexdigest()


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
