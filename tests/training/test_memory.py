"""The memory that a plan promises is what a run really holds and writes."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from prune_cli import masks
from prune_cli.masks.survivors import SurvivorOptimizer
from prune_cli.runs.compressed import write_mask, write_model
from prune_cli.runs.files import write_tensors
from prune_cli.training.memory import ModelBytes, footprint
from prune_cli.training.recipe import Recipe


def network(device: str = "cpu") -> tuple[nn.Module, dict[str, nn.Parameter]]:
    with torch.device(device):
        model = nn.Sequential(nn.Linear(300, 200), nn.BatchNorm1d(200), nn.Linear(200, 100), nn.Linear(100, 10))
    return model, {name: model.get_parameter(name) for name in ("0.weight", "2.weight")}


def planned(model: nn.Module, parameters: dict[str, nn.Parameter], kept: int, recipe: Recipe) -> dict[str, int]:
    return footprint(ModelBytes.of(model), parameters, kept, recipe)


def held(tensors: list[Tensor]) -> int:
    return sum(t.numel() * t.element_size() for t in tensors)


def trained(model: nn.Module, mask: masks.Mask, recipe: Recipe) -> SurvivorOptimizer:
    optimizer = SurvivorOptimizer(model, mask, recipe.optimizer, **recipe.optimizer_options())
    model(torch.randn(8, 300)).sum().backward()
    optimizer.step()
    return optimizer


def states(optimizer: SurvivorOptimizer) -> list[Tensor]:
    """What the optimiser keeps for each weight; its step counters are one number each."""
    return [t for state in optimizer.inner.state.values() for t in state.values() if t.numel() > 1]


@pytest.mark.parametrize(
    "recipe", [Recipe(1), Recipe(1, optimizer="sgd", momentum=0.9), Recipe(1, optimizer="sgd")], ids=str
)
def test_the_plan_is_what_an_optimiser_holds(recipe: Recipe) -> None:
    model, parameters = network()
    scores = {name: p.detach().abs() for name, p in parameters.items()}
    mask = masks.select(scores, 0.9)
    kept = sum(int(keep.sum()) for keep in mask.values())
    plan = planned(*network("meta"), kept, recipe)
    masks.apply(parameters, mask)
    optimizer = trained(model, mask, recipe)
    own = held([t for part in optimizer._pruned for t in (part.values, part._indices)])
    assert plan["survivor_optimizer"] == held(states(optimizer)) + own
    largest = held([parameters["0.weight"]])
    assert plan["survivor_gradients"] == held([p.grad for p in optimizer.parameters]) + largest  # type: ignore[misc]
    dense, _ = network()
    assert plan["optimizer"] == held(states(trained(dense, {}, recipe)))
    assert plan["gradients"] == held(list(dense.parameters()))


def test_the_plan_is_what_is_written(tmp_path: Path) -> None:
    for sparsity in (0.3, 0.9, 0.98):
        model, parameters = network()
        mask = masks.select({name: torch.rand_like(p) for name, p in parameters.items()}, sparsity)
        masks.apply(parameters, mask)
        plan = planned(*network("meta"), sum(int(keep.sum()) for keep in mask.values()), Recipe(1))
        write_model(tmp_path / "model_file", model.state_dict(), mask)
        write_mask(tmp_path / "mask_file", mask)
        write_tensors(tmp_path / "score_file", parameters)
        for name in ("model_file", "mask_file", "score_file"):
            header = (tmp_path / name).stat().st_size - plan[name]
            assert -0.02 * plan[name] <= header < 2000


def test_the_plan_of_a_dense_run_is_what_is_written(tmp_path: Path) -> None:
    model, parameters = network()
    plan = planned(*network("meta"), sum(p.numel() for p in parameters.values()), Recipe(1))
    write_tensors(tmp_path / "model", model.state_dict())
    assert 0 <= (tmp_path / "model").stat().st_size - plan["model_file"] < 2000
    assert plan["mask_file"] == 0


def test_nothing_removed_needs_no_dense_moment_and_an_average_needs_a_copy() -> None:
    model, parameters = network("meta")
    size = sum(p.numel() for p in parameters.values())
    plan = planned(model, parameters, size, Recipe(1))
    assert plan["survivor_gradients"] == plan["gradients"]
    averaged = planned(model, parameters, size, Recipe(1, ema_decay=0.99))
    assert averaged["optimizer"] - plan["optimizer"] == plan["gradients"]
