"""poolformer_micro: timm's PoolFormer (its class is MetaFormer) for 28×28 grey images."""

from __future__ import annotations

from dataclasses import dataclass, field

from prune_cli.common.lazy import nn
from prune_cli.common.registry import NOT_IN_HASH
from prune_cli.models.registry import ImageInput, models
from prune_cli.models.report_models import POOLFORMER


@models.register("poolformer_micro")
@dataclass(frozen=True)
class PoolFormerMicro:
    """Four stages of 2, 2, 2 and 1 blocks, widths 32 to 160: 835,914 parameters with 10 classes, 826,912 prunable.

    On 28×28 pixels the stages see 7×7, 4×4, 2×2 and 1×1 positions, so the last stage has nothing left to pool.
    """

    weights: str = field(default="packaged", metadata=NOT_IN_HASH)  # counts by its digest
    prunable: list[str] = field(default_factory=POOLFORMER.copy)

    title = "Pool-micro"
    scales = ("packaged", "packaged:6000", "packaged:600", "random")  # of pre-training, in images: what drift compares
    input = ImageInput(1, 28, 28, mean=(0.2860,), std=(0.3530,))  # of Fashion-MNIST, its pre-training data

    def build(self, num_classes: int) -> nn.Module:
        """The module, randomly initialised."""
        from timm.models.metaformer import GroupNorm1, MetaFormer

        return MetaFormer(
            in_chans=1,
            num_classes=num_classes,
            depths=(2, 2, 2, 1),
            dims=(32, 64, 128, 160),
            downsample_norm=None,
            mlp_act=nn.GELU,
            mlp_bias=True,
            norm_layers=GroupNorm1,
            layer_scale_init_values=1e-5,
            res_scale_init_values=None,  # type: ignore[arg-type] # as timm's own poolformer
            use_mlp_head=False,
        )
