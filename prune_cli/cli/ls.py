"""`prune-cli ls`: what can be typed."""

from __future__ import annotations

from typing import Annotated

import typer

from prune_cli.cli.app import Output, command
from prune_cli.cli.options import CONFIGS, PLUGINS
from prune_cli.common.terminal import print_table
from prune_cli.runs.paths import Paths


@command("ls", "ls", "ls scorer", "ls model --json", "ls scorer --plugin movement.py")
def ls(
    group: Annotated[str | None, typer.Argument(help="A config group.", show_default=False)] = None,
    *,
    paths: Annotated[Paths, CONFIGS, PLUGINS],
) -> Output:
    """List the config groups, or the options of one."""
    from prune_cli.commands.ls import as_json
    from prune_cli.commands.ls import ls as rows_of

    rows = rows_of(group, paths)
    columns = (group, "what it is", "from") if group else ("group", "what it is")
    return Output(lambda: as_json(group, paths), lambda: print_table("", columns, rows))
