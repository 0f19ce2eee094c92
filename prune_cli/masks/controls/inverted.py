"""inverted: the lowest scores are kept."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from prune_cli.common.lazy import Tensor, torch
from prune_cli.masks.controls.base import NEVER, Control, controls


@controls.register("inverted")
@dataclass(frozen=True)
class Inverted(Control):
    """What the method ranks last is kept; what an earlier round of a scorer has removed stays removed."""

    no_scores = "a mask made before has no scores to invert"

    def scores(self, scores: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The negatives, but of -∞, which stays the lowest."""
        return {name: torch.where(score == NEVER, NEVER, -score) for name, score in scores.items()}
