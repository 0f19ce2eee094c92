"""mixer_micro: timm's MlpMixer for 28×28 grey images."""

from __future__ import annotations

from dataclasses import dataclass, field

from prune_cli.common.lazy import nn
from prune_cli.common.registry import NOT_IN_HASH
from prune_cli.models.registry import ImageInput, models
from prune_cli.models.report_models import MIXER


@models.register("mixer_micro")
@dataclass(frozen=True)
class MixerMicro:
    """Patches of 7×7, 6 blocks, width 128: 814,058 parameters with 10 classes, 798,720 of them prunable."""

    weights: str = field(default="packaged", metadata=NOT_IN_HASH)  # counts by its digest
    prunable: list[str] = field(default_factory=MIXER.copy)

    title = "Mixer-micro"
    scales = ("packaged", "packaged:6000", "packaged:600", "random")  # of pre-training, in images: what drift compares
    input = ImageInput(1, 28, 28, mean=(0.2860,), std=(0.3530,))  # of Fashion-MNIST, its pre-training data

    def build(self, num_classes: int) -> nn.Module:
        """The module, randomly initialised."""
        from timm.models.mlp_mixer import MlpMixer

        return MlpMixer(num_classes, img_size=28, in_chans=1, patch_size=7, num_blocks=6, embed_dim=128)
