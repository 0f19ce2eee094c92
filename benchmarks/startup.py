"""What the runs of a sweep cost beside their work: each in a process that imports torch and timm, or forked from one that
has. The same sweep of smoke runs of vit_micro on mnist5k, one run after another, in turn with either, twice.

Aim: forked, a third of the time or less. CPU seconds, of all the sweep's processes, suffer less from other work.

python benchmarks/startup.py [RUNS]
"""

from __future__ import annotations

import resource
import sys
import tempfile
import time
from pathlib import Path
from unittest import mock

from prune_cli.commands.sweep import sweep
from prune_cli.data.registry import datasets
from prune_cli.execution.grid import plan_sweep
from prune_cli.runs.paths import Paths
from prune_cli.sweeps import executors
from prune_cli.sweeps.launch import Launcher

WORDS = ["recipe=smoke", "compute.device=cpu", "compute.threads=1", "scorer=magnitude"]
RUNS, TIMES = 24, 2


def measure(forks: bool, runs: int, folder: Path, data: Path) -> tuple[float, float]:
    """Wall-clock and CPU seconds of one sweep, without its planning."""
    paths = Paths(folder / "runs", folder / "results", data)
    planned = plan_sweep([*WORDS, f"seed=range(0,{runs})"], paths)
    start, before = time.perf_counter(), _cpu()
    with mock.patch.object(executors, "can_fork", lambda: forks):
        outcome = sweep(planned, paths, Launcher())
    assert len(outcome.records) == runs
    return time.perf_counter() - start, _cpu() - before


def _cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def main(runs: int) -> None:
    """Measure both, alternately, and print the shortest of each."""
    found: dict[bool, list[tuple[float, float]]] = {True: [], False: []}
    with tempfile.TemporaryDirectory() as name:
        data = Path(name) / "datasets"
        datasets.build("mnist5k").build(data)
        for turn in range(TIMES):
            for forks, times in found.items():
                times.append(measure(forks, runs, Path(name) / f"{forks}{turn}", data))
    (fresh, fresh_cpu), (forked, forked_cpu) = (map(min, zip(*found[forks], strict=True)) for forks in (False, True))
    print(f"{runs} smoke runs, fresh processes  {fresh:7.1f} s   {fresh_cpu:7.1f} CPU s")
    print(f"{runs} smoke runs, forked           {forked:7.1f} s   {forked_cpu:7.1f} CPU s")
    print(f"ratio                        {fresh / forked:7.1f}     {fresh_cpu / forked_cpu:7.1f}    (aim 3)")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else RUNS)
