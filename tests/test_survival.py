"""A sweep whose processes are killed again and again ends as one left alone."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
from study import FEW, Study, study

from prune_cli.commands.verify import verify

SHORT, LONG = ("recipe.epochs=3",), ("recipe.epochs=500",)
ALL = ("scorer=magnitude,random,snip", "sparsity=90,95", "seed=0,1,2,3")


def disturb(made: Study, kills: int, seed: int) -> int:
    """Kill the sweep or one of its runs, `kills` times, at random moments; type the sweep again where it ended.

    Returns how many of them were runs at work.
    """
    draw, parent, hit = random.Random(seed), made.start(), 0
    while kills:
        if parent.poll() is not None:  # it was killed, or has ended with a run that was killed twice
            parent = made.start()
        while not made.at_work() and parent.poll() is None:
            time.sleep(0.05)
        a_run = draw.random() < 0.6
        time.sleep(draw.uniform(0, 0.6 if a_run else 3))  # a run takes a second or two, beside its start
        working = made.at_work()
        if (a_run and not working) or parent.poll() is not None:
            continue
        victim = draw.choice(working) if a_run else parent.pid
        try:
            os.kill(victim, signal.SIGKILL)
        except ProcessLookupError:  # it has just ended
            continue
        kills, hit = kills - 1, hit + (victim != parent.pid)
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
    assert not list((disturbed.folder / "runs/.launch").iterdir())
    assert not any(run.damaged for run in verify([], disturbed.folder / "runs"))


def survives(tmp_path: Path, data: Path, words: tuple[str, ...], kills: int, rows: int, seed: int) -> int:
    """Check that a sweep ends as one left alone. Returns how many of the kills hit a run at work."""
    with study(tmp_path / "alone", data, words) as alone, study(tmp_path / "killed", data, words) as killed:
        assert alone.start().wait() == 0
        hit = disturb(killed, kills, seed)
        check_equal(alone, killed, rows)
    return hit


@pytest.mark.slow
def test_a_small_sweep_survives_two_kills(tmp_path: Path, built_data: Path) -> None:
    """The short form of the test below."""
    survives(tmp_path, built_data, (*FEW, *SHORT), kills=2, rows=2, seed=0)


@pytest.mark.slow
def test_a_sweep_of_24_runs_survives_25_kills(tmp_path: Path, built_data: Path) -> None:
    hit = survives(tmp_path, built_data, (*ALL, *SHORT), kills=25, rows=24, seed=1)
    assert 5 < hit < 25  # sweeps and runs have both been killed


@pytest.fixture(params=[signal.SIGINT, signal.SIGTERM], ids=["in a terminal", "in the background"])
def stop_signal(request: pytest.FixtureRequest) -> Iterator[signal.Signals]:
    """What stops a sweep. In the background it starts with SIGINT ignored, and so do its runs."""
    in_terminal = request.param == signal.SIGINT
    before = signal.signal(signal.SIGINT, signal.default_int_handler if in_terminal else signal.SIG_IGN)
    yield request.param
    signal.signal(signal.SIGINT, before)


@pytest.mark.slow  # test_launch.py shows it with stand-ins
def test_ctrl_c_stops_a_sweep_at_once_with_a_checkpoint(
    tmp_path: Path, built_data: Path, stop_signal: signal.Signals
) -> None:
    with study(tmp_path / "study", built_data, (*FEW, *LONG)) as made:
        parent = made.start()
        while not list(made.folder.glob("runs/prune/*/checkpoint.json")):  # after two batches of five hundred epochs
            assert parent.poll() is None
            time.sleep(0.05)
        os.kill(parent.pid, stop_signal)
        assert parent.wait(timeout=300) == 130  # not 0: no run has come to its end
        assert list(made.folder.glob("runs/prune/*/checkpoint.json"))
        said = (made.folder / "stderr.txt").read_text()
        assert "stopping: each run writes a checkpoint" in said
        assert said.rstrip().endswith("stopped: the same command goes on from here")
