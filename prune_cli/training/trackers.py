"""Trackers: TensorBoard, and whatever else accelerate has one for. Optional, off, and never a reason for a run to stop."""

from __future__ import annotations

import json
import math
import os
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import redirect_stdout
from functools import partial
from importlib.util import find_spec
from numbers import Real
from pathlib import Path
from textwrap import shorten
from typing import Any

from prune_cli.common.errors import ConfigError, nearest
from prune_cli.common.lazy import torch
from prune_cli.common.plain import PlainConfig
from prune_cli.common.terminal import note

OPTION = "compute.trackers"
PROJECT = "prune-cli"  # what the trackers that sort runs into projects call ours
GROUP = ("LOCAL_RANK", "WORLD_SIZE", "PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "MV2_COMM_WORLD_SIZE")


def check_trackers(names: Sequence[str]) -> None:
    """Raise ConfigError for a tracker that does not exist, or whose package is not installed."""
    if not names:
        return
    if find_spec("accelerate") is None:
        raise ConfigError("trackers need the package accelerate", OPTION, "pip install 'prune-cli[trackers]'")
    from accelerate.tracking import LOGGER_TYPE_TO_CLASS, LoggerType, get_available_trackers

    for name in names:
        if name not in LOGGER_TYPE_TO_CLASS:
            raise ConfigError(
                f"there is no tracker {name!r}", OPTION, nearest(name, LOGGER_TYPE_TO_CLASS, f"{OPTION}=[", "]")
            )
        if name in LoggerType.list() and name not in map(str, get_available_trackers()):
            raise ConfigError(f"the tracker {name} needs its package", OPTION, f"pip install {name}")


class Tracking:
    """Sends rows to the trackers of a run; one that fails is named once in a note and left out from then on."""

    def __init__(self) -> None:
        self._trackers: dict[str, Any] = {}

    @classmethod
    def open(cls, names: Sequence[str], run_name: str, folder: Path, config: Mapping[str, Any]) -> Tracking:
        """Start the trackers and tell them the run's config. What they write themselves goes to folder/NAME, which runs share.

        Without names nothing is imported. Of several processes that train together only the first has trackers.
        """
        tracking = cls()
        for name in dict.fromkeys(names) if _first_process() else ():
            tracking._attempt(name, partial(tracking._start, name, run_name, folder / name, flat(config)))
        return tracking

    def __enter__(self) -> Tracking:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def log(self, row: Mapping[str, Any], step: int) -> None:
        """Send the finite numbers of a row; whatever else it holds stays out."""
        numbers = {key: float(value) for key, value in row.items() if _is_number(value)}
        for name, tracker in list(self._trackers.items()):
            self._attempt(name, partial(tracker.log, numbers, step=step))

    def close(self) -> None:
        """Let every tracker write what it still holds."""
        for name, tracker in list(self._trackers.items()):
            self._attempt(name, tracker.finish)
        self._trackers.clear()

    def _start(self, name: str, run_name: str, folder: Path, config: PlainConfig) -> None:
        from accelerate.tracking import LOGGER_TYPE_TO_CLASS

        _stand_alone()
        folder.mkdir(parents=True, exist_ok=True)
        kind: Any = LOGGER_TYPE_TO_CLASS[name]
        given = (_file_name(run_name), str(folder)) if kind.requires_logging_directory else (PROJECT,)
        tracker = kind(*given, **_own_words(name, run_name, folder))
        tracker.start()
        self._trackers[name] = tracker
        tracker.store_init_configuration(config)

    def _attempt(self, name: str, work: Callable[[], Any]) -> None:
        try:
            with redirect_stdout(sys.stderr):  # some of them talk, and results alone go to stdout
                work()
        except Exception as error:
            self._trackers.pop(name, None)
            note(shorten(f"tracker {name} failed and is left out: {type(error).__name__}: {error}", 300))


def flat(config: Mapping[str, Any], prefix: str = "") -> dict[str, bool | int | float | str]:
    """A nested config as dotted keys; a list, or nothing at all, as JSON."""
    found: dict[str, bool | int | float | str] = {}
    for key, value in config.items():
        if isinstance(value, Mapping):
            found |= flat(value, f"{prefix}{key}.")
        else:
            plain = isinstance(value, bool | int | float | str)
            found[f"{prefix}{key}"] = value if plain else json.dumps(value, default=str)
    return found


def _is_number(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)


def _file_name(text: str) -> str:
    return re.sub(r"[^\w.+-]+", "_", text)


def _own_words(name: str, run_name: str, folder: Path) -> dict[str, Any]:
    """How the tracker's package calls a run's name and its folder, where accelerate asks for neither."""
    words: dict[str, dict[str, Any]] = {
        "wandb": {"name": run_name, "dir": str(folder)},
        "trackio": {"name": run_name},
        "swanlab": {"experiment_name": run_name, "logdir": str(folder)},
        "mlflow": {"run_name": run_name},
        "clearml": {"task_name": run_name},
        "dvclive": {"dir": str(folder / _file_name(run_name))},
    }
    return words.get(name, {})


def _first_process() -> bool:
    group = torch.distributed
    return not (group.is_available() and group.is_initialized()) or group.get_rank() == 0


def _stand_alone() -> None:
    """Tell accelerate that this process is alone and without a GPU: it would form a group, or choose a GPU, by itself."""
    from accelerate import PartialState

    hidden = {name: os.environ.pop(name) for name in GROUP if name in os.environ}
    try:
        PartialState(cpu=True)
    finally:
        os.environ.update(hidden)
