"""Loading pre-trained weights into a model with a fresh head."""

from __future__ import annotations

import warnings
import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from prune_cli.common.errors import PruneCliError, WeightsError
from prune_cli.common.lazy import Tensor, load_file, nn, torch
from prune_cli.common.plain import JsonObject
from prune_cli.common.random import seeded
from prune_cli.models.prunable import classifier_names
from prune_cli.models.registry import Model
from prune_cli.models.sources import Weights
from prune_cli.runs import compressed

SHOWN = 3  # names listed in a message
UNPICKLED = {".pt", ".pth"}
Shape = tuple[int, ...]


def build(model: Model, weights: Weights, num_classes: int, seed: int) -> nn.Module:
    """The module with these weights and a fresh head for `num_classes`, unless the weights bring the head of the very task.

    Raises WeightsError that names the keys.
    """
    with seeded(seed, "weights"):
        module = _module(model, weights, num_classes)
    if not weights.head:
        with seeded(seed, "head"):
            module.reset_classifier(num_classes)  # type: ignore[operator]
    return module


def read(path: Path) -> dict[str, Tensor]:
    """The tensors of a .safetensors file, compressed (docs/format.md) or plain, or of a .pt/.pth file.

    Weights only: no code in a file is run. Raises WeightsError.
    """
    try:
        if path.suffix in UNPICKLED:
            return _unpickled(path)
        return compressed.read(path).state_dict() if compressed.is_compressed(path) else load_file(path)
    except (OSError, ValueError, SafetensorError, PruneCliError) as error:
        raise _unreadable(path, error) from None


def _unreadable(path: Path, error: Exception) -> WeightsError:
    reason = str(error).strip().splitlines()[0]
    what = reason if isinstance(error, PruneCliError) else f"these weights cannot be read: {reason}"
    hint = "fetch or write the file again: .safetensors, or .pt or .pth with nothing but tensors in it"
    return WeightsError(what, str(path), hint)


@dataclass(frozen=True)
class StateOutline:
    """What weights from a file must fit: the shape of each tensor of a module's state, and the layers of its head."""

    shapes: dict[str, Shape]
    head: frozenset[str]

    @classmethod
    def of(cls, module: nn.Module) -> StateOutline:
        """The outline of a module, which may be on the meta device."""
        return cls(_shapes_of(module.state_dict()), frozenset(classifier_names(module)))

    def to_json(self) -> JsonObject:
        """The outline as a JSON object."""
        return {"shapes": self.shapes, "head": sorted(self.head)}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> StateOutline:
        """The outline that a JSON object from `to_json` holds."""
        return cls({name: tuple(shape) for name, shape in value["shapes"].items()}, frozenset(value["head"]))


def check(state: StateOutline, weights: Weights) -> None:
    """Raise WeightsError unless the file fits, by names and shapes alone."""
    if weights.path is not None and weights.source != "hub":
        _check_keys(state, _shapes(weights.path), weights.path, weights.head)


def restore(module: nn.Module, path: Path) -> None:
    """Load a finished model, head and all. Raises WeightsError that names the keys."""
    tensors = read(path)
    check_tensors(module, tensors, path)
    module.load_state_dict(tensors)


def check_tensors(module: nn.Module, tensors: Mapping[str, Tensor], path: Path) -> None:
    """Raise WeightsError unless the tensors are all that the module, which may be on the meta device, has."""
    _check_keys(StateOutline.of(module), _shapes_of(tensors), path, True)


def _shapes(path: Path) -> dict[str, Shape]:
    if path.suffix in UNPICKLED:
        return _shapes_of(read(path))
    try:
        if compressed.is_compressed(path):
            return compressed.read(path).shapes
        with safe_open(path, framework="np") as file:
            return {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118 - no dict
    except (OSError, SafetensorError, PruneCliError) as error:
        raise _unreadable(path, error) from None


def _shapes_of(tensors: Mapping[str, Tensor]) -> dict[str, Shape]:
    return {name: tuple(t.shape) for name, t in tensors.items()}


def _check_keys(state: StateOutline, given: Mapping[str, Shape], path: Path, head: bool) -> set[str]:
    """The names to load, those of the head only where it is wanted. Raises WeightsError that says which names do not fit."""
    skipped = set() if head else state.head
    wanted = {name: shape for name, shape in state.shapes.items() if _layer(name) not in skipped}
    offered = {name: shape for name, shape in given.items() if _layer(name) not in skipped}
    problems = {
        "missing": wanted.keys() - offered.keys(),
        "unknown": offered.keys() - wanted.keys(),
        "of another shape": {n for n in wanted.keys() & offered.keys() if wanted[n] != offered[n]},
    }
    if any(problems.values()):
        found = "; ".join(f"{len(names)} {kind}: {_some_names(names)}" for kind, names in problems.items() if names)
        raise WeightsError(f"these weights are of another model ({found})", str(path), "model=… that fits them")
    return set(offered)


def _layer(name: str) -> str:
    return name.rpartition(".")[0]


def _some_names(names: Iterable[str]) -> str:
    names = sorted(names)
    return ", ".join(names[:SHOWN]) + (", …" if len(names) > SHOWN else "")


def _unpickled(path: Path) -> dict[str, Tensor]:
    _check_size(path)
    try:
        with warnings.catch_warnings(action="ignore"):  # of pickle protocols
            loaded = torch.load(path, map_location="cpu", weights_only=True)
    except OSError:
        raise
    except Exception:  # a damaged pickle raises anything; what torch says of other code is to run it all the same
        raise ValueError("damaged, or more than tensors in it, and no code in it is run") from None
    return _state_dict(loaded)


def _check_size(path: Path) -> None:
    """Raise ValueError if a .zip, which torch's files are, would unpack to more than it has: torch compresses nothing."""
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as file:
            unpacked = sum(part.file_size for part in file.infolist())
        if unpacked > path.stat().st_size:
            raise ValueError(f"it would unpack to {unpacked:,} bytes, more than it has")


def _state_dict(loaded: Any) -> dict[str, Tensor]:
    for key in ("state_dict", "model"):
        if isinstance(loaded, dict) and isinstance(loaded.get(key), dict):
            loaded = loaded[key]
    if not isinstance(loaded, dict) or not all(
        isinstance(name, str) and _is_plain_tensor(t) for name, t in loaded.items()
    ):
        raise ValueError("no dictionary of tensors in it")
    return loaded


def _is_plain_tensor(found: Any) -> bool:
    """Whether an object is a tensor with all values in memory: not sparse, nested, quantised or on the meta device."""
    return (
        isinstance(found, Tensor)
        and found.layout == torch.strided
        and found.device.type == "cpu"
        and not (found.is_nested or found.is_quantized)
    )


def _module(model: Model, weights: Weights, num_classes: int) -> nn.Module:
    if weights.path is None:
        return model.build(num_classes)
    if weights.source == "hub":
        try:
            return model.build_pretrained(num_classes, weights.path)  # type: ignore[attr-defined]
        except RuntimeError as error:  # torch lists every tensor that does not fit
            reason = str(error).strip().splitlines()[-1].strip()
            raise WeightsError(
                f"these weights do not fit the model: {reason}", str(weights.path), "another model.image_size"
            ) from None
    module, tensors = model.build(num_classes), read(weights.path)
    names = _check_keys(StateOutline.of(module), _shapes_of(tensors), weights.path, weights.head)
    module.load_state_dict({name: tensors[name] for name in names}, strict=False)
    return module
