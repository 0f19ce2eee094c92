"""`prune-cli sweep`: the runs of a grid, or with --dry-run their list."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from prune_cli.cli.app import INTERRUPTED, Output, command
from prune_cli.cli.options import CONFIGS, DATA, PLUGINS, RESULTS, RUNS, DryRun, Words
from prune_cli.runs.paths import Paths

References = Annotated[bool, typer.Option("--references", help="Also run dense and from scratch.")]
LauncherName = Annotated[
    str, typer.Option("--launcher", metavar="NAME", help="basic (one by one), joblib, local, slurm or ray.")
]
LauncherOptions = Annotated[
    list[str] | None,
    typer.Option("--launcher-opt", metavar="KEY=VALUE", help="An option of that launcher.", show_default=False),
]
FailFast = Annotated[bool, typer.Option("--fail-fast", help="Stop at the first run that fails.")]


@command(
    "sweep",
    "sweep experiment=demo",
    "sweep scorer=snip_magnitude,magnitude,snip,grasp,random sparsity=90,95,98 seed=0,1",
    "sweep scorer=snip_magnitude,random 'sparsity=range(90,99)' --references",
    "sweep experiment=table1 dataset.download=true compute.device=cuda compute.precision=bf16",
    "sweep experiment=table1_micro --launcher joblib --launcher-opt n_jobs=4",
    "sweep experiment=table1 --launcher slurm --launcher-opt partition=gpu --launcher-opt gpus_per_node=1",
)
def sweep(
    words: Words = None,
    references: References = False,
    launcher: LauncherName = "basic",
    launcher_opt: LauncherOptions = None,
    fail_fast: FailFast = False,
    dry_run: DryRun = False,
    *,
    paths: Annotated[Paths, RUNS, RESULTS, DATA, CONFIGS, PLUGINS],
) -> Output:
    """Run every point of a grid that is not finished, each in a process of its own, then write Tables 1 and 2."""
    from prune_cli.sweeps.launch import CLUSTERS, Launcher

    starts = Launcher.of(launcher, launcher_opt or [])
    from prune_cli.commands import sweep as sweeps
    from prune_cli.execution.grid import plan_sweep

    here = not (dry_run or launcher in CLUSTERS)
    planned = plan_sweep(words or [], paths, references, fetch=not dry_run, here=here)
    if dry_run:
        points = sweeps.preview(planned, paths)
        return Output({"points": [asdict(point) for point in points]}, lambda: sweeps.show_preview(points))
    outcome = sweeps.sweep(planned, paths, starts, fail_fast)
    tables = sweeps.tables(paths)
    made = {
        "runs": [record.to_json() for record in outcome.records],
        "failed": [asdict(failure) for failure in outcome.failed],
        **{t.name: t.as_json() for t in tables},
    }
    code = INTERRUPTED if outcome.stopped else 1 if outcome.failed else 0
    return Output(made, lambda: sweeps.show_sweep(outcome, tables, paths), code)
