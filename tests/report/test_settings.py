"""How tables say in what runs differ: short, and as it would be typed."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from records import entry

from prune_cli.report.recipes import Recipes
from prune_cli.report.tables import table1

MICRO = {"epochs": 10, "lr": 1e-3, "min_lr": 1e-5, "warmup": 1, "smoke": False, "test_images": None}
SMOKE = {"epochs": 1, "lr": 1e-3, "min_lr": 0.0, "warmup": 0, "smoke": True, "test_images": 256}
RECIPES = Recipes(
    {"micro": MICRO, "smoke": SMOKE},
    defaults={"lr": 0.01, "min_lr": 0.0, "warmup": 0, "smoke": False, "test_images": None},
)


def changed(recipe: dict[str, Any], **options: Any) -> dict[str, Any]:
    """The options of a recipe that an identity keeps: not those at their default."""
    return {key: value for key, value in (recipe | options).items() if RECIPES.defaults.get(key, ...) != value}


@pytest.mark.parametrize(
    ("recipe", "said"),
    [
        (changed(MICRO), "micro"),
        (changed(SMOKE), "smoke"),
        (changed(MICRO, epochs=3), "micro, recipe.epochs=3"),
        (changed(MICRO, lr=0.01, min_lr=0.0), "micro, recipe.lr=0.01, recipe.min_lr=0.0"),
        (changed(SMOKE, test_images=None), "smoke, recipe.test_images=null"),
    ],
)
def test_a_recipe_is_called_by_its_name_and_what_differs_from_it(recipe: dict[str, Any], said: str) -> None:
    assert RECIPES.words(recipe) == said


def settings(*changes: dict[str, Any]) -> list[str]:
    """The Settings of Table 1 for runs with these changes of identity."""
    runs = [entry("snip_magnitude", 90.0) for _ in changes]
    runs = [
        replace(run, hash=f"{run.hash}{number}", identity=run.identity | change)
        for number, (run, change) in enumerate(zip(runs, changes, strict=True))
    ]
    return [row[0] for row in table1(runs, recipes=RECIPES).plain_rows()]


def test_runs_of_two_recipes_differ_by_their_names() -> None:
    assert settings({"recipe": changed(MICRO)}, {"recipe": changed(SMOKE)}) == ["[recipe=micro]", "[recipe=smoke]"]


def test_only_options_that_are_set_are_named() -> None:
    found = settings({}, {"compute": {"precision": "bf16"}}, {"sparsity": {"percent": 98.0, "scope": "erk"}})
    assert found == ["[default]", "[compute.precision=bf16]", "[sparsity.scope=erk]"]


def test_one_option_that_some_leave_at_its_default_says_so() -> None:
    assert settings({}, {"sparsity": {"percent": 98.0, "scope": "erk"}}) == [
        "[sparsity.scope=default]",
        "[sparsity.scope=erk]",
    ]


def test_different_settings_have_different_words() -> None:
    options: list[dict[str, Any]] = [{}, {"a": 1}, {"b": 1}, {"a": 1, "b": 1}, {"a": 2}]
    assert len(set(settings(*({"compute": one} for one in options)))) == len(options)
