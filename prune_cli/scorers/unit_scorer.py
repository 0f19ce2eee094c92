"""Base classes of scorers of units, and the hidden states of a recurrent layer over time that they measure.

UnitScorer is the base of all of them, InformationScorer of those that relate the states to a source (label or output).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from typing import ClassVar

from prune_cli.common.errors import ConfigError, nearest
from prune_cli.common.lazy import F, Tensor, nn, torch
from prune_cli.scorers.base import Batches, Measured, Parameters, Scorer, Scores
from prune_cli.scorers.gradients import check_finite, eval_mode, numbered
from prune_cli.units.information import SURROGATE_KINDS, against_surrogates, equal_bins, quantile_bins

KEEPS = ("low", "high")
SOURCES = ("output", "label")
BINNINGS = ("equal", "quantile")
CLIPS = 16  # batches of clips: plug-in entropies need many samples


@dataclass(frozen=True)
class UnitScorer(Scorer):
    """Ranks units by what it measures of each. keep: low removes the units with the highest values, high those
    with the lowest."""

    keep: str = "low"

    scores = ("units",)
    measures_units = True

    def __post_init__(self) -> None:
        check_choices(self.keep)

    def __call__(self, model: nn.Module, batches: Batches, parameters: Parameters) -> Scores:
        """Score the units of the layers that `parameters` names; higher = keep."""
        return ranked(self.measures(model, batches, parameters), self.keep)

    def measures(self, model: nn.Module, batches: Batches, parameters: Parameters) -> dict[str, Measured]:
        """The measurements of the units of each layer: `value` and possibly others, (U,) each, on the CPU."""
        raise NotImplementedError


class InformationScorer(UnitScorer):
    """Measures the information between binned hidden states and a source. Subclasses declare these options as fields."""

    source: str
    bins: int
    binning: str
    surrogates: int
    surrogate_kind: str

    scoring_batches = CLIPS
    version: ClassVar[int] = 2  # 1: the source was the label unless asked otherwise
    least: ClassVar[Mapping[str, int]] = {"bins": 2, "surrogates": 0}  # option -> its smallest value

    def __post_init__(self) -> None:
        check_choices(
            self.keep,
            source=(self.source, SOURCES),
            binning=(self.binning, BINNINGS),
            surrogate_kind=(self.surrogate_kind, SURROGATE_KINDS),
        )
        for name, low in self.least.items():
            if getattr(self, name) < low:
                what = f"{name} must be {low} or more, not {getattr(self, name)}"
                raise ConfigError(what, f"scorer.{name}", f"scorer.{name}={low}")

    @property
    def canonical(self) -> InformationScorer:
        """The scorer that the run's hash is made from: without surrogates their kind is set to the default."""
        return self if self.surrogates else replace(self, surrogate_kind=SURROGATE_KINDS[0])  # type: ignore[call-arg]

    @property
    def idle(self) -> Mapping[str, str]:
        """The options that have no effect beside the values of the others: option -> reason."""
        return {} if self.surrogates else {"surrogate_kind": "no surrogate is drawn with scorer.surrogates=0"}

    @property
    def label_must_change(self) -> bool:
        """Whether scoring needs clips whose label changes: a label shifted in time must differ from itself."""
        return self.source == "label" and self.surrogates > 0 and self.surrogate_kind == "shift"

    def measures(self, model: nn.Module, batches: Batches, parameters: Parameters) -> dict[str, Measured]:
        """The measurements of the units of each layer, (U,) each: `value`, and with surrogates those of `_measured`.

        Raises ConfigError where every unit measures 0, because the source or the units never change.
        """
        keep = partial(small_bins, bins=self.bins) if self.binning == "equal" else None
        states = record_hidden_states(model, batches, parameters, keep)
        source = source_series(states, self.source, self.bins)
        units = {name: h if keep else quantile_bins(h, self.bins) for name, h in states.hidden.items()}
        del states
        found = {name: self._measured(source, unit) for name, unit in units.items()}
        if not any(bool(each.get("uncorrected", each["value"]).any()) for each in found.values()):
            what = (
                f"every unit measures 0: the {self.source} or the units never change where one could tell of the other"
            )
            raise ConfigError(what, f"scorer.source={self.source}", "another source, or more scorer.bins")
        return found

    def _measured(self, source: Tensor, unit: Tensor) -> Measured:
        """The value of each unit. With surrogates: the value corrected by their mean, and beside it the uncorrected one,
        that mean, p and p corrected for the number of units."""
        if not self.surrogates:
            return {"value": self._information(source, unit)}
        found = against_surrogates(self._information, source, unit, self.surrogates, kind=self.surrogate_kind)
        beside = {"uncorrected": found.value, "surrogate_mean": found.surrogate_mean}
        return {"value": found.corrected, **beside, "p": found.p, "p_adjusted": found.p_adjusted}

    def _information(self, source: Tensor, unit: Tensor) -> Tensor:
        """The information between a source (C, T) and binned units (C, T, U), in nats, (U,)."""
        raise NotImplementedError


@dataclass(frozen=True)
class HiddenStates:
    """A model's states over clips C, frames T and units U.

    hidden: hidden_CTU of each layer by name, reduced elementwise where a reduction was given. labels_CT: the labels.
    correct_CT: the probability that the model gives to the label.
    """

    hidden: dict[str, Tensor]
    labels_CT: Tensor
    correct_CT: Tensor


def record_hidden_states(
    model: nn.Module,
    batches: Batches,
    layers: Mapping[str, object],
    reduce: Callable[[Tensor], Tensor] | None = None,
) -> HiddenStates:
    """Run the model in eval mode over all batches and return the hidden states of these recurrent layers.

    reduce: an elementwise function applied to the hidden states of each batch before they are kept. Raises ConfigError
    for a layer that is not recurrent, ValueError without batches.
    """
    hidden: dict[str, list[Tensor]] = {name: [] for name in layers}
    labels, correct = [], []
    with ExitStack() as stack:
        stack.enter_context(eval_mode(model))
        stack.enter_context(torch.no_grad())
        for name in layers:
            keep = hidden[name].append
            hook = recurrent(model, name).register_forward_hook(
                lambda _m, _x, out, keep=keep: keep(reduce(out[0].cpu()) if reduce else out[0].cpu())
            )
            stack.callback(hook.remove)
        for number, (x, y) in enumerate(batches):
            logits_BKT = model(x)
            with numbered(number):
                check_finite(F.cross_entropy(logits_BKT, y), "loss")
            correct.append(logits_BKT.softmax(1).gather(1, y.unsqueeze(1)).squeeze(1).cpu())
            labels.append(y.cpu())
    if not labels:
        raise ValueError("scores need at least one batch")
    return HiddenStates(
        {name: torch.cat(found) for name, found in hidden.items()}, torch.cat(labels), torch.cat(correct)
    )


def recurrent(model: nn.Module, name: str) -> nn.RNNBase:
    """The recurrent layer of this name. Raises ConfigError where there is no such layer."""
    found = dict(model.named_modules()).get(name)
    if not isinstance(found, nn.RNNBase):
        there = [key for key, layer in model.named_modules() if isinstance(layer, nn.RNNBase)]
        raise ConfigError("a scorer of units scores recurrent layers", name, f"there are: {', '.join(there) or 'none'}")
    return found


def check_choices(keep: str, **chosen: tuple[str, tuple[str, ...]]) -> None:
    """Raise ConfigError where `keep` is not one of KEEPS, or another option is not one of its values."""
    for option, (value, known) in {"keep": (keep, KEEPS), **chosen}.items():
        if value not in known:
            raise ConfigError(
                f"there is no {option} {value!r}", f"scorer.{option}", nearest(value, known, f"scorer.{option}=")
            )


def ranked(measured: Mapping[str, Measured], keep: str) -> Scores:
    """The scores of the units of each layer, higher = keep: the values, or their negatives for keep=low."""
    return {name: found["value"] if keep == "high" else -found["value"] for name, found in measured.items()}


def small_bins(hidden: Tensor, bins: int) -> Tensor:
    """Hidden states as indices of equal-width bins on (-1, 1), uint8 where that is enough."""
    return equal_bins(hidden, bins, -1, 1).to(torch.uint8 if bins <= 256 else torch.int32)


def source_series(states: HiddenStates, source: str, bins: int) -> Tensor:
    """The source series, int (C, T): the label, or the index of the bin of its probability on (0, 1)."""
    return states.labels_CT if source == "label" else equal_bins(states.correct_CT, bins, 0, 1)
