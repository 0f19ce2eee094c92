"""`prune-cli run RUN_DIR`: a process of one run, told what to do by the request in its folder (execution/processes.py)."""

from __future__ import annotations

from pathlib import Path

from prune_cli import pipeline
from prune_cli.commands.prune import prune_once
from prune_cli.common.errors import PruneCliError, RequestError
from prune_cli.common.terminal import note
from prune_cli.execution.dense_training import train_once
from prune_cli.execution.run_once import record_failure
from prune_cli.runs.artefacts import REQUEST
from prune_cli.runs.files import DamagedError
from prune_cli.runs.record import RunRecord
from prune_cli.runs.run_request import RunRequest, read_request
from prune_cli.runs.status import held
from prune_cli.runs.store import read_record


def run(folder: Path) -> RunRecord:
    """Do what the request in the folder asks for, going on where an earlier process stopped. Returns the record.

    Raises RequestError where there is no request, PruneCliError where data or weights are no longer what was planned.
    """
    if (found := read_record(folder, RunRecord)) is not None:
        return found
    try:
        request = read_request(folder)
    except (OSError, DamagedError):
        hint = "a sweep writes requests; for one run: prune-cli prune"
        raise RequestError(f"there is no {REQUEST} to follow", str(folder), hint) from None
    try:
        return _follow(request, folder)
    except Exception as error:  # also one before the run has begun
        if not held(folder):  # else it is another process's to say
            record_failure(folder, error)
        raise


def _follow(request: RunRequest, folder: Path) -> RunRecord:
    paths = request.paths
    settings = pipeline.composer(paths).from_plain(request.config)
    job = pipeline.JobFactory(paths, argv=request.argv).job(settings)
    plan = pipeline.describe(job, request.kind)
    if plan.hash != folder.name:
        raise PruneCliError(
            "data, weights or a plug-in have changed since this was planned", str(folder), "plan it again"
        )
    note(plan.title)
    return (train_once if request.kind == "train" else prune_once)(job, paths, wait=True)
