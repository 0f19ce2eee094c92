"""`prune-cli prune`: the whole sentence for one run."""

from __future__ import annotations

from typing import Any

from prune_cli import pipeline
from prune_cli.commands.finished import enter, once
from prune_cli.commands.processes import by_processes, to_be_started
from prune_cli.runs.places import Places
from prune_cli.runs.store import RunFolder


def prune(job: pipeline.Job, places: Places) -> dict[str, Any]:
    """As `pruned`, and the run is entered in runs.csv."""
    record = pruned(job, places)
    if job.ranks.main:
        enter(places)
    return record


def pruned(job: pipeline.Job, places: Places, wait: bool = False) -> dict[str, Any]:
    """Score, select, mask, fine-tune, evaluate and record; a finished run is not computed again. Returns its record.

    wait: for another process that computes this run.
    """
    plan = pipeline.describe(job, "prune", *pipeline.outline(job))
    folder = RunFolder.of(places.runs, "prune", plan["identity"])
    if to_be_started(job):
        return by_processes(job, folder, places, "prune")
    return once(folder, lambda: _compute(job, places, folder, plan), wait, job.ranks)


def _compute(job: pipeline.Job, places: Places, folder: RunFolder, plan: dict[str, Any]) -> dict[str, Any]:
    model, parameters = pipeline.build_model(job)
    pipeline.keep_data(job, places)
    mask, scoring = pipeline.choose_mask(job, model, parameters, places, folder)
    mask = pipeline.control(job, parameters, mask)
    removed = pipeline.remove(job, model, mask)
    rows = pipeline.train(job, model, removed, pipeline.title(plan), folder)
    return pipeline.write_run(folder, job, model, mask, rows, plan | {"scoring": scoring})
