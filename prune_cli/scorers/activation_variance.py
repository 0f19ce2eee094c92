"""activation_variance: how much a unit's hidden state varies over clips and frames."""

from __future__ import annotations

from dataclasses import dataclass

from prune_cli.common.lazy import nn
from prune_cli.scorers.registry import Batches, Parameters, scorers
from prune_cli.scorers.unit_scorer import CLIPS, Measured, UnitScorer, record_hidden_states


@scorers.register("activation_variance")
@dataclass(frozen=True)
class ActivationVariance(UnitScorer):
    """Var(h) of each unit over all clips and frames (n - 1), in float64. keep: high removes the units that vary least."""

    keep: str = "high"

    title = "Variance"
    scoring_batches = CLIPS

    def measures(self, model: nn.Module, batches: Batches, parameters: Parameters) -> dict[str, Measured]:
        """The variance of each unit of each layer, `value` (U,)."""
        states = record_hidden_states(model, batches, parameters)
        return {name: {"value": h.double().flatten(0, 1).var(0)} for name, h in states.hidden.items()}
