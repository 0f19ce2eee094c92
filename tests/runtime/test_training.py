"""Fine-tuning with sparse layers takes the steps of fine-tuning with dense ones."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from ways import use

from prune_cli import masks
from prune_cli.common.random import generator, seeded
from prune_cli.models.prunable import prunable
from prune_cli.models.registry import models
from prune_cli.runtime import sparse_layers
from prune_cli.runtime.layers import SparseLayer
from prune_cli.training.loop import Feed, fine_tune
from prune_cli.training.recipe import Recipe

BATCHES, SIZE = 3, 6
DRAWN = generator(0, "test of sparse training")
X, Y = torch.randn(BATCHES * SIZE, 1, 28, 28, generator=DRAWN), torch.randint(10, (BATCHES * SIZE,), generator=DRAWN)

RECIPES: dict[str, dict[str, Any]] = {
    "adam": {},
    "decoupled decay": {"optimizer": "adamw", "weight_decay": 0.3},
    "decay by the gradient": {"optimizer": "sgd", "momentum": 0.9, "weight_decay": 0.3},
    "clipped, in parts, averaged": {"clip_norm": 0.1, "accumulation": 4, "ema_decay": 0.5},
    "untrained": {"epochs": 0},
}


def batches(dtype: torch.dtype) -> Iterator[tuple[Tensor, Tensor]]:
    yield from zip(X.to(dtype).split(SIZE), Y.split(SIZE), strict=True)


def pruned(name: str, dtype: torch.dtype) -> tuple[nn.Module, masks.Mask]:
    """A micro model at 95 %."""
    config = models.build(name)
    with seeded(0, "weights"):
        model = config.build(10).to(dtype)
    weights = prunable(model, config.prunable)
    mask = masks.select({key: p.detach().abs() for key, p in weights.items()}, 0.95)
    masks.apply(weights, mask)
    return model, mask


def tuned(model: nn.Module, mask: masks.Mask, dtype: torch.dtype, **options: Any) -> list[float]:
    """Train in place; the losses."""
    recipe = Recipe(**{"epochs": 2, "batch_size": SIZE, "lr": 0.01} | options)
    fed = Feed(lambda *_: batches(dtype), BATCHES, {"test": lambda: batches(dtype)})
    with seeded(0, "train"):
        rows = fine_tune(model, mask, recipe, fed, "fp32", "t")
    return [value for row in rows for value in (row["train_loss"], row["test_loss"]) if value == value]


@pytest.mark.parametrize("name", ["vit_micro", "mixer_micro", "poolformer_micro"])
@pytest.mark.parametrize("options", RECIPES.values(), ids=RECIPES)
def test_the_same_weights_to_rounding(name: str, options: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """In float64, where Adam's first steps do not blow rounding up."""
    use("plain", monkeypatch)
    dense, mask = pruned(name, torch.float64)
    sparse = copy.deepcopy(dense)
    expected = tuned(dense, mask, torch.float64, **options)
    with sparse_layers(sparse, mask) as left:
        assert all("stem" in key or "downsample" in key for key in left)
        found = tuned(sparse, left, torch.float64, **options)
    torch.testing.assert_close(torch.tensor(found), torch.tensor(expected), rtol=1e-9, atol=0)
    for (key, ours), theirs in zip(sparse.state_dict().items(), dense.state_dict().values(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-7, msg=lambda m, key=key: f"{key}: {m}")
    assert all((sparse.get_parameter(key)[~keep] == 0).all() for key, keep in mask.items())


def test_float32_takes_a_step_of_sgd_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    use("plain", monkeypatch)
    dense, mask = pruned("vit_micro", torch.float32)
    sparse = copy.deepcopy(dense)
    options = {"optimizer": "sgd", "lr": 0.1}
    expected = tuned(dense, mask, torch.float32, **options)
    with sparse_layers(sparse, mask) as left:
        found = tuned(sparse, left, torch.float32, **options)
    torch.testing.assert_close(torch.tensor(found), torch.tensor(expected), rtol=1e-4, atol=0)


def test_decay_left_out_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """The mutant: flat values that count as biases do not decay."""
    use("plain", monkeypatch)
    dense, mask = pruned("vit_micro", torch.float64)
    sparse = copy.deepcopy(dense)
    tuned(dense, mask, torch.float64, **RECIPES["decoupled decay"])
    monkeypatch.setattr(SparseLayer, "flat_weights", ())
    with sparse_layers(sparse, mask) as left:
        tuned(sparse, left, torch.float64, **RECIPES["decoupled decay"])
    key = "blocks.0.mlp.fc1.weight"
    assert not torch.allclose(sparse.get_parameter(key), dense.get_parameter(key), rtol=0, atol=1e-5)
