"""Transfer entropy and mutual information of discrete series, of all units at once, from counts.

Everything is pooled over clips and time, and in nats. A letter legend: C clips, T times, U units, S samples (a clip at a
time that has its whole history). A series is (C, T), or (C, T, U) where each unit has its own.

information.transfer_entropy(source, target, lag=1)
information.mutual_information(source, target)
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import prod

import torch
from torch import Tensor

from prune_cli.common.errors import RequestError
from prune_cli.common.random import generator

DENSE = 1 << 22  # counters in a table of all combinations at most; above, those that occur are sorted
SPARSE = 1 << 40  # codes stay far from the end of int64
Measure = Callable[[Tensor, Tensor], Tensor]


def mutual_information(source: Tensor, target: Tensor, miller_madow: bool = False) -> Tensor:
    """I(source; target) = Σ p(x,y) ln[p(x,y) / (p(x) p(y))] at the same times, (U,) nats.

    source, target: int ≥ 0, (C, T) or (C, T, U). miller_madow adds (cells seen - 1) / 2S to each entropy (Miller 1955).
    Raises RequestError where the two do not fit.
    """
    x, y = _aligned(target, source)
    x, y = x.flatten(0, 1), y.flatten(0, 1)
    return sum_entropies([x, y], [(1, [0]), (1, [1]), (-1, [0, 1])], miller_madow)


def transfer_entropy(
    source: Tensor,
    target: Tensor,
    lag: int = 1,
    target_history: int = 1,
    source_history: int = 1,
    miller_madow: bool = False,
) -> Tensor:
    """TE(source → target) = Σ p(x',x,y) ln[p(x'|x,y) / p(x'|x)] (Schreiber 2000), (U,) nats.

    x' is the target at t, x its own history at t-1 … t-target_history, y the source at t-lag … t-lag-source_history+1:
    a lag moves the source alone. source, target: int ≥ 0, (C, T) or (C, T, U). Plug-in counts are biased upwards by about
    cells / 2S: see `against_shuffled`. miller_madow: see `mutual_information`. Raises RequestError where the two do not
    fit, or a clip is too short for the lag and the histories.
    """
    x, y = _aligned(target, source)
    now, own, other = _histories(x, y, lag, target_history, source_history)
    own_past = list(range(1, 1 + target_history))
    all_past = list(range(1, 1 + target_history + source_history))
    terms = [(1, [0, *own_past]), (-1, own_past), (-1, [0, *all_past]), (1, all_past)]
    return sum_entropies([now, *own, *other], terms, miller_madow)


@dataclass(frozen=True)
class AgainstShuffled:
    """A measure beside what chance makes of it, each (U,): `corrected` is the value less the surrogates' mean.

    p: the share of surrogates that reach the value, the value itself among them, so never 0.
    """

    value: Tensor
    surrogate_mean: Tensor
    p: Tensor

    @property
    def corrected(self) -> Tensor:
        """value - surrogate_mean, nats."""
        return self.value - self.surrogate_mean


def against_shuffled(
    measure: Measure, source: Tensor, target: Tensor, surrogates: int = 100, seed: int = 0
) -> AgainstShuffled:
    """The measure, and the same with the source's clips permuted: each series stays whole but meets another clip.

    measure: one of this file's, its options bound. Raises RequestError for fewer than two clips or no surrogate.
    """
    if len(source) < 2 or surrogates < 1:
        raise RequestError("shuffling needs two clips or more, and one surrogate or more", f"{len(source)} clips")
    value, draw = measure(source, target), generator(seed, "surrogates")
    total, reached = torch.zeros_like(value), torch.ones_like(value)
    for _ in range(surrogates):
        found = measure(source[torch.randperm(len(source), generator=draw)], target)
        total += found
        reached += found >= value
    return AgainstShuffled(value, total / surrogates, reached / (surrogates + 1))


def by_class(measure: Measure, source: Tensor, target: Tensor, classes: Tensor) -> dict[int, Tensor]:
    """The measure within the clips of each class: classes int (C,) -> {class: (U,) nats}."""
    return {
        int(label): measure(source[classes == label], target[classes == label]) for label in classes.unique().tolist()
    }


def equal_bins(values: Tensor, bins: int, low: float, high: float) -> Tensor:
    """The number of the bin of each value, int: `bins` of equal width on [low, high); what lies outside joins the end."""
    return ((values - low) * (bins / (high - low))).floor().long().clamp_(0, bins - 1)


def quantile_bins(values: Tensor, bins: int) -> Tensor:
    """The same with bins that hold equally many values of each unit: values (C, T, U)."""
    flat = values.flatten(0, 1)
    inner = torch.linspace(0, 1, bins + 1, dtype=flat.dtype)[1:-1]
    edges_UB = torch.quantile(flat, inner, dim=0).t().contiguous()
    return torch.searchsorted(edges_UB, flat.t().contiguous(), right=True).t().reshape(values.shape)


def sum_entropies(parts: list[Tensor], terms: list[tuple[int, list[int]]], miller_madow: bool = False) -> Tensor:
    """Σ sign · H(joint of some of the parts), the parts named by their place, each int (S, U): (U,) nats.

    H is the plug-in entropy -Σ p ln p. All joints are sums over one table of counts where that is small enough.
    """
    samples, units = parts[0].shape
    sizes = [_size(part) for part in parts]
    if units * prod(sizes) > DENSE:
        tables = [_sparse_counts([parts[place] for place in places]) for _, places in terms]
    else:
        table = _table(parts, sizes)
        tables = [_marginal(table, places) for _, places in terms]
    found = torch.zeros(units, dtype=torch.float64)
    for (sign, _), (counts, unit) in zip(terms, tables, strict=True):
        share = counts.double() / samples
        found.index_add_(0, unit, -sign * share * share.log())
        if miller_madow:
            found += sign * (torch.bincount(unit, minlength=units) - 1) / (2 * samples)
    return found


def _table(parts: list[Tensor], sizes: list[int]) -> Tensor:
    """How often each combination occurs: (U, size of each part)."""
    units = parts[0].shape[1]
    codes = (
        torch.arange(units, dtype=torch.int32) * sizes[0] + parts[0].int()
    )  # int32: half of the memory to go through
    for part, size in zip(parts[1:], sizes[1:], strict=True):
        codes.mul_(size).add_(part)
    return torch.bincount(codes.flatten(), minlength=units * prod(sizes)).view(units, *sizes)


def _marginal(table: Tensor, places: list[int]) -> tuple[Tensor, Tensor]:
    """How often each combination of these parts that occurs does so, and in which unit; table: (U, size of each part)."""
    others = [dim for dim in range(1, table.ndim) if dim - 1 not in places]
    counts = (table.sum(others) if others else table).flatten(1)
    unit, cell = counts.nonzero(as_tuple=True)
    return counts[unit, cell], unit


def _sparse_counts(parts: list[Tensor]) -> tuple[Tensor, Tensor]:
    """The same without a table: the combinations that occur are sorted."""
    codes_SU, cells = _joint(parts)
    places, counts = (codes_SU + torch.arange(codes_SU.shape[1]) * cells).flatten().unique(return_counts=True)
    return counts, places // cells


def _joint(parts: list[Tensor]) -> tuple[Tensor, int]:
    """One code for each combination of values, and how many codes there could be."""
    codes, cells = parts[0].long(), _size(parts[0])
    for part in parts[1:]:
        size = _size(part)
        codes, cells = codes * size + part, cells * size
        if cells > SPARSE:  # long histories: number the combinations that occur
            values, codes = codes.unique(return_inverse=True)
            cells = len(values)
    return codes, cells


def _histories(
    x: Tensor, y: Tensor, lag: int, target_history: int, source_history: int
) -> tuple[Tensor, list[Tensor], list[Tensor]]:
    """x', the target's past and the source's past at every time that has them all, each (S, U)."""
    if min(lag, target_history, source_history) < 1:
        raise RequestError("lag and histories are 1 or more", "transfer entropy")
    first, times = max(target_history, lag + source_history - 1), x.shape[1]
    if first >= times:
        raise RequestError(f"clips of {times} frames are too short for a lag of {lag} and these histories", "lag")

    def at(series: Tensor, back: int) -> Tensor:
        return series[:, first - back : times - back].flatten(0, 1)

    own = [at(x, back) for back in range(1, target_history + 1)]
    other = [at(y, back) for back in range(lag, lag + source_history)]
    return at(x, 0), own, other


def _aligned(target: Tensor, source: Tensor) -> tuple[Tensor, Tensor]:
    """Both as int32 (C, T, U); a series that all units share is not copied."""
    target, source = torch.as_tensor(target), torch.as_tensor(source)
    shapes = f"source {tuple(source.shape)}, target {tuple(target.shape)}"
    both = [series.unsqueeze(-1) if series.ndim == 2 else series for series in (target, source)]
    units = max(series.shape[-1] for series in both)
    fits = both[0].shape[:2] == both[1].shape[:2] and all(series.shape[-1] in (1, units) for series in both)
    if not fits or any(series.is_floating_point() or int(series.min()) < 0 for series in both):
        raise RequestError("series are counted numbers from 0, of the same clips and times", shapes, "bin them first")
    x, y = (series.int().expand(*series.shape[:2], units) for series in both)
    return x, y


def _size(part: Tensor) -> int:
    """How many values a part can take: one more than its largest; one column is enough where all units share it."""
    return int((part[:, :1] if part.stride(1) == 0 else part).max()) + 1
