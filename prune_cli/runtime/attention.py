"""Self-attention over few tokens between sparse layers: what is left of a small model's step once its products are cheap.

torch's own kernels are made for long sequences. Over the 17 tokens of a ViT-micro most of their time is no arithmetic.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from prune_cli.runtime import products
from prune_cli.runtime.layers import SparseLayer, hooked

MOST_TOKENS = MOST_FEATURES = 128  # of an image, and of a head: its matrices stay in a core's own cache


class _Attention(torch.autograd.Function):
    """softmax(q kᵀ · scale) v, (images, tokens, features), of qkv (images, tokens, 3 × features)."""

    @staticmethod
    def forward(ctx: Any, qkv: Tensor, heads: int, scale: float) -> Tensor:
        """The weighted values of each head, side by side."""
        ctx.heads, ctx.scale = heads, scale
        ctx.save_for_backward(qkv)
        return products.compiled().attention(qkv, heads, scale)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        """The gradient of qkv; the attention weights are computed again."""
        (qkv,) = ctx.saved_tensors
        return products.compiled().attention_backward(qkv, gradient, ctx.heads, ctx.scale), None, None


class SparseAttention(nn.Module):
    """timm's Attention whose qkv is sparse, with the layers under the names that they have there. `original` holds what it
    stands for, which computes what this one does not: masked, dropped or long attention."""

    def __init__(self, original: Any):
        super().__init__()
        self.original = (original,)  # in a tuple it is no submodule
        self.qkv: SparseLayer = original.qkv
        self.proj: nn.Module = original.proj
        self.attn_drop: nn.Dropout = original.attn_drop
        self.proj_drop: nn.Dropout = original.proj_drop
        self.train(original.training)

    @staticmethod
    def stands_for(module: Any) -> bool:
        """Whether this is timm's Attention with a sparse qkv, without norms and gate, and no hook waits in it."""
        if (type(module).__module__, type(module).__name__) != ("timm.layers.attention", "Attention"):
            return False
        between = (module.q_norm, module.k_norm, module.norm, module.attn_drop)
        plain = all(type(norm) is nn.Identity for norm in between[:3]) and module.gate is None
        return plain and isinstance(module.qkv, SparseLayer) and not any(map(hooked, (module, *between)))

    def forward(self, x: Tensor, attn_mask: Tensor | None = None, is_causal: bool = False) -> Tensor:
        """As timm's: qkv, attention, proj, dropout."""
        (attention,) = self.original
        if attn_mask is not None or is_causal or not self._at_once(x):
            attention.training = self.training
            return attention(x, attn_mask=attn_mask, is_causal=is_causal)
        qkv = self.qkv(x)
        wide = qkv.to(torch.promote_types(qkv.dtype, torch.float32)).contiguous()
        y = _Attention.apply(wide, attention.num_heads, attention.scale)
        return self.proj_drop(self.proj(y.to(qkv.dtype)))

    def _at_once(self, x: Tensor) -> bool:
        """Whether the kernels can: they are there, the matrices are small, and no share is dropped."""
        few = x.ndim == 3 and x.shape[1] <= MOST_TOKENS and self.original[0].head_dim <= MOST_FEATURES
        dropped = self.training and self.attn_drop.p > 0
        return few and x.is_cpu and x.numel() > 0 and not dropped and products.kernel_products() is not None
