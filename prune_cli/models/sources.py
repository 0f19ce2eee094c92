"""Where pre-trained weights are: packaged with prune-cli, on the hub (timm's own), or in a file; and their sha256."""

from __future__ import annotations

import json
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from prune_cli.common.errors import WeightsError
from prune_cli.common.path_checks import expanded
from prune_cli.models.registry import Model
from prune_cli.runs.facts import confirm_sha256, file_sha256
from prune_cli.runs.files import is_file, sha256
from prune_cli.runs.store import check_typed

PACKAGED = Path(str(resources.files("prune_cli.models") / "packaged"))


@dataclass(frozen=True)
class Weights:
    """The start of a model: a file and its sha256; `random` has no file. sha256 is None while a hub file is not here.

    variant: which of the packaged files or of timm's tags, where `model.weights` says so after a colon.
    head: they are of the very task, and their classifier is used too.
    """

    source: str
    path: Path | None
    sha256: str | None
    variant: str = ""
    head: bool = False

    @property
    def name(self) -> str:
        """The weights' name, as `model.weights` is typed: packaged, packaged:600, hub, hub:TAG, random; `file` for any file."""
        return f"{self.source}:{self.variant}" if self.variant else self.source


RANDOM = Weights("random", None, "random")


def locate(model: Model, fetch: bool = True, dataset: str = "") -> Weights:
    """Find the weights that `model.weights` names; `fetch` lets hub weights be downloaded. Raises WeightsError.

    `packaged` alone means those of this dataset where the model has weights for several.
    """
    if model.weights == "random":
        return RANDOM
    source, _, variant = model.weights.partition(":")
    head = getattr(model, "keeps_head", False)
    if source == "hub":
        path = _hub_file(model, fetch)
        return Weights("hub", path, file_sha256(path) if path else None, variant)
    if source == "packaged":
        wanted = model.weights
        if wanted == "packaged" and packaged_file(model.name, dataset).is_file():
            wanted = f"packaged:{dataset}" if dataset else wanted
        path, variant = _packaged_file(model, wanted), wanted.partition(":")[2]
        return Weights("packaged", path, sha256(path), variant, head)
    path = expanded(model.weights)
    if not is_file(path):
        hint = "packaged, hub, random or a .safetensors file"
        raise WeightsError("there are no such weights", f"model.weights={model.weights}", hint)
    check_typed(path)
    return Weights("file", path, file_sha256(path), head=head)


def confirm(weights: Weights) -> None:
    """Hash the weights file again, whose sha256 may have been cached. Raises PruneCliError where the file has changed."""
    if weights.path is not None and weights.sha256 is not None:
        confirm_sha256(weights.path, weights.sha256)


def packaged_file(name: str, variant: str = "") -> Path:
    """The path of a model's packaged weights, which need not exist. variant: the text after `packaged:`."""
    return PACKAGED / f"{name}{'.' if variant else ''}{variant}.safetensors"


def origin(model: Model, weights: Weights) -> str:
    """The origin of the weights in two words: the images of packaged ones, timm's tag, or the file's name."""
    if weights.path is None and weights.source == "random":
        return "from scratch"
    if weights.source == "hub":
        return model.tag  # type: ignore[attr-defined]
    assert weights.path is not None  # only a hub file may not be here
    card = weights.path.with_suffix(".json")
    if weights.source == "packaged" and card.is_file():
        return f"{json.loads(card.read_text(encoding='utf-8'))['train_images']:,} images"
    return weights.path.name if weights.source == "file" else weights.name


def _packaged_file(model: Model, wanted: str) -> Path:
    """The file of `packaged` or `packaged:VARIANT`. Raises WeightsError that lists the variants there are."""
    where = f"model.weights={model.weights}"
    there = {"packaged": packaged_file(model.name)} if packaged_file(model.name).is_file() else {}
    for path in sorted(PACKAGED.glob(f"{model.name}.*.safetensors")):
        there[f"packaged:{path.stem.removeprefix(f'{model.name}.')}"] = path
    if not there:
        hint = "packaged, hub, random or a .safetensors file"
        raise WeightsError(f"{model.name} has no packaged weights", where, hint)
    if wanted not in there:
        what = f"{model.name} has no packaged weights {wanted.partition(':')[2]!r}"
        raise WeightsError(what, where, f"there are: {', '.join(there)}")
    return there[wanted]


def _check_hub(model: Model) -> None:
    """Raise WeightsError unless the hub has the weights that `model.weights` names; for a tag it lists those there are."""
    where, tags = f"model.weights={model.weights}", getattr(model, "hub_tags", None)
    if tags is None:
        raise WeightsError(f"{model.name} has no weights on the hub", where, "model.weights=packaged")
    _, variant, tag = model.weights.partition(":")
    if variant and tag not in tags:
        there = ", ".join(f"hub:{known}" for known in tags) or "none"
        raise WeightsError(f"timm has no weights {tag!r} of this architecture", where, f"there are: {there}")


def _hub_file(model: Model, fetch: bool) -> Path | None:
    """timm's file in the hub's own cache; None if it is not there and may not be fetched."""
    from huggingface_hub import hf_hub_download, try_to_load_from_cache

    _check_hub(model)
    repository: str = model.hub_id  # type: ignore[attr-defined]
    if not repository:
        raise WeightsError(
            "timm has no pre-trained weights under this name",
            model.title,
            "model.arch=NAME.TAG, or model.weights=random",
        )
    cached = try_to_load_from_cache(repository, "model.safetensors")
    if isinstance(cached, str):
        return Path(cached)
    if not fetch:
        return None
    try:
        return Path(hf_hub_download(repository, "model.safetensors"))
    except Exception as error:  # the hub client raises errors of several libraries
        raise WeightsError(
            f"these weights cannot be fetched ({type(error).__name__})",
            repository,
            "model.weights=FILE.safetensors works offline",
        ) from None
