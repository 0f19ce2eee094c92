"""Scorers of weights on an LSTM: against autograd of its equations written out, frame by frame."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from tiny_lstm import Batch, TinyClassifier, clips, tiny
from torch import Tensor
from torch.nn import functional as F

from prune_cli import pipeline, scorers
from prune_cli.common.errors import ConfigError, NumericalError
from prune_cli.models.networks.clip_classifier import ClipClassifier
from prune_cli.models.prunable import prunable

WEIGHTS = ["lstm.weight_ih_l0", "lstm.weight_hh_l0"]
Scorer = Callable[..., dict[str, Tensor]]


def leaves(model: TinyClassifier) -> list[Tensor]:
    return [model.get_parameter(name).detach().clone().requires_grad_() for name in WEIGHTS]


def losses(model: TinyClassifier, weights: list[Tensor], batch: Batch) -> Tensor:
    """The cross-entropy of each frame of each clip, (B, T), by the LSTM's equations."""
    (x, y), (w_ih, w_hh), lstm = batch, weights, model.lstm
    h = c = torch.zeros(len(x), lstm.hidden_size, dtype=x.dtype)
    found = []
    for t in range(x.shape[1]):
        i, f, g, o = (x[:, t] @ w_ih.T + lstm.bias_ih_l0 + h @ w_hh.T + lstm.bias_hh_l0).chunk(4, 1)
        c = f.sigmoid() * c + i.sigmoid() * g.tanh()
        h = o.sigmoid() * c.tanh()
        logits = h @ model.head.weight.T + model.head.bias
        found.append(F.cross_entropy(logits, y[:, t], reduction="none"))
    return torch.stack(found, 1)


def by_hand(name: str, model: TinyClassifier, batch: Batch) -> list[Tensor]:
    weights = leaves(model)
    if name == "fisher":
        each = [torch.autograd.grad(loss.mean(), weights, retain_graph=True) for loss in losses(model, weights, batch)]
        squares = [torch.stack([g[k] ** 2 for g in each]).mean(0) for k in range(2)]
        return [w.detach() ** 2 * s for w, s in zip(weights, squares, strict=True)]
    g = torch.autograd.grad(losses(model, weights, batch).mean(), weights, create_graph=True)
    if name == "grasp":
        g = torch.autograd.grad(g, weights, [one.detach() for one in g])
        return [w.detach() * one for w, one in zip(weights, g, strict=True)]
    return [(w * one).abs().detach() for w, one in zip(weights, g, strict=True)]


def check(name: str, scorer: Scorer) -> None:
    model, (x, y) = tiny().train(), clips(7)
    expected = by_hand(name, model, (x, y))
    found = scorer(model, [(x[:4], y[:4]), (x[4:], y[4:])], prunable(model, WEIGHTS))
    assert list(found) == WEIGHTS
    for score, wanted in zip(found.values(), expected, strict=True):
        assert bool((wanted != 0).all())
        torch.testing.assert_close(score, wanted, rtol=1e-9, atol=1e-15)
    assert model.training and model.dropout.training


@pytest.mark.parametrize(("name", "options"), [("snip", {}), ("grasp", {}), ("fisher", {}), ("snip_magnitude", {"alpha": 0.0})])  # fmt: skip
def test_scores_equal_autograd_of_the_mean_over_all_frames(name: str, options: dict[str, Any]) -> None:
    check(name, scorers.build(name, **options))


@pytest.mark.parametrize("name", ["snip", "grasp", "fisher"])
def test_a_mean_over_clips_of_the_sum_over_frames_is_rejected(name: str) -> None:
    frames, power = clips(1)[1].shape[1], {"snip": 1, "grasp": 2, "fisher": 2}[name]

    def summed(*given: Any) -> dict[str, Tensor]:
        return {key: score * frames**power for key, score in scorers.build(name)(*given).items()}

    with pytest.raises(AssertionError):
        check(name, summed)


def test_a_fisher_of_frames_instead_of_clips_is_rejected() -> None:
    def of_frames(model: TinyClassifier, batches: list[Batch], parameters: dict) -> dict[str, Tensor]:
        weights = leaves(model)
        values = torch.cat([losses(model, weights, batch).flatten() for batch in batches])
        each = [torch.autograd.grad(loss, weights, retain_graph=True) for loss in values]
        squares = [torch.stack([g[k] ** 2 for g in each]).mean(0) for k in range(2)]
        return {key: w.detach() ** 2 * s for key, w, s in zip(parameters, weights, squares, strict=True)}

    with pytest.raises(AssertionError):
        check("fisher", of_frames)


def test_magnitude_of_an_lstm_is_the_size_of_its_weights() -> None:
    model = tiny()
    found = scorers.build("magnitude")(model, [], prunable(model, WEIGHTS))
    for name, score in found.items():
        assert torch.equal(score, model.get_parameter(name).detach().abs())


def test_force_finds_a_mask_of_an_lstm_and_puts_its_weights_back() -> None:
    model = tiny()
    before = {name: t.clone() for name, t in model.state_dict().items()}
    parameters = prunable(model, WEIGHTS)
    mask = pipeline.find_mask(model, [clips(6)], parameters, scorers.build("force", rounds=4), sparsity=0.75)
    assert sum(int(keep.sum()) for keep in mask.values()) == (48 + 64) // 4
    assert all(torch.equal(t, before[name]) for name, t in model.state_dict().items())


def test_synflow_refuses_a_flow_that_feels_nothing() -> None:
    """4,096 positive inputs saturate every gate: the slope of a sigmoid at some hundreds is 0 in float64 too."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = ClipClassifier(3, 2)
    batch = (torch.rand(1, 2, 32, 32), torch.zeros(1, 2).long())
    with pytest.raises(NumericalError, match="feels none") as caught:
        scorers.build("synflow")(model, [batch], prunable(model, ["lstm.*"]))
    assert (caught.value.where, caught.value.hint) == ("scorer=synflow", "another scorer")
    assert model.training


def test_wanda_refuses_the_weights_of_an_lstm_by_name() -> None:
    model = tiny()
    with pytest.raises(ConfigError, match="Linear and Conv2d") as caught:
        scorers.build("wanda")(model, [clips(4)], prunable(model, WEIGHTS))
    assert caught.value.where == WEIGHTS[0]
