"""The six models of the report's Table 1, with the exact tags of their weights and the counts of their prunable weights.

Their images are normalised by the mean and std of ImageNet, whatever the weights were trained with: so does public code of
the author's group; the report does not say.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from prune_cli.models.registry import ImageInput, models
from prune_cli.models.timm_arch import TimmArch

IMAGENET = ImageInput(3, 224, 224, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
VIT = [f"blocks.*.{layer}.weight" for layer in ("attn.qkv", "attn.proj", "mlp.fc1", "mlp.fc2")]
MIXER = [f"blocks.*.{mlp}.{layer}.weight" for mlp in ("mlp_tokens", "mlp_channels") for layer in ("fc1", "fc2")]
POOLFORMER = [
    "stages.*.mlp.fc1.weight",
    "stages.*.mlp.fc2.weight",
    "stages.*.downsample.conv.weight",
    "stem.conv.weight",
]


@models.register("vit_b16")
@dataclass(frozen=True)
class ViTB16(TimmArch):
    """ViT-B/16, pre-trained on ImageNet-21k: 84,934,656 prunable weights."""

    arch: str = "vit_base_patch16_224.augreg_in21k"
    prunable: list[str] = field(default_factory=VIT.copy)

    title = "ViT-B/16"
    pretrained_input = IMAGENET


@models.register("vit_l16")
@dataclass(frozen=True)
class ViTL16(TimmArch):
    """ViT-L/16, pre-trained on ImageNet-21k: 301,989,888 prunable weights."""

    arch: str = "vit_large_patch16_224.augreg_in21k"
    prunable: list[str] = field(default_factory=VIT.copy)

    title = "ViT-L/16"
    pretrained_input = IMAGENET


@models.register("mixer_b16")
@dataclass(frozen=True)
class MixerB16(TimmArch):
    """Mixer-B/16, pre-trained on ImageNet-21k: 58,429,440 prunable weights."""

    arch: str = "mixer_b16_224.goog_in21k"
    prunable: list[str] = field(default_factory=MIXER.copy)

    title = "Mixer-B/16"
    pretrained_input = IMAGENET


@models.register("mixer_l16")
@dataclass(frozen=True)
class MixerL16(TimmArch):
    """Mixer-L/16, pre-trained on ImageNet-21k: 206,143,488 prunable weights."""

    arch: str = "mixer_l16_224.goog_in21k"
    prunable: list[str] = field(default_factory=MIXER.copy)

    title = "Mixer-L/16"
    pretrained_input = IMAGENET


@models.register("poolformer_m36")
@dataclass(frozen=True)
class PoolFormerM36(TimmArch):
    """PoolFormer-M36: 55,254,816 prunable weights. timm has no ImageNet-21k weights of it, only ImageNet-1k."""

    arch: str = "poolformer_m36.sail_in1k"
    prunable: list[str] = field(default_factory=POOLFORMER.copy)

    title = "Pool-M36"
    pretrained_input = IMAGENET


@models.register("poolformer_m48")
@dataclass(frozen=True)
class PoolFormerM48(TimmArch):
    """PoolFormer-M48: 72,507,168 prunable weights. timm has no ImageNet-21k weights of it, only ImageNet-1k."""

    arch: str = "poolformer_m48.sail_in1k"
    prunable: list[str] = field(default_factory=POOLFORMER.copy)

    title = "Pool-M48"
    pretrained_input = IMAGENET
