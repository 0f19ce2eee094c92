"""layerwise_magnitude: magnitude pruning with the method's own count in each tensor."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from prune_cli.common.lazy import Tensor
from prune_cli.masks.controls.base import Control, controls
from prune_cli.masks.mask import Mask
from prune_cli.masks.select import keep_largest


@controls.register("layerwise_magnitude")
@dataclass(frozen=True)
class LayerwiseMagnitude(Control):
    """Keeps the weights with the largest |θ| in each tensor, as many as the method keeps there."""

    moves = True
    of_single_weights = True

    def mask(self, mask: Mapping[str, Tensor], parameters: Mapping[str, Tensor], seed: int) -> Mask:  # noqa: ARG002
        """The mask of the largest |θ| in each tensor, with the counts of `mask`."""
        return {name: keep_largest(parameters[name].detach().abs(), int(keep.sum())) for name, keep in mask.items()}
