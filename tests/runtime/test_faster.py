"""Which layers are sparse with `auto`: decided by a clock, which these tests replace."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from ways import use

from prune_cli import masks
from prune_cli.common.random import generator
from prune_cli.models.prunable import prunable
from prune_cli.models.registry import models
from prune_cli.runs import facts
from prune_cli.runtime import faster, sparse_able
from prune_cli.runtime.faster import faster_sparse
from prune_cli.runtime.layers import SparseLayer
from prune_cli.runtime.mlp import SparseMlp


@pytest.fixture(autouse=True)
def kernels(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    use("plain", monkeypatch)
    monkeypatch.setenv(facts.VARIABLE, str(tmp_path))
    monkeypatch.setattr(facts, "_code", lambda: {})  # as if nothing had been edited just now


def pruned(name: str, densities: dict[str, float]) -> tuple[nn.Module, masks.Mask]:
    """A micro model; densities: by a part of a weight's name, 2 % for the others."""
    config = models.build(name)
    model = config.build(10)
    mask = {}
    for key, weight in prunable(model, config.prunable).items():
        share = next((density for part, density in densities.items() if part in key), 0.02)
        mask[key] = torch.rand(weight.shape, generator=generator(0, key)) < share
    return model, mask


def timed(patch: pytest.MonkeyPatch, sparse_seconds: Callable[[nn.Module], float]) -> list[nn.Module]:
    """Dense layers take a second, sparse ones what is said of them. Returns the modules that are timed, as they are."""
    seen: list[nn.Module] = []

    def seconds(module: nn.Sequential, x: Tensor, autocast: Any) -> float:
        seen.append(module[0])
        with autocast():
            module(x)  # the input fits
        sparse = any(isinstance(layer, SparseLayer) for layer in module.modules())
        return sparse_seconds(module) if sparse else 1.0

    patch.setattr(faster, "_seconds", seconds)
    return seen


def density(module: nn.Module) -> float:
    return max(layer.pattern.density for layer in module.modules() if isinstance(layer, SparseLayer))


def chosen(model: nn.Module, mask: masks.Mask, batch: int = 4) -> list[str]:
    return faster_sparse(model, mask, list(sparse_able(model, mask)), torch.zeros(1, 1, 28, 28), batch, nullcontext)


@pytest.mark.parametrize("name", ["vit_micro", "mixer_micro", "poolformer_micro"])
def test_what_is_faster_is_chosen(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model, mask = pruned(name, {"blocks.1": 0.3, "stages.1": 0.3})
    before = {key: value.clone() for key, value in model.state_dict().items()}
    timed(monkeypatch, lambda module: 0.5 if density(module) < 0.1 else 1.5)
    found = chosen(model, mask)
    assert found == [key for key in sparse_able(model, mask) if "blocks.1" not in key and "stages.1" not in key]
    assert found and model.training
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert not any(module._forward_pre_hooks for module in model.modules())


def test_equal_times_are_sparse_and_slower_ones_dense(monkeypatch: pytest.MonkeyPatch) -> None:
    model, mask = pruned("vit_micro", {})
    timed(monkeypatch, lambda _: 1.0)
    assert chosen(model, mask) == list(mask)
    timed(monkeypatch, lambda _: 1.01)
    monkeypatch.setenv(facts.VARIABLE, "")
    assert chosen(model, mask) == []


def test_a_shape_is_timed_once_and_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    model, mask = pruned("vit_micro", {})
    seen = timed(monkeypatch, lambda _: 0.5)
    chosen(model, mask)
    kinds = {type(module).__name__ for module in seen}
    assert kinds == {"Linear", "SparseLinear", "Mlp", "SparseMlp"}  # an MLP is timed as one
    assert len(seen) == 3 * 2 * (faster.ROUNDS + 1)  # qkv, proj and the MLP, not once a block
    seen.clear()
    chosen(model, mask)
    assert seen == []
    chosen(model, mask, batch=8)
    assert seen


def test_lower_densities_follow_from_a_higher_one(monkeypatch: pytest.MonkeyPatch) -> None:
    model, mask = pruned("vit_micro", {"blocks.0": 0.4, "blocks.1": 0.2, "blocks.2": 0.1})
    seen = timed(monkeypatch, lambda module: 0.5 if density(module) < 0.3 else 2.0)
    found = chosen(model, mask)
    assert not any("blocks.0" in key for key in found) and len(found) == 12
    assert min(density(module) for module in seen if isinstance(module, SparseLayer | SparseMlp)) > 0.15


def test_a_layer_that_is_not_reached_stays_dense(monkeypatch: pytest.MonkeyPatch) -> None:
    model, mask = pruned("vit_micro", {})
    timed(monkeypatch, lambda _: 0.5)
    model.unused = nn.Linear(5, 5)
    mask["unused.weight"] = torch.ones(5, 5, dtype=torch.bool)
    assert "unused.weight" not in chosen(model, mask)


def test_the_real_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever it says, it says it of every layer's own shape."""
    monkeypatch.setattr(faster, "ROUNDS", 1)
    model, mask = pruned("poolformer_micro", {})
    assert set(chosen(model, mask, batch=1)) <= set(sparse_able(model, mask))
