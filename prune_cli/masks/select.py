"""Which weights are kept: exactly the allocated number of each tensor, the largest scores, ties by position."""

from __future__ import annotations

from collections.abc import Mapping

from prune_cli.common.lazy import Tensor, torch
from prune_cli.masks.allocate import Sparsity, allocate, check_no_nan, kept_total
from prune_cli.masks.mask import Mask
from prune_cli.masks.pattern import check_pattern, keep_pattern
from prune_cli.masks.ranking import keep_above, threshold

ROWS = 1 << 24  # weights whose rows are sorted together


def select(
    scores: Mapping[str, Tensor],
    sparsity: float,
    scope: str = "global",
    min_kept_per_tensor: int = 0,
    pattern: str | None = None,
) -> Mask:
    """The mask that removes round(sparsity · N) of the N scored weights: those with the lowest scores.

    scores: a tensor of any shape for each prunable weight, higher = keep. sparsity: the share removed, in [0, 1).
    scope and min_kept_per_tensor: see `allocate`; scope row compares the weights of one output row with each other.
    pattern: "N:M" keeps the N largest of every M along the input instead; sparsity must then be 1 - N/M. Of equal scores
    the earlier tensor, then the earlier flat index is kept, on every device alike. Returns a bool tensor of the same
    shape for each name, True = keep. Raises SelectionError for a wrong request, NumericalError for NaN by the tensor's
    name.
    """
    kept = kept_total(sum(score.numel() for score in scores.values()), sparsity)
    if pattern is not None:
        return _select_pattern(scores, sparsity, pattern)
    if scope == "global" and not min_kept_per_tensor and kept:  # one threshold for all: the counts follow from it
        check_no_nan(scores)
        return keep_above(scores, threshold(scores.values(), kept))
    counts = allocate(scores, kept, scope, min_kept_per_tensor)
    keep = keep_largest_in_rows if scope == "row" else keep_largest
    return {name: keep(score, counts[name]) for name, score in scores.items()}


def _select_pattern(scores: Mapping[str, Tensor], sparsity: float, pattern: str) -> Mask:
    check_no_nan(scores)
    check_pattern(scores, pattern)
    Sparsity(100 * sparsity, pattern=pattern)  # raises where the two do not agree
    return {name: keep_pattern(score, pattern) for name, score in scores.items()}


def keep_largest(score: Tensor, count: int) -> Tensor:
    """A bool tensor that is True at the `count` largest values; of equal values the earlier flat index."""
    if count in (0, score.numel()):
        return torch.full(score.shape, count > 0, dtype=torch.bool, device=score.device)
    return keep_above({"": score}, threshold([score], count))[""]


def keep_largest_in_rows(score: Tensor, count: int) -> Tensor:
    """A bool tensor that is True at the largest values of each row (the first dimension), `count` in all.

    `count` is shared evenly among the rows, earlier rows get the remainder. A vector is one row.
    """
    if score.ndim < 2:
        return keep_largest(score, count)
    keep = torch.zeros(score.shape, dtype=torch.bool, device=score.device)
    score_OI, keep_OI = score.detach().reshape(len(score), -1), keep.view(len(score), -1)
    each, rest = divmod(count, len(score))
    step = max(1, ROWS // score_OI.shape[1])
    for start in range(0, len(score), step):
        order = score_OI[start : start + step].sort(dim=1, descending=True, stable=True).indices
        part = keep_OI[start : start + step]
        part.scatter_(1, order[:, :each], True)
        more = order[: max(0, rest - start), each : each + 1]
        part[: len(more)].scatter_(1, more, True)
    return keep
