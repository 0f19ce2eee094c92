"""What the program costs beside its work: commands that compute nothing, and the runs of a sweep.

Commands, each a process of its own, beside Python importing torch and timm: a plan (`prune --dry-run`) with an empty cache
and with a filled one, a finished run typed again, a wrong option, `table 1` and `ls`. Aim: under 2 s, but for the first plan.

Then one sweep of smoke runs of vit_micro on mnist5k, one run after another, each in a process that imports torch and
timm or forked from one that has, in turn, twice. Aim: forked, a third of the time or less. CPU seconds, of all the
processes, suffer less from other work.

python benchmarks/startup.py [RUNS]
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from unittest import mock

from prune_cli.commands.sweep import sweep
from prune_cli.data.registry import datasets
from prune_cli.execution.grid import plan_sweep
from prune_cli.runs.facts import VARIABLE
from prune_cli.runs.paths import Paths
from prune_cli.sweeps import executors
from prune_cli.sweeps.launch import Launcher

WORDS = ["recipe=smoke", "compute.device=cpu", "compute.threads=1", "scorer=magnitude"]
RUNS, TIMES = 24, 2
Times = tuple[float, float]  # wall-clock and CPU seconds


def command(*words: str, cwd: Path, code: int = 0) -> Times:
    """Those of one command from typing to the prompt. It must end with this exit code."""
    start, before = time.perf_counter(), _cpu()
    ended = subprocess.run([sys.executable, *words], cwd=cwd, capture_output=True, text=True)
    assert ended.returncode == code, ended.stderr
    return time.perf_counter() - start, _cpu() - before


def shortest(*words: str, cwd: Path, code: int = 0) -> Times:
    """The shortest of several times; the first call may fill the cache."""
    return _shortest([command(*words, cwd=cwd, code=code) for _ in range(TIMES)])


def commands(folder: Path) -> dict[str, Times]:
    """The times of commands that compute nothing, in a folder with one finished run."""
    ours = ("-m", "prune_cli")
    plan, run = (*ours, "prune", "--dry-run"), (*ours, "prune", *WORDS)
    _ = command("-c", "import torch, timm, pandas", cwd=folder)  # from the disk into memory
    found = {"import torch, timm": shortest("-c", "import torch, timm", cwd=folder)}
    found["prune --dry-run, the first time"] = command(*plan, cwd=folder)
    found["prune --dry-run, again"] = shortest(*plan, cwd=folder)
    command(*run, cwd=folder)
    found["a finished run again"] = shortest(*run, cwd=folder)
    found["a wrong option"] = shortest(*ours, "prune", "scorer.alfa=1", cwd=folder, code=2)
    found["table 1"] = shortest(*ours, "table", "1", cwd=folder)
    found["ls"] = shortest(*ours, "ls", cwd=folder)
    return found


def measure(forks: bool, runs: int, folder: Path, data: Path) -> Times:
    """Those of one sweep, without its planning."""
    paths = Paths(folder / "runs", folder / "results", data)
    planned = plan_sweep([*WORDS, f"seed=range(0,{runs})"], paths)
    start, before = time.perf_counter(), _cpu()
    with mock.patch.object(executors, "can_fork", lambda: forks):
        outcome = sweep(planned, paths, Launcher())
    assert len(outcome.records) == runs
    return time.perf_counter() - start, _cpu() - before


def sweeps(runs: int, folder: Path, data: Path) -> None:
    """Measure and print the sweep in both ways, alternately."""
    found: dict[bool, list[Times]] = {True: [], False: []}
    for turn in range(TIMES):
        for forks, times in found.items():
            times.append(measure(forks, runs, folder / f"{forks}{turn}", data))
    fresh, forked = _shortest(found[False]), _shortest(found[True])
    _print(f"{runs} smoke runs, fresh processes", fresh)
    _print(f"{runs} smoke runs, forked", forked)
    print(f"{'ratio':36}{fresh[0] / forked[0]:7.1f}     {fresh[1] / forked[1]:7.1f}    (aim 3)")


def _shortest(times: list[Times]) -> Times:
    wall, cpu = zip(*times, strict=True)
    return min(wall), min(cpu)


def _print(what: str, times: Times) -> None:
    print(f"{what:36}{times[0]:7.2f} s   {times[1]:7.2f} CPU s", flush=True)


def _cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def main(runs: int) -> None:
    """Measure and print everything."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.environ[VARIABLE] = str(folder / "cache")
        for what, times in commands(folder).items():
            _print(what, times)
        data = folder / "datasets"
        datasets.build("mnist5k").build(data)
        sweeps(runs, folder, data)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else RUNS)
