"""One dense training run, computed once: what `train`, `drift`, `ablate` and `dynamics` start from."""

from __future__ import annotations

from prune_cli import pipeline
from prune_cli.execution.run_job import run_job
from prune_cli.runs.paths import Paths
from prune_cli.runs.plan import RunPlan
from prune_cli.runs.record import RunRecord
from prune_cli.runs.store import RunFolder


def train_once(job: pipeline.Job, paths: Paths, wait: bool = False) -> RunRecord:
    """Train without a mask unless this run is finished already. Returns its record.

    wait: for another process that computes this run.
    """
    return run_job(job, paths, "train", _compute, wait)


def _compute(job: pipeline.Job, paths: Paths, folder: RunFolder, plan: RunPlan) -> RunRecord:
    model, _ = pipeline.build_model(job)
    pipeline.keep_data(job, paths)
    rows = pipeline.train(job, model, {}, plan.title, folder)
    return pipeline.write_run(folder, job, model, {}, rows, plan)
