"""The training loop and the evaluation, on a model small enough to work out by hand."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from prune_cli.common.errors import NumericalError
from prune_cli.common.random import generator, seeded
from prune_cli.training.evaluate import evaluate
from prune_cli.training.loop import Feed, Row, best_row, fine_tune, selection_split
from prune_cli.training.recipe import Recipe

Batches = list[tuple[Tensor, Tensor]]
DATA = generator(0, "test of the loop")
X = torch.randn(96, 6, generator=DATA)
Y = (X @ torch.randn(6, 3, generator=DATA)).argmax(1)  # what a linear model can learn


def batches(first: int, last: int, size: int = 16) -> Batches:
    return [(X[at : min(at + size, last)], Y[at : min(at + size, last)]) for at in range(first, last, size)]


def shuffled(epoch: int) -> Batches:
    order = torch.randperm(64, generator=generator(0, "order", epoch))
    return [(X[indices], Y[indices]) for indices in order.split(16)]


def feed(train: Callable[[int], Batches] = shuffled, validation: bool = True) -> Feed:
    held = {"validation": lambda: batches(64, 80)} if validation else {}
    return Feed(lambda epoch, first: train(epoch)[first:], 4, held | {"test": lambda: batches(80, 96)})


def model(seed: int = 0) -> nn.Module:
    with seeded(seed, "weights"):
        return nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Dropout(0.2), nn.Linear(8, 3))


def trained(module: nn.Module, fed: Feed | None = None, seed: int = 0, mask: Any = None, **options: Any) -> list[Row]:
    with seeded(seed, "train"):
        return fine_tune(module, mask or {}, Recipe(**{"epochs": 3, "lr": 0.01} | options), fed or feed(), "fp32", "t")


def without_seconds(rows: list[Row]) -> list[Row]:
    return [{key: value for key, value in row.items() if key != "seconds"} for row in rows]


def test_the_loss_falls_and_the_model_learns() -> None:
    rows = trained(model(), epochs=30, lr=0.05)
    assert rows[-1]["train_loss"] < 0.5 * rows[0]["train_loss"]
    assert rows[-1]["test_loss"] < rows[0]["test_loss"]
    assert rows[-1]["test_accuracy"] > 80


def test_a_row_an_epoch_says_rate_losses_and_accuracies() -> None:
    rows = trained(model(), epochs=3, lr=0.01, warmup_epochs=1, warmup_lr=0.001)
    assert [row["epoch"] for row in rows] == [1, 2, 3]
    assert [row["lr"] for row in rows][:2] == pytest.approx([0.001, 0.01])
    names = ["validation_loss", "validation_accuracy", "test_loss", "test_accuracy"]
    assert list(rows[0]) == ["epoch", "lr", "train_loss", *names, "seconds"]
    assert list(trained(model(), feed(validation=False), epochs=1)[0])[3:5] == ["test_loss", "test_accuracy"]


def test_a_step_of_sgd_is_the_one_worked_out_by_hand() -> None:
    module = nn.Linear(6, 3)
    weight, bias = module.weight.detach().clone(), module.bias.detach().clone()
    residual = ((X[:16] @ weight.t() + bias).softmax(1) - F.one_hot(Y[:16], 3)) / 16  # of the mean cross-entropy
    loss = -(X[:16] @ weight.t() + bias).log_softmax(1)[range(16), Y[:16]].mean()
    rows = trained(module, feed(lambda _: batches(0, 16)), epochs=1, optimizer="sgd", lr=0.5, weight_decay=0.1)
    torch.testing.assert_close(module.weight, weight - 0.5 * (residual.t() @ X[:16] + 0.1 * weight))
    torch.testing.assert_close(module.bias, bias - 0.5 * residual.sum(0))  # biases do not decay
    assert rows[0]["train_loss"] == pytest.approx(loss.item(), rel=1e-6)


def test_the_training_loss_is_a_mean_over_samples_not_over_batches() -> None:
    uneven = [(X[:15], Y[:15]), (X[15:16], Y[15:16])]
    module = model().eval()
    with torch.no_grad():
        each = F.cross_entropy(module(X[:16]), Y[:16], reduction="none")
    frozen = nn.Sequential(module[0], module[1], module[3])  # no dropout
    rows = trained(frozen, feed(lambda _: uneven), epochs=1, lr=0.0)
    assert rows[0]["train_loss"] == pytest.approx(each.mean().item(), rel=1e-6)
    assert abs(each.mean().item() - (each[:15].mean().item() + each[15].item()) / 2) > 1e-3


def test_label_smoothing_is_trained_on_and_not_evaluated() -> None:
    plain, smooth = (trained(model(), epochs=1, lr=0.0, label_smoothing=share)[0] for share in (0.0, 0.5))
    assert plain["train_loss"] != smooth["train_loss"]
    assert plain["test_loss"] == smooth["test_loss"]


def test_a_clipped_gradient_is_no_longer_than_allowed() -> None:
    module = nn.Linear(6, 3)
    before = [p.detach().clone() for p in module.parameters()]
    trained(module, feed(lambda _: batches(0, 16)), epochs=1, optimizer="sgd", lr=1.0, clip_norm=0.01)
    step = torch.cat([(p - old).flatten() for p, old in zip(module.parameters(), before, strict=True)])
    assert step.norm().item() == pytest.approx(0.01, rel=1e-3)


def test_removed_weights_stay_zero() -> None:
    module = model()
    keep = torch.rand(8, 6, generator=generator(1, "mask")) < 0.5
    with torch.no_grad():
        module[0].weight.mul_(keep)
    before = module[0].weight.detach().clone()
    trained(module, mask={"0.weight": keep}, weight_decay=0.1, clip_norm=1.0)
    assert torch.equal(module[0].weight != 0, keep)
    assert not torch.equal(module[0].weight, before)


def test_training_is_the_same_for_a_seed_and_another_for_another() -> None:
    one, two, other = model(), model(), model()
    rows = [without_seconds(trained(module, seed=seed)) for module, seed in ((one, 0), (two, 0), (other, 1))]
    assert rows[0] == rows[1] != rows[2]
    for a, b in zip(one.parameters(), two.parameters(), strict=True):
        assert torch.equal(a, b)
    assert not torch.equal(one[0].weight, other[0].weight)  # dropout draws from the seed


def test_the_model_trains_with_dropout_though_it_is_evaluated_without() -> None:
    modes: list[bool] = []
    module = model()
    module.register_forward_hook(lambda hooked, *_: modes.append(hooked.training))
    trained(module.eval(), epochs=2)
    assert modes == [True] * 4 + [False] * 2 + [True] * 4 + [False] * 2


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_stops_with_epoch_and_batch(value: float) -> None:
    def spoiled(epoch: int) -> Batches:
        made = shuffled(epoch)
        if epoch == 1:
            made[2] = (torch.full((16, 6), value), made[2][1])
        return made

    linear = nn.Linear(6, 3)
    with pytest.raises(NumericalError, match="while training") as caught:
        trained(linear, feed(spoiled))
    assert caught.value.where == "epoch 2, batch 3"
    assert linear.weight.isfinite().all()  # nothing was learnt from it


def test_the_best_row_is_the_first_of_equals_on_validation() -> None:
    rows = [
        {"epoch": epoch, "validation_accuracy": validation, "test_accuracy": test}
        for epoch, (validation, test) in enumerate([(80.0, 99.0), (90.0, 70.0), (90.0, 75.0), (85.0, 80.0)])
    ]
    assert best_row(rows) == (rows[1], "validation")


def test_without_validation_the_best_row_is_chosen_on_test_and_says_so() -> None:
    rows = [{"epoch": epoch, "test_accuracy": accuracy} for epoch, accuracy in enumerate([80.0, 90.0, 90.0])]
    assert best_row(rows) == (rows[1], "test")
    assert (selection_split(["test"]), selection_split(["validation", "test"])) == ("test", "validation")


def test_an_evaluation_equals_the_one_worked_out_by_hand() -> None:
    logits = torch.tensor([[2.0, 0.0], [0.0, 1.0], [3.0, 0.0]])
    labels = torch.tensor([0, 1, 1])
    found = evaluate(nn.Identity(), [(logits[:2], labels[:2]), (logits[2:], labels[2:])])
    by_hand = (math.log1p(math.exp(-2)) + math.log1p(math.exp(-1)) + math.log1p(math.exp(3))) / 3
    assert found.loss == pytest.approx(by_hand, rel=1e-6)
    assert found.accuracy == pytest.approx(200 / 3)
    assert found.images == 3


@pytest.mark.parametrize("size", [1, 5, 16])
def test_an_evaluation_does_not_depend_on_the_batches(size: int) -> None:
    found, whole = evaluate(model(), batches(64, 80, size)), evaluate(model(), batches(64, 80))
    assert found.accuracy == whole.accuracy
    assert found.loss == pytest.approx(whole.loss, rel=1e-6)


@pytest.mark.parametrize("training", [True, False])
def test_an_evaluation_leaves_mode_weights_and_gradients_as_they_were(training: bool) -> None:
    module = nn.Sequential(nn.Linear(6, 3), nn.BatchNorm1d(3), nn.Dropout(0.5)).train(training)
    before = {name: t.clone() for name, t in module.state_dict().items()}
    assert evaluate(module, batches(0, 64)) == evaluate(module, batches(0, 64))  # no dropout, no new statistics
    assert [part.training for part in module.modules()] == [training] * 4
    assert all(torch.equal(t, before[name]) for name, t in module.state_dict().items())
    assert all(p.grad is None for p in module.parameters())


def test_bfloat16_changes_the_loss_a_little_and_is_summed_in_float32() -> None:
    full, half = (evaluate(model(), batches(0, 64), precision) for precision in ("fp32", "bf16"))
    assert full.loss != half.loss
    assert half.loss == pytest.approx(full.loss, rel=0.02)


def test_a_batch_computed_in_parts_takes_the_step_of_the_whole_batch() -> None:
    whole, parts = model(), model()
    whole[2].p = parts[2].p = 0.0  # dropout draws once a part
    given = [(X[:15], Y[:15])]  # parts of 4, 4, 4 and 3
    mask = {"0.weight": torch.rand(8, 6, generator=generator(0, "mask")) < 0.5}
    for module in (whole, parts):
        with torch.no_grad():
            module[0].weight.mul_(mask["0.weight"])
    rows = [
        trained(module, feed(lambda _: given, validation=False), mask=mask, accumulation=count, clip_norm=0.1)
        for module, count in ((whole, 1), (parts, 4))
    ]
    for one, other in zip(whole.parameters(), parts.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)  # the loss is taken in float32
    assert rows[0][-1]["train_loss"] == pytest.approx(rows[1][-1]["train_loss"], rel=1e-5)
    assert not bool(parts[0].weight[~mask["0.weight"]].any())


def test_targets_can_be_shares_of_classes() -> None:
    labels, shares = model(), model()
    trained(labels, feed(lambda _: batches(0, 16)), label_smoothing=0.1)
    trained(shares, feed(lambda _: [(x, F.one_hot(y, 3).float()) for x, y in batches(0, 16)]), label_smoothing=0.1)
    for one, other in zip(labels.parameters(), shares.parameters(), strict=True):
        torch.testing.assert_close(one, other)


def test_a_moving_average_is_evaluated_and_kept() -> None:
    """Every step moves the average by 1 - decay towards the weights."""
    plain = model()
    average = [p.detach().clone() for p in plain.parameters()]
    start = [p.detach().clone() for p in plain.parameters()]
    trained(plain, feed(lambda _: batches(0, 16)), epochs=1, optimizer="sgd", lr=0.5)
    expected = [a.lerp(p.detach(), 0.25) for a, p in zip(average, plain.parameters(), strict=True)]
    averaged = model()
    assert all(torch.equal(a, b) for a, b in zip(averaged.parameters(), start, strict=True))
    rows = trained(averaged, feed(lambda _: batches(0, 16)), epochs=1, optimizer="sgd", lr=0.5, ema_decay=0.75)
    for found, wanted in zip(averaged.parameters(), expected, strict=True):
        torch.testing.assert_close(found.detach(), wanted)
    assert rows[-1]["test_loss"] == pytest.approx(evaluate(averaged, batches(80, 96)).loss)


def test_a_moving_average_revives_no_weight() -> None:
    module = model()
    mask = {"0.weight": torch.rand(8, 6, generator=generator(0, "mask")) < 0.5}
    with torch.no_grad():
        module[0].weight.mul_(mask["0.weight"])
    trained(module, mask=mask, ema_decay=0.9)
    assert not bool(module[0].weight[~mask["0.weight"]].any())
