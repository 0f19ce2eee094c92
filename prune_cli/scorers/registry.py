"""The door to all scorers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Protocol

from torch import Tensor, nn

from prune_cli.common.registry import Registry

Batches = Iterable[tuple[Tensor, Tensor]]
Parameters = Mapping[str, nn.Parameter]
Scores = dict[str, Tensor]


class Scorer(Protocol):
    """A score for each prunable weight, or for each unit. The fields of its dataclass are its options.

    One of units says `scores = ("units",)`, may have `measures`, what was measured of each unit by name, and wants
    `scoring_batches` of clips. Its `parameters` name the recurrent layers, and so do its scores, (U,) each. One that looks
    at no data says `sees_data = False`: of the batches it may read the shape of an image, and nothing else.
    """

    name: str
    title: str  # how tables write the method

    def __call__(self, model: nn.Module, batches: Batches, parameters: Parameters) -> Scores:
        """Score the weights; higher = keep.

        batches: (inputs, labels) pairs; several are averaged, weighted by their number of samples.
        parameters: the prunable weights of `model` by name. Returns a tensor of the same shape for each name. The
        model's weights, gradients, buffers and modes are afterwards what they were. Raises NumericalError for a loss
        that is not finite.
        """
        ...


def repeatable(batches: Batches) -> Batches:
    """The batches, to be gone through several times: those of an iterator, which ends after one pass, as a list."""
    return list(batches) if isinstance(batches, Iterator) else batches


def rounds_of(scorer: Scorer) -> int:
    """How many times the scorer has to score for one mask: its option `rounds`, 1 where it has none."""
    return getattr(scorer, "rounds", 1)


def batches_of(scorer: Scorer) -> int:
    """How many batches the scorer wants to see where `scoring.batches` does not say."""
    return getattr(scorer, "scoring_batches", 1)


def sees_data(scorer: Scorer) -> bool:
    """Whether the scores depend on the images or clips that the scorer is given."""
    return getattr(scorer, "sees_data", True)


def scores_of(scorer: Scorer) -> tuple[str, ...]:
    """What the scorer can score: weights, units or both."""
    return getattr(scorer, "scores", ("weights",))


scorers: Registry[Scorer] = Registry("scorer", "prune_cli.scorers")
