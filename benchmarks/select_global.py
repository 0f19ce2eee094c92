"""Global selection over the 84.9 M scores of ViT-B/16 at 98 %: masks.select against torch.topk on the concatenation.

Prints the seconds of both (the best of several), their ratio, and the memory that each took beside the scores and the
masks, as a share of the scores' size: how far the resident memory of a process of its own rises during the first call,
less the masks. Fails unless both select the same scores, but for ties. Linux only: memory is read from /proc.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import Any

import torch
from measure import PeakGrowth, in_child
from torch import Tensor

from prune_cli import masks

SHAPES = [(2304, 768), (768, 768), (3072, 768), (768, 3072)] * 12  # the prunable weights of ViT-B/16
SPARSITY = 0.98


def scores() -> dict[str, Tensor]:
    """Products of two normal numbers, as |∂L/∂θ · θ| is one."""
    draw = torch.Generator().manual_seed(0)
    product = lambda shape: torch.randn(shape, generator=draw).mul_(torch.randn(shape, generator=draw)).abs_()  # noqa: E731
    return {f"tensor{number}": product(shape) for number, shape in enumerate(SHAPES)}


def without_ties(found: dict[str, Tensor], given: dict[str, Tensor]) -> str:
    """The digest of the masks but for the scores equal to the smallest kept, among which torch.topk may choose any."""
    cut = min(float(given[name][keep].min()) for name, keep in found.items() if bool(keep.any()))
    return f"{cut} {sum(int(keep.sum()) for keep in found.values())} {masks.digest({n: keep & (given[n] != cut) for n, keep in found.items()})}"


def ours(given: dict[str, Tensor]) -> dict[str, Tensor]:
    """masks.select."""
    return masks.select(given, SPARSITY)


def topk(given: dict[str, Tensor]) -> dict[str, Tensor]:
    """Concatenate, take the k largest, and cut the flat mask into tensors."""
    flat = torch.cat([score.flatten() for score in given.values()])
    keep = torch.zeros(len(flat), dtype=torch.bool)
    keep[torch.topk(flat, len(flat) - round(SPARSITY * len(flat))).indices] = True
    parts = keep.split([score.numel() for score in given.values()])
    return {name: part.view(given[name].shape) for name, part in zip(given, parts, strict=True)}


CANDIDATES: dict[str, Callable] = {"masks.select": ours, "torch.topk": topk}


def measure(candidate: str, repeats: int) -> dict[str, Any]:
    """Best seconds, extra bytes and what was selected, of one candidate."""
    given, seconds = scores(), []
    with PeakGrowth() as growth:
        found = CANDIDATES[candidate](given)
    extra = growth.bytes - sum(keep.numel() for keep in found.values())
    for _ in range(repeats):
        start = time.perf_counter()
        CANDIDATES[candidate](given)
        seconds.append(time.perf_counter() - start)
    return {"seconds": min(seconds), "extra": extra, "digest": without_ties(found, given)}


def main() -> None:
    """Measure both candidates and print the comparison."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=3)
    repeats = parser.parse_args().repeats
    size = 4 * sum(rows * columns for rows, columns in SHAPES)
    found = {name: in_child(measure, name, repeats) for name in CANDIDATES}
    for name, row in found.items():
        print(f"{name:14s} {row['seconds']:7.2f} s   extra memory {row['extra'] / size:6.1%} of the scores' size")
    ours_row, other = found.values()
    assert ours_row["digest"] == other["digest"], "the two selected different scores"
    print(f"{other['seconds'] / ours_row['seconds']:.1f}x faster; the same masks but for ties")


if __name__ == "__main__":
    main()
