"""`prune-cli run RUN_DIR`: one run of a sweep, as launchers start it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from prune_cli.cli.app import Output, command
from prune_cli.cli.options import checked
from prune_cli.common.path_checks import check_readable_folder
from prune_cli.runs.artefacts import REQUEST

RunFolder = Annotated[
    Path,
    typer.Argument(
        metavar="RUN_DIR",
        help=f"A run folder with a {REQUEST}.",
        parser=checked("RUN_DIR", check_readable_folder),
    ),
]


@command("run", "run runs/prune/HASH")
def run(folder: RunFolder) -> Output:
    """Do one run of a sweep, in a process of its own: what launchers start."""
    from prune_cli.commands.run import run as follow

    record = follow(folder)
    return Output(record.to_json(), lambda: print(f"{record.hash}  test {record.accuracy_last:.2f} %"))
