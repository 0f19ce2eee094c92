"""`prune-cli evaluate RUN`: the test accuracy of a stored model."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from prune_cli.cli.app import Output, command
from prune_cli.cli.options import CONFIGS, DATA, PLUGINS, RUNS_READ
from prune_cli.runs.paths import Paths


@command("evaluate", "evaluate runs/prune/HASH", "evaluate HASH --json")
def evaluate(
    run: Annotated[str, typer.Argument(help="A run's folder, or the start of its hash.")],
    *,
    paths: Annotated[Paths, RUNS_READ, DATA, CONFIGS, PLUGINS],
) -> Output:
    """Load a finished run's model and measure it again."""
    from prune_cli.commands.evaluate import evaluate as measure
    from prune_cli.commands.evaluate import show_evaluation

    found = measure(run, paths)
    return Output(asdict(found), lambda: show_evaluation(found))
