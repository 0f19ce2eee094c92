"""A tracker is told what a run measures, costs nothing where it is off, and stops no run where it fails."""

from __future__ import annotations

import importlib.util
import math
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from accelerate import PartialState, tracking
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from prune_cli.common.errors import ConfigError
from prune_cli.training import trackers
from prune_cli.training.trackers import Tracking, check_trackers, flat

ROWS: list[dict[str, Any]] = [
    {"epoch": 0, "lr": 1e-3, "train_loss": 2.5, "test_accuracy": np.float32(50.0)},
    {"epoch": 1, "lr": 5e-4, "train_loss": math.nan, "test_accuracy": 75, "note": "text", "best": True, "none": None},
]
CONFIG = {"model": {"name": "vit_micro", "units": None, "prunable": ["a", "b"]}, "seed": 0, "smoke": False, "lr": 1e-3}
PLACES = ("__init__", "start", "store_init_configuration", "log", "finish")


@pytest.fixture(autouse=True)
def accelerate_is_fresh() -> Iterator[None]:
    PartialState._reset_state()
    yield
    PartialState._reset_state()


@pytest.fixture
def notes(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    said: list[str] = []
    monkeypatch.setattr(trackers, "note", said.append)
    return said


class Fake:
    """Remembers what it is asked for, and raises where it is told to."""

    requires_logging_directory = False
    raises: BaseException | None = None
    place = ""

    def __init__(self, project: str) -> None:
        self.project = project
        self._called("__init__")

    def start(self) -> None:
        self._called("start")

    def store_init_configuration(self, values: dict[str, Any]) -> None:
        self._called("store_init_configuration", values)

    def log(self, values: dict[str, float], step: int) -> None:
        self._called("log", values, step)

    def finish(self) -> None:
        self._called("finish")

    def _called(self, place: str, *given: Any) -> None:
        self.calls.append((place, *given))
        if place == self.place and self.raises is not None:
            raise self.raises


@pytest.fixture
def fakes(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Two more trackers that accelerate knows: `bad` and `good`."""
    made = {name: type(name, (Fake,), {"calls": []}) for name in ("bad", "good")}
    for name, fake in made.items():
        monkeypatch.setitem(tracking.LOGGER_TYPE_TO_CLASS, name, fake)
    return made


def told(names: list[str], folder: Path) -> None:
    """A run of two epochs."""
    with Tracking.open(names, "run", folder, CONFIG) as open_:
        for row in ROWS:
            open_.log(row, step=row["epoch"])


def read(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """(step, value) of every scalar in TensorBoard's files."""
    events = EventAccumulator(str(folder)).Reload()
    return {tag: [(e.step, e.value) for e in events.Scalars(tag)] for tag in events.Tags()["scalars"]}


def test_tensorboard_holds_the_finite_numbers_of_every_row(tmp_path: Path, notes: list[str]) -> None:
    told(["tensorboard"], tmp_path)
    assert notes == []
    assert read(tmp_path / "tensorboard" / "run") == {
        "epoch": [(0, 0.0), (1, 1.0)],
        "lr": [(0, pytest.approx(1e-3)), (1, pytest.approx(5e-4))],
        "train_loss": [(0, 2.5)],  # the second is no number
        "test_accuracy": [(0, 50.0), (1, 75.0)],
    }


def test_tensorboard_holds_the_config(tmp_path: Path) -> None:
    told(["tensorboard"], tmp_path)
    (stored,) = (tmp_path / "tensorboard" / "run").glob("*/hparams.yml")
    assert yaml.safe_load(stored.read_text()) == {
        "model.name": "vit_micro",
        "model.units": "null",
        "model.prunable": '["a", "b"]',
        "seed": 0,
        "smoke": False,
        "lr": 1e-3,
    }


def test_a_run_that_goes_on_adds_to_the_same_folder(tmp_path: Path) -> None:
    for row in ROWS:
        with Tracking.open(["tensorboard"], "run", tmp_path, CONFIG) as open_:
            open_.log(row, step=row["epoch"])
    assert read(tmp_path / "tensorboard" / "run")["test_accuracy"] == [(0, 50.0), (1, 75.0)]


def test_the_name_of_a_run_makes_one_folder(tmp_path: Path) -> None:
    with Tracking.open(["tensorboard"], "ViT-B/16 on ../CIFAR-10, 98 %", tmp_path, CONFIG) as open_:
        open_.log(ROWS[0], step=0)
    assert [path.name for path in (tmp_path / "tensorboard").iterdir()] == ["ViT-B_16_on_.._CIFAR-10_98_"]


@pytest.mark.parametrize("place", PLACES)
def test_a_tracker_that_fails_is_named_once_and_left_out(
    place: str, fakes: dict[str, Any], notes: list[str], tmp_path: Path
) -> None:
    fakes["bad"].place, fakes["bad"].raises = place, ValueError("no network\nat all")
    told(["bad", "good", "tensorboard"], tmp_path)
    assert notes == ["tracker bad failed and is left out: ValueError: no network at all"]
    whole = ["__init__", "start", "store_init_configuration", "log", "log", "finish"]
    assert [call[0] for call in fakes["bad"].calls] == whole[: whole.index(place) + 1]
    assert [call[0] for call in fakes["good"].calls] == whole
    assert len(read(tmp_path / "tensorboard" / "run")["epoch"]) == 2


def test_a_tracker_is_told_numbers_alone(fakes: dict[str, Any], tmp_path: Path) -> None:
    told(["good"], tmp_path)
    assert fakes["good"].calls[2:5] == [
        ("store_init_configuration", flat(CONFIG)),
        ("log", {"epoch": 0, "lr": 1e-3, "train_loss": 2.5, "test_accuracy": 50}, 0),
        ("log", {"epoch": 1, "lr": 5e-4, "test_accuracy": 75}, 1),
    ]
    assert all(type(value) is float for call in fakes["good"].calls[3:5] for value in call[1].values())


@pytest.mark.parametrize("place", PLACES)
def test_control_c_passes(place: str, fakes: dict[str, Any], notes: list[str], tmp_path: Path) -> None:
    fakes["bad"].place, fakes["bad"].raises = place, KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        told(["bad"], tmp_path)
    assert notes == []


def test_trackers_are_closed_where_the_run_fails(fakes: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), Tracking.open(["good"], "run", tmp_path, CONFIG):
        raise ZeroDivisionError
    assert fakes["good"].calls[-1] == ("finish",)


def test_a_folder_that_cannot_be_written_stops_nothing(notes: list[str], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    told(["tensorboard"], tmp_path / "file")
    assert len(notes) == 1
    assert notes[0].startswith("tracker tensorboard failed and is left out: NotADirectoryError")


def test_what_a_tracker_prints_stays_off_stdout(
    fakes: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(fakes["good"], "start", lambda _: print("welcome"))
    told(["good"], tmp_path)
    assert capsys.readouterr() == ("", "welcome\n")


def test_nothing_is_imported_where_no_tracker_is_wanted(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from prune_cli.training.trackers import Tracking, check_trackers\n"
        "check_trackers(())\n"
        f"with Tracking.open((), 'run', Path({str(tmp_path)!r}), {{}}) as open_: open_.log({{'loss': 1.0}}, step=0)\n"
        "sys.exit(any(name in sys.modules for name in ('accelerate', 'tensorboard')))"
    )
    assert subprocess.run([sys.executable, "-c", code], timeout=120).returncode == 0
    assert not any(tmp_path.iterdir())


def test_a_launcher_s_variables_draw_no_tracker_into_a_group(
    tmp_path: Path, notes: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    given = {"LOCAL_RANK": "1", "WORLD_SIZE": "2", "RANK": "1", "PMI_SIZE": "2"}
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    threads = torch.get_num_threads()
    told(["tensorboard"], tmp_path)
    assert notes == []
    assert not torch.distributed.is_initialized()
    assert {name: os.environ[name] for name in given} == given
    assert "MASTER_PORT" not in os.environ
    assert torch.get_num_threads() == threads
    assert len(read(tmp_path / "tensorboard" / "run")["epoch"]) == 2


@pytest.mark.parametrize("rank", [0, 1])
def test_of_a_group_of_processes_the_first_one_alone_is_tracked(
    rank: int, fakes: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    group = torch.distributed
    group.init_process_group("gloo", store=group.HashStore(), rank=0, world_size=1)
    try:
        monkeypatch.setattr(group, "get_rank", lambda: rank)
        told(["good"], tmp_path)
        assert group.is_initialized()
        assert group.get_world_size() == 1
    finally:
        group.destroy_process_group()
    assert len(fakes["good"].calls) == (6 if rank == 0 else 0)


def test_a_tracker_that_is_named_twice_is_started_once(fakes: dict[str, Any], tmp_path: Path) -> None:
    told(["good", "good"], tmp_path)
    assert [call[0] for call in fakes["good"].calls].count("start") == 1


def test_known_and_installed_trackers_pass(fakes: dict[str, Any]) -> None:
    check_trackers([])
    check_trackers(["tensorboard", *fakes])


def test_an_unknown_tracker_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(ConfigError, match="there is no tracker 'tensorbord'") as caught:
        check_trackers(["tensorboard", "tensorbord"])
    assert caught.value.hint == "did you mean compute.trackers=[tensorboard]?"


def test_a_tracker_without_its_package_is_refused_with_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tracking, "_available_trackers", [tracking.LoggerType.TENSORBOARD])
    with pytest.raises(ConfigError, match="mlflow needs its package") as caught:
        check_trackers(["tensorboard", "mlflow"])
    assert caught.value.hint == "pip install mlflow"


def test_without_accelerate_every_tracker_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    here = importlib.util.find_spec
    monkeypatch.setattr(trackers, "find_spec", lambda name: None if name == "accelerate" else here(name))
    check_trackers([])
    with pytest.raises(ConfigError, match="accelerate") as caught:
        check_trackers(["tensorboard"])
    assert caught.value.hint == "pip install 'prune-cli[trackers]'"


def test_a_nested_config_is_told_by_dotted_keys() -> None:
    assert flat({"a": {"b": {"c": 1}, "d": None}, "e": [1, 2], "f": Path("x")}) == {
        "a.b.c": 1,
        "a.d": "null",
        "e": "[1, 2]",
        "f": '"x"',
    }
