"""How many weights each tensor keeps. Whatever the scope, the counts sum to N - round(sparsity · N), exactly."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from prune_cli.common.errors import ConfigError, NumericalError, SelectionError, nearest
from prune_cli.common.lazy import Tensor
from prune_cli.common.shaped import Shaped
from prune_cli.masks.pattern import parse_pattern
from prune_cli.masks.ranking import chunks, keep_above, threshold

Counts = dict[str, int]
NEAR = 0.01  # percentage points that a typed sparsity may differ from that of its pattern: 66.67 for 1:3


def kept_total(size: int, sparsity: float) -> int:
    """The number of weights kept out of `size` at a sparsity in [0, 1): size - round(sparsity · size). Raises SelectionError."""
    if not 0 <= sparsity < 1:
        raise SelectionError(f"sparsity is the share removed, in [0, 1), not {sparsity}", hint="0.98 removes 98 %")
    return size - round(sparsity * size)


def allocate(scores: Mapping[str, Tensor], kept: int, scope: str = "global", min_kept_per_tensor: int = 0) -> Counts:
    """The number that each tensor keeps, summing to `kept`; every tensor keeps at least `min_kept_per_tensor`.

    global: as many as the tensor has among the `kept` largest of all scores (ties: the earlier position first).
    uniform: the same share of each tensor, rounded by the largest remainder.
    erk: a density in proportion to (sum of the dimensions) / (their product), at most 1: Erdős–Rényi-Kernel (Evci et
    al., "Rigging the lottery", 2020).
    row: the uniform counts; `select` then shares each tensor's count evenly among its output rows.
    Raises SelectionError for an unknown scope or a floor that cannot be met, NumericalError for NaN by tensor.
    """
    if scope not in SCOPES:
        raise SelectionError(f"there is no scope {scope!r}", "scope", nearest(scope, SCOPES))
    check_no_nan(scores)
    check_floor(scores, kept, min_kept_per_tensor)
    counts = SCOPES[scope](scores, kept) if kept else dict.fromkeys(scores, 0)
    short = {name for name, count in counts.items() if count < min_kept_per_tensor}
    if not short:
        return counts
    return _with_floor(scores, kept, scope, min_kept_per_tensor, short)


def _with_floor(scores: Mapping[str, Tensor], kept: int, scope: str, floor: int, short: set[str]) -> Counts:
    """Give the short tensors the floor and share the rest among the others, until none is short."""
    others = {name: score for name, score in scores.items() if name not in short}
    rest = allocate(others, kept - floor * len(short), scope, floor) if others else {}
    return {name: rest.get(name, floor) for name in scores}


def _global(scores: Mapping[str, Tensor], kept: int) -> Counts:
    return {name: int(keep.sum()) for name, keep in keep_above(scores, threshold(scores.values(), kept)).items()}


def _uniform(scores: Mapping[str, Tensor], kept: int) -> Counts:
    return largest_remainder({name: score.numel() for name, score in scores.items()}, kept)


def _erk(scores: Mapping[str, Tensor], kept: int) -> Counts:
    """Shares in proportion to the sum of a tensor's dimensions; tensors that would be more than full are full."""
    sizes = {name: score.numel() for name, score in scores.items()}
    full: Counts = {}
    while True:
        left = kept - sum(full.values())
        weights = {name: sum(score.shape) for name, score in scores.items() if name not in full}
        over = {name for name, weight in weights.items() if left * weight >= sizes[name] * sum(weights.values())}
        if not over:
            counts = full | largest_remainder(weights, left)
            return {name: counts[name] for name in scores}
        full |= {name: sizes[name] for name in over}


def largest_remainder(weights: Mapping[str, int], total: int) -> Counts:
    """Share `total` in proportion to `weights`: whole parts first, then one each to the largest remainders."""
    size = sum(weights.values())
    counts = {name: total * weight // size for name, weight in weights.items()}
    left = total - sum(counts.values())
    by_remainder = sorted(weights, key=lambda name: -(total * weights[name] % size))  # stable: the earlier tensor first
    return counts | {name: counts[name] + 1 for name in by_remainder[:left]}


def check_no_nan(scores: Mapping[str, Tensor]) -> None:
    """Raise NumericalError that names the first tensor with a NaN."""
    for name, score in scores.items():
        # a sum without NaN is proof enough and three times as fast; infinities can make one too
        if any(bool(chunk.sum().isnan()) and bool(chunk.isnan().any()) for chunk in chunks(score)):
            raise NumericalError("its scores hold NaN, so they have no order", name, "check the weights and the data")


def check_floor(scores: Mapping[str, Shaped], kept: int, floor: int) -> None:
    """Raise SelectionError unless every tensor can keep `floor` weights out of `kept` in all. Only sizes are read."""
    for name, score in scores.items():
        if score.numel() < floor:
            raise SelectionError(
                f"it has {score.numel()} weights and cannot keep {floor}", name, "lower sparsity.min_kept_per_tensor"
            )
    if floor * len(scores) > kept:
        raise SelectionError(
            f"{len(scores)} tensors × {floor} weights are more than the {kept} that are kept",
            "sparsity.min_kept_per_tensor",
            f"sparsity.min_kept_per_tensor={kept // len(scores)} or less",
        )


SCOPES: dict[str, Callable[[Mapping[str, Tensor], int], Counts]] = {
    "global": _global,
    "uniform": _uniform,
    "erk": _erk,
    "row": _uniform,
}


@dataclass(frozen=True)
class Sparsity:
    """The sparsity of a run: percent, in [0, 100), and the scope in which scores are compared. Raises ConfigError.

    pattern: N:M keeps N of every M weights along the input, whatever the scope; percent is then 100 (1 - N/M).
    """

    percent: float
    scope: str = "global"
    min_kept_per_tensor: int = 0
    pattern: str | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.percent < 100:
            raise ConfigError(f"sparsity is a percentage in [0, 100), not {self.percent:g}", "sparsity", "sparsity=98")
        if self.scope not in SCOPES:
            raise ConfigError(
                f"there is no scope {self.scope!r}", "sparsity.scope", nearest(self.scope, SCOPES, "sparsity.scope=")
            )
        if self.min_kept_per_tensor < 0:
            what, where = "sparsity.min_kept_per_tensor must be 0 or more", "sparsity.min_kept_per_tensor"
            raise ConfigError(what, where, f"{where}=0")
        if self.pattern is not None and self.percent > 0:
            self._check_pattern(self.pattern)

    def _check_pattern(self, pattern: str) -> None:
        kept, group = parse_pattern(pattern)
        if abs(self.percent - 100 * (1 - kept / group)) > NEAR:
            wanted = f"sparsity={100 * (1 - kept / group):.4g}"
            raise ConfigError(f"{pattern} does not remove {self.percent:g} %", "sparsity.pattern", wanted)
        if self.scope != "global" or self.min_kept_per_tensor:
            raise ConfigError(f"{pattern} leaves no choice of scope or floor", "sparsity.pattern", "leave them out")

    @property
    def fraction(self) -> float:
        """The share removed, in [0, 1)."""
        if self.pattern is not None and self.percent > 0:
            kept, group = parse_pattern(self.pattern)
            return 1 - kept / group
        return self.percent / 100
