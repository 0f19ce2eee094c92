"""Pre-trained weights: where they are, what they are (sha256), and how they come into a model with a fresh head."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from prune_cli.common.errors import WeightsError
from prune_cli.common.random import seeded
from prune_cli.models.prunable import classifier_names
from prune_cli.models.registry import Model
from prune_cli.runs.files import sha256

SHOWN = 3  # names listed in a message


@dataclass(frozen=True)
class Weights:
    """The start of a model: a file and its sha256; `random` has no file. sha256 is None while a hub file is not here."""

    source: str
    path: Path | None
    sha256: str | None


def locate(model: Model, fetch: bool = True) -> Weights:
    """Find the weights that `model.weights` names; `fetch` lets hub weights be downloaded. Raises WeightsError."""
    if model.weights == "random":
        return Weights("random", None, "random")
    if model.weights == "hub":
        path = _hub_file(model, fetch)
        return Weights("hub", path, sha256(path) if path else None)
    path = packaged_file(model.name) if model.weights == "packaged" else Path(model.weights).expanduser()
    if not path.is_file():
        what = f"{model.name} has no packaged weights" if model.weights == "packaged" else "there are no such weights"
        raise WeightsError(what, f"model.weights={model.weights}", "packaged, hub, random or a .safetensors file")
    return Weights(model.weights if model.weights == "packaged" else "file", path, sha256(path))


def packaged_file(name: str) -> Path:
    """Where the packaged weights of a model are, there or not."""
    return Path(str(resources.files("prune_cli.models") / "packaged" / f"{name}.safetensors"))


def build(model: Model, weights: Weights, num_classes: int, seed: int) -> nn.Module:
    """The module with these weights and a fresh head for `num_classes`. Raises WeightsError that names the keys."""
    with seeded(seed, "weights"):
        module = _module(model, weights, num_classes)
    with seeded(seed, "head"):
        module.reset_classifier(num_classes)  # type: ignore[operator]
    return module


def read(path: Path) -> dict[str, Tensor]:
    """The tensors of a .safetensors file, or of a .pt/.pth file (weights only: no code in it is run)."""
    try:
        return _unpickled(path) if path.suffix in {".pt", ".pth"} else load_file(path)
    except (OSError, ValueError, SafetensorError) as error:
        reason = str(error).strip().splitlines()[0]
        raise WeightsError(
            f"these weights cannot be read: {reason}", str(path), "fetch or write the file again"
        ) from None


def restore(module: nn.Module, path: Path) -> None:
    """Load a finished model, head and all. Raises WeightsError that names the keys."""
    _fill(module, read(path), path, head=True)


def _fill(module: nn.Module, tensors: Mapping[str, Tensor], path: Path, head: bool = False) -> None:
    skipped = set() if head else classifier_names(module)
    wanted = {name: t for name, t in module.state_dict().items() if name.rpartition(".")[0] not in skipped}
    given = {name: t for name, t in tensors.items() if name.rpartition(".")[0] not in skipped}
    shapes = [name for name in wanted.keys() & given.keys() if wanted[name].shape != given[name].shape]
    problems = [
        f"{len(names)} {kind}: {_some(names)}"
        for kind, names in (
            ("missing", wanted.keys() - given.keys()),
            ("unknown", given.keys() - wanted.keys()),
            ("of another shape", shapes),
        )
        if names
    ]
    if problems:
        raise WeightsError(
            f"these weights are of another model ({'; '.join(problems)})", str(path), "model=… that fits them"
        )
    module.load_state_dict(given, strict=False)


def _some(names: Iterable[str]) -> str:
    names = sorted(names)
    return ", ".join(names[:SHOWN]) + (", …" if len(names) > SHOWN else "")


def _unpickled(path: Path) -> dict[str, Tensor]:
    try:
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    except OSError:
        raise
    except Exception:  # a damaged pickle raises anything; what torch says of other code is to run it all the same
        raise ValueError("damaged, or more than tensors in it, and no code in it is run") from None
    return _state_dict(loaded)


def _state_dict(loaded: Any) -> dict[str, Tensor]:
    for key in ("state_dict", "model"):
        if isinstance(loaded, dict) and isinstance(loaded.get(key), dict):
            loaded = loaded[key]
    if not isinstance(loaded, dict) or not all(isinstance(t, Tensor) for t in loaded.values()):
        raise ValueError("no dictionary of tensors in it")
    return loaded


def _module(model: Model, weights: Weights, num_classes: int) -> nn.Module:
    if weights.path is None:
        return model.build(num_classes)
    if weights.source == "hub":
        return model.build_pretrained(num_classes, weights.path)  # type: ignore[attr-defined]
    module = model.build(num_classes)
    _fill(module, read(weights.path), weights.path)
    return module


def _hub_file(model: Model, fetch: bool) -> Path | None:
    """timm's file in the hub's own cache; None if it is not there and may not be fetched."""
    from huggingface_hub import hf_hub_download, try_to_load_from_cache

    if not hasattr(model, "hub_id"):
        raise WeightsError(f"{model.name} has no weights on the hub", "model.weights=hub", "model.weights=packaged")
    if not model.hub_id:
        raise WeightsError(
            "timm has no pre-trained weights under this name",
            model.title,
            "model.arch=NAME.TAG, or model.weights=random",
        )
    cached = try_to_load_from_cache(model.hub_id, "model.safetensors")
    if isinstance(cached, str):
        return Path(cached)
    if not fetch:
        return None
    try:
        return Path(hf_hub_download(model.hub_id, "model.safetensors"))
    except Exception as error:  # the hub client raises errors of several libraries
        raise WeightsError(
            f"these weights cannot be fetched ({type(error).__name__})",
            model.hub_id,
            "model.weights=FILE.safetensors works offline",
        ) from None
