"""mutual_information: what a unit's value tells of the output for the label at the same frame (research project 21K17772, final report,
section 4 (2), sets it beside transfer entropy)."""

from __future__ import annotations

from dataclasses import dataclass

from prune_cli.common.lazy import Tensor
from prune_cli.scorers.registry import scorers
from prune_cli.scorers.unit_scorer import InformationScorer
from prune_cli.units import information


@scorers.register("mutual_information")
@dataclass(frozen=True)
class MutualInformation(InformationScorer):
    """I(source; unit) = Σ p(x,y) ln[p(x,y) / (p(x) p(y))], nats, over all clips and frames; x the unit's binned hidden
    state, y the source at the same frame.

    keep, source, bins, binning, surrogates, surrogate_kind, miller_madow: as in `transfer_entropy`.
    """

    keep: str = "low"
    source: str = "output"
    bins: int = 8
    binning: str = "equal"
    surrogates: int = 0
    surrogate_kind: str = "clips"
    miller_madow: bool = False

    title = "MI"

    def _information(self, source: Tensor, unit: Tensor) -> Tensor:
        return information.mutual_information(source, unit, miller_madow=self.miller_madow)
