"""One run by several processes, which are started here, as a sweep starts them: by a request in the run's folder."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from prune_cli import pipeline
from prune_cli.common.errors import PruneCliError
from prune_cli.common.terminal import note
from prune_cli.runs.paths import Paths
from prune_cli.runs.record import RunRecord
from prune_cli.runs.run_request import RunRequest, write_request
from prune_cli.runs.status import read_status
from prune_cli.runs.store import RunFolder

SCRATCH = ".launch"  # in the runs folder: what launchers write


def ask(job: pipeline.Job, folder: Path, paths: Paths, kind: str = "prune") -> None:
    """Write into a run's folder what `run` needs to know: everything but the state of the disk."""
    compute = job.settings.compute
    asked = RunRequest(kind, job.settings.plain, paths, job.argv, Path.cwd(), compute.device, compute.processes)
    write_request(folder, asked)


def to_be_started(job: pipeline.Job) -> bool:
    """Whether the job wants several processes and this one has no fellows yet."""
    return job.settings.compute.processes > job.ranks.world_size


def by_processes(job: pipeline.Job, folder: RunFolder, paths: Paths, kind: str) -> RunRecord:
    """Start the processes of a run and wait for them; a finished run is not computed again. Returns its record.

    Raises what made the run fail, and KeyboardInterrupt where it was stopped.
    """
    from prune_cli.sweeps.launch import Launcher  # which needs the locks of a POSIX system
    from prune_cli.sweeps.runner import run_all

    record = folder.record(RunRecord)
    if record is not None:
        note(f"this run is finished: {folder.path}")
        return record
    ask(job, folder.path, paths, kind)
    stopped = run_all([folder.path], Launcher(), paths.runs / SCRATCH, fail_fast=False, on_end=lambda *_: None)
    if stopped:
        raise KeyboardInterrupt
    return folder.record(RunRecord) or _failed(folder.path)


def _failed(folder: Path) -> RunRecord:
    """Raise what the run's status says."""
    status = read_status(folder)
    if status is not None and status.reason is not None:
        raise replace(status.reason, where=status.reason.where or str(folder)).error()
    how = status.failure.what if status else "it left no word"
    raise PruneCliError(f"the run has failed: {how}", str(folder))
