"""How far a run has come, told by what lies in its folder: a manifest, or a status file and a lock.

done: the manifest is there. running: a process holds the run's lock. failed: the last attempt failed by itself, or was
killed FATAL times in one sweep. pending: all else, also a run that was stopped or whose process has died.
"""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from filelock import FileLock, Timeout

from prune_cli.runs.files import DiskFullError, write_json

STATUS, MANIFEST = "status.json", "manifest.json"
DONE, RUNNING, FAILED, PENDING = STATES = ("done", "running", "failed", "pending")
STOPPED = "stopped"  # what a run's status file says after Ctrl-C: pending, with a checkpoint
FATAL = 2  # deaths in one sweep after which a run is no longer started again


@dataclass(frozen=True)
class Status:
    """What the last attempt at a run says of itself.

    state: running, stopped or failed. deaths: attempts of this sweep that a signal ended. code: of the last one that
    ended, -N for signal N. reason: what went wrong, in the lines that the command line shows.
    """

    state: str
    host: str = ""
    pid: int = 0
    since: str = ""
    deaths: int = 0
    code: int | None = None
    reason: tuple[str, ...] = ()

    @property
    def holder(self) -> str:
        """Who worked on it."""
        return f"process {self.pid} on {self.host}, since {self.since}"


def read_status(folder: Path) -> Status | None:
    """The status of a run that is not finished; None where no attempt has begun, or its file cannot be read."""
    try:
        found = json.loads((folder / STATUS).read_text(encoding="utf-8"))
        return Status(**{**found, "reason": tuple(found["reason"])})
    except (OSError, ValueError, TypeError, KeyError):
        return None


def write_status(folder: Path, status: Status) -> None:
    """Replace the run's status file."""
    write_json(folder / STATUS, asdict(status))


def begin(folder: Path) -> Status:
    """Say that this process works on the run; the deaths of earlier attempts still count."""
    before = read_status(folder)
    now = datetime.now(UTC).isoformat(timespec="seconds")
    status = Status(RUNNING, platform.node(), os.getpid(), now, before.deaths if before else 0)
    write_status(folder, status)
    return status


def end(folder: Path, state: str, reason: Iterable[str] = ()) -> None:
    """Say how this process left the run: stopped or failed, and why. On a full disk nothing is said."""
    status = read_status(folder) or Status(state)
    with suppress(DiskFullError):
        write_status(folder, replace(status, state=state, reason=tuple(reason)))


def died(folder: Path, code: int) -> None:
    """Enter that a child process ended with `code` (-N: signal N) and had no time to say so itself."""
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
    """One of STATES."""
    if (folder / MANIFEST).exists():
        return DONE
    status = read_status(folder)
    if status is None:
        return PENDING
    if status.state == RUNNING:
        return RUNNING if held(folder) else PENDING
    return FAILED if status.state == FAILED or status.deaths >= FATAL else PENDING
