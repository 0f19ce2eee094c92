"""Scorer: the base class of scorers, with the attributes that one may declare beside the call."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import Field, fields
from typing import Any, ClassVar

from prune_cli.common.errors import PruneCliError
from prune_cli.common.lazy import Tensor, nn

Batches = Iterable[tuple[Tensor, Tensor]]
Parameters = Mapping[str, "nn.Parameter"]
Scores = dict[str, Tensor]
Measured = dict[str, Tensor]  # measurements of the units of a layer by name, (U,) each; units are ranked by `value`


class Scorer(ABC):
    """A score for each prunable weight, or for each unit. The fields of its dataclass are its options.

    A scorer of units (`scores`) is handed parameters that name the recurrent layers, and so are its scores, (U,) each.
    The attributes below have defaults; a registered class that does not inherit is given them (see `with_defaults`).
    """

    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]
    name: ClassVar[str]
    title: ClassVar[str]  # how tables write the method
    scores: ClassVar[tuple[str, ...]] = ("weights",)  # the targets that the scorer can score: weights, units or both
    sees_data: ClassVar[bool] = True  # False: the scorer reads the shape of an image from the batches, and no values
    scoring_batches: ClassVar[int] = 1  # number of batches to score on where `scoring.batches` is null
    rounds: int = 1  # number of scorings for one mask; each round scores the model that the previous round has pruned
    allows_regrowth: ClassVar[bool] = (
        False  # with rounds: pruned weights compete again in each round, and the call gets their original values
    )
    measures_units: ClassVar[bool] = False  # whether `measures` is implemented
    keep: str = "high"  # with measures_units: whether units with low or with high values are kept
    version: ClassVar[int] = 1  # raised when the options of old runs begin to mean other numbers

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
        """Yield (parameter name, {term name: tensor}); a score that is no sum has one term, `score`."""
        yield from ((name, {"score": score}) for name, score in self(model, batches, parameters).items())

    def measures(self, model: nn.Module, batches: Batches, parameters: Parameters) -> dict[str, Measured]:
        """The measurements of the units of each layer, by layer. Implemented where `measures_units` is True."""
        raise NotImplementedError(f"{self.name} measures no units")

    @property
    def frames(self) -> int:
        """The least number of frames of a clip that can be scored."""
        return 1

    @property
    def label_must_change(self) -> bool:
        """Whether scoring needs clips whose label changes."""
        return False

    @property
    def idle(self) -> Mapping[str, str]:
        """The options that have no effect beside the values of the others: option -> reason."""
        return {}


def with_defaults(cls: type) -> type:
    """Give a class that does not inherit from Scorer each attribute of Scorer that it lacks, and return the class."""
    options = {field.name for field in fields(cls)}
    for name, default in vars(Scorer).items():
        if not (name.startswith("_") or name in options or hasattr(cls, name)):
            setattr(cls, name, default)
    return cls


def check_scores(scores: Mapping[str, Tensor], parameters: Parameters) -> None:
    """Raise PruneCliError, with the name, unless each parameter has scores of its shape, and nothing else has any."""
    found, wanted = [{name: tuple(t.shape) for name, t in given.items()} for given in (scores, parameters)]
    for name in dict.fromkeys([*wanted, *found]):
        if found.get(name) != wanted.get(name):
            what = f"the scorer gave it scores of shape {found.get(name)}, where {wanted.get(name)} is wanted"
            raise PruneCliError(what, name, "a scorer returns a tensor of the same shape for each parameter, no other")


def repeatable(batches: Batches) -> Batches:
    """Batches that can be iterated several times: an iterator, which ends after one pass, becomes a list."""
    return list(batches) if isinstance(batches, Iterator) else batches
