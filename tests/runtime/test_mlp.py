"""An MLP of two sparse layers, computed at once, gives the output and the gradients of the dense one."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from test_layers import ARRANGED, drawn, near
from timm.layers import Mlp
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint
from ways import WAYS, use

from prune_cli import masks
from prune_cli.common.random import generator
from prune_cli.runtime import densify, mlp, sparsify
from prune_cli.runtime.mlp import SparseMlp

KERNELS = WAYS[:3]


def pruned(density: float = 0.2, dtype: torch.dtype = torch.float32, **options: Any) -> tuple[nn.Module, nn.Module]:
    """A dense model of one MLP and its sparse copy; a hidden unit without input, one without output."""
    dense = nn.Sequential(Mlp(37, 75, 29, **options)).to(dtype)
    weights = {name: p for name, p in dense.named_parameters() if p.ndim > 1}
    mask = {name: torch.rand(p.shape, generator=generator(1, name)) < density for name, p in weights.items()}
    mask["0.fc1.weight"][3], mask["0.fc2.weight"][:, 5] = False, False
    masks.apply(weights, mask)
    sparse = copy.deepcopy(dense)
    sparsify(sparse, mask)
    return dense, sparse


def compare(dense: nn.Module, sparse: nn.Module, x: Tensor, arrange: Callable[[Tensor], Tensor] = lambda x: x) -> None:
    """Outputs and all gradients of both, for a loss that weighs each output differently."""
    given = [x.clone().requires_grad_() for _ in range(2)]
    outputs = [model(arrange(one)) for model, one in zip((dense, sparse), given, strict=True)]
    for y in outputs:
        (y * drawn(*y.shape, dtype=y.dtype)).sum().backward()
    near(outputs[1], outputs[0])
    near(given[1].grad, given[0].grad)
    for name, parameter in sparse.named_parameters():
        expected = dense.get_parameter(name.replace("values", "weight")).grad
        if name.endswith("values"):
            expected = expected.flatten()[sparse.get_submodule(name.removesuffix(".values")).pattern.flat]
        near(parameter.grad, expected)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("arranged", ARRANGED)
@pytest.mark.parametrize("way", WAYS)
def test_linear(way: str, arranged: str, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    use(way, monkeypatch)
    compare(*pruned(dtype=dtype), 2 * drawn(2, 41, 37, dtype=dtype), ARRANGED[arranged])


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("tokens", [1, 9, 64, 300])
def test_sizes_and_densities(way: str, tokens: int, monkeypatch: pytest.MonkeyPatch) -> None:
    use(way, monkeypatch)
    for density in (0.0, 0.02, 1.0):
        compare(*pruned(density), drawn(tokens, 37))
    compare(*pruned(bias=False), drawn(tokens, 37))


@pytest.mark.parametrize("way", WAYS)
def test_pointwise_convolutions(way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    use(way, monkeypatch)
    dense, sparse = pruned(use_conv=True)
    for memory in (torch.contiguous_format, torch.channels_last):
        compare(dense, sparse, drawn(3, 37, 7, 7), lambda x, m=memory: x.contiguous(memory_format=m))
        dense.zero_grad(), sparse.zero_grad()


@pytest.mark.parametrize("way", KERNELS)
def test_gelu_over_all_numbers(way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """One unit, so that the output is GELU itself, from numbers where it is 0 to those where it is the number."""
    use(way, monkeypatch)
    for dtype, tolerance in ((torch.float32, 1e-6), (torch.float64, 1e-14)):
        model = nn.Sequential(Mlp(1, 1, bias=False)).to(dtype)
        for p in model.parameters():
            p.data.fill_(1.0)
        mask = {name: torch.ones(1, 1, dtype=torch.bool) for name in ("0.fc1.weight", "0.fc2.weight")}
        sparsify(model, mask)
        x = torch.cat([torch.linspace(-40, 40, 8_001, dtype=dtype), torch.tensor([1e30, -1e30, 0.0], dtype=dtype)])
        ours, exact = (x[:, None].clone().requires_grad_() for _ in range(2))
        found, expected = model(ours), F.gelu(exact.double())
        found.sum().backward()
        expected.sum().backward()
        torch.testing.assert_close(found.double(), expected, rtol=tolerance, atol=tolerance)
        torch.testing.assert_close(ours.grad, exact.grad, rtol=tolerance, atol=tolerance)
        assert model(torch.tensor([[float("nan")]], dtype=dtype)).isnan().all()


@pytest.mark.parametrize("way", KERNELS)
def test_dropout_bf16_frozen_weights_and_checkpointing(way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    use(way, monkeypatch)
    dense, sparse = pruned(drop=0.5)
    torch.manual_seed(0)
    expected = dense(drawn(9, 37))
    torch.manual_seed(0)
    near(sparse(drawn(9, 37)), expected)  # layer by layer, with the same draws
    dense.eval(), sparse.eval()
    compare(dense, sparse, drawn(9, 37))
    with torch.autocast("cpu", torch.bfloat16):
        assert sparse(drawn(9, 37)).dtype == torch.bfloat16
    dense, sparse = pruned()
    sparse[0].fc1.values.requires_grad_(False)
    checkpoint(sparse, drawn(9, 37), use_reentrant=False).sum().backward()
    dense(drawn(9, 37)).sum().backward()
    assert sparse[0].fc1.values.grad is None
    near(sparse[0].fc1.bias.grad, dense[0].fc1.bias.grad)


def test_threads_agree_and_repeat(monkeypatch: pytest.MonkeyPatch) -> None:
    use("plain", monkeypatch)
    torch.set_num_threads(3)
    dense, sparse = pruned()
    compare(dense, sparse, drawn(333, 37))
    gradients = []
    for _ in range(5):
        sparse.zero_grad()
        sparse(drawn(333, 37)).square().sum().backward()
        gradients.append(sparse[0].fc1.values.grad.clone())
    assert all(torch.equal(gradients[0], other) for other in gradients)


@pytest.mark.parametrize("change", ["tanh", "norm", "relu", "hook", "one dense", "another class"])
def test_what_is_not_that_mlp_is_left_as_it_is(change: str, monkeypatch: pytest.MonkeyPatch) -> None:
    use("plain", monkeypatch)

    class Other(Mlp):
        pass

    options: dict[str, Any] = {"norm": {"norm_layer": nn.LayerNorm}, "relu": {"act_layer": nn.ReLU}}.get(change, {})
    model = nn.Sequential((Other if change == "another class" else Mlp)(8, 12, **options))
    if change == "tanh":
        model[0].act = nn.GELU(approximate="tanh")
    if change == "hook":
        model[0].act.register_forward_hook(lambda *_: None)
    expected = model(drawn(9, 8))
    mask = {f"0.{name}.weight": torch.ones_like(getattr(model[0], name).weight) > 0 for name in ("fc1", "fc2")}
    sparsify(model, mask, but=["0.fc1.weight"] if change == "one dense" else [])
    assert not isinstance(model[0], SparseMlp)
    near(model(drawn(9, 8)), expected)


def test_there_and_back() -> None:
    dense, sparse = pruned()
    assert isinstance(sparse[0], SparseMlp)
    assert [name for name, _ in sparse.named_parameters()] == [
        name.replace("weight", "values") for name, _ in dense.named_parameters()
    ]
    sparse.eval()
    densify(sparse)
    assert type(sparse[0]) is Mlp and not sparse[0].fc2.training
    assert all(torch.equal(a, b) for a, b in zip(sparse.parameters(), dense.parameters(), strict=True))


def test_a_wrong_gelu_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    use("plain", monkeypatch)
    dense, sparse = pruned()
    dense[0].act = nn.GELU(approximate="tanh")
    with pytest.raises(AssertionError):
        compare(dense, sparse, drawn(9, 37))
    assert mlp.SparseMlp.stands_for(dense[0]) is False
