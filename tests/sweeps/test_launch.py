"""Launchers: each starts every run as a process of its own and leaves the process that launches as it was."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import stand_in
import submitit
from hydra.core.global_hydra import GlobalHydra
from stand_in import a_run, until

from prune_cli.common.errors import ConfigError
from prune_cli.runs.status import DONE, FAILED, PENDING, read_status, state_of
from prune_cli.sweeps import child, executors, launch
from prune_cli.sweeps.launch import LAUNCHERS, Launcher

LAUNCHING = Path(__file__).with_name("launching.py")
OPTIONS = {"basic": "", "joblib": "n_jobs=3", "local": "", "ray": "ray.init.num_cpus=3"}
JOBLIB = pytest.param("joblib", marks=pytest.mark.slow)  # where basic, too, shows it
SLOW_LOCAL = pytest.param("local", marks=pytest.mark.slow)  # submitit looks for results every few seconds
RAY = pytest.param("ray", marks=pytest.mark.slow)  # starts a cluster
Launched = Callable[..., subprocess.Popen]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "home").mkdir()
    return tmp_path / "home"


@pytest.fixture
def launched(tmp_path: Path, home: Path) -> Iterator[Launched]:
    """Launch runs from a process of its own, in an empty folder, as if typed in a terminal."""
    (tmp_path / "here").mkdir()
    environment = os.environ | {"PYTHONPATH": str(stand_in.package(tmp_path / "path"))}
    started: list[subprocess.Popen] = []

    def start(name: str, *folders: Path) -> subprocess.Popen:
        words = [sys.executable, LAUNCHING, name, OPTIONS[name], home, *folders]
        options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "start_new_session": True}
        started.append(subprocess.Popen(words, cwd=tmp_path / "here", env=environment, **options))
        return started[0]

    yield start
    for process in started:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("name", ["basic", "joblib", SLOW_LOCAL, RAY])
def test_every_run_is_started_and_nothing_else_is_touched(name: str, tmp_path: Path, launched: Launched) -> None:
    behaviours = ("finish", "crash", "die")
    folders = [a_run(tmp_path / f"it's a {what}, ${{oc.env:HOME}} = [1] \\ ü", what) for what in behaviours]
    out, err = launched(name, *folders).communicate(timeout=stand_in.LIMIT)
    assert out == "left alone\n"
    assert "Traceback" not in err
    assert [state_of(folder) for folder in folders] == [DONE, PENDING, PENDING]
    codes = [status.code if status else None for status in map(read_status, folders)]
    assert codes == [None, 3, -signal.SIGKILL]


@pytest.mark.parametrize("name", ["basic", JOBLIB, SLOW_LOCAL, RAY])
def test_ctrl_c_in_the_terminal_stops_every_run_with_a_checkpoint(
    name: str, tmp_path: Path, launched: Launched
) -> None:
    """Of three workers, one has nothing to do any more: it must not die of the signal and take the others with it."""
    folders = [a_run(tmp_path / str(number), what) for number, what in enumerate(("finish", "wait", "wait"))]
    process = launched(name, *folders)
    begun = folders[1:2] if name == "basic" else folders[1:]
    until(lambda: all((folder / "begun").exists() for folder in begun) and state_of(folders[0]) == DONE)
    os.killpg(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=stand_in.LIMIT)
    assert out.splitlines()[-1] == "left alone"
    assert name == "local" or "Traceback" not in err
    for folder in begun:
        until(lambda folder=folder: read_status(folder) is not None)
        assert (status := read_status(folder)) and (status.state, status.deaths) == ("stopped", 0)


@pytest.mark.parametrize("name", [JOBLIB, SLOW_LOCAL, RAY])
def test_a_launcher_that_dies_raises_when_no_run_is_at_work_any_more(
    name: str, tmp_path: Path, launched: Launched
) -> None:
    folder = a_run(tmp_path / "run", "kill_launcher")
    out, _ = launched(name, folder, a_run(tmp_path / "other", "finish")).communicate(timeout=stand_in.LIMIT)
    raised, alone = out.splitlines()[-2:]  # the raylet says on stdout that a worker died
    assert raised.startswith("raised ") and alone == "left alone"
    assert state_of(folder) == DONE


SLURM = {
    "srun": "",
    "sbatch": "touch submitted; echo Submitted batch job 77",
    "scancel": "echo $@ >> cancelled",
    "sacct": "[ -e cancelled ] && state=CANCELLED || state=PENDING; echo 'JobID|State|NodeList'\n"
    'for task in 0 1; do echo "77_$task|$state|"; done',
}


@pytest.mark.slow  # submitit waits a quarter of a minute for the results of a job that was cancelled
def test_stop_takes_what_still_waits_out_of_the_queue_of_slurm(
    tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Slurm's commands are stand-ins."""
    for name, script in SLURM.items():
        (tmp_path / name).write_text(f"#!/bin/sh\ncd {tmp_path}\n{script}\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    folders = [a_run(tmp_path / str(number), "finish") for number in range(2)]
    with ThreadPoolExecutor() as pool, pytest.raises(submitit.core.utils.UncompletedJobError):
        pool.submit(lambda: (until((tmp_path / "submitted").exists), (home / "stop").touch()))
        Launcher.of("slurm", ["timeout_min=5"]).launch(folders, home)
    assert set((tmp_path / "cancelled").read_text().splitlines()) == {f"--state=PENDING --name=prune-cli-{home.name}"}
    assert [state_of(folder) for folder in folders] == [PENDING, PENDING]


def test_fail_fast_starts_nothing_after_a_failure(tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(child, "command", stand_in.command)
    monkeypatch.setattr(executors, "can_fork", lambda: False)
    folders = [a_run(tmp_path / str(number), what) for number, what in enumerate(("finish", "fail", "finish"))]
    (home / "fail-fast").touch()
    Launcher().launch(folders, home)
    assert [state_of(folder) for folder in folders] == [DONE, FAILED, PENDING]
    assert not (folders[2] / "pids").exists()


def test_hydra_may_be_in_use_by_who_launches(tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(child, "command", stand_in.command)
    monkeypatch.setattr(executors, "can_fork", lambda: False)
    from hydra import initialize_config_module

    folder = a_run(tmp_path / "run", "finish")
    with initialize_config_module("prune_cli.configs", version_base="1.3"):
        before = GlobalHydra.instance().hydra
        assert before is not None
        GlobalHydra.instance().clear()
        Launcher.of("basic", []).launch([folder], home)
        assert GlobalHydra.instance().hydra is None
    assert state_of(folder) == DONE


def test_no_runs_are_no_work(home: Path) -> None:
    Launcher("slurm").launch([], home)
    assert not list(home.iterdir())


@pytest.mark.parametrize(
    ("name", "words", "what", "hint"),
    [
        ("jobib", [], "there is no launcher 'jobib'", "did you mean --launcher joblib?"),
        ("basic", ["n_jobs=4"], "has no option 'n_jobs'", "it has no options"),
        ("joblib", ["n_job=4"], "has no option 'n_job'", "did you mean --launcher-opt n_jobs=4?"),
        ("joblib", ["_target_=os.system"], "has no option '_target_'", "known: "),
        ("slurm", ["name=mine"], "has no option 'name'", "known: account"),
        ("joblib", ["n_jobs"], "this is not KEY=VALUE", "n_jobs=4"),
        ("joblib", ["=4"], "this is not KEY=VALUE", "n_jobs=4"),
        ("joblib", ["n_jobs=many"], "cannot be used: ", "quote"),
        ("joblib", ["n_jobs=${oc.env:HOME}"], "interpolations cannot be typed", "write the value"),
        ("slurm", ["partition=a,b"], "cannot be used: ", "quote"),
        ("slurm", ["timeout_min=[1"], "cannot be used: ", "quote"),
    ],
)
def test_a_wrong_request_is_refused_before_any_work(name: str, words: list[str], what: str, hint: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Launcher.of(name, words)
    assert what in caught.value.what and hint in (caught.value.hint or "")
    assert len(caught.value.lines()) == 3


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("basic", []),
        ("joblib", ["n_jobs=2", "verbose=0"]),
        ("slurm", ["partition='a,b'", "timeout_min=600", "gres=gpu:a100:1", "mem_gb=32", "setup=['module load cuda']"]),
        ("slurm", ["additional_parameters={mail-type: BEGIN}"]),
        ("slurm", ["additional_parameters.mail-type=BEGIN"]),
        ("local", ["timeout_min=5"]),
    ],
)
def test_the_options_of_each_launcher_are_taken(name: str, words: list[str]) -> None:
    assert Launcher.of(name, words).options == dict(word.split("=", 1) for word in words)


@pytest.mark.parametrize("name", [name for name in LAUNCHERS if name != "basic"])
def test_a_launcher_that_is_not_installed_says_how_to_install_it(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launch, "find_spec", lambda _: None)
    with pytest.raises(ConfigError, match="not installed") as caught:
        Launcher.of(name, [])
    assert caught.value.hint == f"pip install 'prune-cli[{launch.KINDS[name].extra}]'"
