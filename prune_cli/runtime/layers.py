"""Layers whose parameters are the surviving weights: Linear, and Conv2d of 1×1.

They are imported where torch is: their base class needs it.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from prune_cli.runtime.layout import Layout, grouped
from prune_cli.runtime.pattern import Pattern
from prune_cli.runtime.products import Wanted, products_for


class _SparseProduct(torch.autograd.Function):
    """Y = X Wᵀ + b, X and Y as (groups, tokens, features)."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, values: Tensor, bias: Tensor | None, pattern: Pattern, features_first: bool
    ) -> Tensor:
        """Y, features first in memory where that is wanted and can be had."""
        ctx.pattern = pattern
        ctx.save_for_backward(x, values)
        return products_for(pattern).forward(pattern, values, bias, x, features_first)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        """The gradients of X, values and bias, those that are needed."""
        x, values = ctx.saved_tensors
        wanted = Wanted(*ctx.needs_input_grad[:3])
        found = products_for(ctx.pattern).backward(ctx.pattern, values, x, gradient, wanted)
        return *found, None, None


class SparseLayer(nn.Module):
    """What both layers share. values (survivors,): the surviving weights in row order; bias (O,) or None.

    Computed in float32, in float64 where the values are that; other inputs are cast, and the output is of the type that
    the dense layer would give: autocast's, else the input's. `original` holds the layer that it stands for, whose weight
    is empty meanwhile. Where the model is not on a CPU, or has no token to compute, a dense weight is made each time.
    """

    flat_weights: ClassVar[tuple[str, ...]] = (
        "values",
    )  # parameters that are matrices, held flat: weight decay is theirs

    def __init__(self, original: nn.Module, pattern: Pattern):
        super().__init__()
        weight: nn.Parameter = original.weight  # type: ignore[assignment]
        self._shape = weight.shape
        values = weight.detach().reshape(-1)[pattern.flat.to(weight.device)].contiguous()
        self.pattern = pattern
        self.values = nn.Parameter(values, requires_grad=weight.requires_grad)
        self.bias: nn.Parameter | None = original.bias  # type: ignore[assignment]
        self.features_first = False  # whether tokens-first input gives features-first output, for the layer after it
        self.original = (original,)  # in a tuple it is no submodule: its empty weight is no parameter of the model
        self.train(original.training)

    @property
    def weight(self) -> Tensor:
        """The dense weight, made for whoever asks; gradients reach the values."""
        return self.pattern.dense(self.values).view(self._shape)

    def extra_repr(self) -> str:
        """Shape and density."""
        pattern = self.pattern
        return f"{pattern.columns}, {pattern.rows}, bias={self.bias is not None}, density={pattern.density:.4g}"

    def _product(self, x: Tensor) -> Tensor:
        """Y of activations (…, I), as (…, O)."""
        if not x.numel() or not x.is_cpu:
            return F.linear(x, self.weight.flatten(1), self.bias)
        x_GTI = grouped(x.to(self.compute_type))
        with without_autocast():
            y = _SparseProduct.apply(x_GTI, *self.weights(), self.pattern, self.features_first_after(x_GTI))
        return y.view(*x.shape[:-1], self.pattern.rows).to(type_of_output(x))

    @property
    def compute_type(self) -> torch.dtype:
        """Of products."""
        return torch.promote_types(self.values.dtype, torch.float32)

    def weights(self) -> tuple[Tensor, Tensor | None]:
        """The values and the bias in the type of products."""
        return self.values.to(self.compute_type), None if self.bias is None else self.bias.to(self.compute_type)

    def features_first_after(self, x_GTI: Tensor) -> bool:
        """Whether features come first in the memory of the output."""
        raise NotImplementedError


class SparseLinear(SparseLayer):
    """nn.Linear over its surviving weights."""

    def forward(self, x: Tensor) -> Tensor:
        """x (…, I) -> (…, O)."""
        return self._product(x)

    def features_first_after(self, x_GTI: Tensor) -> bool:
        """In groups as in the input (tokens that an MLP mixes), else as the layer after this one reads it best."""
        layout = Layout.of(x_GTI)
        assert layout is not None
        return layout.features_first if layout.groups > 1 else self.features_first


class SparseConv2d(SparseLayer):
    """nn.Conv2d of 1×1, without stride, padding and groups, over its surviving weights."""

    def forward(self, x: Tensor) -> Tensor:
        """x_NCHW, or x_CHW -> the same with O channels, in the same memory format."""
        return over_pixels(self._product, x)

    def features_first_after(self, x_GTI: Tensor) -> bool:
        """As in the input."""
        layout = Layout.of(x_GTI)
        return layout is not None and layout.features_first


def type_of_output(x: Tensor) -> torch.dtype:
    """Of a layer's output: autocast's, else that of its input."""
    autocast = torch.is_autocast_enabled("cpu") and x.dtype != torch.float64
    return torch.get_autocast_dtype("cpu") if autocast else x.dtype


def without_autocast() -> AbstractContextManager[None]:
    """Products are computed in the type of their operands."""
    return torch.autocast("cpu", enabled=False) if torch.is_autocast_enabled("cpu") else nullcontext()


def over_pixels(product: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """A product of (…, features) with the pixels of x_NCHW or x_CHW as tokens; the memory format stays."""
    if x.ndim == 4 and x.is_contiguous(memory_format=torch.channels_last) and not x.is_contiguous():
        return product(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
    tokens = x.flatten(-2).transpose(-1, -2)
    return product(tokens).transpose(-1, -2).unflatten(-1, x.shape[-2:])


def hooked(layer: nn.Module) -> bool:
    """Whether somebody waits for what goes into or comes out of this layer."""
    return any((layer._forward_hooks, layer._forward_pre_hooks, layer._backward_hooks, layer._backward_pre_hooks))
