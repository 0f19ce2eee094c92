"""`prune-cli table`: Table 1 or 2 again, from finished runs."""

from __future__ import annotations

import json
from typing import Any

from prune_cli.common.errors import RequestError
from prune_cli.common.terminal import note, print_table
from prune_cli.report.reference import against_report
from prune_cli.report.table import Table
from prune_cli.report.tables import table1, table2
from prune_cli.runs.places import Places
from prune_cli.runs.store import finished

SWEEP = "sweep.json"  # in the results folder: the points of the last sweep


def entries(places: Places, everything: bool = False) -> list[dict[str, Any]]:
    """The points of the last sweep, with the records of those that are finished; or all finished runs."""
    done = finished(places.runs, "prune")
    sweep = places.results / SWEEP
    if everything or not sweep.exists():
        if not done:
            raise RequestError("there is no finished run", str(places.runs), "prune-cli sweep experiment=demo")
        return list(done.values())
    planned = json.loads(sweep.read_text(encoding="utf-8"))["points"]
    return [done.get(point["hash"], point) for point in planned]


def table(
    number: int,
    places: Places,
    everything: bool = False,
    method: str | None = None,
    percent: float | None = None,
    against: str | None = None,
) -> Table:
    """Make a table, write its files under the results folder and return it. Raises RequestError."""
    if against not in (None, "report"):
        raise RequestError(f"there is nothing to compare with under {against!r}", "--against", "--against report")
    runs = entries(places, everything)
    made = table1(runs, method) if number == 1 else table2(runs, percent)
    if against is not None:
        made = against_report(made)
    made.write(places.results)
    return made


def show_table(made: Table, places: Places) -> None:
    """Print a table and what it waits for."""
    print_table(f"\n{made.caption}", made.columns, made.plain_rows())
    for run in made.missing:
        note(f"missing: {run}")
    note(f"written: {places.results / made.name}.csv, .md, .tex")
