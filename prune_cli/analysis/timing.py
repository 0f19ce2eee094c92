"""Times of several ways to do one thing, taken in turn, and their ratios to the first with their spread."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from prune_cli.common.plain import Row

WARM_UP = 2  # rounds before the first that counts
PAUSE = 0.005  # seconds before each call, in which threads of the side before stop waiting for work
LEAST, MOST, SECONDS = 11, 200, 10.0  # rounds that count: so many, then until the seconds have gone or there are MOST


@dataclass(frozen=True)
class Measurement:
    """One quantity of one side, beside the dense side; less is better.

    batch: images or clips at once; None where that means nothing. value: in `unit`; of times the median of `n` rounds,
    with their 95th percentile. per_second: images or clips. ratio: the dense side's value over this one, of times the
    median of the rounds' ratios, with their 5th and 95th percentile (low, high). sparse_layers: how many of the pruned
    layers computed with their survivors alone; None on other sides.
    """

    quantity: str
    side: str
    batch: int | None
    unit: str
    value: float
    ratio: float
    ratio_low: float
    ratio_high: float
    p95: float | None = None
    per_second: float | None = None
    n: int = 1
    sparse_layers: int | None = None

    def row(self) -> Row:
        """The fields by name."""
        return dict(vars(self))


def in_turn(sides: Mapping[str, Callable[[], object]]) -> dict[str, list[float]]:
    """Seconds of each side in every round; a round calls each side once, and every other round in reverse order."""
    for _ in range(WARM_UP):
        for work in sides.values():
            work()
    found: dict[str, list[float]] = {name: [] for name in sides}
    start, order = time.perf_counter(), list(sides)
    for number in range(MOST):
        if number >= LEAST and time.perf_counter() - start > SECONDS:
            break
        for name in order if number % 2 == 0 else order[::-1]:
            found[name].append(_seconds(sides[name]))
    return found


def timed(
    quantity: str, batch: int, times: Mapping[str, Sequence[float]], sparse: Mapping[str, int]
) -> list[Measurement]:
    """A measurement a side, in milliseconds; the first side is the one that ratios are to. sparse: sparse layers by side."""
    first = np.array(next(iter(times.values())))
    found = []
    for side, seconds in times.items():
        low, middle, high = (float(v) for v in np.percentile(first / np.array(seconds), (5, 50, 95)))
        median, p95 = (float(v) for v in np.percentile(seconds, (50, 95)))
        speed = {"p95": 1e3 * p95, "per_second": batch / median, "n": len(seconds)}
        how = {"sparse_layers": sparse.get(side), **speed}
        found.append(Measurement(quantity, side, batch, "ms", 1e3 * median, middle, low, high, **how))  # type: ignore[arg-type]
    return found


def counted(quantity: str, unit: str, values: Mapping[str, int], batch: int | None = None) -> list[Measurement]:
    """A measurement a side of what is counted once, or measured once; the first side is the one that ratios are to."""
    first = next(iter(values.values()))
    ratios = {side: first / value if value else float("inf") for side, value in values.items()}
    return [Measurement(quantity, side, batch, unit, values[side], r, r, r) for side, r in ratios.items()]


def _seconds(work: Callable[[], object]) -> float:
    time.sleep(PAUSE)
    start = time.perf_counter()
    work()
    return time.perf_counter() - start
