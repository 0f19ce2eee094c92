"""The report's six models: exact counts, exact tags, and what is never pruned."""

from __future__ import annotations

import pytest
import timm
import torch
from torch import nn

from prune_cli.models.prunable import prunable
from prune_cli.models.registry import models

COUNTS = {
    "vit_b16": (84_934_656, "vit_base_patch16_224.augreg_in21k"),
    "vit_l16": (301_989_888, "vit_large_patch16_224.augreg_in21k"),
    "mixer_b16": (58_429_440, "mixer_b16_224.goog_in21k"),
    "mixer_l16": (206_143_488, "mixer_l16_224.goog_in21k"),
    "poolformer_m36": (55_254_816, "poolformer_m36.sail_in1k"),
    "poolformer_m48": (72_507_168, "poolformer_m48.sail_in1k"),
}


def on_meta(name: str) -> tuple[nn.Module, dict[str, nn.Parameter]]:
    model = models.build(name)
    with torch.device("meta"):
        module = model.build(num_classes=10)
    return module, prunable(module, model.prunable)


@pytest.mark.parametrize("name", COUNTS)
def test_the_number_of_prunable_weights_is_the_reports(name: str) -> None:
    _, found = on_meta(name)
    assert sum(p.numel() for p in found.values()) == COUNTS[name][0]


@pytest.mark.parametrize("name", COUNTS)
def test_the_weights_are_named_with_their_tag(name: str) -> None:
    model = models.build(name)
    assert model.arch == COUNTS[name][1]  # type: ignore[attr-defined]
    assert model.arch in timm.list_pretrained(f"{model.arch.split('.')[0]}.*")  # type: ignore[attr-defined]
    assert model.weights == "hub"
    assert (model.input.channels, model.input.height, model.input.width) == (3, 224, 224)
    assert model.input.mean == (0.485, 0.456, 0.406)


@pytest.mark.parametrize("name", COUNTS)
def test_biases_norms_embeddings_and_the_head_are_never_pruned(name: str) -> None:
    module, found = on_meta(name)
    assert all(key.endswith(".weight") and found[key].ndim in (2, 4) for key in found)
    stem = {key for key in found if not key.startswith(("blocks.", "stages."))}
    assert stem == ({"stem.conv.weight"} if name.startswith("poolformer") else set())
    downsampling = {key for key in found if "downsample" in key}
    assert len(downsampling) == (3 if name.startswith("poolformer") else 0)
    assert not any("head" in key for key in found)
    assert len(found) < len(list(module.parameters()))


def test_98_percent_of_vit_b16_is_96_percent_of_all_its_parameters() -> None:
    model = models.build("vit_b16")
    with torch.device("meta"):
        everything = sum(p.numel() for p in model.build(num_classes=1000).parameters())
    assert round(0.98 * COUNTS["vit_b16"][0]) / everything == pytest.approx(0.9615, abs=5e-5)
