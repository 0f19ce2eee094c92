"""`prune-cli train`: a dense model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from prune_cli.cli.app import Output, command
from prune_cli.cli.options import CONFIGS, DATA, PLUGINS, RUNS, Words, export_option
from prune_cli.runs.paths import Paths

Export = Annotated[Path | None, export_option("Write float16 weights too.")]


@command(
    "train",
    "train model=vit_micro dataset=mnist5k",
    "train model=vit_micro dataset=fashion_mnist recipe=pretrain --export vit_micro.safetensors",
)
def train(
    words: Words = None, export: Export = None, *, paths: Annotated[Paths, RUNS, DATA, CONFIGS, PLUGINS]
) -> Output:
    """Train a dense model, from scratch unless model.weights says otherwise."""
    from prune_cli.execution.request import job_of

    job = job_of(words or [], paths, "train")
    from prune_cli.commands.train import train as complete
    from prune_cli.execution.run_once import show_runs

    record = complete(job, paths, export)
    return Output(record.to_json(), lambda: show_runs([record], paths.runs))
