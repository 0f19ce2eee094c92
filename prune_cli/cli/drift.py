"""`prune-cli drift`: Figure 5."""

from __future__ import annotations

from typing import Annotated

from prune_cli.cli.app import Output, command
from prune_cli.cli.options import CONFIGS, DATA, PLUGINS, RESULTS, RUNS, Words
from prune_cli.runs.paths import Paths


@command(
    "drift",
    "drift model=vit_micro dataset=mnist5k",
    "drift model=vit_micro model.weights=packaged,random recipe.epochs=3",
    "drift experiment=figure5 dataset.root=FOLDER",
)
def drift(words: Words = None, *, paths: Annotated[Paths, RUNS, RESULTS, DATA, CONFIGS, PLUGINS]) -> Output:
    """Measure and draw how far dense fine-tuning moves the weights, by scale of pre-training."""
    from prune_cli.commands import drift as drifts

    planned = drifts.plan_drift(words or [], paths)
    table = drifts.drift(planned, paths)
    return Output({"rows": drifts.as_json(table)}, lambda: drifts.show_drift(table, paths))
