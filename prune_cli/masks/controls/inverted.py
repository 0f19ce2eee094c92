"""inverted: the lowest scores are kept."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from prune_cli.common.lazy import Tensor, torch
from prune_cli.masks.controls.base import NEVER, Control, controls


@controls.register("inverted")
@dataclass(frozen=True)
class Inverted(Control):
    """Keeps the weights with the lowest scores; weights that an earlier round of a scorer removed stay removed."""

    no_scores = "a mask made before has no scores to invert"

    def scores(self, scores: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The negated scores; -∞, the score of a removed weight, stays -∞."""
        return {name: torch.where(score == NEVER, NEVER, -score) for name, score in scores.items()}
