"""none: the method as it is."""

from __future__ import annotations

from dataclasses import dataclass

from prune_cli.masks.controls.base import Control, controls


@controls.register("none")
@dataclass(frozen=True)
class NoControl(Control):
    """Leaves scores, mask and weights unchanged."""
