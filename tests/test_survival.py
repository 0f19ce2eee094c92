"""A sweep whose processes are killed again and again ends as one left alone."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from prune_cli.commands.verify import verify

TIMES = {"finished_at", "seconds", "scoring_seconds"}
ENVIRONMENT = {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE", "HF_HUB_OFFLINE": "1"}
SWEEP = (
    *("sweep", "model.weights=random", "recipe=smoke", "recipe.train_batches=6"),
    *("compute.threads=1", "compute.checkpoint_steps=2"),
)
SHORT, LONG = ("recipe.epochs=3",), ("recipe.epochs=500",)
ALL = ("scorer=magnitude,random,snip", "sparsity=90,95", "seed=0,1,2,3")
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


def disturb(made: Study, kills: int, seed: int) -> int:
    """Kill the sweep or one of its runs, `kills` times, at random moments; type the sweep again where it ended.

    Returns how many of them were runs at work.
    """
    draw, parent, hit = random.Random(seed), made.start(), 0
    for _ in range(kills):
        deadline = time.monotonic() + 120
        while not made.at_work() and parent.poll() is None and time.monotonic() < deadline:
            time.sleep(0.05)
        time.sleep(draw.uniform(0, 1.5))
        working = made.at_work()
        victim = draw.choice(working) if working and draw.random() < 0.6 else parent.pid
        hit += victim != parent.pid
        try:
            os.kill(victim, signal.SIGKILL)
        except ProcessLookupError:
            continue
        if victim == parent.pid or parent.poll() is not None:
            parent.wait()
            parent = made.start()
    parent.wait()
    return hit


def check_equal(left_alone: Study, disturbed: Study, rows: int) -> None:
    assert disturbed.start().wait() == 0, (disturbed.folder / "stderr.txt").read_text()[-3000:]
    pd.testing.assert_frame_equal(disturbed.results(), left_alone.results())
    assert len(disturbed.results()) == rows
    assert disturbed.digests() == left_alone.digests()
    assert disturbed.metrics() == left_alone.metrics()
    left = {path.name for path in disturbed.folder.rglob("*") if path.is_file()}
    assert not [name for name in left if name.endswith(".tmp") or name.startswith((".tmp", "checkpoint", "status"))]
    assert not any(run["damaged"] for run in verify([], disturbed.folder / "runs"))


def survives(tmp_path: Path, data: Path, words: tuple[str, ...], kills: int, rows: int, seed: int) -> None:
    with study(tmp_path / "alone", data, words) as alone, study(tmp_path / "killed", data, words) as killed:
        assert alone.start().wait() == 0
        hit = disturb(killed, kills, seed)
        assert hit > 0
        check_equal(alone, killed, rows)


def test_a_small_sweep_survives_three_kills(tmp_path: Path, built_data: Path) -> None:
    """The short form of the test below."""
    survives(tmp_path, built_data, (*FEW, *SHORT), kills=3, rows=2, seed=0)


@pytest.mark.slow
def test_a_sweep_of_24_runs_survives_25_kills(tmp_path: Path, built_data: Path) -> None:
    survives(tmp_path, built_data, (*ALL, *SHORT), kills=25, rows=24, seed=1)


def test_ctrl_c_stops_a_sweep_within_ten_seconds_with_a_checkpoint(tmp_path: Path, built_data: Path) -> None:
    with study(tmp_path / "study", built_data, (*FEW, *LONG)) as made:
        parent = made.start()
        while not made.at_work():
            assert parent.poll() is None
            time.sleep(0.05)
        time.sleep(2)
        asked = time.monotonic()
        os.kill(parent.pid, signal.SIGINT)
        assert parent.wait(timeout=60) == 130
        assert time.monotonic() - asked < 10
        assert list(made.folder.glob("runs/prune/*/checkpoint.json"))
        said = (made.folder / "stderr.txt").read_text()
        assert "stopping: each run writes a checkpoint" in said
        assert said.rstrip().endswith("stopped: the same command goes on from here")
