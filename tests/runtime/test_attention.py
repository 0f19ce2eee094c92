"""Attention over few tokens behind a sparse layer gives the output and the gradients of torch's own."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from test_layers import drawn, near
from timm.layers.attention import Attention
from torch import Tensor, nn
from torch.nn import functional as F
from ways import WAYS, use

from prune_cli import masks
from prune_cli.common.random import generator
from prune_cli.runtime import densify, sparsify
from prune_cli.runtime import products as products_file
from prune_cli.runtime.attention import MOST_TOKENS, SparseAttention, _Attention

KERNELS = WAYS[:3]


def expected_of(qkv: Tensor, heads: int, scale: float) -> Tensor:
    """torch's own."""
    q, k, v = qkv.unflatten(2, (3, heads, -1)).permute(2, 0, 3, 1, 4)
    return F.scaled_dot_product_attention(q, k, v, scale=scale).transpose(1, 2).flatten(2)


def compare(qkv: Tensor, heads: int, scale: float = 0.3) -> None:
    """Outputs and gradients, for a loss that weighs each output differently."""
    found = []
    for attend in (expected_of, _Attention.apply):
        given = qkv.clone().requires_grad_()
        y = attend(given, heads, scale)
        (y * drawn(*y.shape, dtype=y.dtype)).sum().backward()
        found.append((y, given.grad))
    near(found[1][0], found[0][0])
    near(found[1][1], found[0][1])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("tokens", [1, 2, 5, 17, 33, 128])
@pytest.mark.parametrize("way", KERNELS)
def test_numbers_of_tokens(way: str, tokens: int, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    use(way, monkeypatch)
    compare(drawn(3, tokens, 3 * 2 * 20, dtype=dtype), heads=2)


@pytest.mark.parametrize("features", [1, 8, 32, 64, 128])
@pytest.mark.parametrize("way", KERNELS)
def test_sizes_of_heads(way: str, features: int, monkeypatch: pytest.MonkeyPatch) -> None:
    use(way, monkeypatch)
    compare(drawn(2, 17, 3 * 3 * features), heads=3)


@pytest.mark.parametrize("way", KERNELS)
def test_far_numbers(way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """All weight on one token; all scores far below zero, beside the zeros of padding; no number."""
    use(way, monkeypatch)
    compare(30 * drawn(2, 17, 3 * 8, dtype=torch.float64), heads=1, scale=1.0)
    apart = torch.ones(1, 5, 3 * 4, dtype=torch.float64) * torch.tensor([20.0] * 4 + [-20.0] * 4 + [1.0] * 4)
    compare(apart + 0.01 * drawn(1, 5, 12, dtype=torch.float64), heads=1, scale=1.0)
    near(_Attention.apply(apart.float(), 1, 1.0), torch.ones(1, 5, 4))
    qkv = drawn(1, 5, 12)
    qkv[0, 2, 0] = float("nan")
    assert _Attention.apply(qkv, 1, 1.0)[0, 2].isnan().all()


def test_threads_agree_and_repeat(monkeypatch: pytest.MonkeyPatch) -> None:
    use("plain", monkeypatch)
    torch.set_num_threads(3)
    compare(drawn(5, 17, 3 * 2 * 8), heads=2)


def pruned(density: float = 0.3, **options: Any) -> tuple[nn.Sequential, nn.Sequential]:
    """A dense model of one attention and its sparse copy."""
    dense = nn.Sequential(Attention(24, 4, qkv_bias=True, **options))
    weights = {name: p for name, p in dense.named_parameters() if p.ndim > 1}
    mask = {name: torch.rand(p.shape, generator=generator(1, name)) < density for name, p in weights.items()}
    masks.apply(weights, mask)
    sparse = copy.deepcopy(dense)
    sparsify(sparse, mask)
    return dense, sparse


def same_models(dense: nn.Sequential, sparse: nn.Sequential, x: Tensor, **options: Any) -> None:
    """Outputs and gradients of both."""
    given = [x.clone().requires_grad_() for _ in range(2)]
    outputs = [model[0](one, **options) for model, one in zip((dense, sparse), given, strict=True)]
    for y in outputs:
        (y * drawn(*y.shape)).sum().backward()
    near(outputs[1], outputs[0])
    near(given[1].grad, given[0].grad)
    near(sparse[0].qkv.bias.grad, dense[0].qkv.bias.grad)
    dense.zero_grad(), sparse.zero_grad()


@pytest.mark.parametrize("way", WAYS)
def test_modules(way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    use(way, monkeypatch)
    dense, sparse = pruned()
    assert isinstance(sparse[0], SparseAttention)
    same_models(dense, sparse, drawn(2, 17, 24))
    same_models(dense, sparse, drawn(2, 17, 24), is_causal=True)
    same_models(dense, sparse, drawn(2, 17, 24), attn_mask=torch.ones(17, 17, dtype=torch.bool).tril())
    same_models(dense, sparse, drawn(1, MOST_TOKENS + 1, 24))
    with torch.autocast("cpu", torch.bfloat16):
        assert sparse(drawn(2, 17, 24)).dtype == torch.bfloat16


def test_dropped_shares_are_torchs(monkeypatch: pytest.MonkeyPatch) -> None:
    use("plain", monkeypatch)
    dense, sparse = pruned(attn_drop=0.5, proj_drop=0.2)
    for training in (True, False):
        outputs = []
        for model in (dense.train(training), sparse.train(training)):
            torch.manual_seed(0)
            outputs.append(model(drawn(2, 17, 24)))
        near(outputs[1], outputs[0])


def test_few_tokens_are_the_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    use("plain", monkeypatch)
    _, sparse = pruned()
    asked = []
    kernels = products_file.best()
    monkeypatch.setattr(kernels, "attention", lambda qkv, *rest: asked.append(qkv) or expected_of(qkv, *rest))
    sparse(drawn(2, 17, 24))
    assert len(asked) == 1
    sparse(drawn(1, MOST_TOKENS + 1, 24))
    assert len(asked) == 1


@pytest.mark.parametrize("change", ["norms", "gate", "hook", "another class", "dense"])
def test_what_is_not_that_attention_is_left_as_it_is(change: str) -> None:
    class Other(Attention):
        pass

    options: dict[str, Any] = {
        "norms": {"qk_norm": True, "norm_layer": nn.LayerNorm},
        "gate": {"gated": True},
    }.get(change, {})
    model = nn.Sequential((Other if change == "another class" else Attention)(24, 4, **options))
    if change == "hook":
        model[0].attn_drop.register_forward_hook(lambda *_: None)
    expected = model(drawn(2, 17, 24))
    mask = {f"0.{name}.weight": torch.ones_like(getattr(model[0], name).weight) > 0 for name in ("qkv", "proj")}
    sparsify(model, mask, but=["0.qkv.weight"] if change == "dense" else [])
    assert not isinstance(model[0], SparseAttention)
    near(model(drawn(2, 17, 24)), expected)


def test_there_and_back() -> None:
    dense, sparse = pruned()
    names = [name.replace("weight", "values") for name, _ in dense.named_parameters()]
    assert [name for name, _ in sparse.named_parameters()] == names
    sparse.eval()
    densify(sparse)
    assert type(sparse[0]) is Attention and not sparse[0].attn_drop.training
    assert all(torch.equal(a, b) for a, b in zip(sparse.parameters(), dense.parameters(), strict=True))


def test_a_wrong_scale_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    use("plain", monkeypatch)
    dense, sparse = pruned()
    sparse[0].original[0].scale *= 2
    with pytest.raises(AssertionError):
        same_models(dense, sparse, drawn(2, 17, 24))
