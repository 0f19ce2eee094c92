"""One dense training run, computed once: what `train`, `drift`, `ablate` and `dynamics` start from."""

from __future__ import annotations

from typing import Any

from prune_cli import pipeline
from prune_cli.execution.processes import by_processes, to_be_started
from prune_cli.execution.run_once import run_once
from prune_cli.runs.paths import Paths
from prune_cli.runs.store import RunFolder


def train_once(job: pipeline.Job, paths: Paths, wait: bool = False) -> dict[str, Any]:
    """Train without a mask unless this run is finished already. Returns its record.

    wait: for another process that computes this run.
    """
    plan = pipeline.describe(job, "train", *pipeline.outline(job))
    folder = RunFolder.of(paths.runs, "train", plan["identity"])
    if to_be_started(job):
        return by_processes(job, folder, paths, "train")
    return run_once(folder, lambda: _compute(job, paths, folder, plan), wait, job.ranks)


def _compute(job: pipeline.Job, paths: Paths, folder: RunFolder, plan: dict[str, Any]) -> dict[str, Any]:
    model, _ = pipeline.build_model(job)
    pipeline.keep_data(job, paths)
    rows = pipeline.train(job, model, {}, pipeline.title(plan), folder)
    return pipeline.write_run(folder, job, model, {}, rows, plan)
