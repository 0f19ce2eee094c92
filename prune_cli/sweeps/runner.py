"""Run planned runs to their end: launch the unfinished ones, read their states from the disk, and repeat."""

from __future__ import annotations

import os
import platform
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from prune_cli.common.errors import ErrorParts, PruneCliError
from prune_cli.common.interrupts import on_signals
from prune_cli.common.polling import polling
from prune_cli.common.terminal import note
from prune_cli.runs.artefacts import STATUS
from prune_cli.runs.files import of_dead_processes
from prune_cli.runs.status import DONE, FAILED, RUNNING, read_status, state_of
from prune_cli.sweeps.child import FAIL_FAST, KILL, QUIET, STOP

SUBMITTED = ".submitit"  # in such a folder: jobs of a cluster, which may outlive the sweep
POLL = 1.0  # seconds between two looks at the runs
ENDED = (DONE, FAILED)
OnEnd = Callable[[Path, str], None]  # what came of a run: its folder, done or failed


class RunLauncher(Protocol):
    """The interface of a launcher, which starts runs and waits for them (sweeps.launch.Launcher)."""

    @property
    def name(self) -> str:
        """The launcher's name, as it is typed after --launcher."""

    def launch(self, folders: Sequence[Path], home: Path) -> None:
        """Start a process for each run folder and wait until all have ended."""


def run_all(folders: Sequence[Path], launcher: RunLauncher, scratch: Path, fail_fast: bool, on_end: OnEnd) -> bool:
    """Bring every run to its end, done or failed. Returns whether it was stopped before that.

    scratch: a folder for what launchers write. fail_fast: the first failure stops the others. on_end: is called as runs
    end. Runs that a launcher which raises has left are started again; so is one that was killed, once. Raises
    PruneCliError if a launcher starts nothing.
    """
    for folder in folders:
        if state_of(folder) != RUNNING:
            (folder / STATUS).unlink(missing_ok=True)  # failures and deaths of earlier sweeps are forgiven
    signals: list[int] = []
    with (
        _control_folder(scratch, launcher.name != "basic", fail_fast) as home,
        on_signals(lambda count: _stop(home, signals, count)),
        _report_as_they_end(folders, on_end),
    ):
        while (left := _left(folders)) and not (home / STOP).exists():
            _launch(launcher, left, home)
    return bool(signals and _left(folders))


def clear(scratch: Path) -> None:
    """Remove what sweeps that were killed have left in their folder of scratch, unless jobs of a cluster may need it."""
    for left in of_dead_processes(scratch):
        if not (left / SUBMITTED).exists():
            shutil.rmtree(left, ignore_errors=True)


def _launch(launcher: RunLauncher, folders: Sequence[Path], home: Path) -> None:
    before = list(map(_progress_of, folders))
    reason = "it started nothing"
    try:
        launcher.launch(folders, home)
    except Exception as error:  # launchers raise what they like, also for a run that was killed
        reason = ErrorParts.of(error).what
        note(f"the launcher {launcher.name} failed ({reason}); what is left is started again")
    if before == list(map(_progress_of, folders)) and not (home / STOP).exists():
        raise PruneCliError(f"no run was started: {reason}", f"--launcher {launcher.name}", "--launcher basic")


def _left(folders: Sequence[Path]) -> list[Path]:
    return [folder for folder in folders if state_of(folder) not in ENDED]


def _progress_of(folder: Path) -> tuple:
    return state_of(folder), read_status(folder)


@contextmanager
def _control_folder(scratch: Path, quiet: bool, fail_fast: bool) -> Iterator[Path]:
    """Create the folder of control files (stop, kill, quiet, fail-fast) that the runs of this sweep read; remove it after."""
    home = scratch.absolute() / f"{platform.node()}-{os.getpid()}"
    shutil.rmtree(home, ignore_errors=True)  # of a process that had our number before
    home.mkdir(parents=True)
    for name, wanted in ((QUIET, quiet), (FAIL_FAST, fail_fast)):
        if wanted:
            (home / name).touch()
    try:
        yield home
    finally:
        shutil.rmtree(home, ignore_errors=True)


def _stop(home: Path, signals: list[int], count: int) -> None:
    """Handle Ctrl-C: the first time runs write a checkpoint and end, the second time they end at once."""
    signals.append(count)
    (home / (STOP if count == 1 else KILL)).touch()
    (home / STOP).touch()
    note("stopping: each run writes a checkpoint (Ctrl-C again: at once)" if count == 1 else "stopping at once")


@contextmanager
def _report_as_they_end(folders: Sequence[Path], on_end: OnEnd) -> Iterator[None]:
    """Inside this context, and once when it is left, call `on_end` for each run that has ended."""
    waiting = list(folders)

    def report_ended() -> None:
        """Report the runs that have ended since the previous call."""
        for folder in list(waiting):
            if (state := state_of(folder)) in ENDED:
                waiting.remove(folder)
                on_end(folder, state)

    try:
        with polling(report_ended, POLL):
            yield
    finally:
        report_ended()
