"""Which weights are kept: exactly the allocated number of each tensor, the largest scores, ties by position."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from prune_cli.masks.allocate import allocate, check_no_nan, kept_total
from prune_cli.masks.mask import Mask
from prune_cli.masks.ranking import keep_above, threshold


def select(scores: Mapping[str, Tensor], sparsity: float, scope: str = "global", min_kept_per_tensor: int = 0) -> Mask:
    """The mask that removes round(sparsity · N) of the N scored weights: those with the lowest scores.

    scores: a tensor of any shape for each prunable weight, higher = keep. sparsity: the share removed, in [0, 1).
    scope and min_kept_per_tensor: see `allocate`. Of equal scores the earlier tensor, then the earlier flat index is
    kept, on every device alike. Returns a bool tensor of the same shape for each name, True = keep.
    Raises SelectionError for a wrong request, NumericalError for NaN by the tensor's name.
    """
    kept = kept_total(sum(score.numel() for score in scores.values()), sparsity)
    if scope == "global" and not min_kept_per_tensor and kept:  # one threshold for all: the counts follow from it
        check_no_nan(scores)
        return keep_above(scores, threshold(scores.values(), kept))
    counts = allocate(scores, kept, scope, min_kept_per_tensor)
    return {name: keep_largest(score, counts[name]) for name, score in scores.items()}


def keep_largest(score: Tensor, count: int) -> Tensor:
    """A bool tensor that is True at the `count` largest values; of equal values the earlier flat index."""
    if count in (0, score.numel()):
        return torch.full(score.shape, count > 0, dtype=torch.bool, device=score.device)
    return keep_above({"": score}, threshold([score], count))[""]
