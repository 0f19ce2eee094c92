"""snip: |∂L/∂θ · θ| (Lee, Ajanthan and Torr, "SNIP: Single-shot network pruning based on connection sensitivity", 2019)."""

from __future__ import annotations

from dataclasses import dataclass

from prune_cli.common.lazy import nn
from prune_cli.scorers.gradients import mean_gradients
from prune_cli.scorers.registry import Batches, Parameters, Scorer, Scores, scorers


@scorers.register("snip")
@dataclass(frozen=True)
class Snip(Scorer):
    """s(θ) = |∂L/∂θ · θ|, L the mean cross-entropy: to first order, how far the loss moves when θ is removed."""

    title = "SNIP"

    def __call__(self, model: nn.Module, batches: Batches, parameters: Parameters) -> Scores:
        """Score the weights; higher = keep."""
        gradients = mean_gradients(model, batches, parameters)
        return {name: g.mul_(parameters[name].detach()).abs_() for name, g in gradients.items()}
