"""reinit: the method's mask on freshly initialised weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from prune_cli.common.lazy import nn, torch
from prune_cli.masks.controls.base import Control, controls


@controls.register("reinit")
@dataclass(frozen=True)
class Reinit(Control):
    """Keeps the mask and draws the prunable weights anew from the initialisation."""

    of_single_weights = True

    def weights(self, parameters: Mapping[str, nn.Parameter], fresh: Callable[[], Mapping[str, nn.Parameter]]) -> None:
        """Overwrite the prunable weights with a fresh draw of the initialisation, in place."""
        drawn = fresh()
        with torch.no_grad():
            for name, parameter in parameters.items():
                parameter.copy_(drawn[name])
