"""`--dry-run`: what a run would do. Nothing is written and no weight is loaded."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from omegaconf import OmegaConf

from prune_cli import pipeline
from prune_cli.common.terminal import print_table
from prune_cli.runs.artefacts import MASK, MODEL, SCORES
from prune_cli.runs.paths import Paths
from prune_cli.runs.store import RunFolder
from prune_cli.targets import target_named
from prune_cli.training.memory import footprint, mask_bytes

MIB = 2**20


def plan_run(job: pipeline.Job, paths: Paths) -> dict[str, Any]:
    """The composed config, the prunable tensors, what is kept of them, and whether the run is finished."""
    plan, outline = pipeline.describe(job, "prune"), job.outline
    folder = RunFolder.of(paths.runs, "prune", plan.identity)
    known = job.weights.sha256 is not None
    removed, zeroable = outline.zeros(plan.prunable - plan.kept), outline.zeros(plan.prunable)
    size = footprint(outline.bytes, outline.zeroed, zeroable - removed, job.settings.recipe)
    size["mask_file"] = mask_bytes(outline.removable.values(), plan.kept / plan.prunable)
    size["score_file"] = outline.score_bytes
    if job.method in ("dense", "mask") or job.settings.scorer.rounds > 1:
        size["score_file"] = 0  # nothing is scored, or in rounds that depend on the sparsity
    return {
        "config": job.settings.plain,
        "tensors": {name: list(p.shape) for name, p in outline.removable.items()},
        "prunable": plan.prunable,
        "kept": plan.kept,
        "parameters": plan.parameters,
        "removal": plan.target,
        "removed_of_prunable": 1 - plan.kept / plan.prunable,
        "removed_of_all": removed / plan.parameters,
        "bytes": size,
        "run": str(folder.path) if known else None,
        "done": known and folder.manifest() is not None,
    }


def show_memory(size: Mapping[str, int]) -> None:
    """Print the bytes of a plan, in MiB: dense training beside training of the survivors."""
    rows = [
        ("weights", "weights", "weights"),
        ("gradients, at most", "gradients", "survivor_gradients"),
        ("optimiser", "optimizer", "survivor_optimizer"),
    ]
    mib = [(name, f"{size[dense] / MIB:,.1f}", f"{size[pruned] / MIB:,.1f}") for name, dense, pruned in rows]
    print_table("\nMemory [MiB]; activations, which grow with the batch, come on top", ("", "dense", "survivors"), mib)
    files = (MODEL, "model_file"), (MASK, "mask_file"), (SCORES, "score_file")
    written = [(name, f"{size[key] / MIB:,.1f}") for name, key in files]
    print_table("\nWritten [MiB]; the scores once for all sparsities", ("file", "size"), written)


def show_plan(found: dict[str, Any]) -> None:
    """Print a plan."""
    print(OmegaConf.to_yaml(OmegaConf.create(found["config"])))
    print_table(
        "Prunable tensors", ("tensor", "shape"), [(n, "×".join(map(str, s))) for n, s in found["tensors"].items()]
    )
    show_memory(found["bytes"])
    what = target_named(found["removal"]).title
    run = found["run"] or "known once the weights have been fetched"
    print(
        f"\nprunable  {found['prunable']:,} {what}, of {found['parameters']:,} parameters in all"
        f"\nkept      {found['kept']:,}"
        f"\nremoved   {found['removed_of_prunable']:.2%} of them, {found['removed_of_all']:.2%} of all parameters"
        f"\nrun       {run}"
        f"\nstatus    {'done' if found['done'] else 'not done'}; nothing was written"
    )
