"""shuffle: the mask permuted inside each tensor, which keeps the counts and loses the positions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from prune_cli.common.lazy import Tensor, torch
from prune_cli.common.random import generator
from prune_cli.masks.controls.base import Control, controls
from prune_cli.masks.mask import Mask


@controls.register("shuffle")
@dataclass(frozen=True)
class Shuffle(Control):
    """Permutes the entries of the mask inside each tensor."""

    moves = True

    def mask(self, mask: Mapping[str, Tensor], parameters: Mapping[str, Tensor], seed: int) -> Mask:  # noqa: ARG002
        """The mask permuted inside each tensor, by a generator made from (seed, tensor name)."""
        return {name: _shuffled(keep, seed, name) for name, keep in mask.items()}


def _shuffled(keep: Tensor, seed: int, name: str) -> Tensor:
    order = torch.randperm(keep.numel(), generator=generator(seed, "shuffle", name))
    return keep.reshape(-1)[order.to(keep.device)].view(keep.shape)
