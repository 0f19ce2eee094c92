"""Splits of a dataset: labelled images or clips, in memory or in files that are read when a batch needs them."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from prune_cli.common.errors import DataError
from prune_cli.common.lazy import Tensor, torch
from prune_cli.data.images import cover, read_rgb

Shape = tuple[int, int | None, int | None]  # channels (of a clip: frames), height, width; None where images differ


@dataclass(frozen=True)
class Split:
    """Labelled images in memory: images_NCHW uint8, labels_N int64."""

    images_NCHW: Tensor
    labels_N: Tensor

    def __len__(self) -> int:
        return len(self.labels_N)

    @property
    def shape(self) -> Shape:
        """The shape of one image: channels, height, width."""
        channels, height, width = self.images_NCHW.shape[1:]
        return channels, height, width

    def take(self, which: Tensor) -> Split:
        """The split of some of the images. which: their indices, or a bool mask."""
        return Split(self.images_NCHW[which], self.labels_N[which])

    def images(self, indices: Sequence[int], height: int, width: int) -> Tensor:  # noqa: ARG002 - prepare() fits them
        """The images as uint8 NCHW at their own size; `height` and `width` are ignored, because the device resizes faster."""
        return self.images_NCHW[indices]

    def targets(self, indices: Sequence[int]) -> Tensor:
        """The labels of these images, labels_B int64."""
        return self.labels_N[indices]

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
        """The shape of one image; height and width differ from file to file."""
        return 3, None, None

    def take(self, which: Tensor) -> FileSplit:
        """The split of some of the images. which: their indices, or a bool mask."""
        indices = which.nonzero().squeeze(1) if which.dtype == torch.bool else which
        return FileSplit(tuple(self.paths[index] for index in indices.tolist()), self.labels_N[indices], self.root)

    def images(self, indices: Sequence[int], height: int, width: int) -> Tensor:
        """The images as uint8 (N, 3, height, width): decoded as RGB, resized to cover that size and cropped. Raises DataError."""
        return torch.stack([cover(read_rgb(self.root / self.paths[index]), height, width) for index in indices])

    def targets(self, indices: Sequence[int]) -> Tensor:
        """The labels of these images, labels_B int64."""
        return self.labels_N[indices]

    def update(self, digest: Any) -> None:
        """Add the relative paths, the sizes of the files and the labels to a hash; not 150 GB of pixels.

        A file that changed but kept its name and size is not noticed. Raises DataError where a file is gone.
        """
        try:
            for path in self.paths:
                digest.update(f"{path}\0{(self.root / path).stat().st_size}\n".encode())
        except OSError as error:
            raise DataError("this image is gone", str(error.filename), "fetch the file again") from None
        digest.update(self.labels_N.numpy().tobytes())


@dataclass(frozen=True)
class ClipSplit:
    """Clips with a label a frame, in the files of a built folder; they are opened when first asked for.

    size_NTHW: clips, frames, height and width of the file `name`-clips.npy. identity: a text that no other clips have.
    hint: what to type where the files are not there. indices: which clips of the file these are; None is all.
    """

    folder: Path
    name: str
    size_NTHW: tuple[int, int, int, int]
    identity: str
    hint: str
    indices: Tensor | None = None

    def __len__(self) -> int:
        return self.size_NTHW[0] if self.indices is None else len(self.indices)

    def __getstate__(self) -> dict[str, Any]:
        """The fields alone, without the memory maps: a worker process opens its own."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    @property
    def shape(self) -> Shape:
        """The shape of one clip: frames, height, width."""
        return self.size_NTHW[1:]

    @property
    def labels_N(self) -> Tensor:
        """The class of each clip's first action, int64. Raises DataError where the clips are not built."""
        return self._labels[:, 0].long()

    def take(self, which: Tensor) -> ClipSplit:
        """The split of some of the clips. which: their indices, or a bool mask."""
        mine = torch.arange(self.size_NTHW[0]) if self.indices is None else self.indices
        return ClipSplit(self.folder, self.name, self.size_NTHW, self.identity, self.hint, mine[which])

    def images(self, indices: Sequence[int], height: int, width: int) -> Tensor:  # noqa: ARG002 - clips keep their size
        """The clips as uint8 (B, T, H, W); `height` and `width` are ignored. Raises DataError where the clips are not built."""
        rows = indices if self.indices is None else self.indices[indices].numpy()
        return torch.from_numpy(self._clips[rows])

    def targets(self, indices: Sequence[int]) -> Tensor:
        """labels_BT, int64, a label a frame. Raises DataError where the clips are not built."""
        return self._labels[indices].long()

    def update(self, digest: Any) -> None:
        """Add the identity, the name and the indices to a hash: the same identity means the same bytes."""
        digest.update(f"{self.identity}\0{self.name}\0".encode())
        if self.indices is not None:
            digest.update(self.indices.numpy().tobytes())

    @cached_property
    def _clips(self) -> np.ndarray:
        return self._memory_map("clips")

    @cached_property
    def _labels(self) -> Tensor:
        labels_NT = torch.from_numpy(np.array(self._memory_map("labels")))
        return labels_NT if self.indices is None else labels_NT[self.indices]

    def _memory_map(self, part: str) -> np.ndarray:
        path = self.folder / f"{self.name}-{part}.npy"
        try:
            return np.asarray(np.load(path, mmap_mode="r", allow_pickle=False))
        except (OSError, ValueError):
            raise DataError("these clips are not built, or not whole", str(path), self.hint) from None


AnySplit = Split | FileSplit | ClipSplit
S = TypeVar("S", Split, FileSplit, ClipSplit)


@dataclass(frozen=True)
class Splits:
    """The splits of a dataset. validation is None where none is held out: options are then chosen on the test split."""

    train: AnySplit
    validation: AnySplit | None
    test: AnySplit
    classes: tuple[str, ...]

    def named(self) -> dict[str, AnySplit]:
        """The splits that exist, by name."""
        found = {"train": self.train, "validation": self.validation, "test": self.test}
        return {name: split for name, split in found.items() if split is not None}

    def digest(self) -> str:
        """The sha256 over every split's `update`, in hex, which stands for the data in a run's identity."""
        found = hashlib.sha256()
        for name, split in self.named().items():
            found.update(name.encode())
            split.update(found)
        return found.hexdigest()
