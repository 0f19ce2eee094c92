"""weights: single weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from prune_cli.targets.base import Prunable, Target
from prune_cli.targets.registry import targets

if TYPE_CHECKING:
    from torch import Tensor, nn

    from prune_cli.masks import Mask


@targets.register("weights")
@dataclass(frozen=True)
class WeightTarget(Target):
    """Single prunable weights: the mask of them is the mask of weights."""

    noun = "weights"
    title = "weights"
    scored = "weights"
    automatic = True
    single_weights = True
    no_smaller = "weights were pruned"

    def parameters(self, model: nn.Module, prunable: Prunable) -> dict[str, nn.Parameter]:
        """The prunable weights by name. Raises ConfigError where none matches the patterns."""
        from prune_cli.models.prunable import prunable as prunable_weights

        return prunable_weights(model, prunable)

    def weight_mask(self, model: nn.Module, mask: Mapping[str, Tensor]) -> Mask:  # noqa: ARG002
        """The mask of weights, which is `mask` itself."""
        return dict(mask)

    def zeroed(self, model: nn.Module, prunable: Prunable) -> Mapping[str, Tensor]:
        """The prunable weights by name."""
        return self.parameters(model, prunable)
