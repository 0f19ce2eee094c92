"""The points of a sweep: the product of its axes, and the dense references that are added on request."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Mapping
from functools import reduce
from operator import or_
from statistics import median
from typing import Any

from prune_cli.config.overrides import Axes
from prune_cli.config.schema import Point
from prune_cli.runs.plan import RunPlan
from prune_cli.runs.record import RunRecord

DENSE = Point({"sparsity": "dense"})
SCRATCH = Point({"sparsity": "dense"}, {"model.weights": "random"})


def expand(fixed: Point, axes: Axes) -> list[Point]:
    """Every combination of the axes, the last axis varying fastest, merged over the fixed point."""
    return [reduce(or_, combination, fixed) for combination in itertools.product(*axes.values())]


def with_grid(fixed: Point, typed: Axes, grid: Axes) -> Axes:
    """The experiment's axes, each replaced by what was typed for the same key, then the axes typed beyond them."""
    given = fixed.choices.keys() | fixed.values.keys()
    return {key: points for key, points in (grid | typed).items() if key in typed or key not in given}


def references(points: Iterable[Point], scratch: Callable[[Point], Point] = lambda _: SCRATCH) -> list[Point]:
    """The dense run and the from-scratch run of each point, which differ from it in scorer, sparsity and weights.

    scratch: a function that gives the options of a point's from-scratch run.
    """
    return [_without(point, ("scorer", "sparsity")) | extra for point in points for extra in (DENSE, scratch(point))]


def _without(point: Point, groups: tuple[str, ...]) -> Point:
    def keep(keys: Mapping) -> dict:
        return {key: value for key, value in keys.items() if key.split(".")[0] not in groups}

    return Point(keep(point.choices), keep(point.values))


def estimated_seconds(plan: RunPlan, done: Iterable[RunRecord]) -> float | None:
    """The expected seconds of a run: the median of the finished runs of its model, dataset, recipe and precision.

    Images a second hardly depend on what is pruned. None where there is no such run.
    """
    wanted = _effort(plan)
    took = [one.seconds for one in done if one.seconds is not None and _effort(one) == wanted]
    return median(took) if took else None


def _effort(plan: RunPlan) -> tuple[Any, ...]:
    """The parts of a plan that decide how long the run takes."""
    return plan.model, plan.dataset, plan.identity["recipe"], plan.identity["compute"]
