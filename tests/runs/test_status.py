"""How far a run has come, by what lies in its folder."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prune_cli.common.errors import ErrorParts, PruneCliError
from prune_cli.runs.status import (
    DONE,
    FAILED,
    PENDING,
    RUNNING,
    STATES,
    STOPPED,
    Status,
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
    reason = ErrorParts("the loss is nan: twice", hint="a lower recipe.lr")
    end(folder.path, FAILED, reason)
    status = read_status(folder.path)
    assert state_of(folder.path) == FAILED and status is not None
    assert status.reason == reason == status.failure


PARTS = st.builds(ErrorParts, st.text(), st.none() | st.text(), st.none() | st.text(), st.sampled_from([1, 2]))


@given(st.builds(Status, st.sampled_from(STATES), st.text(), st.integers(0), st.text(), reason=st.none() | PARTS))
def test_a_status_comes_back_from_its_file_with_every_part_of_its_reason(status: Status) -> None:
    assert Status.from_json(json.loads(json.dumps(status.to_json()))) == status


@pytest.mark.parametrize(("code", "exit_code"), [(1, 1), (2, 2), (-9, 1), (None, 1)])
def test_a_status_of_a_version_that_wrote_lines_is_read(folder: RunFolder, code: int | None, exit_code: int) -> None:
    old = {"state": FAILED, "host": "a", "pid": 1, "since": "", "deaths": 0, "code": code}
    old["reason"] = ["error: the loss is nan: twice", "where: epoch 1", "try: a lower recipe.lr"]
    folder.path.mkdir(parents=True)
    (folder.path / "status.json").write_text(json.dumps(old))
    status = read_status(folder.path)
    assert status is not None
    assert status.reason == ErrorParts("the loss is nan: twice", "epoch 1", "a lower recipe.lr", exit_code)
    (folder.path / "status.json").write_text(json.dumps(old | {"reason": []}))
    status = read_status(folder.path)
    assert status is not None and status.reason is None


def test_parts_of_a_newer_version_are_left_out() -> None:
    assert ErrorParts.from_json({"what": "no", "severity": 3}) == ErrorParts("no")


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
