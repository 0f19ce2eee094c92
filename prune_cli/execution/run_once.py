"""Compute a run once: reuse a finished record, write status and log meanwhile, print its row, and update runs.csv."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import nullcontext, suppress
from pathlib import Path
from traceback import format_exception
from typing import TypeVar

from filelock import FileLock

from prune_cli.common.errors import ErrorParts
from prune_cli.common.ranks import ALONE, LostError, Ranks
from prune_cli.common.terminal import LOG, log_to, note, print_table
from prune_cli.report.entries import kept_of, runs_table
from prune_cli.runs.artefacts import RUN_LOG, RUNS_TABLE
from prune_cli.runs.files import write_csv
from prune_cli.runs.paths import Paths
from prune_cli.runs.record import RunRecord, Stored
from prune_cli.runs.status import FAILED, RUNNING, STOPPED, begin, end, read_status
from prune_cli.runs.store import RunFolder, finished

R = TypeVar("R", bound=Stored)
COLUMNS = ("Model", "Dataset", "Method", "Sparsity [%]", "Seed", "Kept", "Test [%]", "Test, best epoch [%]", "Run")


def run_once(folder: RunFolder, kind: type[R], compute: Callable[[], R], wait: bool = False, ranks: Ranks = ALONE) -> R:
    """The record of the run, of this kind, if it is finished; else the one that `compute` makes, its notes kept in run.log.

    The run's folder says meanwhile who works on it, and afterwards why it did not end. wait: for whoever holds the run.
    ranks: the first of them holds the run and writes; all compute.
    """
    with folder.claimed(wait, resumable=True) if ranks.main else nullcontext():
        record = ranks.run_on_main(lambda: _found(folder, kind))
        if record is not None:
            note(f"this run is finished: {folder.path}")
            return record
        with log_to(folder.path / RUN_LOG) if ranks.main else nullcontext():
            return _attempt(folder.path, compute, ranks)


def _found(folder: RunFolder, kind: type[R]) -> R | None:
    """The record of a finished run; where there is none, write the status `running` and return None."""
    record = folder.record(kind)
    if record is None:
        begin(folder.path)
    return record


def _attempt(folder: Path, compute: Callable[[], R], ranks: Ranks) -> R:
    try:
        record = compute()
    except KeyboardInterrupt:
        if ranks.main:
            end(folder, STOPPED)
        raise
    except Exception as error:
        LOG.debug("".join(format_exception(error)).rstrip())
        record_failure(folder, error)
        raise
    ranks.shutdown()
    return record


def record_failure(folder: Path, error: Exception) -> None:
    """Write the reason of a failure into the run's status. A LostError does not overwrite another process's reason."""
    if isinstance(error, LostError):
        said = read_status(folder)
        if said is None or (said.state, said.pid) != (RUNNING, os.getpid()):
            return
    with suppress(FileNotFoundError):  # the first process has failed too and leaves: it has tidied up what we write
        end(folder, FAILED, ErrorParts.of(error))


def update_runs_csv(paths: Paths) -> None:
    """Write results/runs.csv again, a row a finished run."""
    lock = FileLock(paths.runs / ".locks" / f"{RUNS_TABLE}.lock")  # or an older list could be written after a newer one
    Path(lock.lock_file).parent.mkdir(parents=True, exist_ok=True)
    with lock:
        write_csv(paths.results / RUNS_TABLE, runs_table(list(finished(paths.runs, "prune").values())))


def show_runs(records: Sequence[RunRecord], runs_dir: Path) -> None:
    """Print the rows of finished runs on stdout: test accuracy of the last epoch, and of the best."""
    if any(record.smoke for record in records):
        note("smoke run: its figures mean nothing")
    print_table("", COLUMNS, [_row(record) for record in records])
    if len(records) == 1:
        note(f"run folder: {runs_dir / records[0].kind / records[0].hash}")


def _row(record: RunRecord) -> tuple[str, ...]:
    return (
        record.model_title,
        record.dataset_title,
        record.method_title,
        f"{record.sparsity:g}",
        str(record.seed),
        kept_of(record, " of ", kept_first=True),
        f"{record.accuracy_last:.2f}",
        f"{record.accuracy_best:.2f}",
        record.hash,
    )
