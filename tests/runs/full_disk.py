"""Fill a disk with checkpoints. python full_disk.py FOLDER LIE prints what went wrong, and which checkpoint is left.

LIE: 1 if the free space is overstated, so that the disk is found to be full only while it is written to.
"""

from __future__ import annotations

import json
import shutil
import sys
from collections import namedtuple
from pathlib import Path

import torch

from prune_cli.runs import files
from prune_cli.training.checkpoint import Checkpoint, Checkpointer, Progress

Usage = namedtuple("Usage", "total used free")


def main(folder: Path, lie: bool) -> None:
    """Checkpoints that grow until one does not fit."""
    if lie:
        real = shutil.disk_usage
        files.shutil = type("Lying", (), {"disk_usage": staticmethod(lambda path: Usage(*real(path)[:2], 10**9))})
    checkpointer = Checkpointer(folder)
    try:
        for step in range(1, 100):
            tensors = {"model/a": torch.full((50_000 * step,), float(step))}
            checkpointer.save(Checkpoint(Progress(step=step), tensors, {}))
    except files.DiskFullError as error:
        found = checkpointer._load()
        whole = found is not None and bool((found.tensors["model/a"] == found.progress.step).all())
        said = {"lines": error.lines(), "failed": step, "left": found and found.progress.step, "whole": whole}
        print(json.dumps(said | {"names": sorted(path.name for path in folder.iterdir())}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2] == "1")
