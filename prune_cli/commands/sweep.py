"""`prune-cli sweep`: every point of a grid, one after another, then the tables."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from prune_cli import pipeline
from prune_cli.commands.finished import show_runs
from prune_cli.commands.prune import prune
from prune_cli.commands.table import SWEEP, show_table, table
from prune_cli.common.errors import ConfigError, PruneCliError
from prune_cli.common.terminal import note, print_table
from prune_cli.config.catalogue import Catalogue
from prune_cli.config.overrides import axis, parse
from prune_cli.config.schema import Settings
from prune_cli.report.table import Table
from prune_cli.runs.files import write_json
from prune_cli.runs.places import Places
from prune_cli.runs.store import finished
from prune_cli.sweeps.plan import expand, references, with_grid

Planned = dict[str, tuple[pipeline.Job, dict[str, Any]]]  # hash -> job and what tables need to know of it


def settings_of(
    words: Iterable[str],
    places: Places,
    with_references: bool = False,
    otherwise: Callable[[Settings], Mapping[str, list[Any]]] | None = None,
) -> list[Settings]:
    """The settings of every point, all checked before any work starts. Raises ConfigError.

    otherwise: the axes where neither the words nor an experiment have any, found from the one run that was typed.
    """
    catalogue, composer = Catalogue(places.configs), pipeline.composer(places)
    fixed, typed = parse(words, catalogue)
    if "experiment" in typed:
        raise ConfigError("a sweep has one experiment", "experiment", "prune-cli sweep experiment=NAME")
    values: Mapping[str, list[Any]] = composer.grid(fixed)
    if otherwise is not None and not (typed or values):
        values = otherwise(composer.settings(fixed))
    grid = {key: axis(key, points, catalogue) for key, points in values.items()}
    points = expand(fixed, with_grid(fixed, typed, grid))
    if with_references:
        points += references(points)
    return [composer.settings(point) for point in points]


def plan(words: Iterable[str], places: Places, with_references: bool = False, fetch: bool = True) -> Planned:
    """The jobs of a sweep by hash, each once. Raises RequestError."""
    return jobs_of(settings_of(words, places, with_references), places, "prune", fetch)


def jobs_of(points: Iterable[Settings], places: Places, kind: str, fetch: bool = True) -> Planned:
    """The jobs of points that are runs of this kind, by hash, each once. Raises RequestError."""
    workshop = pipeline.Workshop(places, fetch)
    planned: Planned = {}
    for settings in points:
        job = workshop.job(settings)
        found = pipeline.describe(job, kind, *workshop.outline(job))
        planned.setdefault(found["hash"], (job, found))
    return planned


def sweep(planned: Planned, places: Places) -> tuple[list[dict[str, Any]], list[str]]:
    """Run all points that are not finished. Returns the records and what failed; the tables are written either way."""
    points = [found for _, found in planned.values()]
    write_json(places.results / SWEEP, {"argv": [Path(sys.argv[0]).name, *sys.argv[1:]], "points": points})
    records, failures = [], []
    for number, (job, found) in enumerate(planned.values(), start=1):
        name = pipeline.title(found)
        note(f"[{number}/{len(planned)}] {name}")
        try:
            records.append(prune(job, places))
        except (PruneCliError, RuntimeError) as error:  # torch says RuntimeError where memory is short
            reason = "; ".join(error.lines()) if isinstance(error, PruneCliError) else str(error).splitlines()[0]
            failures.append(f"{name}: {reason}")
            note(f"failed: {failures[-1]}")
    return records, failures


def tables(places: Places) -> list[Table]:
    """Write Tables 1 and 2 of the sweep and return them."""
    return [table(number, places) for number in (1, 2)]


def show_sweep(records: list[dict[str, Any]], made: list[Table], places: Places) -> None:
    """Print the runs and the tables of a sweep."""
    if records:
        show_runs(records, places.runs)
    for one in made:
        show_table(one, places)


def preview(planned: Planned, places: Places) -> list[dict[str, Any]]:
    """What each point is, and whether it is finished."""
    done = finished(places.runs, "prune")
    return [
        {
            "run": found["hash"] if job.weights.sha256 else None,  # known once the weights have been fetched
            "point": pipeline.title(found),
            "done": found["hash"] in done,
        }
        for job, found in planned.values()
    ]


def show_preview(points: list[dict[str, Any]]) -> None:
    """Print the points of a sweep."""
    print_table("", ("run", "point", "done"), [list(point.values()) for point in points])
