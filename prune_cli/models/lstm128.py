"""lstm128: a small recurrent classifier of grey clips, with one answer a frame."""

from __future__ import annotations

from dataclasses import dataclass, field

from prune_cli.common.errors import ConfigError
from prune_cli.common.lazy import nn
from prune_cli.common.registry import NOT_IN_HASH
from prune_cli.models.registry import ClipInput, models

MOST_UNITS = 2**16  # more than any memory holds the square of


@models.register("lstm128")
@dataclass(frozen=True)
class Lstm128:
    """Conv 3×3 and an LSTM of 128 units: 2,164,936 parameters with 8 classes, 2,162,688 of them in weight_ih and weight_hh.

    units: of the LSTM; fewer for weights that `prune-cli shrink` made.
    """

    weights: str = field(default="packaged", metadata=NOT_IN_HASH)  # counts by its digest
    prunable: list[str] = field(default_factory=lambda: ["lstm.weight_ih_l0", "lstm.weight_hh_l0"])
    units: int = 128

    title = "LSTM-128"
    keeps_head = True  # its weights are trained for the very task: they come with their classifier
    input = ClipInput()

    def __post_init__(self) -> None:
        if not 1 <= self.units <= MOST_UNITS:
            what = f"an LSTM has 1 unit or more, and here {MOST_UNITS:,} or fewer, not {self.units}"
            raise ConfigError(what, "model.units", "model.units=128")

    def build(self, num_classes: int) -> nn.Module:
        """The module, randomly initialised."""
        from prune_cli.models.networks.clip_classifier import ClipClassifier

        return ClipClassifier(num_classes, self.units)
