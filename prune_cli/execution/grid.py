"""From the words of the command line to the points of a grid, each checked, each once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from prune_cli import pipeline
from prune_cli.common.errors import ConfigError
from prune_cli.config.overrides import axis, parse
from prune_cli.config.schema import Point, Settings
from prune_cli.models.registry import untrained
from prune_cli.plugins import catalogue
from prune_cli.runs.paths import Paths
from prune_cli.runs.plan import RunPlan
from prune_cli.runs.record import RunRecord
from prune_cli.runs.store import RunFolder
from prune_cli.sweeps.points import SCRATCH, expand, references, with_grid

Planned = dict[str, tuple[pipeline.Job, RunPlan]]  # hash -> job and its plan


def grid_settings(
    words: Iterable[str],
    paths: Paths,
    with_references: bool = False,
    otherwise: Callable[[Settings], Mapping[str, list[Any]]] | None = None,
) -> list[Settings]:
    """The settings of every point, all checked before any work starts. Raises ConfigError.

    otherwise: the axes where neither the words nor an experiment have any, found from the one run that was typed.
    """
    choices, composer = catalogue(paths), pipeline.composer(paths)
    fixed, typed = parse(words, choices)
    if "experiment" in typed:
        first = typed["experiment"][0].choices.get("experiment", "null")
        raise ConfigError("a sweep has one experiment", "experiment", f"prune-cli sweep experiment={first}")
    values: Mapping[str, list[Any]] = composer.grid(fixed)
    if otherwise is not None and not (typed or values):
        values = otherwise(composer.settings(fixed))
    grid = {key: axis(key, points, choices) for key, points in values.items()}
    points = expand(fixed, with_grid(fixed, typed, grid))
    if with_references:
        points += references(points, lambda point: _from_scratch(composer.settings(point)))
    return [composer.settings(point) for point in points]


def _from_scratch(settings: Settings) -> Point:
    """What makes of these settings a dense run of their model from random weights, its images prepared alike."""
    return SCRATCH | Point(values={f"model.{name}": value for name, value in untrained(settings.model).items()})


def check_words(words: Iterable[str], points: Sequence[Settings], paths: Paths) -> None:
    """Raise RequestError for a word that changes nothing in any of the points."""
    fixed, axes = parse(words, catalogue(paths))
    pipeline.check_effect([*fixed.values, *axes], points)


def plan_sweep(
    words: Iterable[str], paths: Paths, with_references: bool = False, fetch: bool = True, here: bool = True
) -> Planned:
    """The jobs of a sweep by hash, each once; fetch, here: see pipeline.JobFactory. Raises RequestError."""
    words = list(words)
    points = grid_settings(words, paths, with_references)
    check_words(words, points, paths)
    return jobs_of(points, paths, "prune", fetch, here)


def jobs_of(points: Iterable[Settings], paths: Paths, kind: str, fetch: bool = True, here: bool = True) -> Planned:
    """The jobs of points that are runs of this kind, by hash, each once.

    Raises RequestError, and PruneCliError where such a run is finished but its record is damaged.
    """
    factory = pipeline.JobFactory(paths, fetch, here)
    planned: Planned = {}
    for settings in points:
        job = factory.job(settings)
        plan = pipeline.describe(job, kind)
        RunFolder.of(paths.runs, kind, plan.identity).record(RunRecord)
        planned.setdefault(plan.hash, (job, plan))
    return planned
