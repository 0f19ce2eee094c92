"""One run of a job, whatever its kind: described, then computed once, here or by processes of its own."""

from __future__ import annotations

from collections.abc import Callable

from prune_cli import pipeline
from prune_cli.execution.processes import by_processes, to_be_started
from prune_cli.execution.run_once import run_once
from prune_cli.runs.paths import Paths
from prune_cli.runs.plan import RunPlan
from prune_cli.runs.record import RunRecord
from prune_cli.runs.store import RunFolder

Compute = Callable[[pipeline.Job, Paths, RunFolder, RunPlan], RunRecord]


def run_job(job: pipeline.Job, paths: Paths, kind: str, compute: Compute, wait: bool = False) -> RunRecord:
    """Compute a run of this kind (prune or train) unless it is finished already. Returns its record.

    compute: makes the run in its folder; not called where the job wants several processes, which are started for it.
    wait: for another process that computes this run.
    """
    plan = pipeline.describe(job, kind)
    folder = RunFolder.of(paths.runs, kind, plan.identity)
    if to_be_started(job):
        return by_processes(job, folder, paths, kind)
    if folder.manifest() is None:
        job.prepare()
    return run_once(folder, RunRecord, lambda: compute(job, paths, folder, plan), wait, job.ranks)
