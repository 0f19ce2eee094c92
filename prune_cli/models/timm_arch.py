"""timm: any architecture of timm by its name and tag."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

from prune_cli.common.errors import ConfigError, WeightsError, nearest
from prune_cli.common.lazy import nn
from prune_cli.common.plain import Options
from prune_cli.common.registry import NOT_IN_HASH
from prune_cli.models.registry import ImageInput, models
from prune_cli.models.timm_facts import PretrainedConfig, pretrained_config, tagged_names


@models.register("timm")
@dataclass(frozen=True)
class TimmArch:
    """Any timm architecture. arch: its name, with the tag of the weights (`vit_base_patch16_224.augreg_in21k`).

    The tag says how images are prepared, also for weights from a file; `weights=hub:TAG` stands above that of `arch`.
    image_size: height and width [pixels] of its input; None: those of the pre-trained weights.
    """

    arch: str
    weights: str = field(default="hub", metadata=NOT_IN_HASH)  # counts by its digest
    prunable: list[str] = field(default_factory=lambda: ["blocks.*", "stages.*", "layers.*", "layer[1-4].*"])
    image_size: int | None = None

    def __post_init__(self) -> None:
        if self.image_size is not None and self.image_size < 1:
            what, hint = "model.image_size must be 1 or more", "model.image_size=null: the architecture's own"
            raise ConfigError(what, f"model.image_size={self.image_size}", hint)
        base, _, tag = self.arch.partition(".")
        tags = tagged_names(base)
        if tags is None:
            import timm

            raise ConfigError(
                f"timm has no architecture {base!r}", "model.arch", nearest(base, timm.list_models(), "model.arch=")
            )
        if tag and self.arch not in tags:
            raise ConfigError(
                f"timm has no weights {self.arch!r}", "model.arch", nearest(self.arch, tags, "model.arch=")
            )

    @property
    def title(self) -> str:
        """timm's name without the tag."""
        return self._base

    @property
    def input(self) -> ImageInput:
        """The input of pre-training, with `image_size` in place of its height and width where that is given."""
        own = self.pretrained_input
        return own if self.image_size is None else replace(own, height=self.image_size, width=self.image_size)

    @property
    def canonical(self) -> TimmArch:
        """The model that the run's hash is made from: without an `image_size` that equals the pre-trained one, and with the
        tag of `weights=hub:TAG` in `arch` where that tag prepares images otherwise."""
        same = replace(self, image_size=None) if self.input == self.pretrained_input else self
        return same if replace(same, weights="hub").input == same.input else replace(same, arch=same._tagged)

    @property
    def pretrained_input(self) -> ImageInput:
        """The size, mean and std of timm's pre-trained configuration."""
        config = self._pretrained_config()
        channels, height, width = config.input_size
        return ImageInput(channels, height, width, config.mean, config.std)

    def build(self, num_classes: int) -> nn.Module:
        """The module, randomly initialised."""
        import timm

        return self._checked_patches(
            timm.create_model(self._tagged, pretrained=False, num_classes=num_classes, **self._size())
        )

    def build_pretrained(self, num_classes: int, path: Path) -> nn.Module:
        """The module with timm's pre-trained weights from their file; timm translates keys and fits the input."""
        import timm

        source = {"file": str(path)}
        options: Options = {"pretrained_cfg_overlay": source, **self._size()}
        return self._checked_patches(
            timm.create_model(self._tagged, pretrained=True, num_classes=num_classes, **options)
        )

    @property
    def hub_id(self) -> str:
        """The name of the weights' repository on the hub."""
        return self._pretrained_config().hf_hub_id or ""

    @property
    def hub_tags(self) -> list[str]:
        """The tags under which timm has weights of this architecture: what `model.weights=hub:TAG` may name."""
        return [name.partition(".")[2] for name in tagged_names(self._base) or []]

    @property
    def tag(self) -> str:
        """The tag of the weights, timm's own choice where neither `arch` nor `weights` names one."""
        return self._pretrained_config().tag

    @property
    def _base(self) -> str:
        return self.arch.partition(".")[0]

    @property
    def _tagged(self) -> str:
        """`arch` with the tag of `weights=hub:TAG`, else `arch` unchanged."""
        source, _, tag = self.weights.partition(":")
        return f"{self._base}.{tag}" if source == "hub" and tag else self.arch

    def _checked_patches(self, module: nn.Module) -> nn.Module:
        """The module itself. Raises ConfigError where `image_size` is no multiple of its patch size."""
        from timm.layers import PatchEmbed

        for layer in module.modules():
            if isinstance(layer, PatchEmbed) and self.image_size is not None and self.image_size % layer.patch_size[0]:
                what = f"{self.image_size} pixels do not divide into patches of {layer.patch_size[0]}"
                raise ConfigError(what, "model.image_size", f"a multiple of {layer.patch_size[0]}")
        return module

    def _size(self) -> Options:
        """timm's option for the input size; empty where the architecture takes images of any size."""
        fixed = self.image_size is not None and self._pretrained_config().fixed_input_size
        return {"img_size": self.input.height} if fixed else {}

    def _pretrained_config(self) -> PretrainedConfig:
        config = pretrained_config(self._tagged)
        if config is None:
            there = ", ".join(f"hub:{tag}" for tag in self.hub_tags) or "none"
            what, where = f"timm has no weights under {self._tagged!r}", f"model.weights={self.weights}"
            raise WeightsError(what, where, f"there are: {there}")
        return config
