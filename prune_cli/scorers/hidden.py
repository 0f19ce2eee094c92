"""What scorers of units share: the hidden states of a recurrent layer over time, and which way round they rank.

UnitScorer is the base of all of them, InformationScorer of those that hold the states against a source.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from prune_cli.common.errors import ConfigError, nearest
from prune_cli.scorers.gradients import check_finite, numbered, quiet
from prune_cli.scorers.registry import Batches, Parameters, Scores
from prune_cli.units.information import Measure, against_shuffled, equal_bins, quantile_bins

KEEPS = ("low", "high")
SOURCES = ("label", "output")
BINNINGS = ("equal", "quantile")
CLIPS = 16  # batches of clips: plug-in entropies need many samples
Measured = dict[str, Tensor]  # what was measured of each unit, (U,) each; `value` is what ranks


@dataclass(frozen=True)
class UnitScorer:
    """Ranks units by what it measures of each. keep: low removes the units with the highest values, high those
    with the lowest."""

    keep: str = "low"

    scores = ("units",)

    def __post_init__(self) -> None:
        check_choices(self.keep)

    def __call__(self, model: nn.Module, batches: Batches, parameters: Parameters) -> Scores:
        """Score the units of the layers that `parameters` names; higher = keep."""
        return ranked(self.measures(model, batches, parameters), self.keep)

    def measures(self, model: nn.Module, batches: Batches, parameters: Parameters) -> dict[str, Measured]:
        """Of each layer the values (U,), and what stands beside them."""
        raise NotImplementedError


class InformationScorer(UnitScorer):
    """Measures binned hidden states against a source. Its dataclass declares these options, in an order of its own."""

    source: str
    bins: int
    binning: str
    surrogates: int

    scoring_batches = CLIPS
    least: ClassVar[Mapping[str, int]] = {"bins": 2, "surrogates": 0}  # of an option

    def __post_init__(self) -> None:
        check_choices(self.keep, source=(self.source, SOURCES), binning=(self.binning, BINNINGS))
        for name, low in self.least.items():
            if getattr(self, name) < low:
                what = f"{name} must be {low} or more, not {getattr(self, name)}"
                raise ConfigError(what, f"scorer.{name}", f"scorer.{name}={low}")

    def measures(self, model: nn.Module, batches: Batches, parameters: Parameters) -> dict[str, Measured]:
        """Of each layer the values (U,), and where surrogates are drawn their mean and p beside them."""
        seen = observe(model, batches, parameters)
        source = source_series(seen, self.source, self.bins)
        units = {name: binned(h, self.bins, self.binning) for name, h in seen.hidden.items()}
        return {name: measured(self._information, source, unit, self.surrogates) for name, unit in units.items()}

    def _information(self, source: Tensor, unit: Tensor) -> Tensor:
        """Of a source (C, T) and binned units (C, T, U): nats, (U,)."""
        raise NotImplementedError


@dataclass(frozen=True)
class Seen:
    """Over clips C, frames T and units U: hidden_CTU of each layer by name, labels_CT, and correct_CT, the probability
    that the model gives to the label."""

    hidden: dict[str, Tensor]
    labels_CT: Tensor
    correct_CT: Tensor


def observe(model: nn.Module, batches: Batches, layers: Mapping[str, object]) -> Seen:
    """Run the model over all batches, in eval mode. Raises ConfigError for a name of no recurrent layer."""
    hidden: dict[str, list[Tensor]] = {name: [] for name in layers}
    labels, correct = [], []
    with ExitStack() as stack:
        stack.enter_context(quiet(model))
        stack.enter_context(torch.no_grad())
        for name in layers:
            keep = hidden[name].append
            hook = recurrent(model, name).register_forward_hook(lambda _m, _x, out, keep=keep: keep(out[0].cpu()))
            stack.callback(hook.remove)
        for number, (x, y) in enumerate(batches):
            logits_BKT = model(x)
            with numbered(number):
                check_finite(F.cross_entropy(logits_BKT, y), "loss")
            correct.append(logits_BKT.softmax(1).gather(1, y.unsqueeze(1)).squeeze(1).cpu())
            labels.append(y.cpu())
    if not labels:
        raise ValueError("scores need at least one batch")
    return Seen({name: torch.cat(found) for name, found in hidden.items()}, torch.cat(labels), torch.cat(correct))


def recurrent(model: nn.Module, name: str) -> nn.RNNBase:
    """The recurrent layer of this name. Raises ConfigError."""
    found = dict(model.named_modules()).get(name)
    if not isinstance(found, nn.RNNBase):
        there = [key for key, layer in model.named_modules() if isinstance(layer, nn.RNNBase)]
        raise ConfigError("a scorer of units scores recurrent layers", name, f"there are: {', '.join(there) or 'none'}")
    return found


def check_choices(keep: str, **chosen: tuple[str, tuple[str, ...]]) -> None:
    """Raise ConfigError for a value of `keep`, or of another option, that is none of those it knows."""
    for option, (value, known) in {"keep": (keep, KEEPS), **chosen}.items():
        if value not in known:
            raise ConfigError(
                f"there is no {option} {value!r}", f"scorer.{option}", nearest(value, known, f"scorer.{option}=")
            )


def ranked(measured: Mapping[str, Measured], keep: str) -> Scores:
    """Scores, higher = keep: the values, or their negatives where low ones are kept."""
    return {name: found["value"] if keep == "high" else -found["value"] for name, found in measured.items()}


def binned(values: Tensor, bins: int, binning: str) -> Tensor:
    """Hidden states as bin numbers: of equal width on (-1, 1), or equally full for each unit."""
    return equal_bins(values, bins, -1, 1) if binning == "equal" else quantile_bins(values, bins)


def source_series(seen: Seen, source: str, bins: int) -> Tensor:
    """The series that units are held against, int (C, T): the label, or the bin of its probability on (0, 1)."""
    return seen.labels_CT if source == "label" else equal_bins(seen.correct_CT, bins, 0, 1)


def measured(measure: Measure, source: Tensor, unit: Tensor, surrogates: int) -> Measured:
    """The value of each unit; with surrogates corrected by their mean, which stands beside it with p."""
    if not surrogates:
        return {"value": measure(source, unit)}
    found = against_shuffled(measure, source, unit, surrogates)
    return {"value": found.corrected, "uncorrected": found.value, "surrogate_mean": found.surrogate_mean, "p": found.p}
