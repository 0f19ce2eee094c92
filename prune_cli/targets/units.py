"""recurrence and readout: whole units of an LSTM, masked inside the recurrence or at the classifier alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from prune_cli.common.errors import RequestError
from prune_cli.targets.base import Prunable, Target
from prune_cli.targets.registry import targets

if TYPE_CHECKING:
    from torch import Tensor, nn

    from prune_cli.config.schema import Settings
    from prune_cli.masks import Mask

VIDEO = "model=lstm128 dataset=action_mnist, or another video"


class UnitTarget(Target):
    """Units of the one LSTM that the classifier reads (units/removal.py). A subclass says where the mask acts.

    Where no recipe is typed units are removed without fine-tuning, to measure the effect of removal alone.
    """

    noun = "units"
    scored = "units"
    recipe = "none"
    placement: ClassVar[str]  # one of units.removal.PLACEMENTS

    def parameters(self, model: nn.Module, prunable: Prunable) -> dict[str, nn.Parameter]:  # noqa: ARG002
        """A mask of ones (U,) for the recurrent layer, by its name. Raises ConfigError where there is no such layer."""
        from prune_cli.units.removal import units

        return units(model)

    def weight_mask(self, model: nn.Module, mask: Mapping[str, Tensor]) -> Mask:
        """The mask of weights: False at a removed unit's column of each weight that reads the unit."""
        from prune_cli.units.removal import weight_mask

        return weight_mask(model, mask, self.placement)

    def zeroed(self, model: nn.Module, prunable: Prunable) -> Mapping[str, Tensor]:  # noqa: ARG002
        """The weights that read the units, by name; a removed unit sets one column of each to zero."""
        from prune_cli.units.removal import readers_of

        return readers_of(model, self.placement)

    def check_model(self, settings: Settings) -> None:
        """Raise RequestError for a model of images, which has no recurrent units."""
        from prune_cli.models.registry import ClipInput

        if not isinstance(settings.model.input, ClipInput):
            alone = settings.scorer.scores == (self.scored,)
            where = f"scorer={settings.scorer.name}" if alone else f"removal={settings.removal.kind}"
            raise RequestError(f"{settings.model.name} has no recurrent units to remove", where, VIDEO)


@targets.register("recurrence")
@dataclass(frozen=True)
class Recurrence(UnitTarget):
    """Units masked inside the recurrence: h ← h·m at every step, the cell untouched."""

    title = "units (recurrence)"
    automatic = True
    placement = "recurrence"

    def shrink(self, model: nn.Module, mask: Mapping[str, Tensor]) -> nn.Module:
        """A copy of the model with an LSTM of the kept units alone. Raises ConfigError where no unit is kept."""
        from prune_cli.units.removal import shrink

        return shrink(model, mask)

    def usage(self, model: str, mask: Mapping[str, Tensor], file: str) -> str:
        """The command-line words that load the smaller LSTM from `file`."""
        (units,) = self.sizes(mask).values()
        return f"model={model} model.units={units} model.weights={file}"


@targets.register("readout")
@dataclass(frozen=True)
class Readout(UnitTarget):
    """Units masked at the classifier alone; the recurrence still reads them."""

    title = "units (readout)"
    placement = "readout"
    no_smaller = "the recurrence still hears its units"
