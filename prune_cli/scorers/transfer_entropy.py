"""transfer_entropy: what the label tells of a unit's next value beyond its own past (Schreiber, "Measuring information
transfer", 2000; research project 21K17772, final report, section 4 (2))."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from prune_cli.common.errors import ConfigError
from prune_cli.scorers.hidden import (
    BINNINGS,
    CLIPS,
    SOURCES,
    Measured,
    binned,
    check_choices,
    measured,
    observe,
    ranked,
    source_series,
)
from prune_cli.scorers.registry import Batches, Parameters, Scores, scorers
from prune_cli.units import information

DIRECTIONS = ("to_unit", "from_unit")


@scorers.register("transfer_entropy")
@dataclass(frozen=True)
class TransferEntropy:
    """TE(source → unit) = Σ p(x',x,y) ln[p(x'|x,y) / p(x'|x)], nats, over all clips and frames; x the unit's binned hidden
    state, y the source.

    keep: low removes the units with the highest values (the report's "Low"). source: label, or output (the model's
    probability for it). direction: from_unit measures TE(unit → source). bins, binning (equal or quantile): of the hidden
    states, and of a probability. lag moves the source alone. target_history and source_history: frames of the past.
    surrogates > 0 takes away the mean of so many measurements with the clips of the source shuffled. miller_madow corrects
    each entropy for its cells.
    """

    keep: str = "low"
    source: str = "label"
    direction: str = "to_unit"
    bins: int = 8
    binning: str = "equal"
    lag: int = 1
    target_history: int = 1
    source_history: int = 1
    surrogates: int = 0
    miller_madow: bool = False

    title = "TE"
    scores = ("units",)
    scoring_batches = CLIPS

    def __post_init__(self) -> None:
        chosen = {"source": (self.source, SOURCES), "binning": (self.binning, BINNINGS)}
        check_choices(self.keep, **chosen, direction=(self.direction, DIRECTIONS))
        least = {"bins": 2, "lag": 1, "target_history": 1, "source_history": 1, "surrogates": 0}
        for name, low in least.items():
            if getattr(self, name) < low:
                raise ConfigError(f"{name} must be {low} or more, not {getattr(self, name)}", f"scorer.{name}")

    @property
    def frames(self) -> int:
        """Frames that a clip must have."""
        return 1 + max(self.target_history, self.lag + self.source_history - 1)

    def __call__(self, model: nn.Module, batches: Batches, parameters: Parameters) -> Scores:
        """Score the units of the layers that `parameters` names; higher = keep."""
        return ranked(self.measures(model, batches, parameters), self.keep)

    def measures(self, model: nn.Module, batches: Batches, parameters: Parameters) -> dict[str, Measured]:
        """Of each layer the values (U,), and where surrogates are drawn their mean and p beside them."""
        seen = observe(model, batches, parameters)
        source = source_series(seen, self.source, self.bins)
        return {name: self._measured(source, binned(h, self.bins, self.binning)) for name, h in seen.hidden.items()}

    def _measured(self, source: Tensor, unit: Tensor) -> Measured:
        def measure(of: Tensor, on: Tensor) -> Tensor:
            ends = (of, on) if self.direction == "to_unit" else (on, of)
            histories = (self.lag, self.target_history, self.source_history)
            return information.transfer_entropy(*ends, *histories, self.miller_madow)

        return measured(measure, source, unit, self.surrogates)
