"""`prune-cli prune`: the whole sentence for one run."""

from __future__ import annotations

from prune_cli import pipeline
from prune_cli.execution.run_job import run_job
from prune_cli.execution.run_once import update_runs_csv
from prune_cli.runs.paths import Paths
from prune_cli.runs.plan import RunPlan
from prune_cli.runs.record import RunRecord
from prune_cli.runs.store import RunFolder


def prune(job: pipeline.Job, paths: Paths) -> RunRecord:
    """As `prune_once`, and the run is entered in runs.csv."""
    record = prune_once(job, paths)
    if job.ranks.main:
        update_runs_csv(paths)
    return record


def prune_once(job: pipeline.Job, paths: Paths, wait: bool = False) -> RunRecord:
    """Score, select, mask, fine-tune, evaluate and record; a finished run is not computed again. Returns its record.

    wait: for another process that computes this run.
    """
    return run_job(job, paths, "prune", _compute, wait)


def _compute(job: pipeline.Job, paths: Paths, folder: RunFolder, plan: RunPlan) -> RunRecord:
    model, parameters = pipeline.build_model(job)
    pipeline.keep_data(job, paths)
    mask, scoring = pipeline.choose_mask(job, model, parameters, paths, folder)
    mask = pipeline.control(job, parameters, mask)
    removed = pipeline.remove(job, model, mask)
    rows = pipeline.train(job, model, removed, plan.title, folder)
    return pipeline.write_run(folder, job, model, mask, rows, plan, scoring)
