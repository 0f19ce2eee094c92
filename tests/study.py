"""A sweep typed in a folder of its own, as a process that can be killed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

TIMES = {"finished_at", "seconds", "scoring_seconds"}
ENVIRONMENT = {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE", "HF_HUB_OFFLINE": "1"}
SWEEP = (
    *("sweep", "model.weights=random", "recipe=smoke", "recipe.train_batches=6"),
    *("compute.threads=1", "compute.checkpoint_steps=2"),
)
FEW = ("scorer=magnitude,snip", "sparsity=95")


@dataclass
class Study:
    """A sweep in a folder of its own, typed again and again."""

    folder: Path
    data: Path
    words: tuple[str, ...]
    typed: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def start(self) -> subprocess.Popen[bytes]:
        """Type the sweep."""
        self.folder.mkdir(exist_ok=True)
        with (self.folder / "stderr.txt").open("ab") as log:
            command = [sys.executable, "-m", "prune_cli", *SWEEP, *self.words]
            environment = os.environ | ENVIRONMENT | {"PRUNE_CLI_DATA": str(self.data)}
            process = subprocess.Popen(
                command, cwd=self.folder, env=environment, stdout=log, stderr=log, start_new_session=True
            )
        self.typed.append(process)
        return process

    def at_work(self) -> list[int]:
        """The processes that say they compute a run."""
        found = []
        for path in self.folder.glob("runs/prune/*/status.json"):
            try:
                status = json.loads(path.read_text())
            except (OSError, ValueError):  # renamed or removed this very moment
                continue
            if status["state"] == "running":
                found.append(status["pid"])
        return found

    def results(self) -> pd.DataFrame:
        """runs.csv without what differs from day to day, in the order of the hashes."""
        table = pd.read_csv(self.folder / "results/runs.csv")
        return table.drop(columns=sorted(TIMES & set(table.columns))).sort_values("hash").reset_index(drop=True)

    def digests(self) -> dict[str, dict[str, str]]:
        """What each run says of its weights, its mask and its config."""
        names = ("model.safetensors", "mask.safetensors", "layers.csv", "config.yaml")
        records = [json.loads(path.read_text()) for path in self.folder.glob("runs/prune/*/manifest.json")]
        return {record["hash"]: {name: record["files"][name] for name in names} for record in records}

    def metrics(self) -> dict[str, list[dict[str, Any]]]:
        """Every row of every run, but for its seconds."""
        paths = self.folder.glob("runs/prune/*/metrics.csv")
        return {path.parent.name: pd.read_csv(path).drop(columns="seconds").to_dict("records") for path in paths}


@contextmanager
def study(folder: Path, data: Path, words: tuple[str, ...]) -> Iterator[Study]:
    made = Study(folder, data, words)
    try:
        yield made
    finally:
        for process in made.typed:
            process.kill()
