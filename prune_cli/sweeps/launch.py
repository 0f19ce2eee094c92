"""The launchers of sweeps by name, and the options that can be typed for each."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from prune_cli.common.errors import ConfigError, nearest
from prune_cli.config.overrides import value_of
from prune_cli.runs.status import held
from prune_cli.sweeps import executors
from prune_cli.sweeps.executors import Execute

POLL = 0.2  # seconds between two looks at the runs that a launcher has left


@dataclass(frozen=True)
class _Kind:
    """A kind of launcher. options: the dataclass of its options. package: the package it needs, if any; extra: the extra
    of prune-cli that installs the package."""

    execute: Execute
    options: type
    package: str | None = None
    extra: str | None = None


KINDS = {
    "basic": _Kind(executors.one_by_one, executors.NoOptions),
    "joblib": _Kind(executors.by_joblib, executors.JoblibOptions, "joblib", "joblib"),
    "local": _Kind(executors.by_submitit("local"), executors.LocalOptions, "submitit", "slurm"),
    "ray": _Kind(executors.by_ray, executors.RayOptions, "ray", "ray"),
    "slurm": _Kind(executors.by_submitit("slurm"), executors.SlurmOptions, "submitit", "slurm"),
}
LAUNCHERS = tuple(KINDS)
CLUSTERS = ("ray", "slurm")  # their runs are on other machines


@dataclass(frozen=True)
class Launcher:
    """Where the runs of a sweep are started: basic (one after another), joblib (several at once on this machine),
    slurm, ray, or local, which submits as slurm does, but to this machine, all at once.

    options: as they were typed, e.g. {"n_jobs": "4"}.
    """

    name: str = "basic"
    options: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, name: str, words: Iterable[str]) -> Launcher:
        """The launcher with options typed as KEY=VALUE. Raises ConfigError for a wrong name or option."""
        if name not in KINDS:
            raise ConfigError(f"there is no launcher {name!r}", "--launcher", nearest(name, KINDS, "--launcher "))
        kind = KINDS[name]
        if kind.package and find_spec(kind.package) is None:
            hint = f"pip install 'prune-cli[{kind.extra}]'"
            raise ConfigError(f"the launcher {name} is not installed", "--launcher", hint)
        made = cls(name, dict(map(_option, words)))
        made._typed_options()
        return made

    def launch(self, folders: Sequence[Path], home: Path) -> None:
        """Start a child process for each run folder and wait until all have ended.

        Results are on the disk. home: the folder of this sweep's control files, also for files of the launcher. Raises
        the launcher's own exception, after none of these runs is at work any more.
        """
        if not folders:
            return
        try:
            KINDS[self.name].execute([folder.absolute() for folder in folders], home.absolute(), self._typed_options())
        except Exception:
            while any(map(held, folders)):
                time.sleep(POLL)
            raise

    def _typed_options(self) -> Any:
        """The options as the launcher's dataclass. Raises ConfigError for an unknown option or a value of the wrong type."""
        config = OmegaConf.structured(KINDS[self.name].options)
        for key, value in self.options.items():
            self._set(config, key, value)
        return OmegaConf.to_object(config)

    def _set(self, config: DictConfig, key: str, value: str) -> None:
        if key.split(".")[0] not in (known := [str(name) for name in config]):
            hint = nearest(key, known, "--launcher-opt ", f"={value}") if known else "leave it out: it has no options"
            raise ConfigError(f"the launcher {self.name} has no option {key!r}", f"--launcher-opt {key}", hint)
        try:
            OmegaConf.update(config, key, value_of(value))
        except (ValueError, OmegaConfBaseException) as error:
            line, hint = str(error).strip().splitlines()[0], "quote a value with odd characters: KEY=\"'a,b'\""
            raise ConfigError(f"this option cannot be used: {line}", f"--launcher-opt {key}={value}", hint) from None


def _option(word: str) -> tuple[str, str]:
    key, equals, value = word.partition("=")
    if not (equals and re.fullmatch(r"\w+(\.[\w-]+)*", key)):
        raise ConfigError("this is not KEY=VALUE", f"--launcher-opt {word}", "e.g. --launcher-opt n_jobs=4")
    if "${" in value:
        raise ConfigError("interpolations cannot be typed", f"--launcher-opt {word}", "write the value itself")
    return key, value
