"""Measures of 128 units, 2,000 clips of 20 frames, 8 × 8 bins: all at once against loops of scikit-learn and PyInform.

Mutual information against scikit-learn's mutual_info_score, transfer entropy against PyInform's C code, once and with 100
shuffled surrogates. One thread each, as PyInform has no more. Prints the best seconds of several passes and their ratio;
the surrogates are run once.
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from sklearn.metrics import mutual_info_score
from torch import Tensor

from prune_cli.common.random import generator
from prune_cli.units import information

CLIPS, TIMES, UNITS, BINS, SURROGATES = 2_000, 20, 128, 8, 100


def best(work: Callable[[], Any], repeats: int) -> tuple[float, Any]:
    """The best seconds of several, and what the work gives."""
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        found = work()
        seconds.append(time.perf_counter() - start)
    return min(seconds), found


def compare(what: str, ours: Callable[[], Tensor], loop: Callable[[], Any], repeats: int) -> None:
    """Time both, check that they agree to 1e-9 nats, print."""
    fast, values = best(ours, repeats)
    slow, expected = best(loop, repeats)
    torch.testing.assert_close(values, torch.as_tensor(expected, dtype=torch.float64), rtol=0, atol=1e-9)
    print(f"{what:40} {fast:.3f} s against {slow:.3f} s: {slow / fast:.1f}x faster", flush=True)


def pyinform_loop() -> Callable[[Tensor, Tensor], list[float]] | None:
    """Transfer entropy in nats of a label (C, T) to units (U, C, T), one after another; None without PyInform."""
    try:
        from pyinform.transferentropy import transfer_entropy
    except (ImportError, OSError) as error:  # OSError: the wheel has no C library for this machine
        print(f"no PyInform ({error}): python -m pip install -e '.[bench]' (x86-64 only)", file=sys.stderr)
        return None

    def loop(label: Tensor, units_UCT: Tensor) -> list[float]:
        source, targets = label.numpy().astype(np.int32), units_UCT.numpy()
        return [math.log(2) * transfer_entropy(source, target, k=1) for target in targets]

    return loop


def shuffled_mean(loop: Callable[[Tensor, Tensor], list[float]], label: Tensor, units_UCT: Tensor) -> Tensor:
    """The mean over the same surrogates as `against_surrogates` draws, after a pass over the series as they are."""
    draw, passes = generator(0, "surrogates"), [loop(label, units_UCT)]
    for _ in range(SURROGATES):
        passes.append(loop(label[torch.randperm(CLIPS, generator=draw)], units_UCT))
    return torch.tensor(passes[1:], dtype=torch.float64).mean(0)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=5)
    repeats = parser.parse_args().repeats
    torch.set_num_threads(1)
    draw = torch.Generator().manual_seed(0)
    label = torch.randint(BINS, (CLIPS, TIMES), generator=draw)
    units = torch.randint(BINS, (CLIPS, TIMES, UNITS), generator=draw)
    units_UCT = units.permute(2, 0, 1).int().contiguous()  # laid out as the loops like it, outside of the timing
    flat, columns = label.flatten().numpy(), units_UCT.flatten(1).numpy()
    compare(
        "mutual information",
        lambda: information.mutual_information(label, units),
        lambda: [mutual_info_score(flat, column) for column in columns],
        repeats,
    )
    loop = pyinform_loop()
    if loop is None:
        raise SystemExit(2)
    once = information.transfer_entropy
    compare("transfer entropy", lambda: once(label, units), lambda: loop(label, units_UCT), repeats)
    compare(
        f"transfer entropy, {SURROGATES} surrogates",
        lambda: information.against_surrogates(once, label, units, SURROGATES).surrogate_mean,
        lambda: shuffled_mean(loop, label, units_UCT),
        1,
    )


if __name__ == "__main__":
    main()
