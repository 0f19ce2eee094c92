"""Fisher, Wanda and SynFlow against the plain way of computing each, and mutants that are rejected."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from prune_cli import scorers
from prune_cli.common.errors import ConfigError, NumericalError
from prune_cli.scorers.gradients import in_parts

Scorer = Callable[..., dict[str, Tensor]]


def batches(shape: tuple[int, ...], sizes: tuple[int, ...] = (7, 4)) -> list[tuple[Tensor, Tensor]]:
    draw = torch.Generator().manual_seed(1)
    return [
        (torch.randn(size, *shape, generator=draw, dtype=torch.float64), torch.randint(3, (size,), generator=draw))
        for size in sizes
    ]


def network() -> tuple[nn.Module, dict[str, nn.Parameter]]:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = nn.Sequential(
            nn.Conv2d(2, 6, 3, stride=2, padding=1), nn.BatchNorm2d(6), nn.ReLU(), nn.Conv2d(6, 4, 1), nn.GELU(), nn.Flatten(), nn.Linear(36, 3)
        ).double()  # fmt: skip
    return model, {f"{name}.weight": model[int(name)].weight for name in "036"}


# -- Fisher --------------------------------------------------------------------------------------------------------


def by_loop(model: nn.Module, given: list[tuple[Tensor, Tensor]], parameters: dict[str, nn.Parameter]) -> dict:
    """A backward pass a sample, its gradient squared."""
    model.eval()
    total = {name: torch.zeros_like(p) for name, p in parameters.items()}
    samples = [(x, y) for xs, ys in given for x, y in zip(xs.split(1), ys.split(1), strict=True)]
    for x, y in samples:
        gradients = torch.autograd.grad(F.cross_entropy(model(x), y), list(parameters.values()))
        for name, g in zip(parameters, gradients, strict=True):
            total[name] += g**2
    return {name: parameters[name].detach() ** 2 * t / len(samples) for name, t in total.items()}


def check_fisher(scorer: Scorer) -> None:
    model, parameters = network()
    given = batches((2, 6, 6))
    expected = by_loop(model, given, parameters)
    found = scorer(model, given, parameters)
    for name in parameters:
        torch.testing.assert_close(found[name], expected[name], rtol=1e-10, atol=1e-18)


def test_fisher_is_a_loop_over_samples() -> None:
    check_fisher(scorers.build("fisher"))


def test_fisher_in_chunks_of_one_sample_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = []
    fisher = scorers.build("fisher", chunk_mib=1)
    monkeypatch.setattr(nn.Parameter, "element_size", lambda _: 2**20)  # so that one sample fills a chunk
    whole = type(fisher)._chunks

    def watched(self: object, *given: object) -> object:
        parts = list(whole(self, *given))  # type: ignore[arg-type]
        sizes.extend(len(y) for _, y in parts)
        return parts

    monkeypatch.setattr(type(fisher), "_chunks", watched)
    check_fisher(fisher)
    assert sizes == [1] * 11


def test_the_square_of_the_mean_gradient_is_not_fisher() -> None:
    def squared_mean(model: nn.Module, given: list, parameters: dict) -> dict:
        return {name: s**2 for name, s in scorers.build("snip")(model, given, parameters).items()}

    def without_weights(model: nn.Module, given: list, parameters: dict) -> dict:
        return {
            n: s / parameters[n].detach() ** 2 for n, s in scorers.build("fisher")(model, given, parameters).items()
        }

    for mutant in (squared_mean, without_weights):
        with pytest.raises(AssertionError):
            check_fisher(mutant)


def test_fisher_works_through_timms_attention() -> None:
    from timm.models.vision_transformer import VisionTransformer

    torch.manual_seed(0)
    model = VisionTransformer(img_size=8, patch_size=4, in_chans=1, num_classes=3, embed_dim=16, depth=1, num_heads=2)
    model = model.double()
    parameters = {"blocks.0.attn.qkv.weight": model.blocks[0].attn.qkv.weight}
    given = batches((1, 8, 8))
    expected = by_loop(model, given, parameters)
    for name, score in scorers.build("fisher")(model, given, parameters).items():
        torch.testing.assert_close(score, expected[name], rtol=1e-9, atol=1e-18)


# -- GraSP ---------------------------------------------------------------------------------------------------------


def test_grasp_in_parts_is_grasp_of_the_whole_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    """Against one double backward pass through all images at once, in float64."""
    from timm.models.vision_transformer import VisionTransformer

    from prune_cli.scorers import grasp

    torch.manual_seed(0)
    model = VisionTransformer(img_size=16, patch_size=4, in_chans=2, num_classes=3, embed_dim=32, depth=2, num_heads=2)
    model = model.double().eval()
    parameters = {name: p for name, p in model.named_parameters() if name.startswith("blocks") and p.ndim == 2}
    (x, y), weights = batches((2, 16, 16), (9,))[0], list(parameters.values())
    with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
        g = torch.autograd.grad(F.cross_entropy(model(x), y), weights, create_graph=True)
        products = torch.autograd.grad(g, weights, [one.detach() for one in g])
    sizes = []

    def watched(*_: object) -> list[tuple[Tensor, Tensor]]:
        parts = [(x[at : at + 2], y[at : at + 2]) for at in range(0, 9, 2)]
        sizes.extend(len(y) for _, y in parts)
        return parts

    monkeypatch.setattr(grasp, "in_parts", watched)
    found = scorers.build("grasp")(model, [(x, y)], parameters)
    assert sizes == [2, 2, 2, 2, 1]
    for (name, weight), product in zip(parameters.items(), products, strict=True):
        torch.testing.assert_close(found[name], weight.detach() * product, rtol=1e-9, atol=1e-15)


def test_parts_fit_the_memory_that_they_may_take() -> None:
    model = nn.Sequential(nn.Linear(1000, 1000), nn.ReLU(), nn.Linear(1000, 3))  # saves about 8 kB an image
    given = [(torch.zeros(300, 1000), torch.zeros(300).long()), (torch.zeros(70, 1000), torch.zeros(70).long())]
    sizes = [len(y) for _, y in in_parts(model, given, mib=1)]
    assert sum(sizes) == 370 and len(sizes) > 3
    assert 50 < max(sizes) < 150
    assert [len(y) for _, y in in_parts(model, given, mib=1024)] == [300, 70]


# -- Wanda ---------------------------------------------------------------------------------------------------------


def check_wanda_linear(scorer: Scorer) -> None:
    layer = nn.Linear(5, 3).double()
    given = batches((4, 5))  # 4 tokens a sample
    x = torch.cat([x for x, _ in given]).reshape(-1, 5)
    expected = layer.weight.detach().abs() * x.pow(2).mean(0).sqrt()
    model = nn.Sequential(layer, nn.Flatten(), nn.Linear(12, 3).double())
    found = scorer(model, given, {"w": layer.weight})["w"]
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=0)


def test_wanda_of_a_linear_layer_is_two_lines() -> None:
    check_wanda_linear(scorers.build("wanda"))


def test_wanda_of_a_1x1_convolution_is_two_lines() -> None:
    model, parameters = network()
    given = batches((2, 6, 6))
    seen = torch.cat([model.eval()[:3](x) for x, _ in given]).movedim(1, -1).reshape(-1, 6)
    expected = model[3].weight.detach().abs() * seen.pow(2).mean(0).sqrt().detach().view(1, 6, 1, 1)
    found = scorers.build("wanda")(model, given, parameters)["3.weight"]
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=0)


@pytest.mark.parametrize(
    "options",
    [
        {"kernel_size": 3, "stride": 2, "padding": 1},
        {"kernel_size": (3, 2), "dilation": (1, 2)},
        {"kernel_size": 7, "stride": 4, "padding": 2},
        {"kernel_size": 3, "groups": 2, "padding": (0, 2)},
    ],
    ids=str,
)
def test_wanda_of_a_convolution_is_that_of_its_unfolded_input(options: dict) -> None:
    layer = nn.Conv2d(4, 6, **options).double()
    given = batches((4, 11, 10))
    x = torch.cat([x for x, _ in given])
    unfold = {key: getattr(layer, key) for key in ("kernel_size", "stride", "padding", "dilation")}
    norms = F.unfold(x, **unfold).pow(2).mean((0, 2)).sqrt().view(layer.groups, -1, *layer.kernel_size)
    expected = layer.weight.detach().abs() * norms.repeat_interleave(6 // layer.groups, 0)
    model = nn.Sequential(layer, nn.AdaptiveAvgPool2d(1), nn.Flatten())
    found = scorers.build("wanda")(model, given, {"w": layer.weight})["w"]
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=0)


def test_wrong_wandas_are_rejected() -> None:
    def without_root(model: nn.Module, given: list, parameters: dict) -> dict:
        scores = scorers.build("wanda")(model, given, parameters)
        return {name: s**2 / parameters[name].detach().abs() for name, s in scores.items()}

    def last_batch_alone(model: nn.Module, given: list, parameters: dict) -> dict:
        return scorers.build("wanda")(model, given[-1:], parameters)

    for mutant in (without_root, last_batch_alone):
        with pytest.raises(AssertionError):
            check_wanda_linear(mutant)


def test_wanda_refuses_a_layer_that_sees_another_input_than_its_own() -> None:
    """timm's Conv2dSame pads inside its forward pass."""
    from timm.layers import Conv2dSame

    layer = Conv2dSame(2, 3, 3, stride=2).double()
    with pytest.raises(ConfigError, match="plain"):
        scorers.build("wanda")(layer, batches((2, 6, 6)), {"w": layer.weight})


def test_wanda_names_a_weight_that_it_cannot_score() -> None:
    model, parameters = network()
    with pytest.raises(ConfigError) as error:
        scorers.build("wanda")(model, batches((2, 6, 6)), {"norm": model[1].weight})
    assert error.value.where == "norm"
    assert not model[3]._forward_pre_hooks
    scorers.build("wanda")(model, batches((2, 6, 6)), parameters)
    assert not model[3]._forward_pre_hooks


# -- SynFlow -------------------------------------------------------------------------------------------------------


def test_synflow_takes_the_absolute_value_of_biases_and_statistics_too() -> None:
    """One unit: R = |w2| (|w1| + |b|) + |b2|, so w1 scores |w2 w1| and w2 scores |w2| (|w1| + |b|)."""
    model = nn.Sequential(nn.Linear(1, 1), nn.Linear(1, 1))
    for p, value in zip(model.parameters(), (-2.0, -3.0, -5.0, -7.0), strict=True):
        nn.init.constant_(p, value)
    found = scorers.build("synflow")(
        model, [(torch.zeros(1, 1), torch.tensor([0]))], {"a": model[0].weight, "b": model[1].weight}
    )
    assert (float(found["a"]), float(found["b"])) == (10.0, 25.0)
    assert found["a"].dtype == torch.float64
    assert float(model[0].weight.detach()) == -2.0


def check_synflow_behind_a_norm(scorer: Scorer) -> None:
    """A norm subtracts a mean, so a slope can be negative: its size counts, whatever its sign."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(5, 6), nn.LayerNorm(6), nn.ReLU(), nn.Linear(6, 3)).double()
    first = model[0].weight
    absolute = [p.detach().abs().requires_grad_() for p in model.parameters()]
    w, b, scale, shift, v, c = absolute
    hidden = nn.functional.layer_norm(w.sum(1) + b, (6,), scale, shift).relu()
    slope = torch.autograd.grad((v @ hidden + c).sum(), w)[0]
    assert bool((slope < 0).any())
    found = scorer(model, [(torch.zeros(2, 5), torch.zeros(2).long())], {"w": first})["w"]
    torch.testing.assert_close(found, (slope * w).abs().detach(), rtol=1e-10, atol=1e-14)


def test_synflow_takes_the_size_of_a_slope() -> None:
    check_synflow_behind_a_norm(scorers.build("synflow"))


def test_a_synflow_with_signs_is_rejected() -> None:
    def signed(model: nn.Module, given: list, parameters: dict) -> dict:
        scores = scorers.build("synflow")(model, given, parameters)
        return {name: score * torch.sign(score - score.median()) for name, score in scores.items()}

    with pytest.raises(AssertionError):
        check_synflow_behind_a_norm(signed)


def test_synflow_of_a_deep_network_needs_float64() -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = nn.Sequential(*(layer for _ in range(16) for layer in (nn.Linear(300, 300), nn.ReLU())))
    for layer in model[::2]:
        nn.init.normal_(layer.weight, std=3.0)
    parameters = {name: p for name, p in model.named_parameters() if p.ndim == 2}
    scores = scorers.build("synflow")(model, [(torch.zeros(1, 300), torch.tensor([0]))], parameters)
    assert all(bool(score.isfinite().all()) for score in scores.values())
    assert max(float(score.max()) for score in scores.values()) > torch.finfo(torch.float32).max


def test_a_flow_that_is_not_finite_is_an_error() -> None:
    model = nn.Linear(2, 2)
    nn.init.constant_(model.weight, float("inf"))
    with pytest.raises(NumericalError, match="flow"):
        scorers.build("synflow")(model, [(torch.zeros(1, 2), torch.tensor([0]))], {"w": model.weight})


@pytest.mark.parametrize(("name", "option"), [("synflow", "rounds"), ("force", "rounds"), ("fisher", "chunk_mib")])
def test_an_option_out_of_range_is_refused(name: str, option: str) -> None:
    with pytest.raises(ConfigError, match=option):
        scorers.build(name, **{option: 0})
