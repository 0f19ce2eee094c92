"""Agreement with the published code of each method (fixtures made by it, in float64), and mutants that do not agree."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from prune_cli import masks, pipeline, scorers

DATA = Path(__file__).parents[1] / "data"
Scorer = Callable[..., dict[str, Tensor]]


@dataclass(frozen=True)
class Peer:
    """A network, one batch, and what the published code made of them."""

    arrays: dict[str, np.ndarray]
    model: nn.Module
    sparsity: float

    @property
    def parameters(self) -> dict[str, nn.Parameter]:
        return {name: p for name, p in self.model.named_parameters() if name.endswith("weight")}

    def batch(self, prefix: str = "") -> tuple[Tensor, Tensor]:
        return torch.from_numpy(self.arrays[f"{prefix}X"]), torch.from_numpy(self.arrays[f"{prefix}Y"])

    def published(self, kind: str, method: str) -> dict[str, Tensor]:
        return {name: torch.from_numpy(self.arrays[f"{kind}/{method}/{name}"]) for name in self.parameters}


def network(described: dict) -> nn.Module:
    if described["kind"] == "mlp":
        layers: list[nn.Module] = [nn.Flatten()]
        for inputs, outputs in zip(described["sizes"], described["sizes"][1:], strict=False):
            layers += [nn.Linear(inputs, outputs), nn.ReLU()]
        return nn.Sequential(*layers[:-1])
    width, half = described["channels"], described["size"] // 2
    return nn.Sequential(
        nn.Conv2d(described["in_channels"], width, 3, padding=1), nn.ReLU(),
        nn.Conv2d(width, width, 3, stride=2, padding=1), nn.ReLU(),
        nn.Flatten(), nn.Linear(width * half * half, described["classes"]),
    )  # fmt: skip


@pytest.fixture(params=["mlp", "conv"])
def peer(request: pytest.FixtureRequest) -> Iterator[Peer]:
    with np.load(DATA / f"peer_scores_{request.param}.npz") as file:
        arrays = dict(file)
    model = network(json.loads(str(arrays["architecture"]))).double()
    model.load_state_dict(
        {k.removeprefix("param/"): torch.from_numpy(v) for k, v in arrays.items() if k.startswith("param/")}
    )
    yield Peer(arrays, model, float(arrays["sparsity"]))


def normalised(scores: dict[str, Tensor], epsilon: float = 0.0) -> dict[str, Tensor]:
    total = sum(float(score.sum()) for score in scores.values())
    return {name: score / (abs(total) + epsilon) for name, score in scores.items()}


def grasp_normalised(scores: dict[str, Tensor]) -> dict[str, Tensor]:
    """GraSP's own code adds 1e-10 to the sum, which the small scores of T = 200 feel."""
    return normalised(scores, epsilon=1e-10)


METHODS: dict[str, tuple[str, dict, Callable]] = {
    "synflow_one_shot": ("synflow", {}, dict),
    "magnitude": ("magnitude", {}, dict),
    "snip_sum_normalised": ("snip", {}, normalised),
    "grasp_T1_normalised": ("grasp", {"temperature": 1.0}, grasp_normalised),
    "grasp_T200_normalised": ("grasp", {"temperature": 200.0}, grasp_normalised),
}


def check_scores(peer: Peer, method: str, scorer: Scorer) -> None:
    found = METHODS[method][2](scorer(peer.model, [peer.batch()], peer.parameters))
    for name, expected in peer.published("score", method).items():
        scale = float(expected.abs().max())
        torch.testing.assert_close(
            found[name], expected, rtol=1e-9, atol=1e-12 * scale, msg=lambda m, n=name: f"{n}: {m}"
        )


def check_mask(peer: Peer, alpha: float, select: Callable) -> None:
    scores = scorers.build("snip_magnitude", alpha=alpha)(peer.model, [peer.batch()], peer.parameters)
    found = select(scores, peer.sparsity)
    for name, expected in peer.published("mask", f"torch_snip_magnitude_alpha{alpha:g}").items():
        assert torch.equal(found[name], expected), name


def check_official_grasp(peer: Peer, scorer: Scorer) -> None:
    """The official mask keeps one weight more than it was asked to; all others are ours."""
    x, y = peer.batch("grasp_official/")
    scores = scorer(peer.model, list(zip(x.chunk(2), y.chunk(2), strict=True)), peer.parameters)
    found = masks.select(scores, peer.sparsity)
    official = peer.published("mask", "grasp_official")
    extra = sum(int((official[name] & ~found[name]).sum()) for name in official)
    lacking = sum(int((found[name] & ~official[name]).sum()) for name in official)
    assert (extra, lacking) == (1, 0)


@pytest.mark.parametrize("method", METHODS)
def test_scores_are_those_of_the_published_code(peer: Peer, method: str) -> None:
    name, options, _ = METHODS[method]
    check_scores(peer, method, scorers.build(name, **options))


@pytest.mark.parametrize("alpha", [0.0, 0.001, 0.1, 10.0])
def test_masks_of_the_reports_score_are_those_of_torchs_own_pruning(peer: Peer, alpha: float) -> None:
    check_mask(peer, alpha, masks.select)


def test_the_official_grasp_mask_is_ours_but_for_its_extra_weight(peer: Peer) -> None:
    check_official_grasp(peer, scorers.build("grasp", temperature=200.0))


def synflow_overlap(peer: Peer, scorer: Scorer) -> float:
    """The share of the published mask that ours holds too; the peer rounds the count its own way."""
    ours = pipeline.find_mask(peer.model, [peer.batch()], peer.parameters, scorer, peer.sparsity)  # type: ignore[arg-type]
    theirs = {name: keep.bool() for name, keep in peer.published("mask", "synflow_100").items()}
    both = sum(int((ours[name] & theirs[name]).sum()) for name in ours)
    return both / max(sum(int(keep.sum()) for keep in mask.values()) for mask in (ours, theirs))


def test_a_hundred_rounds_of_synflow_overlap_with_the_published_mask(peer: Peer) -> None:
    assert synflow_overlap(peer, scorers.build("synflow")) >= 0.99


# -- mutants: the same checks reject them --------------------------------------------------------------------------


def changed(scorer: Scorer, change: Callable[[Tensor], Tensor]) -> Scorer:
    return lambda *given: {name: change(score) for name, score in scorer(*given).items()}


def times_weight_twice(scorer: Scorer) -> Scorer:
    return lambda model, batches, p: {n: s * p[n].detach().abs() for n, s in scorer(model, batches, p).items()}


@pytest.mark.parametrize(
    ("method", "mutant"),
    [
        ("magnitude", changed(scorers.build("magnitude"), torch.neg)),
        ("magnitude", changed(scorers.build("magnitude"), torch.square)),
        ("synflow_one_shot", changed(scorers.build("synflow"), torch.sqrt)),
        ("synflow_one_shot", times_weight_twice(scorers.build("synflow"))),
        ("snip_sum_normalised", changed(scorers.build("snip"), torch.neg)),
        ("snip_sum_normalised", times_weight_twice(scorers.build("snip"))),
        ("grasp_T1_normalised", changed(scorers.build("grasp"), torch.neg)),
        ("grasp_T1_normalised", scorers.build("grasp", temperature=200.0)),
        ("grasp_T200_normalised", scorers.build("grasp", temperature=1.0)),
    ],
    ids=lambda part: part if isinstance(part, str) else "",
)  # fmt: skip
def test_a_wrong_score_is_rejected(peer: Peer, method: str, mutant: Scorer) -> None:
    with pytest.raises(AssertionError):
        check_scores(peer, method, mutant)


def test_one_round_of_synflow_is_no_hundred(peer: Peer) -> None:
    assert synflow_overlap(peer, scorers.build("synflow", rounds=1)) < 0.99


def test_a_wrong_grasp_mask_is_rejected(peer: Peer) -> None:
    right = scorers.build("grasp", temperature=200.0)
    for mutant in (scorers.build("grasp", temperature=1.0), changed(right, torch.neg)):
        with pytest.raises(AssertionError):
            check_official_grasp(peer, mutant)


def test_density_for_sparsity_and_another_alpha_are_rejected(peer: Peer) -> None:
    with pytest.raises(AssertionError):
        check_mask(peer, 0.001, lambda scores, sparsity: masks.select(scores, 1 - sparsity))
    wrong = scorers.build("snip_magnitude", alpha=10.0)(peer.model, [peer.batch()], peer.parameters)
    with pytest.raises(AssertionError):
        check_mask(peer, 0.001, lambda _, sparsity: masks.select(wrong, sparsity))
