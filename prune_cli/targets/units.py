"""recurrence and readout: whole units of an LSTM, silent inside the recurrence or to the classifier alone."""

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
    """Units of the one LSTM that the classifier reads: see units/removal.py. A subclass says where one falls silent.

    Units are removed without fine-tuning where no recipe is typed: what removal alone does is the question.
    """

    noun = "units"
    scored = "units"
    recipe = "none"
    placement: ClassVar[str]  # one of units.removal.PLACEMENTS

    def parameters(self, model: nn.Module, prunable: Prunable) -> dict[str, nn.Parameter]:  # noqa: ARG002
        """The mask of each recurrent layer by its name, all ones, (U,). Raises ConfigError where there is none."""
        from prune_cli.units.removal import units

        return units(model)

    def weight_mask(self, model: nn.Module, mask: Mapping[str, Tensor]) -> Mask:
        """A removed unit's columns of what reads it are zero."""
        from prune_cli.units.removal import weight_mask

        return weight_mask(model, mask, self.placement)

    def zeroed(self, model: nn.Module, prunable: Prunable) -> Mapping[str, Tensor]:  # noqa: ARG002
        """What reads the units: each removed unit takes a column of each tensor with it."""
        from prune_cli.units.removal import readers_of

        return readers_of(model, self.placement)

    def check_model(self, settings: Settings) -> None:
        """Units are those of a model that sees clips."""
        from prune_cli.models.registry import ClipInput

        if not isinstance(settings.model.input, ClipInput):
            alone = settings.scorer.scores == (self.scored,)
            where = f"scorer={settings.scorer.name}" if alone else f"removal={settings.removal.kind}"
            raise RequestError(f"{settings.model.name} has no recurrent units to remove", where, VIDEO)


@targets.register("recurrence")
@dataclass(frozen=True)
class Recurrence(UnitTarget):
    """h ← h·m at every step, the cell untouched."""

    title = "units (recurrence)"
    automatic = True
    placement = "recurrence"

    def shrink(self, model: nn.Module, mask: Mapping[str, Tensor]) -> nn.Module:
        """The model with an LSTM of the units that stay, one at least. Raises ConfigError."""
        from prune_cli.units.removal import shrink

        return shrink(model, mask)

    def usage(self, model: str, mask: Mapping[str, Tensor], file: str) -> str:
        """The words that name the smaller LSTM."""
        (units,) = self.sizes(mask).values()
        return f"model={model} model.units={units} model.weights={file}"


@targets.register("readout")
@dataclass(frozen=True)
class Readout(UnitTarget):
    """The classifier does not read the unit; the recurrence still hears it."""

    title = "units (readout)"
    placement = "readout"
    no_smaller = "the recurrence still hears its units"
