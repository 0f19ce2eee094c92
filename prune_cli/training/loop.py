"""The training loop: dense where the mask is empty, over survivors alone where it is not."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from timm.utils import ModelEmaV3
from torch import Tensor, nn
from torch.nn import functional as F

from prune_cli.common.device import autocast
from prune_cli.common.errors import NumericalError
from prune_cli.common.terminal import EpochProgress
from prune_cli.masks.mask import Mask
from prune_cli.masks.survivors import SurvivorOptimizer
from prune_cli.training.evaluate import evaluate
from prune_cli.training.recipe import Recipe

Batches = Iterable[tuple[Tensor, Tensor]]
Row = dict[str, Any]


@dataclass(frozen=True)
class Feed:
    """The data of a training run: batches of each epoch, their number, and what is evaluated after it, by split."""

    train: Callable[[int], Batches]
    steps: int
    evaluations: Mapping[str, Callable[[], Batches]]


def fine_tune(model: nn.Module, mask: Mask, recipe: Recipe, feed: Feed, precision: str, title: str) -> list[Row]:
    """Train in place and return a row an epoch: epoch, lr, train_loss, SPLIT_loss, SPLIT_accuracy (percent), seconds.

    The weights that `mask` removes must be zero, and stay so. With recipe.ema_decay the evaluations are those of the
    moving average, and the model ends as it. Without an epoch the one row, epoch -1, is that of the model as it is.
    Raises NumericalError for a loss that is not finite.
    """
    if not recipe.epochs:
        return [_untrained(model, feed, precision)]
    average = ModelEmaV3(model, decay=recipe.ema_decay) if recipe.ema_decay is not None else None
    optimizer = SurvivorOptimizer(
        model, mask, recipe.optimizer, weight_decay=recipe.weight_decay, **recipe.optimizer_options()
    )
    schedule = recipe.learning_rates(optimizer.inner)
    rows = []
    with EpochProgress(title, recipe.epochs, feed.steps) as progress:
        for epoch in range(recipe.epochs):
            start = time.perf_counter()
            lr = optimizer.inner.param_groups[0]["lr"]
            loss = _train_epoch(model, average, optimizer, recipe, feed.train(epoch), precision, progress, epoch)
            evaluated = _evaluate_all(average.module if average else model, feed, precision)
            row = {"epoch": epoch, "lr": lr, "train_loss": loss, **evaluated}
            rows.append(row | {"seconds": time.perf_counter() - start})
            progress.epoch(rows[-1], row[f"{judge(feed.evaluations)}_accuracy"])
            schedule.step(epoch + 1)
    optimizer.close()
    if average is not None:
        model.load_state_dict(average.module.state_dict())
    return rows


def _untrained(model: nn.Module, feed: Feed, precision: str) -> Row:
    start = time.perf_counter()
    row = {"epoch": -1, "lr": 0.0, "train_loss": math.nan, **_evaluate_all(model, feed, precision)}
    return row | {"seconds": time.perf_counter() - start}


def judge(splits: Iterable[str]) -> str:
    """The split on which the best epoch is chosen: validation where there is one, else test."""
    return "validation" if "validation" in splits else "test"


def best_row(rows: list[Row]) -> tuple[Row, str]:
    """The row of the best epoch (the first of equals), and the split that chose it."""
    split = judge(key.removesuffix("_accuracy") for key in rows[0])
    return max(rows, key=lambda row: row[f"{split}_accuracy"]), split


def _train_epoch(
    model: nn.Module,
    average: ModelEmaV3 | None,
    optimizer: SurvivorOptimizer,
    recipe: Recipe,
    batches: Batches,
    precision: str,
    progress: EpochProgress,
    epoch: int,
) -> float:
    """One pass over the batches. Returns the mean loss a sample."""
    model.train()
    total, samples = 0.0, 0
    for step, (x, y) in enumerate(batches):
        optimizer.zero_grad()
        value = _backward(model, x, y, recipe, precision)
        if not math.isfinite(value):
            raise NumericalError(
                f"the loss is {value} while training", f"epoch {epoch}, batch {step}", "a lower recipe.lr"
            )
        if recipe.clip_norm is not None:
            torch.nn.utils.clip_grad_norm_(optimizer.parameters, recipe.clip_norm)
        optimizer.step()
        if average is not None:
            average.update(model)
        total, samples = total + value * len(y), samples + len(y)
        progress.step(value)
    return total / samples


def _backward(model: nn.Module, x: Tensor, y: Tensor, recipe: Recipe, precision: str) -> float:
    """Gradients of the mean loss over the batch, computed in recipe.accumulation parts. Returns that loss.

    y: labels_B, or targets_BK, the shares of the classes.
    """
    loss, size = 0.0, -(-len(y) // recipe.accumulation)
    for part_x, part_y in zip(x.split(size), y.split(size), strict=True):
        with autocast(x.device, precision):
            logits = model(part_x)
        part = F.cross_entropy(logits.float(), part_y, label_smoothing=recipe.label_smoothing) * (len(part_y) / len(y))
        part.backward()
        loss += part.item()
    return loss


def _evaluate_all(model: nn.Module, feed: Feed, precision: str) -> Row:
    row: Row = {}
    for split, batches in feed.evaluations.items():
        found = evaluate(model, batches(), precision)
        row |= {f"{split}_loss": found.loss, f"{split}_accuracy": found.accuracy}
    return row
