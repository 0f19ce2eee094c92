"""random: U(0, 1) for weights and units, the reference that a method has to beat."""

from __future__ import annotations

from dataclasses import dataclass

from prune_cli.common.lazy import nn, torch
from prune_cli.common.random import generator
from prune_cli.scorers.registry import Batches, Parameters, Scorer, Scores, scorers


@scorers.register("random")
@dataclass(frozen=True)
class Random(Scorer):
    """s(θ) ~ U(0, 1), independent of everything. Each tensor, or layer of units, has a generator of its own, made from
    (seed, its name)."""

    seed: int = 0

    title = "Random"
    sees_data = False
    scores = ("weights", "units")

    def __call__(self, model: nn.Module, batches: Batches, parameters: Parameters) -> Scores:  # noqa: ARG002
        """Score the weights or units; higher = keep."""
        return {
            name: torch.rand(p.shape, generator=generator(self.seed, "mask", name)).to(p.device)
            for name, p in parameters.items()
        }
