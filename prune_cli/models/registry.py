"""The registry of models, and the protocol that models follow."""

from __future__ import annotations

from dataclasses import Field, dataclass, fields
from typing import Any, ClassVar, Protocol

from prune_cli.common.lazy import nn
from prune_cli.common.plain import Options
from prune_cli.common.registry import Registry


@dataclass(frozen=True)
class ImageInput:
    """What a model's input looks like: channels, height and width in pixels, and the mean and std it was trained with.

    Images come to that size in one way for all models (data/images.py): resized bilinearly, the middle kept.
    """

    channels: int
    height: int
    width: int
    mean: tuple[float, ...]
    std: tuple[float, ...]


@dataclass(frozen=True)
class ClipInput:
    """What a recurrent model's input looks like: clips_BTHW of grey frames of any size, values in [0, 1]."""


class Model(Protocol):
    """A family of models. The fields of its dataclass are its options.

    One with `keeps_head = True` is trained for its very task: its weights bring their classifier, others get a fresh one.
    One whose `weights` say how its images are prepared has `canonical`: the same model, in which other options say it.
    """

    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]
    name: str
    weights: str  # packaged | hub | random | a file
    prunable: list[str]  # patterns over parameter names

    @property
    def title(self) -> str:
        """The model's name in tables."""
        ...

    @property
    def input(self) -> ImageInput | ClipInput:
        """The size and normalisation of the model's images, or ClipInput for a model of clips."""
        ...

    def build(self, num_classes: int) -> nn.Module:
        """The module with timm's own random initialisation, drawn from torch's global generator."""
        ...


def untrained(model: Model) -> Options:
    """The options to change for a model with random weights instead, its images prepared as before."""
    same = getattr(model, "canonical", model)
    values = {option.name: getattr(same, option.name) for option in fields(model)}
    return {name: value for name, value in values.items() if value != getattr(model, name)} | {"weights": "random"}


models: Registry[Model] = Registry("model", "prune_cli.models")
