"""mutual_information: what a unit's value tells of the label at the same frame (research project 21K17772, final report,
section 4 (2), sets it beside transfer entropy)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from torch import nn

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


@scorers.register("mutual_information")
@dataclass(frozen=True)
class MutualInformation:
    """I(source; unit) = Σ p(x,y) ln[p(x,y) / (p(x) p(y))], nats, over all clips and frames; x the unit's binned hidden
    state, y the source at the same frame.

    keep, source, bins, binning, surrogates, miller_madow: as in `transfer_entropy`.
    """

    keep: str = "low"
    source: str = "label"
    bins: int = 8
    binning: str = "equal"
    surrogates: int = 0
    miller_madow: bool = False

    title = "MI"
    scores = ("units",)
    scoring_batches = CLIPS

    def __post_init__(self) -> None:
        check_choices(self.keep, source=(self.source, SOURCES), binning=(self.binning, BINNINGS))
        for name, low in {"bins": 2, "surrogates": 0}.items():
            if getattr(self, name) < low:
                raise ConfigError(f"{name} must be {low} or more, not {getattr(self, name)}", f"scorer.{name}")

    def __call__(self, model: nn.Module, batches: Batches, parameters: Parameters) -> Scores:
        """Score the units of the layers that `parameters` names; higher = keep."""
        return ranked(self.measures(model, batches, parameters), self.keep)

    def measures(self, model: nn.Module, batches: Batches, parameters: Parameters) -> dict[str, Measured]:
        """Of each layer the values (U,), and where surrogates are drawn their mean and p beside them."""
        seen = observe(model, batches, parameters)
        source = source_series(seen, self.source, self.bins)
        measure = partial(information.mutual_information, miller_madow=self.miller_madow)
        binned_units = {name: binned(h, self.bins, self.binning) for name, h in seen.hidden.items()}
        return {name: measured(measure, source, unit, self.surrogates) for name, unit in binned_units.items()}
