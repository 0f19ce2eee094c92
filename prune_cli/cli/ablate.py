"""`prune-cli ablate`: Figure 4."""

from __future__ import annotations

from typing import Annotated

from prune_cli.cli.app import Output, command
from prune_cli.cli.options import CONFIGS, DATA, PLUGINS, RESULTS, RUNS, Words
from prune_cli.runs.paths import Paths


@command(
    "ablate",
    "ablate model=lstm128 dataset=action_mnist",
    "ablate model=lstm128 dataset=action_mnist,uiuc_video scorer=transfer_entropy,activation_variance",
    "ablate model=lstm128 dataset=action_mnist model.weights=random seed=0,1,2,3,4",
)
def ablate(words: Words = None, *, paths: Annotated[Paths, RUNS, RESULTS, DATA, CONFIGS, PLUGINS]) -> Output:
    """Measure and draw accuracy without each unit of an LSTM, and without more and more of them (Figure 4)."""
    from prune_cli.commands import ablate as ablations

    planned = ablations.plan_ablation(words or [], paths)
    tables = ablations.ablate(planned, paths)
    data = {name: table.to_dict("records") for name, table in tables.items()}
    return Output(data, lambda: ablations.show_ablation(tables, paths))
