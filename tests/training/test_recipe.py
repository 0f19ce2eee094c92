"""Recipes: learning rates worked out by hand, and the values that are refused."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from prune_cli.common.errors import ConfigError
from prune_cli.config.schema import Point
from prune_cli.pipeline import composer
from prune_cli.runs.paths import Paths
from prune_cli.training.recipe import Recipe


def rates(recipe: Recipe) -> list[float]:
    """The learning rate of each epoch, stepped as the loop does."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=recipe.lr)
    schedule = recipe.learning_rates(optimizer)
    found = []
    for epoch in range(recipe.epochs):
        found.append(optimizer.param_groups[0]["lr"])
        schedule.step(epoch + 1)
    return found


def test_the_micro_recipe_warms_up_for_an_epoch_and_follows_a_cosine() -> None:
    found = rates(Recipe(epochs=10, lr=1e-3, min_lr=1e-5, warmup_epochs=1, warmup_lr=1e-4))
    cosine = [1e-5 + (1e-3 - 1e-5) * (1 + math.cos(math.pi * t / 10)) / 2 for t in range(9)]
    assert found == pytest.approx([1e-4, *cosine], rel=1e-12)
    assert found[1] == 1e-3
    assert found[6] == pytest.approx((1e-3 + 1e-5) / 2, rel=1e-12)  # half of the way


def of_file(name: str) -> Recipe:
    return composer(Paths()).settings(Point({"recipe": name})).recipe


def test_the_papers_recipe_is_the_reports() -> None:
    paper = of_file("paper")
    wanted = {"epochs": 150, "batch_size": 128, "optimizer": "adam", "weight_decay": 0.0, "label_smoothing": 0.1}
    wanted |= {"cutmix_alpha": 1.0, "cutmix_prob": 1.0, "horizontal_flip": False, "ema_decay": None, "clip_norm": None}
    assert {name: getattr(paper, name) for name in wanted} == wanted
    assert not paper.smoke and paper.train_batches is None and paper.test_images is None


def test_the_papers_schedule_has_the_papers_rates() -> None:
    found = rates(of_file("paper"))
    assert len(found) == 150
    assert found[0] == pytest.approx(5e-5, rel=1e-12)
    assert found[5] == pytest.approx(5e-5 + 5 * (1e-3 - 5e-5) / 10, rel=1e-12)
    assert found[10] == pytest.approx(1e-3, rel=1e-12)
    assert found[149] == pytest.approx(1.119e-4, abs=5e-8)
    assert found[149] == pytest.approx(1e-4 + 9e-4 * (1 + math.cos(math.pi * 139 / 150)) / 2, rel=1e-12)
    assert found[:11] == sorted(found[:11])
    assert found[10:] == sorted(found[10:], reverse=True)


def test_without_a_warm_up_the_first_epoch_has_the_full_rate() -> None:
    assert rates(Recipe(epochs=2, lr=0.5)) == pytest.approx([0.5, 0.25])
    assert rates(Recipe(epochs=1, lr=0.5)) == [0.5]


def test_every_group_of_the_optimiser_is_scheduled() -> None:
    groups = [{"params": [torch.nn.Parameter(torch.zeros(1))]} for _ in range(2)]
    optimizer = torch.optim.Adam(groups, lr=1.0)
    schedule = Recipe(epochs=10, lr=1.0, warmup_epochs=5, warmup_lr=0.5).learning_rates(optimizer)
    schedule.step(1)
    assert [group["lr"] for group in optimizer.param_groups] == pytest.approx([0.6, 0.6])


def test_momentum_is_handed_on_only_where_it_is_given() -> None:
    assert Recipe(epochs=1, lr=0.1).optimizer_options() == {"lr": 0.1}
    assert Recipe(epochs=1, lr=0.1, optimizer="sgd", momentum=0.9).optimizer_options() == {"lr": 0.1, "momentum": 0.9}


WRONG: list[dict[str, Any]] = [
    {"epochs": -1},
    {"batch_size": 0},
    {"lr": -1e-9},
    {"lr": math.nan},
    {"lr": math.inf},
    {"min_lr": -1.0},
    {"warmup_epochs": -1},
    {"warmup_epochs": 3},
    {"warmup_lr": -1.0},
    {"weight_decay": -0.1},
    {"momentum": -0.1},
    {"label_smoothing": 1.0},
    {"label_smoothing": -0.1},
    {"label_smoothing": math.nan},
    {"clip_norm": -1.0},
    {"cutmix_alpha": -1.0},
    {"cutmix_prob": 1.5},
    {"batch_size": 1, "cutmix_alpha": 1.0},
    {"accumulation": 0},
    {"ema_decay": 1.0},
    {"train_batches": 0},
    {"test_images": 0},
    {"optimizer": "lbfgs"},
    {"optimizer": "adafactor"},
    {"optimizer": "adamm"},
]


@pytest.mark.parametrize("wrong", WRONG, ids=str)
def test_a_value_out_of_range_is_refused_by_its_name(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError) as caught:
        Recipe(**{"epochs": 3} | wrong)
    assert f"recipe.{next(iter(wrong))}" in str(caught.value.where)
    assert len(caught.value.lines()) <= 3


@pytest.mark.parametrize("edge", [{"lr": 0.0}, {"warmup_epochs": 2}, {"label_smoothing": 0.99}, {"optimizer": "AdamW"}])
def test_the_edges_of_the_ranges_are_allowed(edge: dict[str, Any]) -> None:
    assert Recipe(**{"epochs": 3} | edge)
