"""Controls: what is left of a method once the choice of its single weights, or its pre-trained values, are taken away.

From Frankle et al., "Pruning neural networks at initialization: why are we missing the mark?", 2021 (arXiv 2009.08576):
a method whose accuracy survives `shuffle` has found how many weights each layer needs, not which.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from prune_cli.common.errors import ConfigError, nearest
from prune_cli.common.random import generator
from prune_cli.masks.mask import Mask
from prune_cli.masks.select import keep_largest

KINDS = ("none", "shuffle", "layerwise_random", "layerwise_magnitude", "inverted", "reinit")

MOVING = ("shuffle", "layerwise_random", "layerwise_magnitude")  # these choose other weights inside each tensor


@dataclass(frozen=True)
class Control:
    """kind: one of KINDS. `inverted` acts on the selection and `reinit` on the weights; the others on the mask."""

    kind: str = "none"

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ConfigError(
                f"there is no control {self.kind!r}", "control.kind", nearest(self.kind, KINDS, "control.kind=")
            )


def control_mask(kind: str, mask: Mapping[str, Tensor], parameters: Mapping[str, Tensor], seed: int) -> Mask:
    """The mask that a control puts in place of `mask`, with the same count in every tensor.

    shuffle: its entries permuted inside each tensor. layerwise_random: the largest of U(0, 1), the scores that
    `random` draws for this seed. layerwise_magnitude: the largest |θ|. Any other kind leaves the mask as it is.
    """
    if kind == "shuffle":
        return {name: _shuffled(keep, seed, name) for name, keep in mask.items()}
    if kind == "layerwise_random":
        draws = {name: torch.rand(keep.shape, generator=generator(seed, "mask", name)) for name, keep in mask.items()}
        return {name: keep_largest(draws[name], int(keep.sum())).to(keep.device) for name, keep in mask.items()}
    if kind == "layerwise_magnitude":
        return {name: keep_largest(parameters[name].detach().abs(), int(keep.sum())) for name, keep in mask.items()}
    return dict(mask)


def _shuffled(keep: Tensor, seed: int, name: str) -> Tensor:
    order = torch.randperm(keep.numel(), generator=generator(seed, "shuffle", name))
    return keep.reshape(-1)[order.to(keep.device)].view(keep.shape)
