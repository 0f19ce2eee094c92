"""`prune-cli prune`: one run, or with --dry-run its plan."""

from __future__ import annotations

from typing import Annotated

from prune_cli.cli.app import Output, command
from prune_cli.cli.options import CONFIGS, DATA, PLUGINS, RESULTS, RUNS, DryRun, Words
from prune_cli.runs.paths import Paths


@command(
    "prune",
    "prune model=vit_micro dataset=mnist5k scorer=snip_magnitude sparsity=98",
    "prune sparsity=97.3 scorer.alpha=0.1 recipe.epochs=3 seed=7",
    "prune model=timm model.arch=vit_tiny_patch16_224 model.weights=random scorer=magnitude sparsity=90 recipe=smoke",
    "prune scorer=synflow sparsity=98 control=shuffle",
    "prune model=vit_l16 scorer=grasp sparsity=95 --dry-run",
    "prune model=lstm128 dataset=action_mnist scorer=transfer_entropy sparsity=50",
)
def prune(
    words: Words = None, dry_run: DryRun = False, *, paths: Annotated[Paths, RUNS, RESULTS, DATA, CONFIGS, PLUGINS]
) -> Output:
    """Score, select, mask, fine-tune, evaluate and record one run."""
    from prune_cli.execution.request import job_of

    job = job_of(words or [], paths, "prune", fetch=not dry_run)
    from prune_cli.commands.prune import prune as complete
    from prune_cli.execution.dry_run import plan_run, show_plan
    from prune_cli.execution.run_once import show_runs

    if dry_run:
        plan = plan_run(job, paths)
        return Output(plan, lambda: show_plan(plan))
    record = complete(job, paths)
    return Output(record.to_json(), lambda: show_runs([record], paths.runs))
