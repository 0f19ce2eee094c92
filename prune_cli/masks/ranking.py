"""The k largest of many scores, exactly, without a sorted or concatenated copy.

A float's bits, read as an integer with the order of the negative numbers turned round, sort as the float does. So the
k-th largest is found 16 bits at a time: count how many scores have each first digit, keep the digit that holds the
k-th, count the next 16 bits within it (a radix select). float32 needs two passes, float64 four; the extra memory is one
chunk of one tensor at a time. float16 and bfloat16 are read as float32, and all as float64 where one of them is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

CHUNK = 1 << 15  # scores looked at together: they stay in cache, and torch does not wake a second thread for so few
DIGIT = 16  # bits counted in one pass
BINS = 1 << DIGIT
HALF = BINS // 2


@dataclass(frozen=True)
class Threshold:
    """The k-th largest score: all scores above `value` are among the k largest, and the first `ties` equal to it."""

    value: float
    ties: int
    dtype: torch.dtype  # scores are compared with it as this


def threshold(scores: Iterable[Tensor], k: int) -> Threshold:
    """The threshold of the k largest of all scores (no NaN among them), 1 ≤ k ≤ their number."""
    scores = list(scores)
    dtype = torch.float64 if any(score.dtype == torch.float64 for score in scores) else torch.float32
    first, *others = range(torch.finfo(dtype).bits - DIGIT, -1, -DIGIT)
    counts = _histogram(scores, dtype, lambda chunk: (_bits(chunk) >> first) + HALF)
    counts = torch.cat([counts[:HALF].flip(0), counts[HALF:]])  # the larger a negative number's bits, the smaller it is
    place, rank = _holding(counts, k)
    prefix = place - HALF
    for shift in others:
        place, rank = _holding(_histogram(scores, dtype, _next_digit(prefix, shift, dtype)), rank)
        prefix = (prefix << DIGIT) | place
    return Threshold(_to_float(prefix, dtype), rank, dtype)


def keep_above(scores: Mapping[str, Tensor], cut: Threshold) -> dict[str, Tensor]:
    """Bool tensors that are True at all scores above the threshold and at the first of those equal to it."""
    kept, ties = {}, cut.ties
    for name, score in scores.items():
        keep = torch.empty(score.numel(), dtype=torch.bool, device=score.device)
        for chunk, part in zip(chunks(score, cut.dtype), keep.split(CHUNK), strict=True):
            torch.gt(chunk, cut.value, out=part)
            if ties:
                equal = (chunk == cut.value).nonzero().squeeze(1)[:ties]
                part[equal] = True
                ties -= len(equal)
        kept[name] = keep.view(score.shape)
    return kept


def chunks(score: Tensor, dtype: torch.dtype | None = None) -> Iterator[Tensor]:
    """A tensor's values in flat order, a chunk at a time."""
    return (chunk.to(dtype or score.dtype) for chunk in score.detach().reshape(-1).split(CHUNK))


def _histogram(scores: list[Tensor], dtype: torch.dtype, digits: Callable[[Tensor], Tensor]) -> Tensor:
    """How often each digit is found in the chunks of all scores."""
    devices = {score.device for score in scores}
    counts = {device: torch.zeros(BINS, dtype=torch.int64, device=device) for device in devices}
    one = {device: torch.ones(1, dtype=torch.int64, device=device) for device in devices}
    for score in scores:
        for chunk in chunks(score, dtype):
            found = digits(chunk)
            counts[score.device].index_add_(0, found, one[score.device].expand(len(found)))
    return torch.stack([count.cpu() for count in counts.values()]).sum(0)


def _holding(counts: Tensor, rank: int) -> tuple[int, int]:
    """The bin that holds the `rank`-th from the top, and its rank within the bin."""
    from_top = counts.flip(0).cumsum(0)
    place = int(torch.searchsorted(from_top, rank))
    return BINS - 1 - place, rank - (int(from_top[place - 1]) if place else 0)


def _next_digit(prefix: int, shift: int, dtype: torch.dtype) -> Callable[[Tensor], Tensor]:
    """The digits at `shift` that follow `prefix`, of the scores that have it: those between two floats."""
    first, last = prefix << (shift + DIGIT), ((prefix + 1) << (shift + DIGIT)) - 1
    low, high = _to_float(first, dtype, or_nan=-torch.inf), _to_float(last, dtype, or_nan=torch.inf)

    def digits(chunk: Tensor) -> Tensor:
        keys = _fold(_bits(chunk[(chunk >= low) & (chunk <= high)]))
        within = keys[(keys >> (shift + DIGIT)) == prefix]  # 0.0 is not below -0.0, but its key is above
        return (within >> shift) & (BINS - 1)

    return digits


def _bits(values: Tensor) -> Tensor:
    """The bits of the floats as integers; -0.0 and 0.0 are one value."""
    return (values + 0.0).view(torch.int32 if values.dtype == torch.float32 else torch.int64)


def _fold(bits: Tensor) -> Tensor:
    """Turn the order of the negative numbers round. It is its own inverse."""
    info = torch.iinfo(bits.dtype)
    return bits ^ ((bits >> (info.bits - 1)) & info.max)


def _to_float(key: int, dtype: torch.dtype, or_nan: float = torch.nan) -> float:
    """The float whose sorting bits these are; `or_nan` where they are no number."""
    signed = torch.int32 if dtype == torch.float32 else torch.int64
    value = float(_fold(torch.tensor([key], dtype=signed)).view(dtype))
    return or_nan if value != value else value
