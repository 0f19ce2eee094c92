"""`prune-cli table`: a table of the report, from finished runs."""

from __future__ import annotations

from typing import Annotated

import typer

from prune_cli.cli.app import Output, command
from prune_cli.cli.options import RESULTS, RUNS_READ
from prune_cli.runs.paths import Paths

Number = Annotated[int, typer.Argument(help="1: a method against random. 2: method by method.", min=1, max=2)]
Everything = Annotated[bool, typer.Option("--all", help="All finished runs, not just the last sweep.")]
Method = Annotated[str | None, typer.Option("--method", help="Table 1: the scorer to show.")]
Percent = Annotated[float | None, typer.Option("--sparsity", help="The one sparsity [%] to show.")]
Against = Annotated[str | None, typer.Option("--against", metavar="report", help="Set the report beside it.")]


@command("table", "table 1", "table 2 --sparsity 95", "table 2 --against report", "table 1 --all --method magnitude")
def table(
    number: Number,
    everything: Everything = False,
    method: Method = None,
    percent: Percent = None,
    against: Against = None,
    *,
    paths: Annotated[Paths, RUNS_READ, RESULTS],
) -> Output:
    """Make Table 1 or 2 again from finished runs: CSV, Markdown and LaTeX."""
    from prune_cli.commands.table import show_table
    from prune_cli.commands.table import table as make

    made = make(number, paths, everything, method, percent, against)
    return Output(made.as_json, lambda: show_table(made, paths))
