"""What every scorer of weights promises, over all that are registered. Those of units: test_unit_contract.py."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from prune_cli import scorers
from prune_cli.common.errors import ConfigError, NumericalError
from prune_cli.scorers import scorers as registry
from prune_cli.scorers.snip_magnitude import sum_terms

NAMES = [name for name, cls in registry.classes.items() if "weights" in cls.scores]
WITHOUT_DATA = {"magnitude", "random", "synflow"}
Batch = tuple[Tensor, Tensor]


def network() -> nn.Module:
    """Everything that behaves otherwise in train mode, one layer of it frozen in eval mode."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = nn.Sequential(
            nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Dropout(0.5), nn.Linear(64, 8), nn.Tanh(), nn.Linear(8, 3)
        ).double()  # fmt: skip
    model[1].eval()
    return model


def prunable(model: nn.Module) -> dict[str, nn.Parameter]:
    return {f"{n}.weight": m.weight for n, m in model.named_modules() if isinstance(m, nn.Linear | nn.Conv2d)}


def batch(samples: int, seed: int = 1) -> Batch:
    draw = torch.Generator().manual_seed(seed)
    x = torch.randn(samples, 1, 6, 6, generator=draw, dtype=torch.float64)
    return x, torch.randint(3, (samples,), generator=draw)


@pytest.mark.parametrize("name", NAMES)
def test_scores_have_the_names_and_shapes_of_the_weights_and_are_finite(name: str) -> None:
    model = network()
    scores = scorers.build(name)(model, [batch(10)], prunable(model))
    assert list(scores) == list(prunable(model))
    for key, score in scores.items():
        assert score.shape == prunable(model)[key].shape
        assert bool(score.isfinite().all())
        assert not score.requires_grad


@pytest.mark.parametrize("name", NAMES)
def test_scoring_leaves_the_model_as_it_was(name: str) -> None:
    model = network().train()
    model[1].eval()
    model[5].bias.requires_grad_(False)
    model[0].weight.grad = torch.ones_like(model[0].weight)
    state = {key: value.clone() for key, value in model.state_dict().items()}
    modes = [module.training for module in model.modules()]
    flags = [p.requires_grad for p in model.parameters()]
    scorers.build(name)(model, [batch(10)], prunable(model))
    assert all(torch.equal(value, state[key]) for key, value in model.state_dict().items())
    assert [module.training for module in model.modules()] == modes
    assert [p.requires_grad for p in model.parameters()] == flags
    assert torch.equal(model[0].weight.grad, torch.ones_like(model[0].weight))
    assert model[5].weight.grad is None


@pytest.mark.parametrize("name", NAMES)
def test_the_model_is_as_it_was_after_a_failure_too(name: str) -> None:
    if name in WITHOUT_DATA:
        pytest.skip("looks at no data")
    model = network().train()
    x, y = batch(4)
    with pytest.raises(NumericalError, match="loss") as error:
        scorers.build(name)(model, [batch(4), (x * float("nan"), y)], prunable(model))
    assert error.value.where == "scoring batch 2"
    assert model[4].training
    assert all(p.requires_grad for p in model.parameters())


@pytest.mark.parametrize("name", NAMES)
def test_scores_depend_on_the_data_unless_the_scorer_says_that_it_sees_none(name: str) -> None:
    model, scorer = network(), scorers.build(name)
    one, two = (scorer(model, [batch(10, seed)], prunable(model)) for seed in (1, 2))
    assert all(torch.equal(one[key], two[key]) for key in one) is not scorer.sees_data
    assert scorer.sees_data is (name not in WITHOUT_DATA)


def check_uneven_batches(scorer: object) -> None:
    """Batches of 7 and 3 count as one of 10."""
    model = network()
    x, y = batch(10)
    whole = scorer(model, [(x, y)], prunable(model))  # type: ignore[operator]
    parts = scorer(model, iter([(x[:7], y[:7]), (x[7:], y[7:])]), prunable(model))  # type: ignore[operator]
    for key in whole:
        torch.testing.assert_close(parts[key], whole[key], rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize("name", NAMES)
def test_several_batches_are_weighted_by_their_samples(name: str) -> None:
    check_uneven_batches(scorers.build(name))


def test_an_unweighted_mean_over_batches_is_rejected() -> None:
    def unweighted(model: nn.Module, batches: object, parameters: dict) -> dict:
        found = [scorers.build("snip")(model, [one], parameters) for one in batches]  # type: ignore[attr-defined]
        return {key: sum(scores[key] for scores in found) / len(found) for key in parameters}

    with pytest.raises(AssertionError):
        check_uneven_batches(unweighted)


def check_eval_mode(scorer: object) -> None:
    """Dropout and batch statistics play no part: the score is that of the model in eval mode, twice the same."""
    model, quiet = network().train(), network().eval()
    found = scorer(model, [batch(10)], prunable(model))  # type: ignore[operator]
    x, y = batch(10)
    gradients = torch.autograd.grad(F.cross_entropy(quiet(x), y), list(prunable(quiet).values()))
    for (key, weight), g in zip(prunable(quiet).items(), gradients, strict=True):
        torch.testing.assert_close(found[key], (weight * g).abs().detach(), rtol=1e-10, atol=1e-14)


def test_the_model_is_scored_in_eval_mode() -> None:
    check_eval_mode(scorers.build("snip"))


def test_scores_in_train_mode_are_rejected() -> None:
    def in_train_mode(model: nn.Module, batches: list[Batch], parameters: dict) -> dict:
        (x, y), weights = batches[0], list(parameters.values())
        gradients = torch.autograd.grad(F.cross_entropy(model(x), y), weights)
        return {key: (g * p).abs().detach() for (key, p), g in zip(parameters.items(), gradients, strict=True)}

    with pytest.raises(AssertionError):
        check_eval_mode(in_train_mode)


def test_a_linear_model_by_hand() -> None:
    """Two weights, one sample of class 0, logits (a, b): L = ln(1 + e^(b - a)), dL/da = -s, dL/db = s, s = σ(b - a)."""
    model = nn.Linear(1, 2, bias=False).double()
    with torch.no_grad():
        model.weight.copy_(torch.tensor([[1.0], [-2.0]]))
    given = (model, [(torch.ones(1, 1, dtype=torch.float64), torch.tensor([0]))], {"w": model.weight})
    s = float(torch.sigmoid(torch.tensor(-3.0, dtype=torch.float64)))
    c = s * (1 - s)  # H = c [[1, -1], [-1, 1]], g = (-s, s), Hg = 2 c s (-1, 1)
    expected = {
        "snip": (s, 2 * s),
        "magnitude": (1.0, 2.0),
        "snip_magnitude": (s + 1e-3, 2 * s + 4e-3),
        "grasp": (-2 * c * s, -4 * c * s),
    }
    for name, values in expected.items():
        found = scorers.build(name)(*given)["w"].flatten().tolist()
        assert found == pytest.approx(values, rel=1e-12), name


def test_the_terms_of_the_reports_score_sum_to_it() -> None:
    model = network()
    scorer = scorers.build("snip_magnitude", alpha=0.3)
    given = (model, [batch(10)], prunable(model))
    terms = dict(scorer.terms(*given))
    assert all(set(found) == {"sensitivity", "magnitude"} for found in terms.values())
    for key, score in scorer(*given).items():
        torch.testing.assert_close(terms[key]["magnitude"], 0.3 * prunable(model)[key].detach() ** 2)
        assert torch.equal(sum_terms(terms[key]), score)


def test_alpha_zero_is_snip_and_a_large_alpha_ranks_as_magnitude() -> None:
    model = network()
    given = (model, [batch(10)], prunable(model))
    for key, score in scorers.build("snip")(*given).items():
        assert torch.equal(scorers.build("snip_magnitude", alpha=0.0)(*given)[key], score)
        magnitude = scorers.build("magnitude")(*given)[key].flatten().argsort()
        assert torch.equal(scorers.build("snip_magnitude", alpha=1e12)(*given)[key].flatten().argsort(), magnitude)


def test_grasp_differentiates_twice_through_fused_attention() -> None:
    from timm.models.vision_transformer import VisionTransformer

    torch.manual_seed(0)
    model = VisionTransformer(img_size=8, patch_size=4, in_chans=1, num_classes=3, embed_dim=16, depth=2, num_heads=2)
    assert model.blocks[0].attn.fused_attn
    parameters = {"blocks.0.attn.qkv.weight": model.blocks[0].attn.qkv.weight}
    scores = scorers.build("grasp")(model, [(torch.randn(4, 1, 8, 8), torch.tensor([0, 1, 2, 0]))], parameters)
    assert bool((scores["blocks.0.attn.qkv.weight"] != 0).any())


def test_random_scores_depend_on_the_seed_and_on_nothing_else() -> None:
    model = network()
    first, again = (scorers.build("random", seed=3)(model, [], prunable(model)) for _ in range(2))
    other = scorers.build("random", seed=4)(model, [], prunable(model))
    one = scorers.build("random", seed=3)(model, [], {"5.weight": model[5].weight})
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert not torch.equal(first["5.weight"], other["5.weight"])
    assert torch.equal(one["5.weight"], first["5.weight"])
    assert float(first["5.weight"].min()) >= 0 and float(first["5.weight"].max()) < 1


def test_yaml_files_and_registered_scorers_have_the_same_names() -> None:
    files = {path.stem for path in (Path(__file__).parents[2] / "configs/scorer").glob("*.yaml")}
    assert files == set(registry.classes)


def test_a_name_can_be_registered_once() -> None:
    with pytest.raises(ValueError, match="twice"):
        registry.register("snip")(registry.classes["grasp"])


@pytest.mark.parametrize(
    ("name", "options", "said"),
    [
        ("snap", {}, "snip"),
        ("grasp", {"temprature": 1}, "temperature"),
        ("snip_magnitude", {"alpha": -1.0}, "alpha"),
        ("snip_magnitude", {"alpha": float("nan")}, "alpha"),
        ("grasp", {"temperature": 0.0}, "temperature"),
    ],
)
def test_a_wrong_name_or_option_is_refused(name: str, options: dict, said: str) -> None:
    with pytest.raises(ConfigError) as error:
        scorers.build(name, **options)
    assert said in " ".join(error.value.lines())
