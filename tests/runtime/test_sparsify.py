"""A model is made sparse and dense again: which layers, which parameters, and that nothing else changes."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations

from prune_cli import masks
from prune_cli.common.random import generator
from prune_cli.models.registry import models
from prune_cli.runtime import densify, sparse_able, sparse_layers, sparsify
from prune_cli.runtime.layers import SparseLayer


def masked(model: nn.Module, density: float = 0.3) -> masks.Mask:
    """A random mask of all weights of two dimensions or more, applied."""
    weights = {name: p for name, p in model.named_parameters() if p.ndim > 1}
    mask = {name: torch.rand(p.shape, generator=generator(3, name)) < density for name, p in weights.items()}
    masks.apply(weights, mask)
    return mask


def odd_model() -> nn.ModuleDict:
    """One layer of each kind."""
    shared = nn.Linear(4, 4)
    hooked, alone = nn.Linear(4, 4), nn.Linear(4, 4)
    hooked.register_forward_hook(lambda *_: None)
    alone.weight = nn.Linear(4, 4).weight
    tied = nn.Linear(4, 4)
    tied.weight = alone.weight
    layers = {
        "linear": nn.Linear(4, 4),
        "pointwise": nn.Conv2d(4, 4, 1),
        "twice": shared,
        "again": shared,
        "kernel": nn.Conv2d(4, 4, 3),
        "strided": nn.Conv2d(4, 4, 1, stride=2),
        "grouped": nn.Conv2d(4, 4, 1, groups=2),
        "padded": nn.Conv2d(4, 4, 1, padding=1),
        "attention": nn.MultiheadAttention(4, 2),
        "embedding": nn.Embedding(4, 4),
        "normed": parametrizations.weight_norm(nn.Linear(4, 4)),
        "hooked": hooked,
        "tied_1": alone,
        "tied_2": tied,
    }
    return nn.ModuleDict(layers)


def test_which_layers_can_be_sparse() -> None:
    model = odd_model()
    assert set(sparse_able(model, masked(model))) == {"linear.weight", "pointwise.weight", "twice.weight"}


def test_what_stays_is_masked_as_before() -> None:
    model = odd_model()
    mask = masked(model)
    left = sparsify(model, mask, but=["linear.weight"])
    assert left.keys() == mask.keys() - {"pointwise.weight", "twice.weight"}
    assert isinstance(model["twice"], SparseLayer) and model["again"] is model["twice"]


def test_there_and_back_with_the_same_parameters() -> None:
    model = models.build("vit_micro").build(10)
    before, parameters = copy.deepcopy(model.state_dict()), dict(model.named_parameters())
    mask = masked(model)
    pruned = copy.deepcopy(model.state_dict())
    held = model.blocks[0].mlp.fc1.weight
    with sparse_layers(model, mask) as left:
        assert all("blocks" not in name for name in left) and held.numel() == 0
        names = {name for name, _ in model.named_parameters()}
        assert "blocks.0.mlp.fc1.values" in names and "blocks.0.mlp.fc1.weight" not in names
        assert model.blocks[0].mlp.fc1.values.numel() == mask["blocks.0.mlp.fc1.weight"].sum()
        dense = sum(p.numel() for p in parameters.values() if p.ndim > 1 and p.numel() in (512 * 128, 384 * 128))
        assert dense == 0  # none is left in memory
    assert {name: id(p) for name, p in model.named_parameters()} == {name: id(p) for name, p in parameters.items()}
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, pruned[name]) and tensor.shape == before[name].shape


def test_changed_values_come_back_and_pruned_ones_do_not() -> None:
    model = nn.Sequential(nn.Linear(6, 5), nn.Conv2d(5, 4, 1)).double()
    mask = masked(model)
    sparsify(model, mask)
    with torch.no_grad():
        for layer in model:
            layer.values += 1
    model.eval()
    densify(model)
    for name, keep in mask.items():
        weight = model.get_parameter(name)
        assert weight.shape == keep.shape and weight.dtype == torch.float64
        assert torch.equal(weight != 0, keep)
    assert type(model[0]) is nn.Linear and not model[0].training


def test_the_model_is_dense_again_after_an_error() -> None:
    model = nn.Sequential(nn.Linear(6, 5))
    with pytest.raises(KeyboardInterrupt), sparse_layers(model, masked(model)):
        raise KeyboardInterrupt
    assert type(model[0]) is nn.Linear and model[0].weight.shape == (5, 6)


def test_a_copy_is_a_model_of_its_own() -> None:
    model = nn.Sequential(nn.Linear(6, 5))
    sparsify(model, masked(model))
    other = copy.deepcopy(model)
    with torch.no_grad():
        other[0].values.zero_()
    assert model[0].values.any() and other[0].pattern is model[0].pattern
    densify(other)
    assert isinstance(model[0], SparseLayer) and model[0].weight.any() and not other[0].weight.any()


def test_a_model_with_nothing_to_make_sparse() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten())
    mask = masked(model)
    with sparse_layers(model, mask) as left:
        assert left == mask and type(model[0]) is nn.Conv2d
    with sparse_layers(model, {}) as left:
        assert left == {}


def test_no_dense_copy_is_held() -> None:
    """What the layers were is freed, though their parameters are still in somebody's hands."""
    model = nn.Sequential(nn.Linear(300, 200))
    weight = model[0].weight
    sparsify(model, masked(model, 0.02))
    assert weight.untyped_storage().nbytes() == 0
    assert all(p.numel() < 3_000 for p in model.parameters())


def test_a_sparse_model_can_be_pickled_after_use() -> None:
    model = nn.Sequential(nn.Linear(6, 5))
    sparsify(model, masked(model))
    x = torch.ones(2, 6)
    expected = model(x)
    assert torch.equal(pickle.loads(pickle.dumps(model))(x), expected)
