"""`prune-cli dynamics`: the Lyapunov exponents of an LSTM as units are removed."""

from __future__ import annotations

from typing import Annotated

from prune_cli.cli.app import Output, command
from prune_cli.cli.options import CONFIGS, DATA, PLUGINS, RESULTS, RUNS, Words
from prune_cli.runs.paths import Paths


@command(
    "dynamics",
    "dynamics model=lstm128 dataset=action_mnist",
    "dynamics model=lstm128 dataset=action_mnist,uiuc_video scorer=transfer_entropy",
)
def dynamics(words: Words = None, *, paths: Annotated[Paths, RUNS, RESULTS, DATA, CONFIGS, PLUGINS]) -> Output:
    """Measure the LSTM's Lyapunov exponents, finite-time and long-run, as units are removed, and draw them beside accuracy."""
    from prune_cli.execution.request import check_used

    check_used(words or [], "dynamics")
    from prune_cli.commands import dynamics as measured
    from prune_cli.execution.trained_models import trained_models

    table = measured.dynamics(trained_models(words or [], paths), paths)
    rows = table.astype(object).where(table.notna(), None).to_dict("records")  # JSON has no NaN
    return Output({"rows": rows}, lambda: measured.show_dynamics(table, paths))
