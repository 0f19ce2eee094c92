"""`prune-cli score`: the scores of one job."""

from __future__ import annotations

from typing import Annotated

from prune_cli.cli.app import Output, command
from prune_cli.cli.options import CONFIGS, DATA, PLUGINS, RUNS, Words
from prune_cli.runs.paths import Paths


@command(
    "score",
    "score model=vit_micro dataset=mnist5k scorer=grasp",
    "score scorer=snip_magnitude scorer.alpha=0.1 scoring.batches=4",
    "score model=lstm128 dataset=action_mnist scorer=transfer_entropy scorer.surrogates=100",
)
def score(words: Words = None, *, paths: Annotated[Paths, RUNS, DATA, CONFIGS, PLUGINS]) -> Output:
    """Score the prunable weights, or the units of an LSTM; `prune` takes the scores from here."""
    from prune_cli.execution.request import job_of

    job = job_of(words or [], paths, "score")
    from prune_cli.commands.score import score as find_scores
    from prune_cli.commands.score import show_layers

    record, folder = find_scores(job, paths)
    return Output(record.to_json(), lambda: show_layers(record, folder))
