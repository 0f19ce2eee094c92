"""`prune-cli pack`: runs without their weights."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

from prune_cli.cli.app import Output, command
from prune_cli.cli.options import RUNS_READ, Runs, folder
from prune_cli.common.path_checks import check_writable_folder
from prune_cli.common.terminal import print_table
from prune_cli.runs.paths import Paths

To = Annotated[Path, folder("--to", check_writable_folder, "A runs folder for the packed runs.")]


@command("pack", "pack HASH --to packed", "pack --to packed")
def pack(to: To, runs: Runs = None, *, paths: Annotated[Paths, RUNS_READ]) -> Output:
    """Copy finished runs without their weights: small enough to be committed, and still finished."""
    from prune_cli.commands.pack import pack as copy

    packed = copy(runs or [], paths.runs, to)
    rows = [(run.run, run.bytes) for run in packed.packed]
    return Output(asdict(packed), lambda: print_table("", ("run", "bytes"), rows), 1 if packed.damaged else 0)
