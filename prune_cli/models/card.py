"""ModelCard: the metadata of a model file, from which the model is built again and its input prepared."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from prune_cli.common.errors import PruneCliError, WeightsError
from prune_cli.common.lazy import nn
from prune_cli.models.registry import Model, models, untrained
from prune_cli.runs.json_fields import JsonFields


@dataclass(frozen=True, kw_only=True)
class ModelCard(JsonFields):
    """How a model is built and what it sees.

    model: its name and options, as a config has them, without the weights that it started from. classes: how many; their
    names, in the order of its outputs, where they are known. input: of images the channels, height and width [pixels], and
    the mean and std of each channel, which come after division by 255; empty for clips, whose values are in [0, 1].
    """

    model: Mapping[str, Any]
    classes: int
    class_names: list[str] | None = None
    input: Mapping[str, Any]

    @classmethod
    def of(cls, model: Model, class_names: list[str]) -> ModelCard:
        """The card of a model with these classes."""
        options = asdict(model) | untrained(model)
        input = {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(model.input).items()}
        return cls(
            model={"name": model.name, **options}, classes=len(class_names), class_names=class_names, input=input
        )

    def build(self) -> nn.Module:
        """The module, randomly initialised. Raises WeightsError where this prune-cli has no such model."""
        options = {key: value for key, value in self.model.items() if key != "name"}
        try:
            return models.build(self.model["name"], **options).build(self.classes)
        except (PruneCliError, TypeError, ValueError, RuntimeError) as error:
            (reason, *_) = str(error).splitlines() or [type(error).__name__]
            hint = "import the plug-in that registers it, or use the prune-cli and timm that the file was written with"
            raise WeightsError(f"this model cannot be built: {reason}", str(self.model["name"]), hint) from None


def read_card(value: Mapping[str, Any], path: Path) -> ModelCard:
    """The card in a file's metadata. Raises WeightsError where there is none, or another thing."""
    try:
        card = ModelCard.from_json(value)
        if isinstance(card.model, dict) and isinstance(card.model["name"], str) and type(card.classes) is int:
            return card
    except (KeyError, TypeError, ValueError):
        pass
    hint = "a file of `prune-cli export RUN --format compressed`"
    raise WeightsError("this file does not say which model it holds", str(path), hint)
