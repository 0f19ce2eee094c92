"""vit_micro: timm's VisionTransformer for 28×28 grey images."""

from __future__ import annotations

from dataclasses import dataclass, field

from prune_cli.common.lazy import nn
from prune_cli.common.registry import NOT_IN_HASH
from prune_cli.models.registry import ImageInput, models


@models.register("vit_micro")
@dataclass(frozen=True)
class ViTMicro:
    """Patches of 7×7, 4 blocks, width 128, 4 heads: 803,338 parameters with 10 classes, 786,432 of them prunable."""

    weights: str = field(default="packaged", metadata=NOT_IN_HASH)  # counts by its digest
    prunable: list[str] = field(
        default_factory=lambda: [
            f"blocks.*.{layer}.weight" for layer in ("attn.qkv", "attn.proj", "mlp.fc1", "mlp.fc2")
        ]
    )

    title = "ViT-micro"
    scales = ("packaged", "packaged:6000", "packaged:600", "random")  # of pre-training, in images: what drift compares
    input = ImageInput(1, 28, 28, mean=(0.2860,), std=(0.3530,))  # of Fashion-MNIST, its pre-training data

    def build(self, num_classes: int) -> nn.Module:
        """The module, randomly initialised."""
        from timm.models.vision_transformer import VisionTransformer

        return VisionTransformer(
            img_size=28, patch_size=7, in_chans=1, num_classes=num_classes, embed_dim=128, depth=4, num_heads=4
        )
