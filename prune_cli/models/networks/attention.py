"""Attention heads of timm's ViTs: which weights are a head's, and attention with fewer heads.

A letter legend: H heads, d size of a head, D width of a token. qkv.weight (3·H·d, D) has the rows of q, then of k, then of
v, each head by head; proj.weight (D, H·d) has the columns head by head.
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

from prune_cli.common.lazy import Tensor, nn

if TYPE_CHECKING:
    from timm.layers.attention import Attention


def attentions(model: nn.Module) -> dict[str, Attention]:
    """timm's self-attention layers by name, those whose heads meet in the projection alone: no norm or gate over all."""
    from timm.layers.attention import Attention

    layers = [(name, layer) for name, layer in model.named_modules() if type(layer) is Attention]
    return {name: layer for name, layer in layers if isinstance(layer.norm, nn.Identity) and layer.gate is None}


def columns(layer: Attention, of_heads_H: Tensor) -> Tensor:
    """A value a head as a value a column of proj.weight, (H·d,)."""
    return of_heads_H.repeat_interleave(layer.head_dim)


def rows(layer: Attention, of_heads_H: Tensor) -> Tensor:
    """A value a head as a value a row of qkv.weight, (3·H·d,)."""
    return columns(layer, of_heads_H).repeat(3)


def head_sums(layer: Attention, qkv: Tensor, proj: Tensor) -> Tensor:
    """The sum over all weights of each head, (H,), in float64 on the CPU; qkv and proj: a number for each of their weights."""
    by_row, by_column = qkv.sum(1).cpu().double(), proj.sum(0).cpu().double()
    heads = (layer.num_heads, layer.head_dim)
    return by_row.view(3, *heads).sum((0, 2)) + by_column.view(heads).sum(1)


def with_heads(layer: Attention, keep_H: Tensor) -> nn.Module:
    """Attention of the heads that stay, True in keep_H: what `layer` computes where the others' columns of proj are zero."""
    if not bool(keep_H.any()):
        return NoHeads(layer)
    small = copy.deepcopy(layer)
    small.num_heads = int(keep_H.sum())
    small.attn_dim = small.num_heads * small.head_dim
    of_rows, of_columns = rows(layer, keep_H), columns(layer, keep_H)
    bias = layer.qkv.bias
    small.qkv = _linear(layer.qkv.weight[of_rows], None if bias is None else bias[of_rows])
    small.proj = _linear(layer.proj.weight[:, of_columns], layer.proj.bias)
    return small.train(layer.training)


def _linear(weight: Tensor, bias: Tensor | None) -> nn.Linear:
    outputs, inputs = weight.shape
    made = nn.Linear(inputs, outputs, bias=bias is not None, device="meta")
    made.weight = nn.Parameter(weight.detach().clone())
    if bias is not None:
        made.bias = nn.Parameter(bias.detach().clone())
    return made


class NoHeads(nn.Module):
    """Attention of which no head is left: the bias of its projection, at every token."""

    def __init__(self, layer: Attention):
        super().__init__()
        bias: Tensor | None = layer.proj.bias
        self.width = layer.proj.out_features
        self.bias = None if bias is None else nn.Parameter(bias.detach().clone())
        self.proj_drop = copy.deepcopy(layer.proj_drop)

    def forward(self, x_BND: Tensor, attn_mask: Tensor | None = None, is_causal: bool = False) -> Tensor:  # noqa: ARG002
        """(B, N, D), whatever the tokens; no attention is left that a mask could change."""
        added = x_BND.new_zeros(*x_BND.shape[:-1], self.width)
        return self.proj_drop(added if self.bias is None else added + self.bias)
