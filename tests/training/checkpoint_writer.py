"""Kill -9 a process that writes checkpoints, again and again; after each death look whether one can be believed.

python checkpoint_writer.py FOLDER KILLS SEED prints a line of JSON: how many were corrupt, missing, and how many new.
Processes are forked from one that has imported everything: a death then costs milliseconds.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
from pathlib import Path

import torch

from prune_cli.training.checkpoint import Checkpoint, Checkpointer, Progress

SIZE = 20_000


def write_for_ever(folder: Path, first: int) -> None:
    """Checkpoints whose every number is their step."""
    checkpointer = Checkpointer(folder)
    for step in range(first, 10**9):
        tensors = {name: torch.full((SIZE,), float(step)) for name in ("model/a", "optimizer/0/b")}
        checkpointer.save(Checkpoint(Progress(epoch=step // 7, step=step), tensors, {"step": step}))


def killed(folder: Path, first: int, seconds: float) -> None:
    """Let a process write for a while, then kill it."""
    child = os.fork()
    if not child:
        write_for_ever(folder, first)
    time.sleep(seconds)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)


def main(folder: Path, kills: int, seed: int) -> None:
    """Kill, look, count."""
    torch.set_num_threads(1)  # forked processes have no threads to wait for
    draw, step = random.Random(seed), 0
    counts = {"corrupt": 0, "missing": 0, "steps": 0}
    Checkpointer(folder).save(Checkpoint(Progress(), {"model/a": torch.zeros(SIZE)}, {"step": 0}))
    for _ in range(kills):
        killed(folder, step + 1, draw.uniform(0.0, 0.04))
        found = Checkpointer(folder)._load()  # raises where `load` would begin again
        if found is None:
            counts["missing"] += 1
            continue
        whole = all((tensor == found.progress.step).all() for tensor in found.tensors.values())
        counts["corrupt"] += not (whole and found.scalars["step"] == found.progress.step >= step)
        step = found.progress.step
    print(json.dumps(counts | {"steps": step}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
