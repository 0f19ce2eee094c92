"""Multiply-adds of a forward pass, counted from shapes alone."""

from __future__ import annotations

import copy
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

COUNTED = (
    "products of one forward pass (linear, convolution, recurrence, attention), a multiplication and an addition as one; "
    "of pruned layers the survivors' alone"
)


def multiply_adds(model: nn.Module, x: Tensor, mask: Mapping[str, Tensor] | None = None) -> int:
    """How many multiplications with an addition a forward pass of `x` takes in products: see COUNTED.

    They are counted by torch on the meta device. mask: True = keep, by the names of weights; each weight of a layer takes
    as many as any other of it, so a pruned layer counts by the share of its weights that survive.
    """
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        copy.deepcopy(model).to("meta").eval()(x.to("meta"))
    layers = {str(name): sum(ops.values()) for name, ops in counter.get_flop_counts().items()}
    total = counter.get_total_flops()
    for path, removed in _removed(mask or {}).items():
        size = sum(p.numel() for p in model.get_submodule(path).parameters(recurse=False) if p.ndim > 1)
        name = ".".join(filter(None, (type(model).__name__, path)))
        total -= layers.get(name, 0) * removed // size
    return total // 2


def _removed(mask: Mapping[str, Tensor]) -> dict[str, int]:
    """How many weights each layer has lost."""
    found: dict[str, int] = {}
    for name, keep in mask.items():
        path = name.rpartition(".")[0]
        found[path] = found.get(path, 0) + keep.numel() - int(keep.sum())
    return found
