"""How far a run has come, told by what lies in its folder: a manifest, or a status file and a lock.

done: the manifest is there. running: a process holds the run's lock. failed: the last attempt failed by itself, or was
killed FATAL times in one sweep. pending: all else, also a run that was stopped or whose process has died.
"""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from prune_cli.common.errors import ErrorParts, RequestError
from prune_cli.common.plain import JsonObject
from prune_cli.runs.artefacts import MANIFEST, STATUS
from prune_cli.runs.files import DiskFullError, write_json

DONE, RUNNING, FAILED, PENDING = STATES = ("done", "running", "failed", "pending")
STOPPED = "stopped"  # what a run's status file says after Ctrl-C: pending, with a checkpoint
FATAL = 2  # deaths in one sweep after which a run is no longer started again


@dataclass(frozen=True)
class Status:
    """What the last attempt at a run says of itself.

    state: running, stopped or failed. deaths: attempts of this sweep that a signal ended. code: of the last one that
    ended, -N for signal N. reason: what went wrong, where the run had time to say so.
    """

    state: str
    host: str = ""
    pid: int = 0
    since: str = ""
    deaths: int = 0
    code: int | None = None
    reason: ErrorParts | None = None

    @property
    def holder(self) -> str:
        """The process and machine of the last attempt."""
        return f"process {self.pid} on {self.host}, since {self.since}"

    @property
    def failure(self) -> ErrorParts:
        """Why the run failed: the stored reason, else the signal or exit code that ended the run, and how often."""
        ended = f"signal {-self.code}" if self.code and self.code < 0 else f"exit code {self.code}"
        return self.reason or ErrorParts(f"{ended}, {self.deaths} times")

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Status:
        """What `to_json` gave, also before a reason had parts. Raises TypeError, KeyError or ValueError for anything else."""
        return cls(**{**value, "reason": _reason(value["reason"], value.get("code"))})

    def to_json(self) -> JsonObject:
        """The fields by name."""
        return asdict(self)


def read_status(folder: Path) -> Status | None:
    """The status of a run that is not finished; None where no attempt has begun, or its file cannot be read."""
    try:
        return Status.from_json(json.loads((folder / STATUS).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError, KeyError):
        return None


def _reason(value: Mapping[str, Any] | Sequence[str] | None, code: int | None) -> ErrorParts | None:
    """The reason in a status file: its parts, or the printed lines that version 0.1.0 wrote, with the run's exit code."""
    if not value:
        return None
    if isinstance(value, Mapping):
        return ErrorParts.from_json(value)
    said = {label: text for label, _, text in (line.partition(": ") for line in value)}
    exit_code = RequestError.exit_code if code == RequestError.exit_code else ErrorParts.exit_code
    return ErrorParts(said["error"], said.get("where"), said.get("try"), exit_code)


def write_status(folder: Path, status: Status) -> None:
    """Replace the run's status file."""
    write_json(folder / STATUS, status.to_json())


def begin(folder: Path) -> Status:
    """Write the status `running` for this process; the deaths of earlier attempts still count."""
    before = read_status(folder)
    now = datetime.now(UTC).isoformat(timespec="seconds")
    status = Status(RUNNING, platform.node(), os.getpid(), now, before.deaths if before else 0)
    write_status(folder, status)
    return status


def end(folder: Path, state: str, reason: ErrorParts | None = None) -> None:
    """Write how this process left the run: stopped or failed, and why. On a full disk nothing is written."""
    status = read_status(folder) or Status(state)
    with suppress(DiskFullError):
        write_status(folder, replace(status, state=state, reason=reason))


def died(folder: Path, code: int) -> None:
    """Write that a child process ended with `code` (-N: signal N) without writing its own status."""
    status = read_status(folder) or Status(RUNNING)
    write_status(folder, replace(status, state=STOPPED, code=code, deaths=status.deaths + 1))


def lock_of(folder: Path) -> Path:
    """The lock file of a run: beside its folder, because the folder of an unfinished run may be removed."""
    return folder.parent / ".locks" / f"{folder.name}.lock"


def held(folder: Path) -> bool:
    """Whether a living process holds the run. The system frees the lock of a process that dies."""
    if not lock_of(folder).exists():
        return False
    lock = FileLock(lock_of(folder))
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return True
    lock.release()
    return False


def state_of(folder: Path) -> str:
    """The state of the run in a folder, one of STATES."""
    if (folder / MANIFEST).exists():
        return DONE
    status = read_status(folder)
    if status is None:
        return PENDING
    if status.state == RUNNING:
        return RUNNING if held(folder) else PENDING
    return FAILED if status.state == FAILED or status.deaths >= FATAL else PENDING
