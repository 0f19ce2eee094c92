"""weight_norm: the norm of a unit's incoming weights, after the filter norms of Li et al., "Pruning filters for efficient
ConvNets", 2017."""

from __future__ import annotations

from dataclasses import dataclass

from prune_cli.common.lazy import Tensor, nn
from prune_cli.scorers.registry import Batches, Parameters, scorers
from prune_cli.scorers.unit_scorer import Measured, UnitScorer, recurrent


@scorers.register("weight_norm")
@dataclass(frozen=True)
class WeightNorm(UnitScorer):
    """‖w‖₂ of all weights that lead into a unit: its rows of weight_ih and weight_hh in every gate. Needs no data.

    keep: high removes the units with the smallest norm.
    """

    keep: str = "high"

    title = "Weight norm"
    sees_data = False

    def measures(self, model: nn.Module, batches: Batches, parameters: Parameters) -> dict[str, Measured]:  # noqa: ARG002
        """The norm of each unit of each layer, `value` (U,)."""
        return {name: {"value": _norms(recurrent(model, name))} for name in parameters}


def _norms(layer: nn.RNNBase) -> Tensor:
    squares = [
        weight.detach().cpu().double().square().sum(1).view(-1, layer.hidden_size).sum(0)
        for name, weight in layer.named_parameters()
        if name.startswith(("weight_ih", "weight_hh"))
    ]
    return sum(squares[1:], squares[0]).sqrt()
