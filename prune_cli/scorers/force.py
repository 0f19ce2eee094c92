"""force: |θ · ∂L/∂θ̄| on the pruned network (de Jorge et al., "Progressive skeletonization: trimming more fat from a
network at initialization", 2021)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from prune_cli.common.errors import ConfigError
from prune_cli.common.lazy import Tensor, nn
from prune_cli.scorers.gradients import mean_gradients
from prune_cli.scorers.registry import Batches, Parameters, Scorer, Scores, scorers


@scorers.register("force")
@dataclass(frozen=True)
class Force(Scorer):
    """s(θ) = |θ · ∂L/∂θ̄|: the gradient is that of the pruned network θ̄, the weight is the one before any was removed.

    So a weight that an earlier round removed can come back. One round is SNIP. rounds: 60 in the method's paper, each at
    density**(round / rounds) (see pipeline.find_mask); every round costs what SNIP costs.
    """

    rounds: int = 60

    title = "FORCE"
    allows_regrowth = True

    def __post_init__(self) -> None:
        if self.rounds < 1:
            raise ConfigError(f"rounds must be 1 or more, not {self.rounds}", "scorer.rounds", "scorer.rounds=60")

    def __call__(
        self, model: nn.Module, batches: Batches, parameters: Parameters, originals: Mapping[str, Tensor] | None = None
    ) -> Scores:
        """Score the weights; higher = keep. originals: the weights before any was removed; None: as they are now."""
        gradients = mean_gradients(model, batches, parameters)
        weights = originals if originals is not None else parameters
        return {name: g.mul_(weights[name].detach()).abs_() for name, g in gradients.items()}
