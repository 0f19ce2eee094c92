"""heads: whole attention heads of a ViT."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from prune_cli.common.errors import ConfigError
from prune_cli.targets.base import Prunable, Target
from prune_cli.targets.registry import targets

if TYPE_CHECKING:
    from torch import Tensor, nn

    from prune_cli.config.schema import Settings
    from prune_cli.masks import Mask


@targets.register("heads")
@dataclass(frozen=True)
class HeadTarget(Target):
    """The heads of timm's self-attention layers (models/networks/attention.py) whose weights attn.qkv and attn.proj are prunable.

    A head's score is the sum of the scores of its weights: its rows of q, k and v and its columns of proj. So every scorer
    of weights serves, and what was scored for single weights serves too. A removed head has zeros in all of these
    weights; its biases of q, k and v stay, and contribute nothing, because its columns of proj are zero.
    """

    noun = "heads"
    title = "heads"
    scored = "weights"

    def parameters(self, model: nn.Module, prunable: Prunable) -> dict[str, nn.Parameter]:
        """A mask of ones (H,) for each attention layer, by its name. Raises ConfigError where there is no such layer."""
        import torch

        from prune_cli.models.networks.attention import attentions

        layers = attentions(model)
        if not layers:
            what = f"{type(model).__name__} has no attention heads that could be removed"
            raise ConfigError(what, "removal=heads", "model=vit_micro, or another ViT")
        weights = self.to_score(model, prunable)
        ones = {
            name: layer.qkv.weight.new_ones(layer.num_heads)
            for name, layer in layers.items()
            if _both_prunable(name, weights)
        }
        if not ones:
            what = "attn.qkv and attn.proj of no layer are both prunable, so no head can be removed"
            raise ConfigError(what, "model.prunable", "model.prunable=['blocks.*.attn.*']")
        return {name: torch.nn.Parameter(mask, requires_grad=False) for name, mask in ones.items()}

    def to_score(self, model: nn.Module, prunable: Prunable) -> dict[str, nn.Parameter]:
        """All prunable weights, so that runs of heads and of single weights share their scorings."""
        from prune_cli.models.prunable import prunable as prunable_weights

        return prunable_weights(model, prunable)

    def scores(self, model: nn.Module, scores: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The score of each head of each layer, (H,): the sum of the scores of its weights."""
        from prune_cli.models.networks.attention import attentions, head_sums

        layers = {name: layer for name, layer in attentions(model).items() if _both_prunable(name, scores)}
        return {name: head_sums(layer, *(scores[of] for of in _weight_names(name))) for name, layer in layers.items()}

    def weight_mask(self, model: nn.Module, mask: Mapping[str, Tensor]) -> Mask:
        """The mask of weights: False at a removed head's rows of qkv and columns of proj."""
        from prune_cli.models.networks.attention import attentions, columns, rows

        layers, found = attentions(model), {}
        for name, keep_H in mask.items():
            layer, (qkv, proj) = layers[name], _weight_names(name)
            found[qkv] = rows(layer, keep_H).unsqueeze(1).expand_as(layer.qkv.weight)
            found[proj] = columns(layer, keep_H).expand_as(layer.proj.weight)
        return found

    def zeroed(self, model: nn.Module, prunable: Prunable) -> Mapping[str, Tensor]:
        """The qkv and proj weights of each layer with heads that can be removed, by name."""
        return {of: model.get_parameter(of) for name in self.parameters(model, prunable) for of in _weight_names(name)}

    def shrink(self, model: nn.Module, mask: Mapping[str, Tensor]) -> nn.Module:
        """A copy of the model whose attention layers have the kept heads alone; a layer may have none left."""
        import copy

        from prune_cli.models.networks.attention import attentions, with_heads

        small = copy.deepcopy(model)
        for name, layer in attentions(small).items():
            if name in mask:
                small.set_submodule(name, with_heads(layer, mask[name].to(layer.qkv.weight.device)))
        return small

    def sizes(self, mask: Mapping[str, Tensor]) -> dict[str, object]:
        """The number of kept heads in all, `heads`, and in each layer, `heads_per_layer`."""
        return super().sizes(mask) | {"heads_per_layer": {name: int(keep.sum()) for name, keep in mask.items()}}

    def card(self, settings: Settings, classes: int) -> dict[str, object]:
        """The model, classes and precision from which `load_shrunk` builds the model."""
        return {"model": settings.plain["model"], "classes": classes, "precision": settings.compute.precision}

    def usage(self, model: str, mask: Mapping[str, Tensor], file: str) -> str:  # noqa: ARG002
        """The call that loads the smaller model."""
        return f"prune_cli.targets.heads.load_shrunk({file!r})"


def load_shrunk(file: str | Path) -> nn.Module:
    """The smaller ViT that `prune-cli shrink` wrote, in eval mode; the .json beside the file says how it is built.

    Raises DamagedError where the file is not the one that the .json tells of, WeightsError where it does not fit.
    """
    import torch

    from prune_cli.common.device import Compute
    from prune_cli.models.networks.attention import attentions, with_heads
    from prune_cli.models.registry import models
    from prune_cli.models.weights import restore
    from prune_cli.runs.files import check

    file = Path(file)
    card = json.loads(file.with_suffix(".json").read_text(encoding="utf-8"))
    check(file, card["sha256"])
    options = {key: value for key, value in card["model"].items() if key != "name"}
    model = models.build(card["model"]["name"], **options).build(card["classes"])
    layers = attentions(model)
    for name, heads in card["heads_per_layer"].items():
        model.set_submodule(name, with_heads(layers[name], torch.arange(layers[name].num_heads) < heads))
    model = model.to(Compute(precision=card["precision"]).dtype)
    restore(model, file)
    return model.eval()


def _weight_names(layer: str) -> tuple[str, str]:
    return f"{layer}.qkv.weight", f"{layer}.proj.weight"


def _both_prunable(layer: str, named: Mapping[str, object]) -> bool:
    return all(name in named for name in _weight_names(layer))
