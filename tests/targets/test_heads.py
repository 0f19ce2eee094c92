"""Heads of a ViT: attention written head by head, sums by hand, smaller attention, mutants."""

from __future__ import annotations

import copy

import pytest
import torch
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from prune_cli import masks, pipeline, scorers
from prune_cli.common.errors import ConfigError
from prune_cli.masks import controls
from prune_cli.models.lstm128 import Lstm128
from prune_cli.models.mixer_micro import MixerMicro
from prune_cli.models.poolformer_micro import PoolFormerMicro
from prune_cli.models.prunable import prunable
from prune_cli.pipeline.outline import ModelOutline
from prune_cli.targets.heads import HeadTarget

H, D, d = 4, 16, 4
PATTERNS = ["blocks.*.weight"]
HEADS = HeadTarget()
KEEP = {
    "blocks.0.attn": torch.tensor([True, False, True, True]),
    "blocks.1.attn": torch.tensor([False, False, False, False]),
    "blocks.2.attn": torch.tensor([False, True, False, False]),
}


def vit(seed: int = 0, **options: object) -> VisionTransformer:
    """Three blocks of four heads, in float64, its biases far from zero."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        size = {"img_size": 8, "patch_size": 4, "in_chans": 1, "num_classes": 3, "depth": 3}
        model = VisionTransformer(**size, embed_dim=D, num_heads=H, **options).double()  # type: ignore[arg-type]
        for parameter in model.parameters():
            nn.init.normal_(parameter, std=0.4)
    return model.eval()


def images(number: int = 5) -> Tensor:
    return torch.randn(number, 1, 8, 8, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


class HeadByHead(nn.Module):
    """Attention as a loop over its heads, each times 1 or 0."""

    def __init__(self, layer: nn.Module, keep: Tensor):
        super().__init__()
        self.layer, self.keep = layer, keep

    def forward(self, x: Tensor, **_: object) -> Tensor:
        qkv, found = self.layer.qkv, []
        for head in range(H):
            q, k, v = (
                x @ qkv.weight[part * D + head * d :][:d].T + qkv.bias[part * D + head * d :][:d] for part in range(3)
            )
            found.append((q @ k.transpose(1, 2) / d**0.5).softmax(-1) @ v * self.keep[head])
        return torch.cat(found, -1) @ self.layer.proj.weight.T + self.layer.proj.bias


def head_by_head(model: nn.Module) -> nn.Module:
    plain = copy.deepcopy(model)
    for name, keep in KEEP.items():
        plain.set_submodule(name, HeadByHead(plain.get_submodule(name), keep.double()))
    return plain


def masked(model: nn.Module, weight_mask: dict[str, Tensor]) -> nn.Module:
    found = copy.deepcopy(model)
    masks.apply({name: found.get_parameter(name) for name in weight_mask}, weight_mask)
    return found


@torch.no_grad()
def near(one: nn.Module, two: nn.Module) -> bool:
    return torch.allclose(one(images()), two(images()), rtol=1e-10, atol=1e-12)


def test_a_mask_of_weights_removes_the_heads_and_nothing_else() -> None:
    model = vit()
    found = HEADS.weight_mask(model, KEEP)
    assert near(masked(model, found), head_by_head(model))
    assert not near(masked(model, found), model)
    for name, keep in KEEP.items():
        assert int((~found[f"{name}.qkv.weight"]).sum()) == int((~keep).sum()) * 3 * d * D
        assert int((~found[f"{name}.proj.weight"]).sum()) == int((~keep).sum()) * d * D
    removed = sum(int((~keep).sum()) for keep in found.values())
    outline = ModelOutline.of(model, HEADS, PATTERNS)
    zeros = outline.zeros(sum(int((~keep).sum()) for keep in KEEP.values()))
    assert (set(outline.zeroed), zeros) == (set(found), removed)


@pytest.mark.parametrize("left_out", ["qkv.weight", "proj.weight"])
def test_half_a_mask_is_rejected(left_out: str) -> None:
    """Without the columns of proj the biases of v would leak; the rows of qkv alone are there to be zeros on disk."""
    model = vit()
    half = {name: keep for name, keep in HEADS.weight_mask(model, KEEP).items() if not name.endswith(left_out)}
    assert near(masked(model, half), head_by_head(model)) is (left_out == "qkv.weight")


def test_a_heads_score_is_the_sum_over_its_weights() -> None:
    model = vit()
    weights = HEADS.to_score(model, PATTERNS)
    assert list(weights) == list(prunable(model, PATTERNS))
    scores = scorers.build("random", seed=3)(model, [], weights)
    found = HEADS.scores(model, scores)
    assert list(found) == list(KEEP)
    for name, sums in found.items():
        qkv, proj = scores[f"{name}.qkv.weight"], scores[f"{name}.proj.weight"]
        for head in range(H):
            rows = [part * D + head * d + i for part in range(3) for i in range(d)]
            by_hand = sum(float(qkv[row].double().sum()) for row in rows)
            by_hand += sum(float(proj[:, head * d + i].double().sum()) for i in range(d))
            assert float(sums[head]) == pytest.approx(by_hand, rel=1e-6)


def test_four_numbers_by_hand() -> None:
    """Of ones a head has 3·d·D + d·D = 256; a hundred more in one row of k, and ten in one column of proj."""
    model = vit()
    scores = {name: torch.ones_like(p) for name, p in HEADS.to_score(model, PATTERNS).items()}
    scores["blocks.1.attn.qkv.weight"][D + 2 * d, 0] += 100
    scores["blocks.1.attn.proj.weight"][5, 3 * d] += 10
    assert HEADS.scores(model, scores)["blocks.1.attn"].tolist() == [256, 256, 356, 266]


@pytest.mark.parametrize("sparsity", [0.0, 0.25, 0.4, 0.9])
def test_exactly_so_many_heads_are_removed(sparsity: float) -> None:
    model = vit()
    found = HEADS.scores(model, scorers.build("magnitude")(model, [], HEADS.to_score(model, PATTERNS)))
    kept = sum(int(keep.sum()) for keep in masks.select(found, sparsity).values())
    assert kept == 12 - round(sparsity * 12)


@pytest.mark.parametrize("name", ["synflow", "force"])
def test_scorers_in_rounds_remove_heads_too_and_leave_the_model(name: str) -> None:
    model = vit()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    batches, weights = [(images(), torch.tensor([0, 1, 2, 0, 1]))], HEADS.to_score(model, PATTERNS)
    scorer = scorers.build(name, rounds=3)
    found = {
        kind: pipeline.find_mask(model, batches, weights, scorer, 0.5, control=controls.build(kind), target=HEADS)
        for kind in ("none", "inverted")
    }
    for mask in found.values():
        assert {key: keep.shape for key, keep in mask.items()} == dict.fromkeys(KEEP, (H,))
        assert sum(int(keep.sum()) for keep in mask.values()) == 6
    assert masks.digest(found["none"]) != masks.digest(found["inverted"])
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


@pytest.mark.parametrize("options", [{}, {"qkv_bias": False}, {"qk_norm": True}, {"proj_bias": False}], ids=str)
def test_a_smaller_vit_answers_as_the_masked_one(options: dict) -> None:
    model = vit(**options)
    whole = masked(model, HEADS.weight_mask(model, KEEP))
    small = HEADS.shrink(whole, KEEP)
    assert near(small, whole)
    assert [small.get_submodule(name).qkv.out_features for name in ("blocks.0.attn", "blocks.2.attn")] == [36, 12]
    lost = sum(p.numel() for p in whole.parameters()) - sum(p.numel() for p in small.parameters())
    biases = 8 * 3 * d if options.get("qkv_bias", True) else 0
    norms = 4 * d if options.get("qk_norm") else 0  # of the layer without a head: two norms of weight and bias
    assert lost == 8 * 4 * d * D + biases + norms
    assert near(HEADS.shrink(model, {name: torch.ones_like(keep) for name, keep in KEEP.items()}), model)


def test_a_smaller_vit_of_other_heads_is_rejected() -> None:
    model = vit()
    whole = masked(model, HEADS.weight_mask(model, KEEP))
    assert not near(HEADS.shrink(whole, KEEP | {"blocks.0.attn": torch.tensor([True, True, False, True])}), whole)


def test_a_smaller_vit_learns_in_every_layer_but_the_norm_that_nothing_reads() -> None:
    small = HEADS.shrink(vit(), KEEP).train()
    small(images()).sum().backward()
    still = {name for name, p in small.named_parameters() if p.grad is None}
    assert still == {"blocks.1.norm1.weight", "blocks.1.norm1.bias"}


OTHERS = {"mixer": MixerMicro(), "poolformer": PoolFormerMicro(), "lstm": Lstm128()}


@pytest.mark.parametrize("made", OTHERS.values(), ids=OTHERS.keys())
def test_a_model_without_heads_is_refused(made: object) -> None:
    model = made.build(3)  # type: ignore[attr-defined]
    with pytest.raises(ConfigError) as caught:
        HEADS.parameters(model, made.prunable)  # type: ignore[attr-defined]
    assert (caught.value.what.split()[0], len(caught.value.lines())) == (type(model).__name__, 3)
    assert (caught.value.where, "model=vit_micro" in str(caught.value.hint)) == ("removal=heads", True)


def test_heads_whose_weights_may_not_be_pruned_are_none() -> None:
    model = vit()
    assert list(HEADS.parameters(model, ["blocks.1.*"])) == ["blocks.1.attn"]
    with pytest.raises(ConfigError, match="both prunable"):
        HEADS.parameters(model, ["blocks.*.attn.qkv.*", "blocks.*.mlp.*"])


@pytest.mark.parametrize("options", [{"scale_attn_norm": True}], ids=str)
def test_attention_that_normalises_over_all_heads_has_none_to_remove(options: dict) -> None:
    with pytest.raises(ConfigError, match="no attention heads"):
        HEADS.parameters(vit(**options), PATTERNS)
