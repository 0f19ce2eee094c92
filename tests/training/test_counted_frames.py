"""Evaluation and training on clips: a label a frame, of which the last of each action is judged."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from tiny_lstm import Batch, clips, tiny
from torch import Tensor, nn
from torch.nn import functional as F

from prune_cli.common.random import seeded
from prune_cli.training.evaluate import Evaluation, counted_frames, evaluate
from prune_cli.training.loop import Feed, best_row, fine_tune
from prune_cli.training.recipe import Recipe

ONE = [2, 2, 2, 2]  # the labels of a clip of one action
TWO = [0, 0, 1, 1]
Evaluate = Callable[[nn.Module, list[Batch]], Evaluation]


def answers(*labels: list[int]) -> Tensor:
    """Logits_BKT of a model that gives exactly these answers, with a probability of e / (e + 2)."""
    return F.one_hot(torch.tensor(labels), 3).transpose(1, 2).double()


def test_the_last_frame_of_each_action_is_judged() -> None:
    found = counted_frames(torch.tensor([ONE, TWO, [0, 1, 0, 1]]))
    assert found.int().tolist() == [[0, 0, 0, 1], [0, 1, 0, 1], [1, 1, 1, 1]]
    assert counted_frames(torch.tensor([[1]])).tolist() == [[True]]  # a clip of one frame


def test_every_label_of_images_is_judged() -> None:
    assert counted_frames(torch.tensor([0, 0, 1])).tolist() == [True] * 3


def check_accuracy(measure: Evaluate) -> None:
    """Answers that are wrong wherever nobody asks: 1 of 1 right, then 1 of 2."""
    labels = torch.tensor([ONE, TWO])
    one = measure(nn.Identity(), [(answers([0, 0, 0, 2]), labels[:1])])
    two = measure(nn.Identity(), [(answers([1, 0, 0, 2]), labels[1:])])
    both = measure(nn.Identity(), [(answers([0, 0, 0, 2], [1, 0, 0, 2]), labels)])
    assert (one.accuracy, two.accuracy, both.accuracy) == (100.0, 50.0, pytest.approx(200 / 3))
    assert (one.images, both.images) == (1, 2)


def test_accuracy_counts_the_judged_frames_alone() -> None:
    check_accuracy(evaluate)


def test_wrong_judges_are_rejected(monkeypatch: pytest.MonkeyPatch) -> None:
    def every_frame(y: Tensor) -> Tensor:
        return torch.ones_like(y, dtype=torch.bool)

    def last_frame_of_the_clip(y: Tensor) -> Tensor:
        return torch.arange(y.shape[1]) == y.shape[1] - torch.ones_like(y)

    def first_frame_of_each_action(y: Tensor) -> Tensor:
        return counted_frames(y.flip(1)).flip(1)

    for mutant in (every_frame, last_frame_of_the_clip, first_frame_of_each_action):
        monkeypatch.setattr("prune_cli.training.evaluate.counted_frames", mutant)
        with pytest.raises(AssertionError):
            check_accuracy(evaluate)


def test_the_loss_is_a_mean_over_all_frames_however_they_are_batched() -> None:
    """An answer that is right costs ln(1 + 2/e), one that is wrong ln(2 + e): here 3 are right and 5 wrong."""
    logits, labels = answers([0, 0, 0, 2], [0, 2, 1, 2]), torch.tensor([ONE, TWO])
    right, wrong = math.log(1 + 2 / math.e), math.log(2 + math.e)
    for parts in ([(logits, labels)], [(logits[:1], labels[:1]), (logits[1:], labels[1:])]):
        assert evaluate(nn.Identity(), parts).loss == pytest.approx((3 * right + 5 * wrong) / 8, rel=1e-6)


def feed(train: list[Batch], test: list[Batch]) -> Feed:
    return Feed(lambda epoch, first: train[first:], len(train), {"test": lambda: test})  # noqa: ARG005


def trained(model: nn.Module, given: Feed, **options: object) -> list[dict]:
    with seeded(0, "train"):
        return fine_tune(model, {}, Recipe(**options), given, "fp32", "t")  # type: ignore[arg-type]


def test_a_training_step_follows_the_mean_over_all_frames() -> None:
    """A step of SGD against autograd of the cross-entropy of every frame of every clip."""
    model, plain = tiny(), tiny()
    model.dropout.p = plain.dropout.p = 0.0
    (x, y) = clips(6)
    losses = [F.cross_entropy(plain(x[[n]])[0, :, t][None], y[n, t][None]) for n in range(6) for t in range(5)]
    gradients = torch.autograd.grad(torch.stack(losses).mean(), list(plain.parameters()))
    (row,) = trained(model, feed([(x, y)], [(x, y)]), epochs=1, optimizer="sgd", lr=0.5)
    for found, before, g in zip(model.parameters(), plain.parameters(), gradients, strict=True):
        torch.testing.assert_close(found.detach(), before.detach() - 0.5 * g, rtol=1e-5, atol=1e-7)
    assert row["train_loss"] == pytest.approx(torch.stack(losses).mean().item(), rel=1e-6)


def test_without_an_epoch_the_model_is_evaluated_as_it_is() -> None:
    model, given = tiny().train(), clips(6)
    before = {name: t.clone() for name, t in model.state_dict().items()}
    rows = trained(model, feed([given], [given]), epochs=0)
    expected = evaluate(tiny(), [given])
    (row,) = rows
    assert list(row) == ["epoch", "lr", "train_loss", "test_loss", "test_accuracy", "seconds"]
    assert (row["epoch"], row["lr"]) == (0, 0.0)
    assert math.isnan(row["train_loss"])
    assert (row["test_loss"], row["test_accuracy"]) == (expected.loss, expected.accuracy)
    assert all(torch.equal(t, before[name]) for name, t in model.state_dict().items())
    assert best_row(rows) == (row, "test")


def test_a_recipe_without_an_epoch_needs_no_warm_up_to_be_shorter() -> None:
    assert Recipe(epochs=0, warmup_epochs=0).epochs == 0
    assert Recipe(epochs=0, warmup_epochs=3).epochs == 0
