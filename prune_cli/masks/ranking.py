"""The k largest of many scores, exactly, without a sorted or concatenated copy.

The bits of a float, read as an integer, sort as the float does (backwards among negative numbers). So the k-th largest
is found 16 bits at a time: count how many scores have each first digit, keep the digit that holds the k-th, count the
next 16 bits within it (a radix select). float32 needs two passes, float64 four; the extra memory is one chunk of one
tensor at a time. float16 and bfloat16 are read as float32, and all as float64 where one of them is.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from prune_cli.common.lazy import Tensor, torch

CHUNK = 1 << 18  # scores looked at together: they stay in cache, and are enough for two threads to share
DIGIT = 16  # bits counted in one pass
BINS = 1 << DIGIT
HALF = BINS // 2


@dataclass(frozen=True)
class Threshold:
    """The k-th largest score: all scores above `value` are among the k largest, and the first `ties` equal to it."""

    value: float
    ties: int
    equal: int  # scores that equal it, ties ≤ equal
    dtype: torch.dtype  # scores are compared with it as this


def threshold(scores: Iterable[Tensor], k: int) -> Threshold:
    """The threshold of the k largest of all scores (no NaN among them), 1 ≤ k ≤ their number."""
    scores = list(scores)
    dtype = torch.float64 if any(score.dtype == torch.float64 for score in scores) else torch.float32
    first, *others = range(torch.finfo(dtype).bits - DIGIT, -1, -DIGIT)
    largest_first = torch.cat([torch.arange(BINS - 1, HALF - 1, -1), torch.arange(HALF)])  # the negative ones backwards
    digit, rank, equal = _digit_of_rank(_histogram(scores, dtype, first, -HALF), largest_first, k)
    bits = digit - HALF
    largest_first = torch.arange(BINS) if bits < 0 else torch.arange(BINS - 1, -1, -1)
    for shift in others:
        digit, rank, equal = _digit_of_rank(_histogram(scores, dtype, shift, bits << DIGIT), largest_first, rank)
        bits = (bits << DIGIT) + digit
    return Threshold(float(torch.tensor(bits, dtype=_integer(dtype)).view(dtype)), rank, equal, dtype)


def keep_above(scores: Mapping[str, Tensor], cut: Threshold) -> dict[str, Tensor]:
    """Bool tensors that are True at all scores above the threshold and at the first of those equal to it."""
    compare, ties = (torch.ge, 0) if cut.ties == cut.equal else (torch.gt, cut.ties)
    kept = {}
    for name, score in scores.items():
        keep = torch.empty(score.numel(), dtype=torch.bool, device=score.device)
        for chunk, part in zip(chunks(score, cut.dtype), keep.split(CHUNK), strict=True):
            compare(chunk, cut.value, out=part)
            if ties:
                equal = (chunk == cut.value).nonzero().squeeze(1)[:ties]
                part[equal] = True
                ties -= len(equal)
        kept[name] = keep.view(score.shape)
    return kept


def chunks(score: Tensor, dtype: torch.dtype | None = None) -> Iterator[Tensor]:
    """A tensor's values in flat order, a chunk at a time."""
    return (chunk.to(dtype or score.dtype) for chunk in score.detach().reshape(-1).split(CHUNK))


def _histogram(scores: list[Tensor], dtype: torch.dtype, shift: int, start: int) -> Tensor:
    """How many scores have the bits start, start + 1, … start + BINS - 1 once shifted; all others are left out."""
    devices = {score.device for score in scores}
    counts = {device: torch.zeros(BINS, dtype=torch.int64, device=device) for device in devices}
    one = {device: torch.ones(1, dtype=torch.int64, device=device) for device in devices}
    low, high = start << shift, ((start + BINS) << shift) - 1
    for score in scores:
        for chunk in chunks(score, dtype):
            bits = (chunk + 0.0).view(_integer(dtype))  # -0.0 and 0.0 are one value
            if start != -HALF:  # the first digits leave none out
                bits = _in_range(bits, low, high)
            counts[score.device].index_add_(0, (bits >> shift).sub_(start), one[score.device].expand(len(bits)))
    return torch.stack([count.cpu() for count in counts.values()]).sum(0)


def _in_range(bits: Tensor, low: int, high: int) -> Tensor:
    """The integers that lie in [low, high]."""
    if bits.device.type != "cpu":
        return bits[(bits >= low) & (bits <= high)]
    array = bits.numpy()  # it picks out a few of many in a quarter of torch's time
    return torch.from_numpy(array[(array >= low) & (array <= high)])


def _digit_of_rank(counts: Tensor, largest_first: Tensor, rank: int) -> tuple[int, int, int]:
    """The digit of the `rank`-th score from the top, its rank among the scores with that digit, and their number."""
    from_top = counts[largest_first].cumsum(0)
    place = int(torch.searchsorted(from_top, rank))
    digit = int(largest_first[place])
    return digit, rank - int(from_top[place] - counts[digit]), int(counts[digit])


def _integer(dtype: torch.dtype) -> torch.dtype:
    return torch.int32 if dtype == torch.float32 else torch.int64
