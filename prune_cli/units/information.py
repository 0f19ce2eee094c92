"""Transfer entropy and mutual information of discrete series, of all units at once, from counts.

Everything is pooled over clips and time, and in nats. A letter legend: C clips, T times, U units, S samples (a clip at a
time that has its whole history). A series is (C, T), or (C, T, U) where each unit has its own.

information.transfer_entropy(source, target, lag=1)
information.mutual_information(source, target)
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import reduce
from math import log, prod

from prune_cli.common.errors import RequestError, nearest
from prune_cli.common.lazy import Tensor, torch
from prune_cli.common.random import generator

DENSE = 1 << 22  # counters in a table of all combinations at most; above, those that occur are sorted
SPARSE = 1 << 40  # codes stay far from the end of int64
ROUNDING = 1e-12  # nats: what is closer to 0 is 0, and what is closer to another value equals it
SURROGATE_KINDS = ("clips", "shift")
Measure = Callable[..., Tensor]  # (source, target), each a tensor or a Series


class Series:
    """A series, int ≥ 0, (C, T) or (C, T, U), and its share of the code of each combination of values.

    The share is kept: where a series meets one other after another, it is gone through once.
    """

    def __init__(self, values: Tensor):
        values = torch.as_tensor(values)
        columns_SU = values.int().reshape(*values.shape[:2], -1).flatten(0, 1)
        low, high = (int(end) for end in columns_SU.aminmax())
        if values.is_floating_point() or low < 0:
            raise RequestError("series are counted numbers from 0", f"{values.dtype}, from {low}", "bin them first")
        # units first, so that the counters of one fit the fastest cache
        self.values_UCT = columns_SU.t().contiguous().view(-1, *values.shape[:2])
        self.units, self.clips, self.times = self.values_UCT.shape
        self.size = high + 1  # how many values it can take
        self._codes: dict[tuple, Tensor] = {}

    def at(self, first: int, back: int) -> Tensor:
        """The values `back` steps before each time from `first` on, (U, C, T - first)."""
        return self.values_UCT[:, :, first - back : self.times - back]

    def codes(self, first: int, strides: list[tuple[int, int]], unit_stride: int) -> Tensor:
        """unit_stride · unit + Σ stride · the values `back` steps before, over (back, stride): (U, C, T - first)."""
        key = (first, *strides, unit_stride)
        if key not in self._codes:
            (back, stride), *others = strides
            units = torch.arange(self.units, dtype=torch.int32).mul_(unit_stride).view(-1, 1, 1)
            codes = units.add(self.at(first, back), alpha=stride)
            for back, stride in others:
                codes.add_(self.at(first, back), alpha=stride)
            self._codes[key] = codes
        return self._codes[key]


Part = tuple[Series, int]  # a series, so many steps back


def mutual_information(source: Tensor | Series, target: Tensor | Series, miller_madow: bool = False) -> Tensor:
    """I(source; target) = Σ p(x,y) ln[p(x,y) / (p(x) p(y))] at the same times, (U,) nats.

    source, target: int ≥ 0, (C, T) or (C, T, U). miller_madow adds (cells seen - 1) / 2S to each entropy (Miller 1955).
    Raises RequestError where the two do not fit.
    """
    x, y = _aligned(target, source)
    return sum_entropies([(x, 0), (y, 0)], 0, [(1, [0]), (1, [1]), (-1, [0, 1])], miller_madow)


def transfer_entropy(
    source: Tensor | Series,
    target: Tensor | Series,
    lag: int = 1,
    target_history: int = 1,
    source_history: int = 1,
    miller_madow: bool = False,
) -> Tensor:
    """TE(source → target) = Σ p(x',x,y) ln[p(x'|x,y) / p(x'|x)] (Schreiber 2000), (U,) nats.

    x' is the target at t, x its own history at t-1 … t-target_history, y the source at t-lag … t-lag-source_history+1:
    a lag moves the source alone. source, target: int ≥ 0, (C, T) or (C, T, U). Plug-in counts are biased upwards. For
    independent samples that is about (n(x',x,y) - n(x,y) - n(x',x) + n(x)) / 2S, n the combinations that can occur, which
    are fewer than all cells; the frames of a clip are not independent, and what all clips have in common (their course
    over time) comes on top and is no bias of counting: see `against_surrogates`. miller_madow: see `mutual_information`;
    it knows only the combinations seen, so it takes away too little. Raises RequestError where the two do not fit, or a
    clip is too short for the lag and the histories.
    """
    x, y = _aligned(target, source)
    first = _first_time(x.times, lag, target_history, source_history)
    own = [(x, back) for back in range(1, target_history + 1)]
    other = [(y, back) for back in range(lag, lag + source_history)]
    own_past = list(range(1, 1 + target_history))
    all_past = list(range(1, 1 + target_history + source_history))
    terms = [(1, [0, *own_past]), (-1, own_past), (-1, [0, *all_past]), (1, all_past)]
    return sum_entropies([(x, 0), *own, *other], first, terms, miller_madow)


@dataclass(frozen=True)
class AgainstSurrogates:
    """A measure and its null distribution from surrogates, (U,) each, in nats.

    p: the share of surrogates that reach the value, counting the value itself, so 1 / (surrogates + 1) or more.
    """

    value: Tensor
    surrogate_mean: Tensor
    p: Tensor

    @property
    def corrected(self) -> Tensor:
        """value - surrogate_mean, nats."""
        return without_rounding(self.value - self.surrogate_mean)

    @property
    def p_adjusted(self) -> Tensor:
        """p by Benjamini and Hochberg (1995): units with p_adjusted ≤ q have a share of false findings of q at most.

        A unit alone among U can fall below q only with U / q surrogates or more.
        """
        from scipy.stats import false_discovery_control

        return torch.from_numpy(false_discovery_control(self.p.numpy(), method="bh"))


def against_surrogates(
    measure: Measure, source: Tensor, target: Tensor, surrogates: int = 100, seed: int = 0, kind: str = "clips"
) -> AgainstSurrogates:
    """The measure, and the measure of surrogate sources that tell nothing of their target.

    kind clips: the source's clips are permuted, each with its frames in order. A surrogate keeps the course over time that
    all clips have in common; what exceeds it is told clip by clip. kind shift: each clip of the source is turned round in
    time by a number of frames of its own, drawn from 0 … T-1. A surrogate keeps what stays the same throughout a clip, and
    loses the common course. measure: one of this file's, its options bound. Raises RequestError for fewer than two clips
    to permute, for no surrogate, and where no clip of the source changes in time to be shifted.
    """
    _check_surrogates(source, surrogates, kind)
    same = Series(target)
    value, draw = measure(source, same), generator(seed, "surrogates")
    total, reached = torch.zeros_like(value), torch.ones_like(value)
    for _ in range(surrogates):
        found = measure(_surrogate(source, kind, draw), same)
        total += found
        reached += found >= value - ROUNDING
    return AgainstSurrogates(value, total / surrogates, reached / (surrogates + 1))


def _check_surrogates(source: Tensor, surrogates: int, kind: str) -> None:
    """Raise RequestError where surrogates of this kind cannot be drawn, or would all be the source itself."""
    if kind not in SURROGATE_KINDS:
        raise RequestError(f"there is no kind of surrogates {kind!r}", hint=nearest(kind, SURROGATE_KINDS))
    if surrogates < 1 or (kind == "clips" and len(source) < 2):
        raise RequestError("shuffling needs two clips or more, and one surrogate or more", f"{len(source)} clips")
    if kind == "shift" and bool((source == source[:, :1]).all()):
        raise RequestError(
            "the source stays the same throughout each clip: shifted in time it is itself",
            "surrogates by shift",
            "by clips",
        )


def _surrogate(source: Tensor, kind: str, draw: torch.Generator) -> Tensor:
    """One surrogate of a source (C, T) or (C, T, U)."""
    clips, times = source.shape[:2]
    if kind == "clips":
        return source[torch.randperm(clips, generator=draw)]
    shifted_CT = (torch.arange(times) + torch.randint(times, (clips, 1), generator=draw)) % times
    return source[torch.arange(clips).unsqueeze(1), shifted_CT]


def without_rounding(nats: Tensor) -> Tensor:
    """The values, 0 where they differ from 0 by rounding alone: equal units then stay equal."""
    return nats.masked_fill(nats.abs() < ROUNDING, 0.0)


def by_class(measure: Measure, source: Tensor, target: Tensor, classes: Tensor) -> dict[int, Tensor]:
    """The measure within the clips of each class: classes int (C,) -> {class: (U,) nats}."""
    return {
        int(label): measure(source[classes == label], target[classes == label]) for label in classes.unique().tolist()
    }


def equal_bins(values: Tensor, bins: int, low: float, high: float) -> Tensor:
    """The bin index of each value, int64: `bins` bins of equal width on [low, high); values outside go to the end bins."""
    return ((values - low) * (bins / (high - low))).floor().long().clamp_(0, bins - 1)


def quantile_bins(values: Tensor, bins: int) -> Tensor:
    """The bin index of each value, int64, with bins that hold equally many values of each unit: values (C, T, U)."""
    flat = values.flatten(0, 1)
    inner = torch.linspace(0, 1, bins + 1, dtype=flat.dtype)[1:-1]
    edges_UB = torch.quantile(flat, inner, dim=0).t().contiguous()
    return torch.searchsorted(edges_UB, flat.t().contiguous(), right=True).t().reshape(values.shape)


def sum_entropies(
    parts: list[Part], first: int, terms: list[tuple[int, list[int]]], miller_madow: bool = False
) -> Tensor:
    """Σ sign · H(joint of some of the parts at the times from `first` on), the parts named by their index: (U,) nats.

    H is the plug-in entropy, ln S - Σ n ln n / S of counts n. All joints are sums over one table of counts where that is
    small enough. What differs from 0 by rounding alone is 0.
    """
    units = max(series.units for series, _ in parts)
    samples = parts[0][0].at(first, 0)[0].numel()
    table = _table(parts, first) if units * prod(series.size for series, _ in parts) <= DENSE else None
    found = torch.zeros(units, dtype=torch.float64)
    for sign, indices in terms:
        joint = [parts[index] for index in indices]
        n_log_n, cells = _count_by_sorting(joint, first, units) if table is None else _count_from_table(table, indices)
        found += sign * (log(samples) - n_log_n / samples)
        if miller_madow:
            found += sign * (cells - 1) / (2 * samples)
    return without_rounding(found)


def _table(parts: list[Part], first: int) -> Tensor:
    """How often each combination occurs: (U, size of each part). The code of one is the sum of each series' share."""
    sizes = [series.size for series, _ in parts]
    cells, wide = prod(sizes), max((series for series, _ in parts), key=lambda series: series.units)
    shares = []
    for one in {id(series): series for series, _ in parts}.values():
        strides = [(back, prod(sizes[index + 1 :])) for index, (series, back) in enumerate(parts) if series is one]
        shares.append(one.codes(first, strides, cells if one is wide else 0))
    codes = reduce(torch.add, shares)
    return torch.bincount(codes.flatten(), minlength=wide.units * cells).view(wide.units, *sizes)


def _count_from_table(table: Tensor, indices: list[int]) -> tuple[Tensor, Tensor]:
    """Σ n ln n of these parts, and how many of their combinations occur, each (U,); table: (U, size of each part)."""
    others = [dim for dim in range(1, table.ndim) if dim - 1 not in indices]
    counts = (table.sum(others) if others else table).flatten(1).double()
    return torch.special.xlogy(counts, counts).sum(1), counts.count_nonzero(1)


def _count_by_sorting(parts: list[Part], first: int, units: int) -> tuple[Tensor, Tensor]:
    """Σ n ln n of these parts, and how many of their combinations occur, (U,) each, by sorting the combinations that occur."""
    codes_US, cells = _joint(parts, first)
    indices, counts = (codes_US + torch.arange(units).unsqueeze(1) * cells).unique(return_counts=True)
    unit, sums = indices // cells, torch.zeros(units, dtype=torch.float64)
    return sums.index_add_(0, unit, torch.special.xlogy(counts, counts.double())), torch.bincount(unit, minlength=units)


def _joint(parts: list[Part], first: int) -> tuple[Tensor, int]:
    """One code for each combination of values, (U, S), and how many codes there could be."""
    codes, cells = torch.zeros(1, 1, dtype=torch.long), 1
    for series, back in parts:
        codes, cells = codes * series.size + series.at(first, back).flatten(1), cells * series.size
        if cells > SPARSE:  # long histories: number the combinations that occur
            values, codes = codes.unique(return_inverse=True)
            cells = len(values)
    return codes, cells


def _first_time(times: int, lag: int, target_history: int, source_history: int) -> int:
    """The first time whose whole history lies in the clip. Raises RequestError where no time has one."""
    if min(lag, target_history, source_history) < 1:
        raise RequestError("lag and histories are 1 or more", "transfer entropy")
    first = max(target_history, lag + source_history - 1)
    if first >= times:
        raise RequestError(f"clips of {times} frames are too short for a lag of {lag} and these histories", "lag")
    return first


def _aligned(target: Tensor | Series, source: Tensor | Series) -> tuple[Series, Series]:
    """Target and source as Series. Raises RequestError where their clips, times or units do not match."""
    x, y = (one if isinstance(one, Series) else Series(one) for one in (target, source))
    if (x.clips, x.times) != (y.clips, y.times) or min(x.units, y.units) not in (1, max(x.units, y.units)):
        shapes = f"source {y.values_UCT.shape}, target {x.values_UCT.shape}"
        raise RequestError("source and target are of the same clips and times, and of one unit or as many", shapes)
    return x, y
