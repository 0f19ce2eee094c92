"""The k-th largest of many scores, exactly, without a sorted or concatenated copy.

A float's bits, read as an integer with the order of negative numbers turned round, sort as the float does. So the
k-th largest is found 16 bits at a time: count how many scores start with each 16-bit prefix, keep the prefix that
holds the k-th, count the next 16 bits within it (a radix select). float32 needs two passes, float64 four; the extra
memory is one chunk of each tensor at a time.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

CHUNK = 1 << 20  # scores looked at together: small enough to stay in cache, large enough to be fast
DIGIT = 16  # bits counted in one pass
HALF = 1 << (DIGIT - 1)


@dataclass(frozen=True)
class Threshold:
    """The k-th largest score: all scores above `value` are among the k largest, and the first `ties` equal to it."""

    value: float
    ties: int


def threshold(scores: Iterable[Tensor], k: int) -> Threshold:
    """The threshold of the k largest of all scores (no NaN among them), 1 ≤ k ≤ their number."""
    scores = list(scores)
    dtype = torch.float64 if any(score.dtype == torch.float64 for score in scores) else torch.float32
    prefix, rank = 0, k
    for shift in range(torch.finfo(dtype).bits - DIGIT, -1, -DIGIT):
        first = shift == torch.finfo(dtype).bits - DIGIT
        histogram = sum(
            (_histogram(chunk, dtype, None if first else prefix, shift) for score in scores for chunk in chunks(score)),
            start=torch.zeros(1 << DIGIT, dtype=torch.int64),
        )
        from_top = histogram.flip(0).cumsum(0)
        place = int(torch.searchsorted(from_top, rank))
        rank -= int(from_top[place - 1]) if place else 0
        digit = (1 << DIGIT) - 1 - place
        prefix = digit - HALF if first else (prefix << DIGIT) | digit
    return Threshold(_to_float(prefix, dtype), rank)


def chunks(score: Tensor) -> Iterator[Tensor]:
    """A tensor's values in flat order, a chunk at a time."""
    return iter(score.detach().reshape(-1).split(CHUNK))


def _keys(chunk: Tensor, dtype: torch.dtype) -> Tensor:
    """Integers that sort as the floats do; -0.0 and 0.0 are one value."""
    signed = torch.int32 if dtype == torch.float32 else torch.int64
    return _fold((chunk.to(dtype) + 0.0).view(signed))


def _fold(bits: Tensor) -> Tensor:
    """Turn the order of the negative numbers round. It is its own inverse."""
    info = torch.iinfo(bits.dtype)
    return bits ^ ((bits >> (info.bits - 1)) & info.max)


def _histogram(chunk: Tensor, dtype: torch.dtype, prefix: int | None, shift: int) -> Tensor:
    """How often each 16-bit digit at `shift` follows `prefix` in the keys of one chunk; the first digit is signed."""
    keys = _keys(chunk, dtype)
    if prefix is None:
        digits = (keys >> shift) + HALF
    else:
        digits = (keys[(keys >> (shift + DIGIT)) == prefix] >> shift) & ((1 << DIGIT) - 1)
    return torch.bincount(digits, minlength=1 << DIGIT).cpu()


def _to_float(key: int, dtype: torch.dtype) -> float:
    signed = torch.int32 if dtype == torch.float32 else torch.int64
    return float(_fold(torch.tensor([key], dtype=signed)).view(dtype))
