"""`prune-cli verify`: the checksums of runs."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

from prune_cli.cli.app import Output, command
from prune_cli.cli.options import RUNS_READ, Runs
from prune_cli.runs.paths import Paths


@command("verify", "verify", "verify runs/prune/HASH HASH", "verify --json")
def verify(runs: Runs = None, *, paths: Annotated[Paths, RUNS_READ]) -> Output:
    """Check the sha256 of every file of runs, and of the checkpoints of those that are not finished."""
    from prune_cli.commands.verify import show_verified
    from prune_cli.commands.verify import verify as check

    found = check(runs or [], paths.runs)
    return Output(
        {"runs": [asdict(run) for run in found]},
        lambda: show_verified(found),
        1 if any(run.damaged for run in found) else 0,
    )
