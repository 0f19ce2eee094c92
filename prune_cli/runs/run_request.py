"""What one run is asked to do: a file in its folder, written by who plans the run and read by the processes that compute it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from prune_cli.common.plain import JsonObject, PlainConfig
from prune_cli.runs.artefacts import REQUEST
from prune_cli.runs.files import AGAIN, DamagedError, write_json
from prune_cli.runs.paths import Paths


@dataclass(frozen=True)
class RunRequest:
    """Everything that a process needs to compute a run, but for what lies on the disk.

    kind: prune or train. config: the settings, as config.yaml has them. argv: the command that was typed. cwd: where
    it was typed; None: where the process is started. device: as it was typed (another machine may have another best
    one). processes: how many compute the run together.
    """

    kind: str = "prune"
    config: PlainConfig = field(default_factory=dict)
    paths: Paths = field(default_factory=Paths)
    argv: tuple[str, ...] = ()
    cwd: Path | None = None
    device: str = ""
    processes: int = 1

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> RunRequest:
        """What `to_json` gave; what is missing has its default. Raises TypeError or ValueError for anything else."""
        return cls(
            kind=value.get("kind", cls.kind),
            config=value.get("config", {}),
            paths=Paths.from_json(value.get("paths", {})),
            argv=tuple(value.get("argv", ())),
            cwd=Path(value["cwd"]) if value.get("cwd") else None,
            device=value.get("device", cls.device),
            processes=int(value.get("processes", cls.processes)),
        )

    def to_json(self) -> JsonObject:
        """The fields by name, every path in full."""
        plain = {"kind": self.kind, "config": dict(self.config), "paths": self.paths.to_json(), "argv": list(self.argv)}
        cwd = str(self.cwd.absolute()) if self.cwd else None
        return plain | {"cwd": cwd, "device": self.device, "processes": self.processes}


def write_request(folder: Path, request: RunRequest) -> None:
    """Write the request into the run's folder."""
    write_json(folder / REQUEST, request.to_json())


def read_request(folder: Path) -> RunRequest:
    """The request in a run's folder. Raises FileNotFoundError where there is none, DamagedError where it is none."""
    path = folder / REQUEST
    try:
        return RunRequest.from_json(json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, TypeError, AttributeError, RecursionError):
        raise DamagedError("this is no request of a run", str(path), AGAIN) from None
