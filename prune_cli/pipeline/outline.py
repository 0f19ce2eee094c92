"""Outlines of models without weights: names, shapes and sizes, which suffice for counts, plans and checks."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from prune_cli.common.lazy import Tensor, nn, torch
from prune_cli.common.plain import JsonObject
from prune_cli.common.registry import is_packaged
from prune_cli.config.schema import Settings
from prune_cli.models.weights import StateOutline
from prune_cli.runs import facts
from prune_cli.targets import Target
from prune_cli.training.memory import ModelBytes

KIND = "model"


@dataclass(frozen=True)
class TensorOutline:
    """The shape and value size of a tensor, with its methods that ask for them. itemsize: bytes of a value."""

    shape: tuple[int, ...]
    itemsize: int

    @property
    def ndim(self) -> int:
        """The number of dimensions."""
        return len(self.shape)

    def numel(self) -> int:
        """The number of values."""
        return math.prod(self.shape)

    def element_size(self) -> int:
        """The size of one value in bytes."""
        return self.itemsize


TensorOutlines = dict[str, TensorOutline]


@dataclass(frozen=True)
class ModelOutline:
    """The outline of a model for a number of classes and a target.

    removable: what can be removed, by name, in the model's order (Target.parameters). zeroed: the tensors in which
    removal sets zeros (Target.zeroed). parameters: the number of all. bytes: of all parameters and buffers. score_bytes:
    of what is scored. state: what weights from a file must fit. batch_norm: whether it has statistics of batches.
    """

    removable: TensorOutlines
    zeroed: TensorOutlines
    parameters: int
    bytes: ModelBytes
    score_bytes: int
    state: StateOutline
    batch_norm: bool

    @classmethod
    def of(cls, model: nn.Module, target: Target, prunable: list[str]) -> ModelOutline:
        """The outline of a model, which may be on the meta device. Raises ConfigError where nothing can be removed."""
        return cls(
            removable=outlines(target.parameters(model, prunable)),
            zeroed=outlines(target.zeroed(model, prunable)),
            parameters=sum(p.numel() for p in model.parameters()),
            bytes=ModelBytes.of(model),
            score_bytes=target.score_bytes(model, prunable),
            state=StateOutline.of(model),
            batch_norm=any(isinstance(layer, nn.modules.batchnorm._BatchNorm) for layer in model.modules()),
        )

    @property
    def size(self) -> int:
        """The number of entries that can be removed."""
        return sum(tensor.numel() for tensor in self.removable.values())

    def zeros(self, removed: int) -> int:
        """The number of weights that become zero where `removed` entries are removed; the mean where entries differ in size."""
        return removed * sum(tensor.numel() for tensor in self.zeroed.values()) // self.size

    def to_json(self) -> JsonObject:
        """The outline as a JSON object."""
        return asdict(self) | {"state": self.state.to_json()}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> ModelOutline:
        """The outline that a JSON object from `to_json` holds."""
        tensors = {
            part: {name: TensorOutline(tuple(each["shape"]), each["itemsize"]) for name, each in value[part].items()}
            for part in ("removable", "zeroed")
        }
        parts = {"bytes": ModelBytes(**value["bytes"]), "state": StateOutline.from_json(value["state"])}
        return cls(**{**value, **tensors, **parts})


def model_outline(settings: Settings, target: Target, classes: int) -> ModelOutline:
    """The outline from the cache (runs/facts.py), else from the model built on the meta device. Raises ConfigError."""
    if not (is_packaged(settings.model) and is_packaged(target)):
        return _build_outline(settings, target, classes)
    key = _cache_key(settings, target, classes)
    return ModelOutline.from_json(facts.known(KIND, key, lambda: _build_outline(settings, target, classes).to_json()))


def confirm_outline(outline: ModelOutline, settings: Settings, target: Target, classes: int) -> None:
    """Build the outline again. Raises PruneCliError, and removes the cached one, where the two differ."""
    if _build_outline(settings, target, classes) != outline:
        facts.forget(KIND, _cache_key(settings, target, classes))
        raise facts.outdated(f"model={settings.model.name}")


def _cache_key(settings: Settings, target: Target, classes: int) -> JsonObject:
    """The key of an outline in the cache: model, target, classes and precision."""
    return {
        "model": {"name": settings.model.name, **asdict(settings.model)},
        "target": target.name,
        "classes": classes,
        "precision": settings.compute.precision,
    }


def _build_outline(settings: Settings, target: Target, classes: int) -> ModelOutline:
    with torch.device("meta"):
        model = settings.model.build(classes).to(settings.compute.dtype)
    return ModelOutline.of(model, target, settings.model.prunable)


def outlines(tensors: Mapping[str, Tensor]) -> TensorOutlines:
    """The outline of each tensor."""
    return {name: TensorOutline(tuple(tensor.shape), tensor.element_size()) for name, tensor in tensors.items()}
