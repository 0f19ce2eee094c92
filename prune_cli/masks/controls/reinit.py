"""reinit: the method's mask on weights that have learnt nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from prune_cli.common.lazy import nn, torch
from prune_cli.masks.controls.base import Control, controls


@controls.register("reinit")
@dataclass(frozen=True)
class Reinit(Control):
    """The mask stays, and the weights are drawn anew from the initialisation."""

    of_single_weights = True

    def weights(self, parameters: Mapping[str, nn.Parameter], fresh: Callable[[], Mapping[str, nn.Parameter]]) -> None:
        """Give the prunable weights fresh values."""
        drawn = fresh()
        with torch.no_grad():
            for name, parameter in parameters.items():
                parameter.copy_(drawn[name])
