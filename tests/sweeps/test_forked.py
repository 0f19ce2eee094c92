"""Runs that are forked from a process which has done their imports: each is as a process of its own would be."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import stand_in
from stand_in import a_run, until

from prune_cli.runs.status import DONE, FAILED, read_status, state_of
from prune_cli.sweeps.child import run_child
from prune_cli.sweeps.forked import LostServerError, can_fork, fork_server_for
from prune_cli.sweeps.process import Spec, Start

pytestmark = pytest.mark.skipif(not can_fork(), reason="this system forks no process with torch in it")


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "home").mkdir()
    return tmp_path / "home"


@pytest.fixture
def start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Start]:
    """A server of stand-ins, which imports nothing."""
    monkeypatch.setenv("PYTHONPATH", str(stand_in.package(tmp_path / "path")))
    with fork_server_for(quiet=True, preloaded=()) as made:
        yield made


def environment(folder: Path) -> dict[str, str]:
    return json.loads((folder / "environment.json").read_text())


def server_of(folder: Path) -> int:
    """The parent of a run that is at work."""
    pid = (folder / "pids").read_text().split()[-1]
    return int(Path("/proc", pid, "stat").read_text().rsplit(")", 1)[1].split()[1])


def test_what_becomes_of_a_run_is_what_becomes_of_a_process_of_its_own(
    tmp_path: Path, home: Path, start: Start
) -> None:
    wanted = {"finish": (0, None), "fail": (1, 1), "crash": (3, 3), "die": (-signal.SIGKILL, -signal.SIGKILL)}
    for behaviour, (code, recorded) in wanted.items():
        folder = a_run(tmp_path / behaviour, behaviour)
        assert run_child(folder, home, start) == code
        status = read_status(folder)
        assert (status.code if status else None) == recorded
    assert state_of(tmp_path / "finish") == DONE and state_of(tmp_path / "fail") == FAILED


def test_a_run_has_a_session_a_folder_an_environment_and_a_log_of_its_own(tmp_path: Path, start: Start) -> None:
    for name in ("one", "two"):
        folder = a_run(tmp_path / name, "finish", cwd=str(tmp_path / name))
        with (folder / "log").open("w") as log:
            spec = Spec(folder, log.fileno(), log.fileno(), str(folder), {"CUDA_VISIBLE_DEVICES": name})
            run = start(spec)
        assert run.wait() == 0
        assert (environment(folder)["cwd"], environment(folder)["CUDA_VISIBLE_DEVICES"]) == (str(folder), name)
        assert (folder / "log").read_text().splitlines() == ["to stdout", "to stderr"]
    assert "CUDA_VISIBLE_DEVICES" not in os.environ
    assert environment(tmp_path / "one")["PYTHONPATH"] == os.environ["PYTHONPATH"]


def test_one_run_that_is_killed_leaves_the_others_at_work(tmp_path: Path, home: Path, start: Start) -> None:
    folders = [a_run(tmp_path / str(number), "wait") for number in range(2)]
    with ThreadPoolExecutor() as pool:
        ended = [pool.submit(run_child, folder, home, start) for folder in folders]
        until(lambda: all((folder / "begun").exists() for folder in folders))
        pids = [int((folder / "pids").read_text()) for folder in folders]
        assert [os.getsid(pid) for pid in pids] == pids
        os.kill(pids[0], signal.SIGKILL)
        assert ended[0].result(stand_in.LIMIT) == -signal.SIGKILL
        (folders[1] / "go").touch()
        assert ended[1].result(stand_in.LIMIT) == 0


@pytest.mark.parametrize(("behaviour", "signs"), [("wait", ["stop"]), ("ignore", ["stop", "kill"])])
def test_stop_and_kill_end_a_run(tmp_path: Path, home: Path, start: Start, behaviour: str, signs: list[str]) -> None:
    folder = a_run(tmp_path / "run", behaviour)
    with ThreadPoolExecutor() as pool:
        ended = pool.submit(run_child, folder, home, start)
        until((folder / "begun").exists)
        for sign in signs:
            (home / sign).touch()
        assert ended.result(stand_in.LIMIT) == 130


def test_a_run_that_is_stopped_before_it_begins_never_begins(
    tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = stand_in.package(tmp_path / "path")
    (path / "heavy.py").write_text(
        f"import pathlib, time\nwhile not pathlib.Path({str(path / 'go')!r}).exists(): time.sleep(0.02)"
    )
    monkeypatch.setenv("PYTHONPATH", str(path))
    first, second = (a_run(tmp_path / name, "finish") for name in ("first", "second"))
    with fork_server_for(quiet=True, preloaded=["heavy"]) as start:
        run = start(Spec(first, 2, 2))
        run.send_signal(signal.SIGTERM)
        assert run.poll() == -signal.SIGTERM
        (path / "go").touch()
        assert run_child(second, home, start) == 0
    assert not (first / "pids").exists()


def test_a_server_that_is_killed_takes_no_run_with_it_and_is_told_of(tmp_path: Path, home: Path, start: Start) -> None:
    folder = a_run(tmp_path / "run", "wait")
    with ThreadPoolExecutor() as pool:
        ended = pool.submit(run_child, folder, home, start)
        until((folder / "begun").exists)
        os.kill(server_of(folder), signal.SIGKILL)
        with pytest.raises(TimeoutError):
            ended.result(1)
        (folder / "go").touch()
        assert isinstance(ended.exception(stand_in.LIMIT), LostServerError)
    assert state_of(folder) == DONE
    with pytest.raises(LostServerError):
        run_child(a_run(tmp_path / "next", "finish"), home, start)


def test_a_server_ends_with_the_process_that_has_started_it(tmp_path: Path, home: Path) -> None:
    """Also one that is killed. The run that is at work lives on."""
    folder = a_run(tmp_path / "run", "wait")
    words = [sys.executable, "-c", SWEEP, str(folder), str(home)]
    path = f"{stand_in.package(tmp_path / 'path')}"
    sweep = subprocess.Popen(words, env=os.environ | {"PYTHONPATH": path})
    until((folder / "begun").exists)
    server = server_of(folder)
    sweep.kill()
    sweep.wait()
    until(lambda: not Path("/proc", str(server)).exists() or "State:\tZ" in Path(f"/proc/{server}/status").read_text())
    assert not (folder / "manifest.json").exists()
    (folder / "go").touch()
    until((folder / "manifest.json").exists)


SWEEP = """
import sys
from pathlib import Path
from prune_cli.sweeps.child import run_child
from prune_cli.sweeps.forked import fork_server_for
with fork_server_for(quiet=True, preloaded=()) as start:
    run_child(Path(sys.argv[1]), Path(sys.argv[2]), start)
"""


def test_a_folder_that_is_gone_is_a_failure_that_says_so(tmp_path: Path, home: Path, start: Start) -> None:
    folder = a_run(tmp_path / "run", "finish", cwd=str(tmp_path / "gone"))
    assert run_child(folder, home, start) == 1
    assert state_of(folder) == FAILED and not (folder / "pids").exists()


def test_what_a_run_holds_is_free_when_it_ends_and_not_before(tmp_path: Path, start: Start) -> None:
    """A pipe stands for the lock of a GPU: its reader sees the end once no process has it open for writing."""
    folder = a_run(tmp_path / "run", "wait")
    reader, writer = os.pipe()
    run = start(Spec(folder, 2, 2, kept=[writer]))
    os.close(writer)
    until((folder / "begun").exists)
    os.set_blocking(reader, False)
    with pytest.raises(BlockingIOError):
        os.read(reader, 1)
    (folder / "go").touch()
    assert run.wait() == 0
    assert os.read(reader, 1) == b""
    os.close(reader)
