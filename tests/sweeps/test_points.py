"""From axes to points."""

from __future__ import annotations

from prune_cli.config.schema import Point
from prune_cli.sweeps.points import expand, references, with_grid


def choices(group: str, *names: str) -> list[Point]:
    return [Point({group: name}) for name in names]


def test_the_last_axis_varies_fastest_on_top_of_what_is_fixed() -> None:
    axes = {"scorer": choices("scorer", "snip", "grasp"), "seed": [Point(values={"seed": s}) for s in (0, 1)]}
    points = expand(Point({"model": "vit_micro"}), axes)
    assert [(p.choices["scorer"], p.values["seed"]) for p in points] == [
        ("snip", 0),
        ("snip", 1),
        ("grasp", 0),
        ("grasp", 1),
    ]
    assert all(p.choices["model"] == "vit_micro" for p in points)


def test_no_axis_is_one_point() -> None:
    assert expand(Point({"scorer": "snip"}), {}) == [Point({"scorer": "snip"})]


def test_what_is_typed_replaces_the_experiments_axis() -> None:
    grid = {"scorer": choices("scorer", "snip", "grasp"), "sparsity": choices("sparsity", "90", "98")}
    typed = {"scorer": choices("scorer", "random")}
    axes = with_grid(Point({"sparsity": "95"}), typed, grid)
    assert axes == typed
    assert with_grid(Point(), {}, grid) == grid


def test_the_reference_from_scratch_may_be_another_for_each_point() -> None:
    points = [Point(values={"seed": seed}) for seed in (1, 2)]
    found = references(points, lambda point: Point(values={"model.units": point.values["seed"]}))
    assert [point.values.get("model.units") for point in found] == [None, 1, None, 2]


def test_references_are_dense_and_from_scratch_with_nothing_of_scorer_or_sparsity_left() -> None:
    point = Point({"scorer": "snip", "sparsity": "custom"}, {"sparsity.percent": 97.0, "scorer.alpha": 1.0, "seed": 3})
    dense, scratch = references([point])
    assert dense == Point({"sparsity": "dense"}, {"seed": 3})
    assert scratch == Point({"sparsity": "dense"}, {"seed": 3, "model.weights": "random"})
