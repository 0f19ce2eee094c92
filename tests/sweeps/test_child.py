"""One run as a child process: what became of it is on the disk, and nothing that it does harms who waits for it."""

from __future__ import annotations

import json
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest
import stand_in
from stand_in import a_run, until

from prune_cli.common.errors import ErrorParts
from prune_cli.common.ranks import STORE
from prune_cli.runs.status import FAILED, PENDING, STOPPED, Status, read_status, state_of, write_status
from prune_cli.sweeps import child
from prune_cli.sweeps.child import run_child


@pytest.fixture(autouse=True)
def no_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(child, "command", stand_in.command)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "home").mkdir()
    return tmp_path / "home"


@contextmanager
def running(folder: Path, home: Path, signs: Sequence[str] = ("begun",)) -> Iterator[Future[int]]:
    """run_child at work in a thread, its child past its beginning."""
    with ThreadPoolExecutor() as pool:
        ended = pool.submit(run_child, folder, home)
        until(lambda: all((folder / sign).exists() for sign in signs))
        try:
            yield ended
        finally:
            (folder / "go").touch()


def test_a_run_that_finishes_is_left_as_it_is(tmp_path: Path, home: Path) -> None:
    folder = a_run(tmp_path / "run", "finish")
    assert run_child(folder, home) == 0
    assert (folder / "manifest.json").exists() and read_status(folder) is None


def test_a_signal_is_recorded_and_counted_and_twice_is_failed(tmp_path: Path, home: Path) -> None:
    folder = a_run(tmp_path / "run", "die")
    for deaths, state in ((1, PENDING), (2, FAILED)):
        assert run_child(folder, home) == -signal.SIGKILL
        status = read_status(folder)
        assert status is not None and (status.code, status.deaths) == (-signal.SIGKILL, deaths)
        assert state_of(folder) == state


def test_a_failure_keeps_its_own_words_and_gets_its_code(tmp_path: Path, home: Path) -> None:
    folder = a_run(tmp_path / "run", "fail")
    assert run_child(folder, home) == 1
    status = read_status(folder)
    assert status is not None and (status.state, status.code, status.deaths) == (FAILED, 1, 0)
    assert status.reason == ErrorParts("NaN", "epoch 1", "a: b", 2)


@pytest.mark.parametrize("earlier", [None, Status(FAILED, pid=1), Status(STOPPED, pid=1)])
def test_an_end_without_words_counts_as_a_death_whatever_was_said_before(
    tmp_path: Path, home: Path, earlier: Status | None
) -> None:
    folder = a_run(tmp_path / "run", "crash")
    if earlier:
        write_status(folder, earlier)
    assert run_child(folder, home) == 3
    status = read_status(folder)
    assert status is not None and (status.state, status.code, status.deaths) == (STOPPED, 3, 1)


def test_stop_interrupts_the_run_once_and_its_checkpoint_makes_it_pending(tmp_path: Path, home: Path) -> None:
    folder = a_run(tmp_path / "run", "wait")
    with running(folder, home) as ended:
        (home / "stop").touch()
        assert ended.result(stand_in.LIMIT) == 130
    status = read_status(folder)
    assert status is not None and (status.state, status.deaths) == (STOPPED, 0)
    assert state_of(folder) == PENDING


def test_kill_ends_a_run_that_does_not_stop_and_is_no_death(tmp_path: Path, home: Path) -> None:
    folder = a_run(tmp_path / "run", "ignore")
    with running(folder, home) as ended:
        (home / "stop").touch()
        until((folder / "ignored").exists)
        assert not ended.done()
        (home / "kill").touch()
        assert ended.result(stand_in.LIMIT) == 130
    assert read_status(folder) is None and not (folder / "manifest.json").exists()


def test_nothing_is_started_after_stop(tmp_path: Path, home: Path) -> None:
    (home / "stop").touch()
    folder = a_run(tmp_path / "run", "finish")
    assert run_child(folder, home) == 130
    assert not (folder / "pids").exists()


@pytest.mark.usefixtures("hears_ctrl_c")
def test_ctrl_c_where_nobody_expects_it_stops_the_run_and_is_not_raised(tmp_path: Path, home: Path) -> None:
    folder = a_run(tmp_path / "run", "wait")

    def press() -> None:
        until((folder / "begun").exists)
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=press)
    thread.start()
    assert run_child(folder, home) == 130
    thread.join()
    assert (home / "stop").exists()


@pytest.mark.parametrize(("behaviour", "stops"), [("finish", False), ("fail", True), ("die", True), ("crash", True)])
def test_fail_fast_makes_a_failure_a_stop(tmp_path: Path, home: Path, behaviour: str, stops: bool) -> None:
    run_child(a_run(tmp_path / "first", behaviour), home)
    assert not (home / "stop").exists()
    (home / "fail-fast").touch()
    run_child(a_run(tmp_path / "second", behaviour), home)
    assert (home / "stop").exists() == stops


def test_a_run_that_was_stopped_is_no_failure_for_fail_fast(tmp_path: Path, home: Path) -> None:
    (home / "fail-fast").touch()
    folder = a_run(tmp_path / "run", "wait")
    with running(folder, home) as ended:
        os.kill(int((folder / "pids").read_text()), signal.SIGTERM)
        assert ended.result(stand_in.LIMIT) == 130
    assert not (home / "stop").exists()


def test_stdout_is_kept_in_the_log_and_stderr_where_nobody_wants_to_see_it(
    tmp_path: Path, home: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = a_run(tmp_path / "run", "finish")
    run_child(folder, home)
    assert (folder / "output.log").read_text() == "to stdout\n"
    assert capfd.readouterr() == ("", "to stderr\n")
    (home / "quiet").touch()
    run_child(folder, home)
    assert sorted((folder / "output.log").read_text().splitlines()) == ["to stderr", "to stdout", "to stdout"]
    assert capfd.readouterr() == ("", "")


def test_a_run_works_where_the_sweep_was_typed(tmp_path: Path, home: Path) -> None:
    folder = a_run(tmp_path / "run", "finish", cwd=str(tmp_path))
    run_child(folder, home)
    assert json.loads((folder / "environment.json").read_text())["cwd"] == str(tmp_path)


def test_what_cannot_be_started_is_a_failure_that_says_why(tmp_path: Path, home: Path) -> None:
    folder = a_run(tmp_path / "run", "finish", cwd=str(tmp_path / "gone"))
    assert run_child(folder, home) == 1
    status = read_status(folder)
    assert status is not None and status.state == FAILED and status.reason is not None
    assert "gone" in (status.reason.where or "")


def test_a_run_of_several_processes_has_what_torchrun_would_give_it(tmp_path: Path, home: Path) -> None:
    folder = a_run(tmp_path / "run", "wait", processes=2)
    with running(folder, home, ["begun0", "begun1"]) as ended:
        assert len(set((folder / "pids").read_text().split())) == 2
        (folder / "go").touch()
        assert ended.result(stand_in.LIMIT) == 0
    found = json.loads((folder / "environment.json").read_text())
    assert found["WORLD_SIZE"] == "2" and found["RANK"] == found["LOCAL_RANK"]


def test_two_attempts_never_meet_at_one_place(home: Path) -> None:
    """Not even where each port that was free is free again, as it is once its socket is closed."""
    places = [{rank[STORE] for rank in child.environments(2, home)} for _ in range(2)]
    assert [len(found) for found in places] == [1, 1] and places[0] != places[1]
    assert not {"MASTER_ADDR", "MASTER_PORT"} & set(child.environments(2, home)[0])


def test_one_of_several_processes_that_is_killed_takes_the_run_with_it(
    tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(child, "GRACE", 0.5)
    folder = a_run(tmp_path / "run", "one_rank_dies", processes=2)
    assert run_child(folder, home) == -signal.SIGKILL
    status = read_status(folder)
    assert status is not None and (status.code, status.deaths) == (-signal.SIGKILL, 1)
    until(lambda: all(map(gone, (folder / "pids").read_text().split())))


def test_a_process_that_does_not_stop_with_its_fellows_is_ended(
    tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(child, "GRACE", 0.5)
    folder = a_run(tmp_path / "run", "one_rank_ignores", processes=2)
    with running(folder, home, ["begun0", "begun1"]) as ended:
        (home / "stop").touch()
        assert ended.result(stand_in.LIMIT) == 130
    assert state_of(folder) == PENDING
    until(lambda: all(map(gone, (folder / "pids").read_text().split())))


def gone(pid: str) -> bool:
    return not Path("/proc", pid).exists()


def test_gpus_are_handed_to_the_run_and_free_afterwards(
    tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "7")
    for name in ("one", "two"):
        folder = a_run(tmp_path / name, "finish", device="cuda")
        assert run_child(folder, home) == 0
        assert json.loads((folder / "environment.json").read_text())["CUDA_VISIBLE_DEVICES"] == "7"


def test_a_run_that_wants_more_gpus_than_there_are_fails_before_it_starts(
    tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "7")
    folder = a_run(tmp_path / "run", "finish", device="cuda", processes=2)
    assert run_child(folder, home) == 1
    status = read_status(folder)
    assert status is not None and status.state == FAILED and status.reason is not None
    assert "2 GPUs" in status.reason.what and status.reason.where == "CUDA_VISIBLE_DEVICES=7"
    assert status.reason.hint == "fewer processes a run"
    assert not (folder / "pids").exists()


def test_the_real_command_starts_this_python_and_this_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    command: Callable[[Path], list[str]] = child.command
    assert command(Path("runs/prune/abc"))[1:] == ["-P", "-m", "prune_cli", "run", "runs/prune/abc"]
