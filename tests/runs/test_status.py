"""How far a run has come, by what lies in its folder."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from prune_cli.common.errors import PruneCliError
from prune_cli.runs.status import (
    DONE,
    FAILED,
    PENDING,
    RUNNING,
    STOPPED,
    begin,
    died,
    end,
    lock_of,
    read_status,
    state_of,
)
from prune_cli.runs.store import RunFolder, write_manifest

HOLDER = """
import sys, time
from pathlib import Path
from prune_cli.runs.status import begin
from prune_cli.runs.store import RunFolder
folder = RunFolder(Path(sys.argv[1]), {})
with folder.claimed(resumable=True):
    begin(folder.path)
    print("held", flush=True)
    time.sleep(600)
"""


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    return RunFolder(tmp_path / "prune/0123456789ab", {})


@contextmanager
def held_by_another(folder: RunFolder) -> Iterator[subprocess.Popen[str]]:
    holder = subprocess.Popen([sys.executable, "-c", HOLDER, str(folder.path)], stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None
    try:
        assert holder.stdout.readline() == "held\n"
        yield holder
    finally:
        holder.kill()
        holder.wait()


def test_a_run_without_a_folder_is_pending(folder: RunFolder) -> None:
    assert state_of(folder.path) == PENDING


def test_a_run_is_running_while_a_process_holds_it_and_pending_once_that_was_killed(folder: RunFolder) -> None:
    with held_by_another(folder) as holder:
        assert state_of(folder.path) == RUNNING
        with pytest.raises(PruneCliError) as caught, folder.claimed():
            pytest.fail("claimed twice")
        assert f"process {holder.pid} on" in (caught.value.where or "")
        os.kill(holder.pid, signal.SIGKILL)
        holder.wait()
        assert state_of(folder.path) == PENDING
        with folder.claimed(resumable=True):
            assert read_status(folder.path) is not None  # what a resumable run left stays


def test_a_failure_says_why_and_a_stop_is_none(folder: RunFolder) -> None:
    begin(folder.path)
    end(folder.path, STOPPED)
    assert state_of(folder.path) == PENDING
    end(folder.path, FAILED, ["error: the loss is nan", "try: a lower recipe.lr"])
    status = read_status(folder.path)
    assert state_of(folder.path) == FAILED and status is not None
    assert status.reason == ("error: the loss is nan", "try: a lower recipe.lr")


def test_a_run_killed_twice_has_failed_and_one_killed_once_has_not(folder: RunFolder) -> None:
    for state in (PENDING, FAILED):
        begin(folder.path)
        died(folder.path, -9)
        assert state_of(folder.path) == state
    status = read_status(folder.path)
    assert status is not None and (status.deaths, status.code) == (2, -9)


def test_a_finished_run_is_done_whatever_its_status_says_and_tidies_up(folder: RunFolder) -> None:
    begin(folder.path)
    for name in (
        "checkpoint.json",
        "checkpoint-a.safetensors",
        "request.json",
        "x.tmp",
        ".tmpAbC123",
        "run.log",
        "a.csv",
    ):
        (folder.path / name).write_text("x")
    record = write_manifest(folder.path, {"accuracy": 1.0})
    assert record["files"].keys() == {"a.csv"}
    assert state_of(folder.path) == DONE
    with folder.claimed(resumable=True):
        pass
    assert {path.name for path in folder.path.iterdir()} == {"run.log", "a.csv", "manifest.json"}


@pytest.mark.parametrize("content", ["", "{", "[]", '{"state": "running"}', '{"state": "x", "reason": [], "more": 1}'])
def test_a_status_that_cannot_be_read_is_none(folder: RunFolder, content: str) -> None:
    folder.path.mkdir(parents=True)
    (folder.path / "status.json").write_text(content)
    assert read_status(folder.path) is None
    assert state_of(folder.path) == PENDING


def test_the_lock_lies_beside_the_folder(folder: RunFolder) -> None:
    assert lock_of(folder.path) == folder.path.parent / ".locks" / "0123456789ab.lock"
