"""Scorer: what every scorer promises, and what one may declare about itself beyond the call."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import Field, fields
from typing import Any, ClassVar

from prune_cli.common.lazy import Tensor, nn

Batches = Iterable[tuple[Tensor, Tensor]]
Parameters = Mapping[str, "nn.Parameter"]
Scores = dict[str, Tensor]
Measured = dict[str, Tensor]  # what was measured of each unit, (U,) each; `value` is what ranks


class Scorer(ABC):
    """A score for each prunable weight, or for each unit. The fields of its dataclass are its options.

    A scorer of units (`scores`) is handed parameters that name the recurrent layers, and so are its scores, (U,) each.
    The attributes below have defaults; a registered class that does not inherit is given them (see `with_defaults`).
    """

    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]
    name: ClassVar[str]
    title: ClassVar[str]  # how tables write the method
    scores: ClassVar[tuple[str, ...]] = ("weights",)  # what it can score: weights, units or both
    sees_data: ClassVar[bool] = True  # False: of the batches it reads the shape of an image, and nothing else
    scoring_batches: ClassVar[int] = 1  # how many batches it wants where `scoring.batches` does not say
    rounds: int = 1  # how many times it scores for one mask, each time what the round before left
    allows_regrowth: ClassVar[bool] = (
        False  # with rounds: all weights compete in each, and their first values are handed over
    )
    measures_units: ClassVar[bool] = False  # `measures` says what was measured of each unit
    keep: str = "high"  # of what measures units: whether those with low or with high values stay
    version: ClassVar[int] = 1  # goes up when the same options begin to mean other numbers

    @abstractmethod
    def __call__(self, model: nn.Module, batches: Batches, parameters: Parameters) -> Scores:
        """Score the weights; higher = keep.

        batches: (inputs, labels) pairs; several are averaged, weighted by their number of samples.
        parameters: the prunable weights of `model` by name. Returns a tensor of the same shape for each name. The
        model's weights, gradients, buffers and modes are afterwards what they were. Raises NumericalError for a loss
        that is not finite.
        """

    def terms(
        self, model: nn.Module, batches: Batches, parameters: Parameters
    ) -> Iterator[tuple[str, dict[str, Tensor]]]:
        """The terms of a score that is a sum, tensor by tensor, by their names; of any other score the score itself."""
        yield from ((name, {"score": score}) for name, score in self(model, batches, parameters).items())

    def measures(self, model: nn.Module, batches: Batches, parameters: Parameters) -> dict[str, Measured]:
        """Of each layer what was measured of its units, where `measures_units`."""
        raise NotImplementedError(f"{self.name} measures no units")

    @property
    def frames(self) -> int:
        """Frames that a clip must have."""
        return 1

    @property
    def label_must_change(self) -> bool:
        """Whether nothing can be measured with one label a clip."""
        return False


def with_defaults(cls: type) -> type:
    """The class itself; one that does not inherit from Scorer is given each attribute of Scorer that it does not have."""
    options = {field.name for field in fields(cls)}
    for name, default in vars(Scorer).items():
        if not (name.startswith("_") or name in options or hasattr(cls, name)):
            setattr(cls, name, default)
    return cls


def repeatable(batches: Batches) -> Batches:
    """The batches, to be gone through several times: those of an iterator, which ends after one pass, as a list."""
    return list(batches) if isinstance(batches, Iterator) else batches
