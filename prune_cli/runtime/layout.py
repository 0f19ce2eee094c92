"""How activations lie in memory: tokens first, as torch makes them, or features first, as the kernels work."""

from __future__ import annotations

from dataclasses import dataclass

from prune_cli.common.lazy import Tensor


@dataclass(frozen=True)
class Layout:
    """Groups of `tokens` tokens each, strides in numbers; the stride of tokens or that of features is 1."""

    groups: int
    tokens: int
    group_stride: int
    token_stride: int
    feature_stride: int

    @classmethod
    def of(cls, x_GTF: Tensor) -> Layout | None:
        """The layout of activations (groups, tokens, features), groups as one where they follow each other like tokens;
        None where neither tokens nor features lie side by side."""
        groups, tokens, features = x_GTF.shape
        group, token, feature = x_GTF.stride()
        if features == 1 and token != 1:
            feature = 1  # whatever torch calls it
        if tokens == 1 and feature != 1:
            token = 1
        if 1 not in (token, feature):
            return None
        if groups == 1 or group == tokens * token:
            return cls(1, groups * tokens, 0, token, feature)
        return cls(groups, tokens, group, token, feature)

    @property
    def features_first(self) -> bool:
        """Whether a feature of neighbouring tokens lies side by side."""
        return self.feature_stride != 1


def grouped(x: Tensor) -> Tensor:
    """Activations (…, F) as (groups, tokens, F), in a layout that kernels read; a copy only where there is no other way."""
    lead = (1,) * max(0, 3 - x.ndim) + tuple(x.shape)
    x_GTF = x.reshape(-1, *lead[-2:])
    return x_GTF if x_GTF.numel() == 0 or Layout.of(x_GTF) is not None else x_GTF.contiguous()


def empty(x_GTF: Tensor, features: int, features_first: bool) -> Tensor:
    """Room for other features of the same tokens: features first or tokens first, in the groups of x."""
    groups, tokens, _ = x_GTF.shape
    layout = Layout.of(x_GTF)
    if not features_first or layout is None:
        return x_GTF.new_empty(groups, tokens, features)
    if layout.groups == 1:
        return x_GTF.new_empty(features, groups * tokens).t().view(groups, tokens, features)
    return x_GTF.new_empty(groups, features, tokens).transpose(1, 2)
