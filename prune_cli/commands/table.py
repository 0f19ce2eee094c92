"""`prune-cli table`: Table 1 or 2 again, from finished runs."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import MISSING, asdict, fields

from prune_cli import pipeline
from prune_cli.common.command_line import typed_argv
from prune_cli.common.errors import RequestError
from prune_cli.common.terminal import note, print_table
from prune_cli.config.catalogue import Catalogue
from prune_cli.config.schema import Point
from prune_cli.report.recipes import Recipes
from prune_cli.report.reference import METHOD, TABLE2_PERCENT, against_report
from prune_cli.report.table import Table
from prune_cli.report.tables import table1, table2
from prune_cli.runs.artefacts import SWEEP
from prune_cli.runs.files import DamagedError, read_checksummed, write_checksummed
from prune_cli.runs.paths import Paths
from prune_cli.runs.plan import RunPlan
from prune_cli.runs.store import finished
from prune_cli.training.recipe import Recipe


def entries(paths: Paths, everything: bool = False) -> list[RunPlan]:
    """The points of the last sweep, with the records of those that are finished; or all finished runs."""
    done = finished(paths.runs, "prune")
    points = None if everything else last_sweep(paths)
    if points is None:
        if not done:
            raise RequestError("there is no finished run", str(paths.runs), "prune-cli sweep experiment=demo")
        return list(done.values())
    return [done.get(point.hash, point) for point in points]


def write_last_sweep(plans: Iterable[RunPlan], paths: Paths) -> None:
    """Write the points of the last sweep to sweep.json."""
    write_checksummed(paths.results / SWEEP, {"argv": typed_argv(), "points": [plan.to_json() for plan in plans]})


def last_sweep(paths: Paths) -> list[RunPlan] | None:
    """The points of the last sweep, or None where there was none. Raises DamagedError."""
    path = paths.results / SWEEP
    try:
        return [RunPlan.from_json(point) for point in read_checksummed(path)["points"]]
    except FileNotFoundError:
        return None
    except (DamagedError, KeyError, TypeError, ValueError):
        hint = "the same sweep again writes it; --all shows all finished runs"
        raise DamagedError("the points of the last sweep are lost: their file is damaged", str(path), hint) from None


def table(
    number: int,
    paths: Paths,
    everything: bool = False,
    method: str | None = None,
    percent: float | None = None,
    against: str | None = None,
) -> Table:
    """Make a table, write its files under the results folder and return it. Raises RequestError.

    everything: of all finished runs, not just of the last sweep. method: of Table 1. percent: the one sparsity that is
    shown. against: `report`, to set the report's numbers beside the same rows.
    """
    _check(number, method, percent, against)
    runs = entries(paths, everything)
    recipes = _recipes() if len({repr(run.identity["recipe"]) for run in runs}) > 1 else None
    if number == 1:
        made = table1(runs, METHOD if against else method, percent, recipes)
    else:
        made = table2(runs, TABLE2_PERCENT if against else percent, recipes)
    if against is not None:
        made = against_report(made, percent if number == 1 else None)
    made.write(paths.results)
    return made


def _check(number: int, method: str | None, percent: float | None, against: str | None) -> None:
    """Refuse what would change nothing, and what the report has no numbers of. Raises RequestError."""
    if against not in (None, "report"):
        raise RequestError(f"there is nothing to compare with under {against!r}", "--against", "--against report")
    if number == 2 and method is not None:
        what = "Table 2 has a column for every method, so there is none to choose"
        raise RequestError(what, f"--method {method}", f"prune-cli table 1 --method {method}")
    if against and method not in (None, METHOD):
        what = "the report's Table 1 is of its own score alone"
        raise RequestError(what, f"--method {method}", "prune-cli table 2 --against report")
    if against and number == 2 and percent not in (None, TABLE2_PERCENT):
        what = f"the report's Table 2 is at {TABLE2_PERCENT:g} % alone"
        raise RequestError(what, f"--sparsity {percent:g}", "prune-cli table 1 --against report")


def _recipes() -> Recipes:
    """The recipes that come with prune-cli, every option of each."""
    composer, names = pipeline.composer(Paths()), Catalogue().options["recipe"]
    named = {name: asdict(composer.settings(Point({"recipe": name})).recipe) for name in names}
    defaults = {field.name: field.default for field in fields(Recipe) if field.default is not MISSING}
    return Recipes(named, defaults)


def show_table(made: Table, paths: Paths) -> None:
    """Print a table and what it waits for."""
    print_table(f"\n{made.caption}", made.columns, made.plain_rows())
    for run in made.missing:
        note(f"missing: {run.text}")
    note(f"written: {paths.results / made.name}.csv, .md, .tex")
