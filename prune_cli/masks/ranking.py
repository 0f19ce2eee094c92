"""The k largest of many scores, exactly, without a sorted or concatenated copy.

A float's bits, read as an integer with the order of the negative numbers turned round, sort as the float does. So the
k-th largest is found 16 bits at a time: count how many scores have each first digit, keep the digit that holds the
k-th, count the next 16 bits within it (a radix select). float32 needs two passes, float64 four; the extra memory is one
chunk of one tensor at a time. float16 and bfloat16 are read as float32.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

CHUNK = 1 << 20  # scores looked at together: small enough to stay in cache, large enough to be fast
DIGIT = 16  # bits counted in one pass
BINS = 1 << DIGIT
HALF = BINS // 2


@dataclass(frozen=True)
class Threshold:
    """The k-th largest score: all scores above `value` are among the k largest, and the first `ties` equal to it."""

    value: float
    ties: int


def threshold(scores: Iterable[Tensor], k: int) -> Threshold:
    """The threshold of the k largest of all scores (no NaN among them), 1 ≤ k ≤ their number."""
    scores = list(scores)
    dtype = torch.float64 if any(score.dtype == torch.float64 for score in scores) else torch.float32
    shift = torch.finfo(dtype).bits - DIGIT
    counts = _total(_first_digits(chunk, dtype, shift) for chunk in _chunks_of(scores))
    counts = torch.cat([counts[:HALF].flip(0), counts[HALF:]])  # the larger a negative number's bits, the smaller it is
    place, rank = _holding(counts, k)
    prefix = place - HALF
    while shift:
        shift -= DIGIT
        counts = _total(_next_digits(chunk, dtype, shift, prefix) for chunk in _chunks_of(scores))
        place, rank = _holding(counts, rank)
        prefix = (prefix << DIGIT) | place
    return Threshold(_to_float(prefix, dtype), rank)


def keep_above(scores: Mapping[str, Tensor], cut: Threshold) -> dict[str, Tensor]:
    """Bool tensors that are True at all scores above the threshold and at the first of those equal to it."""
    kept, ties = {}, cut.ties
    for name, score in scores.items():
        keep = (score > cut.value).reshape(-1)
        for number, chunk in enumerate(chunks(score) if ties else ()):
            equal = (chunk == cut.value).nonzero().squeeze(1)[:ties]
            keep[number * CHUNK + equal] = True
            ties -= len(equal)
            if not ties:
                break
        kept[name] = keep.view(score.shape)
    return kept


def chunks(score: Tensor) -> Iterator[Tensor]:
    """A tensor's values in flat order, a chunk at a time."""
    return iter(score.detach().reshape(-1).split(CHUNK))


def _chunks_of(scores: Iterable[Tensor]) -> Iterator[Tensor]:
    return (chunk for score in scores for chunk in chunks(score))


def _total(histograms: Iterable[Tensor]) -> Tensor:
    return sum(histograms, start=torch.zeros(BINS, dtype=torch.int64))


def _holding(counts: Tensor, rank: int) -> tuple[int, int]:
    """The bin that holds the `rank`-th from the top, and its rank within the bin."""
    from_top = counts.flip(0).cumsum(0)
    place = int(torch.searchsorted(from_top, rank))
    return BINS - 1 - place, rank - (int(from_top[place - 1]) if place else 0)


def _first_digits(chunk: Tensor, dtype: torch.dtype, shift: int) -> Tensor:
    """How often each first digit occurs in the bits as they are: the negative numbers first, by size."""
    return torch.bincount((_bits(chunk, dtype) >> shift) + HALF, minlength=BINS).cpu()


def _next_digits(chunk: Tensor, dtype: torch.dtype, shift: int, prefix: int) -> Tensor:
    """How often each digit at `shift` follows `prefix`, a range of numbers, in the bits that sort."""
    low = _to_float(prefix << (shift + DIGIT), dtype, otherwise=float("-inf"))
    high = _to_float(((prefix + 1) << (shift + DIGIT)) - 1, dtype, otherwise=float("inf"))
    keys = _fold(_bits(chunk[(chunk >= low) & (chunk <= high)], dtype))
    digits = (keys[(keys >> (shift + DIGIT)) == prefix] >> shift) & (BINS - 1)
    return torch.bincount(digits, minlength=BINS).cpu()


def _bits(values: Tensor, dtype: torch.dtype) -> Tensor:
    """The bits of the floats as integers; -0.0 and 0.0 are one value."""
    return (values.to(dtype) + 0.0).view(torch.int32 if dtype == torch.float32 else torch.int64)


def _fold(bits: Tensor) -> Tensor:
    """Turn the order of the negative numbers round. It is its own inverse."""
    info = torch.iinfo(bits.dtype)
    return bits ^ ((bits >> (info.bits - 1)) & info.max)


def _to_float(key: int, dtype: torch.dtype, otherwise: float = float("nan")) -> float:
    """The float whose sorting bits these are; `otherwise` where they are no number."""
    signed = torch.int32 if dtype == torch.float32 else torch.int64
    value = float(_fold(torch.tensor([key], dtype=signed)).view(dtype))
    return otherwise if value != value else value
