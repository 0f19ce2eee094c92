"""The optimiser that cannot revive a pruned weight."""

from __future__ import annotations

import inspect
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from prune_cli import masks
from prune_cli.common.errors import ConfigError
from prune_cli.masks.survivors import ELEMENTWISE, SurvivorOptimizer

PRUNED = ("0.weight", "3.weight")
CHOICES = {
    "sgd with momentum": ("sgd", {"lr": 0.05, "momentum": 0.9}),
    "adam": ("adam", {"lr": 0.01}),
    "adamw with weight decay": ("adamw", {"lr": 0.01, "weight_decay": 0.3}),
    "sgd with momentum and weight decay": ("SGD", {"lr": 0.05, "momentum": 0.9, "weight_decay": 0.1}),
}


def pruned_network(channels_last: bool = False) -> tuple[nn.Module, dict[str, Tensor]]:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = nn.Sequential(
            nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(128, 16), nn.Tanh(), nn.Linear(16, 4)
        )
    if channels_last:
        model = model.to(memory_format=torch.channels_last)
    weights = {name: p for name, p in model.named_parameters() if name in PRUNED}
    mask = masks.select({name: p.detach().abs() for name, p in weights.items()}, 0.9)
    masks.apply(weights, mask)
    return model, mask


def train(
    model: nn.Module, optimizer: SurvivorOptimizer | torch.optim.Optimizer, steps: int = 6, parts: int = 1
) -> None:
    draw = torch.Generator().manual_seed(1)
    x, y = torch.randn(16, 3, 6, 6, generator=draw), torch.randint(4, (16,), generator=draw)
    for _ in range(steps):
        optimizer.zero_grad()
        for some, labels in zip(x.chunk(parts), y.chunk(parts), strict=True):
            (F.cross_entropy(model(some), labels) / parts).backward()
        optimizer.step()


def revived(model: nn.Module, mask: dict[str, Tensor]) -> int:
    weights = dict(model.named_parameters())
    return sum(int((weights[name].detach()[~keep].view(torch.int32) != 0).sum()) for name, keep in mask.items())


@pytest.mark.parametrize(("name", "options"), CHOICES.values(), ids=CHOICES)
@pytest.mark.parametrize("parts", [1, 2])
@pytest.mark.parametrize("channels_last", [False, True])
def test_zeros_stay_zero_bit_for_bit_and_survivors_move(
    name: str, options: dict, parts: int, channels_last: bool
) -> None:
    model, mask = pruned_network(channels_last)
    before = {key: p.detach().clone() for key, p in model.named_parameters()}
    train(model, SurvivorOptimizer(model, mask, name, **options), parts=parts)
    assert revived(model, mask) == 0
    for key, p in model.named_parameters():
        moved = p.detach() != before[key]
        assert bool(moved[mask[key]].float().mean() > 0.9 if key in mask else moved.any()), key


@pytest.mark.parametrize(("name", "options"), [("Adam", {"lr": 0.01}), ("SGD", {"lr": 0.05, "momentum": 0.9})])
def test_a_plain_optimiser_revives_weights(name: str, options: dict) -> None:
    """The negative control: the same check sees what an ordinary optimiser does to a network zeroed once."""
    model, mask = pruned_network()
    train(model, getattr(torch.optim, name)(model.parameters(), **options))
    assert revived(model, mask) > 100


@pytest.mark.parametrize(("name", "options"), CHOICES.values(), ids=CHOICES)
def test_the_optimisers_state_has_the_size_of_the_survivors(name: str, options: dict) -> None:
    model, mask = pruned_network()
    optimizer = SurvivorOptimizer(model, mask, name, **options)
    train(model, optimizer)
    kept = sum(int(keep.sum()) for keep in mask.values())
    dense = sum(p.numel() for key, p in model.named_parameters() if key not in mask)
    states = [
        value
        for state in optimizer.inner.state.values()
        for value in state.values()
        if isinstance(value, Tensor) and value.ndim
    ]
    moments = 1 if name.lower() == "sgd" else 2
    assert sum(value.numel() for value in states) == moments * (kept + dense)
    assert sum(p.numel() for p in optimizer.parameters) == kept + dense


@pytest.mark.parametrize(("name", "options"), CHOICES.values(), ids=CHOICES)
def test_survivors_move_as_under_a_dense_optimiser_with_masked_gradients(name: str, options: dict) -> None:
    model, mask = pruned_network()
    plain, _ = pruned_network()
    weights = dict(plain.named_parameters())
    for key, keep in mask.items():
        weights[key].register_hook(lambda gradient, keep=keep: gradient * keep)
    kind = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[name.lower()]
    decay = options.get("weight_decay", 0.0)
    rest = {key: value for key, value in options.items() if key != "weight_decay"}
    groups = [
        {"params": [p for p in plain.parameters() if p.ndim > 1], "weight_decay": decay},
        {"params": [p for p in plain.parameters() if p.ndim <= 1], "weight_decay": 0.0},
    ]
    train(plain, kind(groups, **rest))
    train(model, SurvivorOptimizer(model, mask, name, **options))
    for (key, ours), theirs in zip(model.named_parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-6, msg=lambda m, key=key: f"{key}: {m}")


@pytest.mark.parametrize("name", ["adamw", "sgd"])
def test_weights_that_a_layer_holds_flat_decay_and_its_bias_does_not(name: str) -> None:
    class Flat(nn.Module):
        flat_weights = ("values",)

        def __init__(self) -> None:
            super().__init__()
            self.values, self.bias = nn.Parameter(torch.ones(5)), nn.Parameter(torch.ones(5))

    layer = Flat()
    optimizer = SurvivorOptimizer(nn.Sequential(layer), {}, name, lr=0.1, weight_decay=0.5)
    layer.values.grad, layer.bias.grad = torch.zeros(5), torch.zeros(5)
    optimizer.step()
    assert torch.equal(layer.values, torch.full((5,), 0.95)) and torch.equal(layer.bias, torch.ones(5))


def test_dense_gradients_of_pruned_tensors_are_freed_at_once() -> None:
    model, mask = pruned_network()
    optimizer = SurvivorOptimizer(model, mask, "adam", lr=0.01)
    F.cross_entropy(model(torch.randn(2, 3, 6, 6)), torch.tensor([0, 1])).backward()
    weights = dict(model.named_parameters())
    assert all(weights[key].grad is None for key in mask)
    assert weights["5.weight"].grad is not None
    optimizer.close()
    F.cross_entropy(model(torch.randn(2, 3, 6, 6)), torch.tensor([0, 1])).backward()
    assert all(weights[key].grad is not None for key in mask)


def test_a_gradient_from_before_plays_no_part() -> None:
    model, mask = pruned_network()
    fresh, _ = pruned_network()
    for name, p in model.named_parameters():
        p.grad = torch.ones_like(p) if name in mask else None
    for one in (model, fresh):
        train(one, SurvivorOptimizer(one, mask, "sgd", lr=0.05), steps=1)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), fresh.parameters(), strict=True))


@pytest.mark.parametrize("name", ELEMENTWISE)
def test_a_tensor_may_lose_all_its_weights(name: str) -> None:
    model, mask = pruned_network()
    mask = {**mask, "3.weight": torch.zeros_like(mask["3.weight"])}
    masks.apply(dict(model.named_parameters()), mask)
    train(model, SurvivorOptimizer(model, mask, name, lr=0.01), steps=2)
    assert revived(model, mask) == 0


def test_an_empty_mask_trains_densely() -> None:
    model, _ = pruned_network()
    plain, _ = pruned_network()
    train(model, SurvivorOptimizer(model, {}, "adam", lr=0.01))
    train(plain, torch.optim.Adam(plain.parameters(), lr=0.01))
    for ours, theirs in zip(model.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("name", ELEMENTWISE)
def test_every_elementwise_optimiser_keeps_zeros(name: str) -> None:
    model, mask = pruned_network()
    train(model, SurvivorOptimizer(model, mask, name, lr=0.01), steps=2)
    assert revived(model, mask) == 0


@pytest.mark.parametrize("name", ["LBFGS", "lbfgs", "Adafactor", "Muon", "SparseAdam", "Adamm"])
def test_an_optimiser_that_mixes_weights_or_does_not_exist_is_refused_by_name(name: str) -> None:
    build: Callable = SurvivorOptimizer
    model, mask = pruned_network()
    with pytest.raises(ConfigError, match=name) as error:
        build(model, mask, name, lr=0.01)
    assert "adamw" in " ".join(error.value.lines())


def test_a_mask_of_a_frozen_or_unknown_parameter_is_refused() -> None:
    model = nn.Sequential(nn.Linear(3, 2), nn.Linear(2, 2))
    model[0].weight.requires_grad_(False)
    for name in ("0.weight", "2.weight"):
        with pytest.raises(ConfigError, match="no parameter that is trained"):
            SurvivorOptimizer(model, {name: torch.ones(2, 3, dtype=torch.bool)}, "adam", lr=0.1)


@pytest.mark.parametrize("name", ELEMENTWISE)
def test_the_options_of_an_optimiser_are_torchs_own(name: str) -> None:
    known = inspect.signature(getattr(torch.optim, name)).parameters
    assert {*ELEMENTWISE[name]} == {"momentum", "weight_decay"} & known.keys()
