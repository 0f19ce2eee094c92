"""What a dataset is made of: labelled images, in memory or in files that are read when a batch is asked for."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor

from prune_cli.common.errors import DataError
from prune_cli.data.images import cover, read_rgb

Shape = tuple[int, int | None, int | None]  # channels, height, width; None where it differs from image to image


@dataclass(frozen=True)
class Split:
    """Labelled images in memory: images_NCHW uint8, labels_N int64."""

    images_NCHW: Tensor
    labels_N: Tensor

    def __len__(self) -> int:
        return len(self.labels_N)

    @property
    def shape(self) -> Shape:
        """Of one image."""
        channels, height, width = self.images_NCHW.shape[1:]
        return channels, height, width

    def take(self, which: Tensor) -> Split:
        """A part: a bool mask of the images, or their places."""
        return Split(self.images_NCHW[which], self.labels_N[which])

    def images(self, places: Sequence[int], height: int, width: int) -> Tensor:  # noqa: ARG002 - prepare() fits them
        """uint8 NCHW at the size that they have, whatever is asked for: the device fits them faster."""
        return self.images_NCHW[places]

    def update(self, digest: Any) -> None:
        """Add shape, pixels and labels to a hash."""
        digest.update(f"{tuple(self.images_NCHW.shape)}".encode())
        digest.update(self.images_NCHW.numpy().tobytes())
        digest.update(self.labels_N.numpy().tobytes())


@dataclass(frozen=True)
class FileSplit:
    """Labelled image files: paths relative to `root`, labels_N int64. An image is decoded when a batch asks for it."""

    paths: tuple[str, ...]
    labels_N: Tensor
    root: Path

    def __len__(self) -> int:
        return len(self.labels_N)

    @property
    def shape(self) -> Shape:
        """Of one image: its sides are those of its file."""
        return 3, None, None

    def take(self, which: Tensor) -> FileSplit:
        """A part: a bool mask of the images, or their places."""
        places = which.nonzero().squeeze(1) if which.dtype == torch.bool else which
        return FileSplit(tuple(self.paths[place] for place in places.tolist()), self.labels_N[places], self.root)

    def images(self, places: Sequence[int], height: int, width: int) -> Tensor:
        """uint8 (N, 3, height, width): decoded as RGB, resized to cover that size and cropped. Raises DataError."""
        return torch.stack([cover(read_rgb(self.root / self.paths[place]), height, width) for place in places])

    def update(self, digest: Any) -> None:
        """Add the relative paths, the sizes of the files and the labels to a hash; not 150 GB of pixels.

        So a file that changed but kept its name and its size is not noticed. Raises DataError where one is gone.
        """
        try:
            for path in self.paths:
                digest.update(f"{path}\0{(self.root / path).stat().st_size}\n".encode())
        except OSError as error:
            raise DataError("this image is gone", str(error.filename), "fetch the file again") from None
        digest.update(self.labels_N.numpy().tobytes())


AnySplit = Split | FileSplit
S = TypeVar("S", Split, FileSplit)


@dataclass(frozen=True)
class Splits:
    """A dataset ready for use. validation is None where no share is kept apart: choices are then read on the test set."""

    train: AnySplit
    validation: AnySplit | None
    test: AnySplit
    classes: tuple[str, ...]

    def named(self) -> dict[str, AnySplit]:
        """The splits that exist, by name."""
        found = {"train": self.train, "validation": self.validation, "test": self.test}
        return {name: split for name, split in found.items() if split is not None}

    def digest(self) -> str:
        """sha256 over every split (see their `update`), in hex: what the run's identity knows of the data."""
        found = hashlib.sha256()
        for name, split in self.named().items():
            found.update(name.encode())
            split.update(found)
        return found.hexdigest()
