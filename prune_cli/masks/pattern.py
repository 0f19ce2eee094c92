"""N:M: of every M neighbouring weights along a layer's input, the N with the largest scores stay (2:4: NVIDIA's pattern)."""

from __future__ import annotations

from collections.abc import Mapping

from prune_cli.common.errors import ConfigError, SelectionError
from prune_cli.common.lazy import Tensor, torch
from prune_cli.common.shaped import Shaped


def parse_pattern(pattern: str) -> tuple[int, int]:
    """(N, M) of "N:M". Raises ConfigError unless 0 < N < M."""
    kept, colon, group = str(pattern).partition(":")
    if not (colon and kept.isdecimal() and group.isdecimal() and 0 < int(kept) < int(group)):
        raise ConfigError(f"a pattern is N:M with 0 < N < M, not {pattern}", "sparsity.pattern", "sparsity.pattern=2:4")
    return int(kept), int(group)


def check_pattern(tensors: Mapping[str, Shaped], pattern: str) -> None:
    """Raise SelectionError that names the first tensor whose input does not divide into groups; only shapes count."""
    _, group = parse_pattern(pattern)
    for name, tensor in tensors.items():
        if tensor.ndim < 2 or tensor.shape[1] % group:
            shape = "×".join(map(str, tensor.shape))
            hint = "leave it out of model.prunable, or another sparsity.pattern"
            raise SelectionError(f"its input ({shape}) does not divide into groups of {group}", name, hint)


def keep_pattern(score: Tensor, pattern: str) -> Tensor:
    """Bool, True at the N largest of every M scores along dimension 1 (input features or channels); ties: the earlier."""
    kept, group = parse_pattern(pattern)
    last = score.detach().movedim(1, -1)
    groups = last.reshape(-1, group)
    keep = torch.zeros_like(groups, dtype=torch.bool)
    keep.scatter_(1, groups.sort(dim=1, descending=True, stable=True).indices[:, :kept], True)
    return keep.reshape(last.shape).movedim(-1, 1).contiguous()
