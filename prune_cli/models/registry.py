"""The door to all models."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from torch import nn

from prune_cli.common.registry import Registry


@dataclass(frozen=True)
class ImageInput:
    """What a model's input looks like: channels, height and width in pixels, and the mean and std it was trained with."""

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
    """

    name: str
    weights: str  # packaged | hub | random | a file
    prunable: list[str]  # patterns over parameter names

    @property
    def title(self) -> str:
        """How tables write the model."""
        ...

    @property
    def input(self) -> ImageInput | ClipInput:
        """What its images look like, or that it sees clips."""
        ...

    def build(self, num_classes: int) -> nn.Module:
        """The module with timm's own random initialisation, drawn from torch's global generator."""
        ...


models: Registry[Model] = Registry("model", "prune_cli.models")
