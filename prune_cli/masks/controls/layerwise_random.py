"""layerwise_random: random pruning with the method's own count in each tensor."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from prune_cli.common.lazy import Tensor, torch
from prune_cli.common.random import generator
from prune_cli.masks.controls.base import Control, controls
from prune_cli.masks.mask import Mask
from prune_cli.masks.select import keep_largest


@controls.register("layerwise_random")
@dataclass(frozen=True)
class LayerwiseRandom(Control):
    """Keeps random weights in each tensor, as many as the method keeps there: the largest scores of scorer=random."""

    moves = True

    def mask(self, mask: Mapping[str, Tensor], parameters: Mapping[str, Tensor], seed: int) -> Mask:  # noqa: ARG002
        """The mask of the largest U(0, 1) draws in each tensor, with the counts of `mask`."""
        draws = {name: torch.rand(keep.shape, generator=generator(seed, "mask", name)) for name, keep in mask.items()}
        return {name: keep_largest(draws[name], int(keep.sum())).to(keep.device) for name, keep in mask.items()}
