"""activation_variance: how much a unit's hidden state varies over clips and frames."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from prune_cli.scorers.hidden import CLIPS, Measured, check_choices, observe, ranked
from prune_cli.scorers.registry import Batches, Parameters, Scores, scorers


@scorers.register("activation_variance")
@dataclass(frozen=True)
class ActivationVariance:
    """Var(h) of each unit over all clips and frames (n - 1), in float64. keep: high removes the units that vary least."""

    keep: str = "high"

    title = "Variance"
    scores = ("units",)
    scoring_batches = CLIPS

    def __post_init__(self) -> None:
        check_choices(self.keep)

    def __call__(self, model: nn.Module, batches: Batches, parameters: Parameters) -> Scores:
        """Score the units of the layers that `parameters` names; higher = keep."""
        return ranked(self.measures(model, batches, parameters), self.keep)

    def measures(self, model: nn.Module, batches: Batches, parameters: Parameters) -> dict[str, Measured]:
        """Of each layer the variances (U,)."""
        seen = observe(model, batches, parameters)
        return {name: {"value": h.double().flatten(0, 1).var(0)} for name, h in seen.hidden.items()}
