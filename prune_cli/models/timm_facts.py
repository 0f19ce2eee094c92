"""Facts about timm architectures, cached (runs/facts.py) so that a plan need not import timm."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from prune_cli.runs import facts

KIND = "timm"


@dataclass(frozen=True)
class PretrainedConfig:
    """timm's configuration of pre-trained weights: how their images are prepared, and their repository on the hub.

    input_size: channels, height, width [pixels]. fixed_input_size: whether the model is built for that size.
    """

    tag: str
    hf_hub_id: str | None
    input_size: tuple[int, int, int]
    fixed_input_size: bool
    mean: tuple[float, ...]
    std: tuple[float, ...]


def tagged_names(base: str) -> list[str] | None:
    """The names ARCH.TAG of all pre-trained weights of an architecture; None where timm has no such architecture."""
    return facts.known(KIND, {"names": base}, lambda: {"names": _tagged_names(base)})["names"]


def pretrained_config(name: str) -> PretrainedConfig | None:
    """The configuration of ARCH.TAG, or of an architecture with timm's default tag; None where timm has none."""
    found = facts.known(KIND, {"config": name}, lambda: {"config": _config(name)})["config"]
    if found is None:
        return None
    tuples = {key: tuple(value) for key, value in found.items() if isinstance(value, list)}
    return PretrainedConfig(**{**found, **tuples})


def _tagged_names(base: str) -> list[str] | None:
    import timm

    return timm.list_pretrained(f"{base}.*") if timm.is_model(base) else None


def _config(name: str) -> dict[str, Any] | None:
    from timm.models import get_pretrained_cfg

    try:
        found = get_pretrained_cfg(name)
    except RuntimeError:  # a tag that timm does not know
        return None
    assert found is not None
    return asdict(
        PretrainedConfig(
            str(found.tag), found.hf_hub_id, found.input_size, found.fixed_input_size, found.mean, found.std
        )
    )
