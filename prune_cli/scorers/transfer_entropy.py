"""transfer_entropy: what the output for the label tells of a unit's next value beyond its own past (Schreiber, "Measuring
information transfer", 2000; research project 21K17772, final report, section 4 (2))."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from prune_cli.common.lazy import Tensor
from prune_cli.scorers.registry import scorers
from prune_cli.scorers.unit_scorer import InformationScorer, check_choices
from prune_cli.units import information

DIRECTIONS = ("to_unit", "from_unit")


@scorers.register("transfer_entropy")
@dataclass(frozen=True)
class TransferEntropy(InformationScorer):
    """TE(source → unit) = Σ p(x',x,y) ln[p(x'|x,y) / p(x'|x)], nats, over all clips and frames; x the unit's binned hidden
    state, y the source.

    keep: low removes the units with the highest values (the report's "Low"). source: output (the
    model's probability for the label, which the report writes), or label. direction: from_unit measures TE(unit → source). bins, binning (equal or quantile): of the hidden
    states, and of a probability. lag moves the source alone. target_history and source_history: frames of the past.
    surrogates > 0 takes away the mean of so many measurements of surrogate sources. surrogate_kind: clips permutes the
    clips, which leaves the course over time that all clips share in the surrogates; shift turns each clip round in time,
    which removes it and leaves what a clip keeps throughout. miller_madow corrects each entropy for the cells seen.
    """

    keep: str = "low"
    source: str = "output"
    direction: str = "to_unit"
    bins: int = 8
    binning: str = "equal"
    lag: int = 1
    target_history: int = 1
    source_history: int = 1
    surrogates: int = 0
    surrogate_kind: str = "clips"
    miller_madow: bool = False

    title = "TE"
    least: ClassVar[Mapping[str, int]] = {**InformationScorer.least, "lag": 1, "target_history": 1, "source_history": 1}

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choices(self.keep, direction=(self.direction, DIRECTIONS))

    @property
    def label_must_change(self) -> bool:
        """Whether nothing can be measured with one label a clip: a target that stays tells its own next value."""
        return super().label_must_change or (self.source == "label" and self.direction == "from_unit")

    @property
    def frames(self) -> int:
        """Frames that a clip must have."""
        return 1 + max(self.target_history, self.lag + self.source_history - 1)

    def _information(self, source: Tensor, unit: Tensor) -> Tensor:
        ends = (source, unit) if self.direction == "to_unit" else (unit, source)
        histories = (self.lag, self.target_history, self.source_history)
        return information.transfer_entropy(*ends, *histories, self.miller_madow)
