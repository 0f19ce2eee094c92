"""What all tests share: two threads, no network, and the command line run in this process."""

from __future__ import annotations

import os

os.environ["HF_HUB_OFFLINE"] = "1"  # before any import of the hub's client
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # before torch: tests run side by side, and none should spin

import json
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

from prune_cli import cli
from prune_cli.commands.run import run as run_folder
from prune_cli.data.registry import datasets
from prune_cli.runs.files import CHECKSUM, FILES
from prune_cli.runs.store import read_manifest, write_manifest
from prune_cli.sweeps.launch import Launcher


@pytest.fixture(scope="session", autouse=True)
def two_threads() -> None:
    """The same sums on every machine with two cores or more."""
    torch.set_num_threads(2)


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """Work on tiny tensors takes a hundred times longer where two threads wait for a busy core."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def hears_ctrl_c() -> Iterator[None]:
    """SIGINT stops this process and those that it starts, also where the tests run in the background: there a shell has
    SIGINT ignored, and what is ignored is inherited. For each test that sends it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@dataclass(frozen=True)
class Answer:
    """What a command said."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    @property
    def lines(self) -> list[str]:
        return self.err.strip().splitlines()


@pytest.fixture(scope="session")
def built_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder in which mnist5k is built already."""
    folder = tmp_path_factory.mktemp("data")
    datasets.build("mnist5k").build(folder)
    return folder


@pytest.fixture
def here(tmp_path: Path, built_data: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty current folder; built data is found elsewhere."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PRUNE_CLI_DATA", str(built_data))
    return tmp_path


@pytest.fixture
def run(here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Answer]:  # noqa: ARG001
    """Type a command in an empty folder: run("prune", "sparsity=98")."""

    def typed(*words: str) -> Answer:
        monkeypatch.setattr(sys, "argv", ["prune-cli", *words])
        capsys.readouterr()
        with pytest.raises(SystemExit) as stop:
            cli.main()
        out, err = capsys.readouterr()
        return Answer(int(stop.value.code or 0), out, err)

    return typed


@pytest.fixture
def in_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """The runs of a sweep are computed in this process: the same runs, without the seconds that each process starts in."""

    def launch(_: Launcher, folders: Sequence[Path], home: Path) -> None:  # noqa: ARG001
        for folder in folders:
            run_folder(folder)

    monkeypatch.setattr(Launcher, "launch", launch)


def rewrite_manifest(folder: Path) -> None:
    """Let a run's record fit its files again, after a test has changed one."""
    record = read_manifest(folder)
    assert record is not None
    write_manifest(folder, {key: value for key, value in record.items() if key not in (FILES, CHECKSUM)})


def everything_in(folder: Path) -> set[str]:
    """Every file under a folder, but for the locks, which say nothing."""
    files = (path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    return {name for name in files if "/.locks/" not in name}
