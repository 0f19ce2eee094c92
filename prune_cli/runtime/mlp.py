"""An MLP of two sparse layers around a GELU, computed at once: its hidden activations never leave the cache."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from prune_cli.runtime import products
from prune_cli.runtime.kernels import Weight
from prune_cli.runtime.layers import SparseConv2d, SparseLayer, hooked, over_pixels, type_of_output, without_autocast
from prune_cli.runtime.layout import grouped
from prune_cli.runtime.pattern import Pattern


class _SparseMlpProduct(torch.autograd.Function):
    """Y = GELU(X Wᵀ + b) W'ᵀ + b', X and Y as (groups, tokens, features)."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        values_1: Tensor,
        bias_1: Tensor | None,
        values_2: Tensor,
        bias_2: Tensor | None,
        patterns: tuple[Pattern, Pattern],
        features_first: bool,
    ) -> Tensor:
        """Y, features first in memory where that is wanted."""
        ctx.patterns = patterns
        ctx.save_for_backward(x, values_1, bias_1, values_2, bias_2)
        one, two = Weight(patterns[0], values_1, bias_1), Weight(patterns[1], values_2, bias_2)
        return products.compiled().mlp(x, one, two, features_first)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        """The gradients of X, values and biases; the hidden activations are computed again."""
        x, values_1, bias_1, values_2, bias_2 = ctx.saved_tensors
        one, two = Weight(ctx.patterns[0], values_1, bias_1), Weight(ctx.patterns[1], values_2, bias_2)
        return *products.compiled().mlp_backward(x, gradient, one, two), None, None


class SparseMlp(nn.Module):
    """timm's Mlp, with the layers under the names that they have there. `original` holds what it stands for."""

    def __init__(self, original: Any):
        super().__init__()
        self.original = (original,)  # in a tuple it is no submodule
        self.fc1: SparseLayer = original.fc1
        self.fc2: SparseLayer = original.fc2
        self.act: nn.GELU = original.act
        self.drop1: nn.Dropout = original.drop1
        self.drop2: nn.Dropout = original.drop2
        self.train(original.training)

    @staticmethod
    def stands_for(module: Any) -> bool:
        """Whether this is timm's Mlp with two sparse layers of one kind and an exact GELU, and no hook waits in it."""
        if (type(module).__module__, type(module).__name__) != ("timm.layers.mlp", "Mlp"):
            return False
        one, two, act, between = module.fc1, module.fc2, module.act, (module.act, module.drop1, module.norm)
        plain = type(act) is nn.GELU and act.approximate == "none" and type(module.norm) is nn.Identity
        return (
            plain
            and isinstance(one, SparseLayer)
            and type(one) is type(two)
            and not any(map(hooked, (module, *between)))
        )

    def forward(self, x: Tensor) -> Tensor:
        """As timm's: fc1, GELU, dropout, fc2, dropout."""
        if not self._at_once(x):
            return self.drop2(self.fc2(self.drop1(self.act(self.fc1(x)))))
        return self.drop2(over_pixels(self._product, x) if isinstance(self.fc1, SparseConv2d) else self._product(x))

    def _at_once(self, x: Tensor) -> bool:
        """Whether the kernels can: they are there, 16 bits number the features, and no hidden unit is dropped."""
        dropped = self.training and self.drop1.p > 0
        short = self.fc1.pattern.is_short and self.fc2.pattern.is_short
        same = self.fc1.compute_type == self.fc2.compute_type
        return x.is_cpu and x.numel() > 0 and short and same and not dropped and products.kernel_products() is not None

    def _product(self, x: Tensor) -> Tensor:
        x_GTI = grouped(x.to(self.fc1.compute_type))
        patterns = (self.fc1.pattern, self.fc2.pattern)
        with without_autocast():
            weights = (*self.fc1.weights(), *self.fc2.weights())
            y = _SparseMlpProduct.apply(x_GTI, *weights, patterns, self.fc2.features_first_after(x_GTI))
        return y.view(*x.shape[:-1], patterns[1].rows).to(type_of_output(x))
