"""From a split to batches: ordered by a named generator, images prepared for the model's input."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from prune_cli.common.errors import DataError
from prune_cli.common.lazy import Tensor, torch
from prune_cli.common.random import generator
from prune_cli.common.ranks import ALONE, Ranks
from prune_cli.data.images import cover
from prune_cli.data.splits import AnySplit
from prune_cli.models.registry import ClipInput, ImageInput

Batch = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class Loader:
    """Batches of one split on one device, or with several processes this process's share of each batch.

    even: drop the last image of a batch with an odd number of images, before the batch is shared (CutMix mixes pairs).
    """

    split: AnySplit
    input: ImageInput | ClipInput
    batch_size: int
    device: torch.device
    workers: int = 0
    memory_format: torch.memory_format = field(default_factory=lambda: torch.preserve_format)
    dtype: torch.dtype = field(default_factory=lambda: torch.float32)
    ranks: Ranks = ALONE
    even: bool = False

    def batches(self, order: Sequence[int] | None = None, flips: torch.Generator | None = None) -> Iterator[Batch]:
        """(inputs_BCHW float, labels_B), of clips (inputs_BTHW, labels_BT), in the given order (None: the split's own).

        The last may be smaller, and a share may be empty. flips: mirror each image from left to right with probability
        1/2, drawn from this generator for whole batches. Raises DataError where an image cannot be read.
        """
        index_batches = self._index_batches(order)
        shares = [self.ranks.local_indices(len(indices) - self.even * (len(indices) % 2)) for indices in index_batches]
        loader: torch.utils.data.DataLoader[Batch | DataError] = torch.utils.data.DataLoader(
            _Batches(self.split, self.input),  # type: ignore[arg-type] # any object with __getitem__ will do
            batch_size=None,
            sampler=[[indices[i] for i in share] for indices, share in zip(index_batches, shares, strict=True)],
            num_workers=self.workers,
            pin_memory=self.device.type == "cuda",
        )
        for indices, share, batch in zip(index_batches, shares, loader, strict=True):
            if isinstance(batch, DataError):
                raise batch
            images, labels = batch
            if flips is not None:
                mirrored = (torch.rand(len(indices), generator=flips) < 0.5)[share]
                images = torch.where(mirrored.view(-1, 1, 1, 1), images.flip(-1), images)
            yield self._to_device(images), labels.to(self.device, non_blocking=True)

    def _to_device(self, images: Tensor) -> Tensor:
        images = images.to(self.device, non_blocking=True)
        inputs = prepare(images, self.input) if len(images) else images
        return inputs.to(dtype=self.dtype, memory_format=self.memory_format)

    def shuffled(self, seed: int, *purpose: str | int) -> list[int]:
        """A permutation of the split's indices, drawn for one purpose."""
        return torch.randperm(len(self.split), generator=generator(seed, *purpose)).tolist()

    def _index_batches(self, order: Sequence[int] | None) -> list[list[int]]:
        order = list(order) if order is not None else list(range(len(self.split)))
        batches = [order[start : start + self.batch_size] for start in range(0, len(order), self.batch_size)]
        return [indices for indices in batches if len(indices) > self.even]


class _Batches:
    """A dataset for torch's DataLoader whose item of a list of indices is a whole batch.

    Reading errors are returned, not raised: a DataError raised in a worker process would lose its parts.
    """

    def __init__(self, split: AnySplit, to: ImageInput | ClipInput):
        self._split = split
        self._size = (to.height, to.width) if isinstance(to, ImageInput) else (0, 0)  # clips keep the size they have

    def __getitem__(self, indices: list[int]) -> Batch | DataError:
        if not indices:
            return torch.zeros(0, 1, 1, 1, dtype=torch.uint8), torch.zeros(0, dtype=torch.long)
        try:
            return self._split.images(indices, *self._size), self._split.targets(indices)
        except DataError as error:
            return error


def prepare(images: Tensor, to: ImageInput | ClipInput) -> Tensor:
    """uint8 images as a model's float input: resized (bilinear) and cropped, channels fitted, normalised by mean and std.

    Clips keep their size; their bytes become values in [0, 1].
    """
    if isinstance(to, ClipInput):
        return images.float() / 255
    from torchvision.transforms.v2 import functional as image_ops  # takes longer than all else that a plan needs

    images = cover(images, to.height, to.width)
    if images.shape[1] != to.channels:
        grey = images if images.shape[1] == 1 else image_ops.rgb_to_grayscale(images)
        images = grey.expand(-1, to.channels, -1, -1)
    values = images.float() / 255
    return image_ops.normalize(values, list(to.mean), list(to.std))
