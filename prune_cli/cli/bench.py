"""`prune-cli bench RUN`: what pruning is worth on this machine."""

from __future__ import annotations

from typing import Annotated

import typer

from prune_cli.cli.app import Output, command
from prune_cli.cli.options import CONFIGS, DATA, PLUGINS, RESULTS, RUNS_READ
from prune_cli.runs.paths import Paths

Run = Annotated[str, typer.Argument(help="A run's folder, or the start of its hash.")]
Against = Annotated[
    str,
    typer.Option("--against", metavar="PEER,…", help="Who computes the dense model: torch, onnxruntime, openvino."),
]
Batch = Annotated[str, typer.Option("--batch", metavar="N,…", help="Images or clips at once, for latency.")]


@command(
    "bench",
    "bench runs/prune/HASH",
    "bench HASH --against torch,onnxruntime,openvino --batch 1,8,64",
    "bench HASH --json",
)
def bench(
    run: Run,
    against: Against = "torch",
    batch: Batch = "1,8",
    *,
    paths: Annotated[Paths, RUNS_READ, RESULTS, DATA, CONFIGS, PLUGINS],
) -> Output:
    """Measure a finished run on this CPU, dense against pruned: latency, training, memory, files, multiply-adds."""
    from prune_cli.commands.bench import bench as measure
    from prune_cli.commands.bench import show_bench

    found = measure(run, against, batch, paths)
    return Output(found.to_json(), lambda: show_bench(found, paths))
