"""How long a sweep takes to plan, and a finished one to return its tables: whole commands, from typing to the prompt.

Aims: 500 points planned in 10 s, the table of 100 finished runs in 3 s. Set beside them: starting Python with torch and
timm, which neither does where outlines are kept. The finished runs are packed ones, with made-up accuracies.

python benchmarks/planning.py
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path

from prune_cli.data.registry import datasets
from prune_cli.execution.grid import plan_sweep
from prune_cli.runs.manifest import provenance
from prune_cli.runs.paths import Paths
from prune_cli.runs.record import RunRecord
from prune_cli.runs.store import write_record

MANY = ["scorer=magnitude,snip,random,grasp,snip_magnitude", "sparsity=range(50,100,2)", "seed=0,1,2,3"]
DONE = ["scorer=magnitude,snip,random,grasp,snip_magnitude", "sparsity=90,92,95,98", "seed=0,1,2,3,4"]
TIMES = 3  # the fastest of so many counts: the machine may be busy


def finish(words: list[str], paths: Paths) -> int:
    """Make finished runs of all points. Returns how many."""
    planned = plan_sweep(words, paths)
    for number, (name, (job, plan)) in enumerate(planned.items()):
        folder = paths.runs / "prune" / name
        folder.mkdir(parents=True)
        record = RunRecord(
            **vars(plan),
            accuracy_last=50 + number / 10,
            accuracy_best=60.0,
            best_epoch=3,
            best_chosen_on="test",
            config=job.settings.plain,
            mask_digest="0" * 64,
            images={},
            data_digest=job.data_digest,
            weights_sha256=job.weights.sha256,
            provenance=provenance(job.device, job.argv),
            seconds=60.0,
            packed=True,
        )
        write_record(folder, record)
    return len(planned)


def seconds(*words: str, cwd: Path) -> float:
    """The shortest time that a command took."""
    took = []
    for _ in range(TIMES):
        start = time.perf_counter()
        subprocess.run([sys.executable, *words], cwd=cwd, check=True, capture_output=True)
        took.append(time.perf_counter() - start)
    return min(took)


def main() -> None:
    """Time three commands."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        datasets.build("mnist5k").build(folder / "datasets")
        done = finish(DONE, Paths(folder / "runs", folder / "results", folder / "datasets"))
        start = seconds("-c", "import torch, timm", cwd=folder)
        planned = seconds("-m", "prune_cli", "sweep", *MANY, "--dry-run", "--runs-dir", "none", cwd=folder)
        finished = seconds("-m", "prune_cli", "sweep", *DONE, cwd=folder)
    print(f"import torch, timm            {start:6.2f} s")
    print(f"500 points planned            {planned:6.2f} s  ({planned / start:.1f}x; aim 10 s)")
    print(f"tables of {done} finished runs   {finished:6.2f} s  ({finished / start:.1f}x; aim 3 s)")


if __name__ == "__main__":
    main()
