"""`prune-cli prune`: the whole sentence for one run."""

from __future__ import annotations

from typing import Any

from prune_cli import pipeline
from prune_cli.execution.processes import by_processes, to_be_started
from prune_cli.execution.run_once import run_once, update_runs_csv
from prune_cli.runs.paths import Paths
from prune_cli.runs.store import RunFolder


def prune(job: pipeline.Job, paths: Paths) -> dict[str, Any]:
    """As `prune_once`, and the run is entered in runs.csv."""
    record = prune_once(job, paths)
    if job.ranks.main:
        update_runs_csv(paths)
    return record


def prune_once(job: pipeline.Job, paths: Paths, wait: bool = False) -> dict[str, Any]:
    """Score, select, mask, fine-tune, evaluate and record; a finished run is not computed again. Returns its record.

    wait: for another process that computes this run.
    """
    plan = pipeline.describe(job, "prune", *pipeline.outline(job))
    folder = RunFolder.of(paths.runs, "prune", plan["identity"])
    if to_be_started(job):
        return by_processes(job, folder, paths, "prune")
    return run_once(folder, lambda: _compute(job, paths, folder, plan), wait, job.ranks)


def _compute(job: pipeline.Job, paths: Paths, folder: RunFolder, plan: dict[str, Any]) -> dict[str, Any]:
    model, parameters = pipeline.build_model(job)
    pipeline.keep_data(job, paths)
    mask, scoring = pipeline.choose_mask(job, model, parameters, paths, folder)
    mask = pipeline.control(job, parameters, mask)
    removed = pipeline.remove(job, model, mask)
    rows = pipeline.train(job, model, removed, pipeline.title(plan), folder)
    return pipeline.write_run(folder, job, model, mask, rows, plan | {"scoring": scoring})
