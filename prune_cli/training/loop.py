"""The training loop: dense where the mask is empty, over survivors alone where it is not; it goes on from a checkpoint."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import chain, islice

from prune_cli.common import interrupts
from prune_cli.common.errors import NumericalError
from prune_cli.common.lazy import Tensor, nn, torch
from prune_cli.common.plain import Row
from prune_cli.common.ranks import ALONE, Ranks
from prune_cli.common.terminal import EpochProgress, note
from prune_cli.masks.mask import Mask
from prune_cli.training.checkpoint import Checkpoint, Checkpointer, Progress
from prune_cli.training.evaluate import evaluate
from prune_cli.training.recipe import Recipe
from prune_cli.training.state import State, generators, generators_by_rank, restore_generators
from prune_cli.training.step import backward, reduce_gradients
from prune_cli.training.trackers import Tracking

Batches = Iterable[tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class Feed:
    """The data of a training run: the batches of an epoch from one of them on, their number, and what is evaluated
    after it, by split. ranks: the processes that share each batch; this one's batches hold its share."""

    train: Callable[[int, int], Batches]
    steps: int
    evaluations: Mapping[str, Callable[[], Batches]]
    ranks: Ranks = ALONE


def fine_tune(
    model: nn.Module,
    mask: Mask,
    recipe: Recipe,
    feed: Feed,
    precision: str,
    title: str,
    checkpointer: Checkpointer | None = None,
    tracking: Tracking | None = None,
) -> list[Row]:
    """Train in place and return a row an epoch: epoch, lr, train_loss, SPLIT_loss, SPLIT_accuracy (percent), seconds.

    The weights that `mask` removes must be zero, and stay so. With recipe.ema_decay the evaluations are those of the
    moving average, and the model ends as it. Epochs count from 1; without one the only row, epoch 0, is that of the
    model as it is.
    A checkpointer's checkpoint is gone on from with the same state, batches and draws: to the same bits on a CPU with as many
    threads, on a GPU up to kernels that do not repeat, such as attention's backward pass. Ctrl-C then writes one more
    and raises Stopped. Processes that share the batches take every step together, and the first of them writes the
    checkpoints. tracking: is told each row. Raises NumericalError for a loss that is not finite.
    """
    tracking = tracking or Tracking()
    if not recipe.epochs:
        rows = [_untrained(model, feed, precision)]
        tracking.log(rows[0], step=rows[0]["epoch"])
        return rows
    state = State(model, mask, recipe)
    with EpochProgress(title, recipe.epochs, feed.steps) as shown:
        rows = _Run(state, recipe, feed, precision, shown, checkpointer, tracking).rows()
    state.finish()
    return rows


def _untrained(model: nn.Module, feed: Feed, precision: str) -> Row:
    start = time.perf_counter()
    row = {"epoch": 0, "lr": 0.0, "train_loss": math.nan}
    for split, batches in feed.evaluations.items():
        row |= _evaluated(model, split, batches(), precision, feed.ranks)
    return row | {"seconds": time.perf_counter() - start}


def _evaluated(model: nn.Module, split: str, batches: Batches, precision: str, ranks: Ranks) -> Row:
    found = evaluate(model, batches, precision, ranks)
    return {f"{split}_loss": found.loss, f"{split}_accuracy": found.accuracy}


def selection_split(splits: Iterable[str]) -> str:
    """The split on which the best epoch is chosen: validation where there is one, else test."""
    return "validation" if "validation" in splits else "test"


def best_row(rows: list[Row]) -> tuple[Row, str]:
    """The row of the best epoch (the first of equals), and the split that chose it."""
    split = selection_split(key.removesuffix("_accuracy") for key in rows[0])
    return max(rows, key=lambda row: row[f"{split}_accuracy"]), split


class _Run:
    """A training run in progress: its state, its data and its progress."""

    def __init__(
        self,
        state: State,
        recipe: Recipe,
        feed: Feed,
        precision: str,
        shown: EpochProgress,
        checkpointer: Checkpointer | None,
        tracking: Tracking,
    ):
        self.state, self.recipe, self.feed, self.precision = state, recipe, feed, precision
        self.shown, self.checkpointer, self.tracking, self.at = shown, checkpointer, tracking, Progress()
        self._ranks = feed.ranks
        self._device = next(state.model.parameters()).device
        self._drawn: Mapping[str, Tensor] | None = None  # generators of the checkpoint, until the first batch is there
        self._generators: Mapping[str, Tensor] = {}  # as they were at the end of the epoch's batches
        self._start = 0.0

    def rows(self) -> list[Row]:
        """Train to the end, from the checkpoint if there is one. Returns a row an epoch."""
        if self.checkpointer is None:
            return self._epochs()
        self._resume(self.checkpointer)
        with interrupts.defer_interrupts():
            return self._epochs()

    def _resume(self, checkpointer: Checkpointer) -> None:
        found = checkpointer.load()
        if found is not None:
            self.state.restore(found.tensors, found.scalars)
            self.at, self._drawn = found.progress, found.tensors
            self.shown.skip(self.at.epoch * self.feed.steps + self.at.step)
            note(f"goes on from its checkpoint: epoch {self.at.epoch + 1}, after batch {self.at.step}")
        self._ranks.check_same((self.at.epoch, self.at.step), "where they go on")

    def _epochs(self) -> list[Row]:
        while self.at.epoch < self.recipe.epochs:
            self._start = time.perf_counter() - self.at.seconds
            self.state.begin_epoch(self.at.epoch)
            self._train()
            row: Row = {"epoch": self.at.epoch + 1, "lr": self.state.lr, "train_loss": self.at.loss / self.at.samples}
            row |= self._evaluate() | {"seconds": self._seconds()}
            self.tracking.log(row, step=row["epoch"])
            self.at = self.at.after_epoch(row)
            self.shown.epoch(row, selection_split(self.feed.evaluations))
        return list(self.at.rows)

    def _train(self) -> None:
        """Train on the remaining batches of the epoch."""
        self.state.model.train()
        for x, y in self._batches():
            self._step(x, y)
            if self.checkpointer is not None and self.checkpointer.due(self.at.epoch * self.feed.steps + self.at.step):
                self._save()
            self._stop_if_requested()
        self._generators = generators(self._device)

    def _batches(self) -> Batches:
        """The remaining batches of the epoch. A DataLoader draws from the global generator when it opens, so the generators
        of a checkpoint are restored after that."""
        batches = iter(self.feed.train(self.at.epoch, self.at.step))
        first = list(islice(batches, 1))
        if self._drawn is not None:
            restore_generators(self._drawn, self._device, self._ranks.rank)
            self._drawn = None
        return chain(first, batches)

    def _step(self, x: Tensor, y: Tensor) -> None:
        optimizer = self.state.optimizer
        optimizer.zero_grad()
        own = backward(self.state.model, x, y, self.recipe, self.precision)
        value, samples = reduce_gradients(self._ranks, optimizer.parameters, own, len(y))
        if not math.isfinite(value):
            where = f"epoch {self.at.epoch + 1}, batch {self.at.step + 1}"
            raise NumericalError(f"the loss is {value} while training", where, "a lower recipe.lr")
        if self.recipe.clip_norm is not None:
            torch.nn.utils.clip_grad_norm_(optimizer.parameters, self.recipe.clip_norm)
        optimizer.step()
        if self.state.average is not None:
            self.state.average.update(self.state.model)
        self.at = self.at.after_batch(value, samples)
        self.shown.step(value)

    def _evaluate(self) -> Row:
        row: Row = {}
        for split, batches in self.feed.evaluations.items():
            row |= _evaluated(
                self.state.evaluated_model, split, self._interruptible(batches()), self.precision, self._ranks
            )
        return row

    def _interruptible(self, batches: Batches) -> Iterator[tuple[Tensor, Tensor]]:
        for batch in batches:
            self._stop_if_requested(self._generators)
            yield batch

    def _stop_if_requested(self, drawn: Mapping[str, Tensor] | None = None) -> None:
        """Save a checkpoint and raise Stopped if a signal has asked any process to stop, so that all stop at one step."""
        if self.checkpointer is not None and self._ranks.any(interrupts.stop_requested()):
            self._save(drawn)
            note(f"a checkpoint is written: epoch {self.at.epoch + 1}, after batch {self.at.step}")
            raise interrupts.Stopped

    def _save(self, drawn: Mapping[str, Tensor] | None = None) -> None:
        assert self.checkpointer is not None
        drawn = generators_by_rank(self._ranks.all_gather(generators(self._device) if drawn is None else drawn))
        if self._ranks.main:
            progress = replace(self.at, seconds=self._seconds())
            self.checkpointer.save(Checkpoint(progress, {**self.state.tensors(), **drawn}, self.state.scalars()))

    def _seconds(self) -> float:
        return time.perf_counter() - self._start
