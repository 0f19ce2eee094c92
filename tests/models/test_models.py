"""The models: how large they are, what of them may be pruned, what their images look like."""

from __future__ import annotations

import re
from typing import Any

import pytest
import torch
from torch import nn

from prune_cli.common.errors import ConfigError
from prune_cli.models.prunable import classifier_names, prunable
from prune_cli.models.registry import ClipInput, ImageInput, models
from prune_cli.models.timm_arch import TimmArch
from prune_cli.models.vit_micro import ViTMicro


def outlined(model: Any, classes: int = 10) -> nn.Module:
    """The module without its weights."""
    with torch.device("meta"):
        return model.build(classes)


def names_and_size(model: Any) -> tuple[list[str], int]:
    found = prunable(outlined(model), model.prunable)
    return list(found), sum(p.numel() for p in found.values())


def layers(names: list[str]) -> set[str]:
    """The names of prunable weights with the numbers of blocks and stages left out."""
    return {re.sub(r"\.\d+", "", name.removesuffix(".weight")) for name in names}


TRANSFORMER = {f"blocks.{layer}" for layer in ("attn.qkv", "attn.proj", "mlp.fc1", "mlp.fc2")}


MIXER = {f"blocks.{mlp}.{layer}" for mlp in ("mlp_tokens", "mlp_channels") for layer in ("fc1", "fc2")}
POOLFORMER = {"stem.conv", "stages.downsample.conv", "stages.blocks.mlp.fc1", "stages.blocks.mlp.fc2"}
MICRO = {  # parameters with ten classes, prunable weights, prunable tensors, layers
    "vit_micro": (803_338, 786_432, 16, TRANSFORMER),
    "mixer_micro": (814_058, 798_720, 24, MIXER),
    "poolformer_micro": (835_914, 826_912, 18, POOLFORMER),
}


@pytest.mark.parametrize("name", MICRO)
def test_a_micro_model_has_the_size_that_is_promised(name: str) -> None:
    model = models.build(name)
    parameters, prunables, tensors, kinds = MICRO[name]
    names, size = names_and_size(model)
    assert sum(p.numel() for p in outlined(model).parameters()) == parameters
    assert (size, len(names), layers(names)) == (prunables, tensors, kinds)
    assert f"{parameters:,}" in str(type(model).__doc__) and f"{prunables:,}" in str(type(model).__doc__)


@pytest.mark.parametrize("name", MICRO)
def test_a_micro_model_classifies_small_grey_images(name: str) -> None:
    model: Any = models.build(name)
    assert (model.input.channels, model.input.height, model.input.width) == (1, 28, 28)
    assert model.build(7)(torch.zeros(2, 1, 28, 28)).shape == (2, 7)


def test_an_image_size_reaches_the_model_and_its_input() -> None:
    transformer = models.build("vit_b16", image_size=32)
    assert (transformer.input.height, transformer.input.width) == (32, 32)
    assert outlined(transformer).pos_embed.shape == (1, 1 + 2 * 2, 768)  # type: ignore[union-attr]
    convolutions = models.build("poolformer_m36", image_size=64)  # takes any size
    assert (convolutions.input.height, convolutions.input.mean) == (64, models.build("poolformer_m36").input.mean)
    assert names_and_size(convolutions)[1] == 55_254_816
    with pytest.raises(ConfigError, match="image_size"):
        models.build("vit_b16", image_size=0)


@pytest.mark.parametrize("size", [8, 40])
def test_patches_that_leave_a_part_of_the_images_out_are_refused(size: int) -> None:
    for name in ("vit_b16", "mixer_b16"):
        with pytest.raises(ConfigError, match=f"{size} pixels do not divide into patches of 16"):
            outlined(models.build(name, image_size=size))


@pytest.mark.parametrize(
    "model", [ViTMicro(), models.build("mixer_micro"), TimmArch("vit_tiny_patch16_224"), TimmArch("test_convnext")]
)
def test_neither_biases_nor_norms_nor_head_nor_embeddings_are_prunable(model: Any) -> None:
    module = outlined(model)
    everything = prunable(module, ["*"])
    for name, weight in everything.items():
        assert weight.ndim in (2, 4)
        assert isinstance(module.get_submodule(name.removesuffix(".weight")), nn.Linear | nn.Conv2d)
        assert not name.startswith("head")
    assert not [name for name in names_and_size(model)[0] if name.startswith(("patch_embed", "stem", "pos_embed"))]


def test_prunable_weights_are_the_models_own_in_its_order() -> None:
    module = ViTMicro().build(10)
    found = prunable(module, ViTMicro().prunable)
    own = dict(module.named_parameters())
    assert all(own[name] is weight for name, weight in found.items())
    assert list(found) == [name for name in own if name in found]


def test_vit_tiny_is_pruned_in_the_linear_layers_of_its_blocks() -> None:
    names, size = names_and_size(TimmArch("vit_tiny_patch16_224", "random"))
    assert len(names) == 12 * 4
    assert layers(names) == TRANSFORMER
    assert size == 12 * 12 * 192 * 192


@pytest.mark.parametrize(
    ("arch", "size"),
    [
        ("vit_base_patch16_224.augreg_in21k", 84_934_656),
        ("mixer_b16_224.goog_in21k", 58_429_440),
        ("poolformer_m36.sail_in1k", 55_254_816 - 7 * 7 * 3 * 96),  # the report counts the stem too
    ],
)
def test_the_reports_models_have_the_reports_counts(arch: str, size: int) -> None:
    assert names_and_size(TimmArch(arch))[1] == size


def test_a_model_with_stages_is_pruned_in_linear_and_convolution_layers_without_stem_and_head() -> None:
    names, _ = names_and_size(TimmArch("poolformer_m36.sail_in1k"))
    assert layers(names) == {"stages.blocks.mlp.fc1", "stages.blocks.mlp.fc2", "stages.downsample.conv"}
    with_stem = TimmArch("poolformer_m36.sail_in1k", prunable=["stages.*", "stem.conv.weight"])
    assert names_and_size(with_stem)[1] == 55_254_816


def test_patterns_choose_what_is_pruned() -> None:
    resnet = TimmArch("resnet18", "random", ["layer[1-4].*"])
    names, _ = names_and_size(resnet)
    assert len(names) == 16 + 3  # convolutions and shortcuts; neither conv1 nor fc
    assert all(name.startswith("layer") for name in names)
    only = TimmArch("vit_tiny_patch16_224", "random", ["blocks.3.*"])
    assert layers(names_and_size(only)[0]) == TRANSFORMER
    assert len(names_and_size(only)[0]) == 4


def test_patterns_without_a_match_are_refused_with_names_that_exist() -> None:
    with pytest.raises(ConfigError, match="no weight of this model matches") as caught:
        prunable(outlined(ViTMicro()), ["stages.*", "head.*", "norm.*"])
    assert caught.value.where == "model.prunable"
    assert "blocks.0.attn.qkv" in str(caught.value.hint)
    assert len(caught.value.lines()) == 3


@pytest.mark.parametrize(
    ("arch", "heads"),
    [
        ("vit_tiny_patch16_224", {"head"}),
        ("resnet18", {"fc"}),
        ("test_convnext", {"head.fc"}),
        ("deit_tiny_distilled_patch16_224", {"head", "head_dist"}),
    ],
)
def test_the_head_is_known_by_its_name(arch: str, heads: set[str]) -> None:
    module = outlined(TimmArch(arch))
    assert classifier_names(module) == heads
    assert not {name.rpartition(".")[0] for name in prunable(module, ["*"])} & heads


@pytest.mark.parametrize(
    ("arch", "near"),
    [
        ("vit_tinny_patch16_224", "vit_tiny_patch16_224"),
        ("resnet19", "resnet1"),
        ("vit_base_patch16_224.augreg_in21", "vit_base_patch16_224.augreg_in21k"),
        ("mixer_b16_224.google_in21k", "mixer_b16_224.goog_in21k"),
    ],
)
def test_an_unknown_architecture_or_tag_is_answered_with_the_nearest_name(arch: str, near: str) -> None:
    with pytest.raises(ConfigError, match="timm has no") as caught:
        TimmArch(arch)
    assert f"did you mean model.arch={near}" in str(caught.value.hint)
    assert caught.value.where == "model.arch"


def test_an_architecture_nothing_like_any_other_is_still_answered_in_three_lines() -> None:
    with pytest.raises(ConfigError) as caught:
        TimmArch("???")
    assert len(caught.value.lines()) == 3


def test_a_tag_chooses_the_input_and_the_file() -> None:
    one, two = TimmArch("vit_base_patch16_224.augreg_in21k"), TimmArch("vit_base_patch16_224.mae")
    assert one.input == ImageInput(3, 224, 224, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
    assert two.input.mean == (0.485, 0.456, 0.406)
    assert one.hub_id == "timm/vit_base_patch16_224.augreg_in21k"
    assert one.title == "vit_base_patch16_224"


@pytest.mark.parametrize("arch", ["vit_small_patch16_36x1_224", "test_coatnet"])
def test_an_architecture_without_pretrained_weights_still_has_an_input(arch: str) -> None:
    model = TimmArch(arch, "random")
    assert not model.hub_id
    assert model.input.channels == 3 == len(model.input.mean) == len(model.input.std)
    assert model.input.height > 0


def test_every_registered_model_says_what_the_pipeline_asks_for() -> None:
    for name, cls in models.classes.items():
        model: Any = cls(arch="test_vit") if name == "timm" else cls()
        assert model.name == name
        assert isinstance(model.title, str)
        assert isinstance(model.input, ImageInput | ClipInput)
        assert prunable(outlined(model, 3), model.prunable)
