"""magnitude: |θ|."""

from __future__ import annotations

from dataclasses import dataclass

from prune_cli.common.lazy import nn
from prune_cli.scorers.registry import Batches, Parameters, Scorer, Scores, scorers


@scorers.register("magnitude")
@dataclass(frozen=True)
class Magnitude(Scorer):
    """s(θ) = |θ|. Needs neither data nor gradients; `batches` is not touched."""

    title = "Magnitude"
    sees_data = False

    def __call__(self, model: nn.Module, batches: Batches, parameters: Parameters) -> Scores:  # noqa: ARG002
        """Score the weights; higher = keep."""
        return {name: p.detach().abs() for name, p in parameters.items()}
