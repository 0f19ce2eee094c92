"""Mutual information of 128 units, 2,000 clips of 20 frames, 8 × 8 bins: all at once against a loop of scikit-learn's.

Prints the best seconds of each, their ratio, and the seconds of transfer entropy with 100 shuffled surrogates.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import Any

import torch
from sklearn.metrics import mutual_info_score

from prune_cli.units import information

CLIPS, TIMES, UNITS, BINS = 2_000, 20, 128, 8


def best(work: Callable[[], Any], repeats: int) -> tuple[float, Any]:
    """The best seconds of several, and what the work gives."""
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        found = work()
        seconds.append(time.perf_counter() - start)
    return min(seconds), found


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=5)
    repeats = parser.parse_args().repeats
    draw = torch.Generator().manual_seed(0)
    label = torch.randint(BINS, (CLIPS, TIMES), generator=draw)
    units = torch.randint(BINS, (CLIPS, TIMES, UNITS), generator=draw)
    ours, values = best(lambda: information.mutual_information(label, units), repeats)
    flat, columns = label.flatten().numpy(), units.flatten(0, 1).t().contiguous().numpy()
    loop, expected = best(lambda: [mutual_info_score(flat, column) for column in columns], repeats)
    torch.testing.assert_close(values, torch.tensor(expected, dtype=torch.float64), rtol=0, atol=1e-9)
    print(f"mutual information  {ours:.3f} s against {loop:.3f} s: {loop / ours:.1f}x faster")
    once, _ = best(lambda: information.transfer_entropy(label, units), repeats)
    many, _ = best(lambda: information.against_shuffled(information.transfer_entropy, label, units, 100), 1)
    print(f"transfer entropy    {once:.3f} s once, {many:.1f} s with 100 surrogates")


if __name__ == "__main__":
    main()
