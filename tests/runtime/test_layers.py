"""Sparse layers give the outputs and gradients of dense ones, to rounding, however their activations lie in memory."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint
from ways import WAYS, use

from prune_cli import masks
from prune_cli.common.random import generator
from prune_cli.runtime import sparsify
from prune_cli.runtime.layers import SparseConv2d, SparseLinear
from prune_cli.runtime.pattern import Pattern

NEAR = {torch.float32: 1e-5, torch.float64: 1e-11}  # of the largest number of a tensor
KINDS = tuple(NEAR)
Arrange = Callable[[Tensor], Tensor]

# how (2, T, I) activations come: tokens first, features first, and neither
ARRANGED: dict[str, Arrange] = {
    "tokens first": lambda x: x,
    "features first": lambda x: x.transpose(1, 2).contiguous().transpose(1, 2),
    "features first, all tokens": lambda x: x.flatten(0, 1).t().contiguous().t().view(x.shape),
    "matrix": lambda x: x.flatten(0, 1),
    "vector": lambda x: x[0, 0],
    "one token": lambda x: x[:, :1],
    "groups of tokens": lambda x: torch.cat([x, x], 1)[:, : x.shape[1]],
    "every other feature": lambda x: torch.stack([x, x], -1).flatten(2)[..., ::2],
    "four dimensions": lambda x: torch.stack([x, x + 1]),
}


def near(found: Tensor | None, expected: Tensor | None) -> None:
    """Equal to rounding, or both None."""
    assert (found is None) == (expected is None)
    if found is not None and expected is not None:
        assert found.shape == expected.shape and found.dtype == expected.dtype
        scale = expected.abs().max().item() if expected.numel() else 0.0
        torch.testing.assert_close(found, expected, rtol=0, atol=NEAR[expected.dtype] * scale)


def pruned(layer: nn.Module, density: float) -> tuple[nn.Sequential, nn.Sequential, masks.Mask]:
    """A dense model of the one layer and its sparse copy. Its first row and its last column have no survivor."""
    shape = layer.weight.shape
    keep = torch.rand(shape, generator=generator(1, "test of layers")) < density
    keep[0], keep[:, -1] = False, False
    mask = {"0.weight": keep}
    dense = nn.Sequential(layer)
    masks.apply(dict(dense.named_parameters()), mask)
    sparse = copy.deepcopy(dense)
    assert sparsify(sparse, mask) == {}
    return dense, sparse, mask


def compare(dense: nn.Module, sparse: nn.Module, mask: masks.Mask, x: Tensor, arrange: Arrange = lambda x: x) -> None:
    """Outputs and all gradients of both models, for a loss that weighs each output differently."""
    found = []
    for model in (dense, sparse):
        model.zero_grad()
        given = x.clone().requires_grad_()
        y = model(arrange(given))
        (y * drawn(*y.shape, dtype=y.dtype)).sum().backward()
        found.append((y, given.grad, model[0].bias if model[0].bias is None else model[0].bias.grad))
    for ours, expected in zip(found[1], found[0], strict=True):
        near(ours, expected)
    near(sparse[0].values.grad, dense[0].weight.grad[mask["0.weight"]])


def drawn(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """Normal numbers, the same each time."""
    return torch.randn(*shape, generator=generator(0, "test of layers"), dtype=dtype)


@pytest.mark.parametrize("dtype", KINDS)
@pytest.mark.parametrize("arranged", ARRANGED)
@pytest.mark.parametrize("way", WAYS)
def test_linear(way: str, arranged: str, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    use(way, monkeypatch)
    dense, sparse, mask = pruned(nn.Linear(37, 29, dtype=dtype), 0.3)
    compare(dense, sparse, mask, drawn(2, 41, 37, dtype=dtype), ARRANGED[arranged])


@pytest.mark.parametrize("tokens", [1, 9, 64, 65, 300])
@pytest.mark.parametrize("shape", [(1, 3), (3, 2), (64, 70), (130, 20)])
@pytest.mark.parametrize("way", WAYS)
def test_sizes_around_those_of_tiles(
    way: str, shape: tuple[int, int], tokens: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(way, monkeypatch)
    for density in (0.02, 0.9):
        dense, sparse, mask = pruned(nn.Linear(*shape), density)
        compare(dense, sparse, mask, drawn(tokens, shape[0]))


@pytest.mark.parametrize("dtype", KINDS)
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("batch", [1, 9])
def test_pointwise_convolution(way: str, batch: int, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    use(way, monkeypatch)
    dense, sparse, mask = pruned(nn.Conv2d(20, 33, 1, dtype=dtype), 0.2)
    assert isinstance(sparse[0], SparseConv2d)
    for memory in (torch.contiguous_format, torch.channels_last):
        compare(
            dense, sparse, mask, drawn(batch, 20, 7, 7, dtype=dtype), lambda x, m=memory: x.contiguous(memory_format=m)
        )
        given = drawn(batch, 20, 7, 7, dtype=dtype).contiguous(memory_format=memory)
        assert sparse(given).is_contiguous(memory_format=memory) or way in ("csr", "dense")
    compare(dense, sparse, mask, drawn(20, 7, 7, dtype=dtype))


@pytest.mark.parametrize("way", WAYS)
def test_without_bias_and_with_frozen_parts(way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    use(way, monkeypatch)
    compare(*pruned(nn.Linear(12, 20, bias=False), 0.3), drawn(9, 12))
    for frozen in ("bias", "weight"):
        layer = nn.Linear(12, 20)
        getattr(layer, frozen).requires_grad_(False)
        dense, sparse, mask = pruned(layer, 0.3)
        compare(dense, sparse, mask, drawn(9, 12)) if frozen == "bias" else sparse(drawn(9, 12)).sum().backward()
        assert getattr(sparse[0], {"bias": "bias", "weight": "values"}[frozen]).grad is None


@pytest.mark.parametrize("way", WAYS)
def test_no_survivor_and_no_token(way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    use(way, monkeypatch)
    compare(*pruned(nn.Linear(8, 6), 0.0), drawn(5, 8))
    _, sparse, _ = pruned(nn.Linear(8, 6), 0.5)
    assert sparse(drawn(0, 8)).shape == (0, 6)
    sparse(drawn(0, 8)).sum().backward()
    assert not sparse[0].values.grad.any()


@pytest.mark.parametrize("way", WAYS)
def test_bfloat16_input_and_autocast(way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Products are computed in float32; the output is of the type that the dense layer has."""
    use(way, monkeypatch)
    dense, sparse, _ = pruned(nn.Linear(40, 30), 0.3)
    exact = dense(drawn(9, 40))
    with torch.autocast("cpu", torch.bfloat16):
        y = sparse(drawn(9, 40))
    assert y.dtype == torch.bfloat16
    torch.testing.assert_close(y, exact.bfloat16())  # rounded once, at the end
    y.sum().backward()
    assert sparse[0].values.grad.dtype == torch.float32
    half = sparse(drawn(9, 40).bfloat16())
    assert half.dtype == torch.bfloat16
    torch.testing.assert_close(half.float(), exact, rtol=0.02, atol=0.02)


@pytest.mark.parametrize("way", WAYS)
def test_a_layer_used_twice_and_checkpointing(way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    use(way, monkeypatch)
    dense, sparse, mask = pruned(nn.Linear(24, 24), 0.3)

    class Twice(nn.Sequential):
        def forward(self, x: Tensor) -> Tensor:
            return self[0](torch.relu(checkpoint(self[0], x, use_reentrant=False)))

    compare(Twice(dense[0]), Twice(sparse[0]), mask, drawn(9, 24))


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_threads_agree_and_repeat(threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    use("plain", monkeypatch)
    torch.set_num_threads(threads)
    dense, sparse, mask = pruned(nn.Linear(40, 50), 0.3)
    compare(dense, sparse, mask, drawn(333, 40))
    gradients = []
    for _ in range(5):
        sparse.zero_grad()
        sparse(drawn(333, 40)).square().sum().backward()
        gradients.append(sparse[0].values.grad.clone())
    assert all(torch.equal(gradients[0], other) for other in gradients)


@pytest.mark.parametrize("way", ["plain", "AVX2", "AVX-512"])
def test_an_mlp_keeps_features_first_between_its_layers(way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    use(way, monkeypatch)
    from timm.layers import Mlp

    model = Mlp(48, 80)
    weights = {name: p for name, p in model.named_parameters() if p.ndim == 2}
    mask = {name: torch.rand(p.shape, generator=generator(2, name)) < 0.2 for name, p in weights.items()}
    masks.apply(weights, mask)
    x = drawn(3, 9, 48)
    expected = model(x)
    sparsify(model, mask)
    hidden = model.fc1(x)
    assert hidden.stride() == (9, 1, 27)
    assert F.gelu(hidden).stride() == hidden.stride()
    assert model(x).is_contiguous()
    near(model(x), expected)


def test_an_outside_look_at_the_weight_is_dense_and_trains_the_values(monkeypatch: pytest.MonkeyPatch) -> None:
    use("dense", monkeypatch)
    dense, sparse, mask = pruned(nn.Linear(8, 6), 0.4)
    assert torch.equal(sparse[0].weight, dense[0].weight)
    F.linear(drawn(3, 8), sparse[0].weight).sum().backward()
    F.linear(drawn(3, 8), dense[0].weight).sum().backward()
    assert torch.equal(sparse[0].values.grad, dense[0].weight.grad[mask["0.weight"]])


@pytest.mark.parametrize("wrong", ["no bias", "transposed", "values by columns"])
def test_a_wrong_layer_is_seen(wrong: str, monkeypatch: pytest.MonkeyPatch) -> None:
    use("dense", monkeypatch)
    dense, sparse, mask = pruned(nn.Linear(16, 16), 0.3)
    layer = sparse[0]
    if wrong == "no bias":
        layer.bias = None
    elif wrong == "transposed":
        layer.pattern = Pattern.of(mask["0.weight"].t())
    else:
        layer.values.data = layer.values.data[torch.from_numpy(layer.pattern.places).long()]
    with pytest.raises(AssertionError):
        compare(dense, sparse, mask, drawn(9, 16))


def test_it_says_what_it_is() -> None:
    _, sparse, _ = pruned(nn.Linear(10, 10), 1.0)
    assert isinstance(sparse[0], SparseLinear)
    assert repr(sparse[0]) == "SparseLinear(10, 10, bias=True, density=0.81)"
