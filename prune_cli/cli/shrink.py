"""`prune-cli shrink RUN`: the smaller model of a run whose units or heads were removed."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from prune_cli.cli.app import Output, command
from prune_cli.cli.options import CONFIGS, DATA, PLUGINS, RUNS_READ, export_option
from prune_cli.runs.paths import Paths

Run = Annotated[
    str, typer.Argument(help="The folder of a run whose units or heads were removed, or the start of its hash.")
]
Export = Annotated[Path | None, export_option("Write it there, not in RUN.")]


@command("shrink", "shrink runs/prune/HASH", "shrink HASH --export small.safetensors")
def shrink(run: Run, export: Export = None, *, paths: Annotated[Paths, RUNS_READ, DATA, CONFIGS, PLUGINS]) -> Output:
    """Make the smaller model that removed units or heads leave, and hold it against the masked one."""
    from prune_cli.commands.shrink import show_shrunk
    from prune_cli.commands.shrink import shrink as make_smaller

    found = make_smaller(run, paths, export)
    return Output(found.to_json(), lambda: show_shrunk(found))
