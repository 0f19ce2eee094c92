"""What tests/training/test_many_processes.py runs: alone in its own process, and as each of two: together.py FOLDER."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

from prune_cli.common import interrupts
from prune_cli.common.device import Compute
from prune_cli.common.errors import NumericalError, PruneCliError
from prune_cli.common.random import generator, seeded
from prune_cli.common.ranks import LostError, Ranks
from prune_cli.data.splits import Split
from prune_cli.models.registry import ImageInput
from prune_cli.pipeline.batches import feed
from prune_cli.runtime import sparse_layers
from prune_cli.training.checkpoint import Checkpointer, read_checkpoint
from prune_cli.training.evaluate import evaluate
from prune_cli.training.loop import Feed, fine_tune
from prune_cli.training.recipe import Recipe
from prune_cli.training.step import reduce_gradients

CPU = torch.device("cpu")
DRAWN = generator(0, "test of processes")
PIXELS = torch.randint(256, (60, 1, 6, 6), generator=DRAWN, dtype=torch.uint8)
LABELS = torch.randint(3, (60,), generator=DRAWN)
KEEP = torch.rand(12, 36, generator=DRAWN) < 0.3
SIZE, EPOCHS = 8, 2
# images of the training split -> its last batch: uneven, or of one image, which is nothing for the second process
UNEVEN, ONE = 23, 17
RECIPES: dict[str, tuple[int, dict[str, Any]]] = {
    "accumulated": (UNEVEN, {"accumulation": 2, "clip_norm": 0.05, "label_smoothing": 0.1, "ema_decay": 0.7}),
    "one": (ONE, {"optimizer": "sgd", "momentum": 0.9, "accumulation": 2, "clip_norm": 0.05}),
    "decayed": (ONE, {"optimizer": "adamw", "weight_decay": 0.1, "horizontal_flip": True}),
    "mixed": (UNEVEN, {"cutmix_alpha": 1.0, "horizontal_flip": True, "accumulation": 3}),
    "sparse": (UNEVEN, {"sparse": True, "accumulation": 2, "clip_norm": 0.05, "ema_decay": 0.7}),
    "sparse_one": (ONE, {"sparse": True, "optimizer": "adamw", "weight_decay": 0.1}),
    "mixed_one": (ONE, {"cutmix_alpha": 1.0, "cutmix_prob": 0.5}),
}


class Network(nn.Sequential):
    """With a parameter that has no gradient: its optimiser must leave it as it is."""

    def __init__(self, dropout: float) -> None:
        super().__init__(nn.Flatten(), nn.Linear(36, 12), nn.Tanh(), nn.Dropout(dropout), nn.Linear(12, 3))
        self.unused = nn.Parameter(torch.ones(2, 2))


def network(dropout: float = 0.0, dtype: torch.dtype = torch.float64) -> nn.Module:
    with seeded(0, "weights"):
        made = Network(dropout).to(dtype)
    with torch.no_grad():
        made[1].weight.mul_(KEEP)
    return made


def fed(ranks: Ranks, images: int, recipe: Recipe, precision: str = "fp64") -> Feed:
    """What the pipeline feeds a run of this recipe."""
    splits = {"train": Split(PIXELS[:images], LABELS[:images]), "test": Split(PIXELS[41:], LABELS[41:])}
    settings = SimpleNamespace(
        recipe=recipe,
        seed=0,
        model=SimpleNamespace(input=ImageInput(1, 6, 6, (0.5,), (0.5,))),
        compute=Compute(precision=precision),
    )
    held = SimpleNamespace(train=splits["train"], classes=["a", "b", "c"], named=lambda: splits)
    return feed(SimpleNamespace(settings=settings, splits=held, device=CPU, ranks=ranks))  # type: ignore[arg-type]


def trained(
    model: nn.Module,
    recipe: Recipe,
    feed: Feed,
    precision: str = "fp64",
    checkpointer: Checkpointer | None = None,
    sparse: bool = False,
) -> Any:
    mask = {"1.weight": KEEP}
    with sparse_layers(model, mask, but=() if sparse else mask) as left, seeded(0, "train", feed.ranks.rank):
        rows = fine_tune(model, left, recipe, feed, precision, "t", checkpointer)
    return model.state_dict(), [{key: value for key, value in row.items() if key != "seconds"} for row in rows]


def by_recipe(ranks: Ranks, name: str) -> Any:
    images, options = RECIPES[name]
    sparse = options.get("sparse", False)
    options = {key: value for key, value in options.items() if key != "sparse"}
    recipe = Recipe(epochs=EPOCHS, batch_size=SIZE, lr=0.01, **options)
    return trained(network(), recipe, fed(ranks, images, recipe), sparse=sparse)


def in_bf16(ranks: Ranks) -> Any:
    recipe = Recipe(epochs=EPOCHS, batch_size=SIZE, lr=0.01, accumulation=2)
    return trained(network(dtype=torch.float32), recipe, fed(ranks, UNEVEN, recipe, "bf16"), "bf16")


def diverged(ranks: Ranks) -> str:
    """A loss that only the share of the second process makes NaN."""

    def spoiled(epoch: int, first: int) -> Iterator[Any]:
        for x, y in whole.train(epoch, first):
            yield (x * float("nan") if ranks.rank == 1 else x), y

    recipe = Recipe(epochs=1, batch_size=SIZE)
    whole = fed(ranks, UNEVEN, recipe)
    try:
        trained(network(), recipe, replace(whole, train=spoiled))
    except NumericalError as error:
        return error.what
    return "nothing was raised"


def counted(ranks: Ranks) -> Any:
    recipe = Recipe(epochs=1, batch_size=SIZE)
    return evaluate(network(), fed(ranks, UNEVEN, recipe).evaluations["test"](), "fp64", ranks)


DROPPING = Recipe(epochs=3, batch_size=SIZE, lr=0.01)
PLAIN = Recipe(epochs=3, batch_size=SIZE, lr=0.01, optimizer="sgd")


def stopped(ranks: Ranks, folder: Path, in_evaluation: bool = False) -> Any:
    """Each process hears of it at another moment. Returns where all stopped, and what came of going on."""
    whole, seen = fed(ranks, UNEVEN, DROPPING), 0

    def heard(batches: Iterable[Any], at: int) -> Iterator[Any]:
        nonlocal seen
        for batch in batches:
            if seen == at:
                os.kill(os.getpid(), signal.SIGTERM)
            seen += 1
            yield batch

    train = lambda epoch, first: heard(whole.train(epoch, first), -1 if in_evaluation else 5 - ranks.rank)  # noqa: E731
    test = lambda: heard(whole.evaluations["test"](), 7 if in_evaluation and ranks.rank else -1)  # noqa: E731
    interrupted = False
    with interrupts.handle_signals():
        try:
            signalled = replace(whole, train=train, evaluations={"test": test})
            trained(network(0.5), DROPPING, signalled, checkpointer=Checkpointer(folder))
        except interrupts.Stopped:
            interrupted = True
    ranks.check_same(interrupted, "whether they stopped")
    record = ranks.run_on_main(lambda: read_checkpoint(folder))
    assert record is not None
    return record["progress"], trained(network(0.5), DROPPING, whole, checkpointer=Checkpointer(folder, every=2))


def alone(ranks: Ranks) -> Any:
    return trained(network(0.5), DROPPING, fed(ranks, UNEVEN, DROPPING))


def begun(ranks: Ranks, folder: Path) -> None:
    """Leaves a checkpoint in the middle of the second epoch."""
    whole = fed(ranks, UNEVEN, PLAIN)

    def cut(epoch: int, first: int) -> Iterator[Any]:
        for step, batch in enumerate(whole.train(epoch, first), first):
            if (epoch, step) == (1, 1):
                raise StopIteration  # a RuntimeError once it leaves a generator
            yield batch

    with suppress(RuntimeError):
        trained(network(), PLAIN, replace(whole, train=cut), checkpointer=Checkpointer(folder, every=1))


def gone_on(ranks: Ranks, folder: Path) -> Any:
    return trained(network(), PLAIN, fed(ranks, UNEVEN, PLAIN), checkpointer=Checkpointer(folder))


def failed(ranks: Ranks) -> tuple[str, str]:
    """The first process fails at what it does for all."""

    def fails() -> None:
        raise NumericalError("a score is NaN", "a tensor")

    try:
        ranks.run_on_main(fails)
    except PruneCliError as error:
        return type(error).__name__, error.what
    return "", ""


def travelled(ranks: Ranks) -> list[Tensor]:
    """The gradients that a step of many tensors, some missing, leaves in each process."""
    parameters = [nn.Parameter(torch.zeros(size, dtype=torch.float64)) for size in (3, 1, 5, 2)]
    for number, parameter in enumerate(parameters[ranks.rank :]):
        parameter.grad = torch.full_like(parameter, 1.0 + number)
    reduce_gradients(ranks, parameters, 0.0, 3 - 2 * ranks.rank)
    return [p.grad for p in parameters if p.grad is not None]


def differing(ranks: Ranks) -> str:
    try:
        ranks.check_same(ranks.rank, "their masks")
    except PruneCliError as error:
        return error.what
    return ""


def left_behind(ranks: Ranks) -> str:
    """The second process dies; how the first one finds out."""
    if ranks.rank:
        os._exit(0)
    try:
        ranks.all_reduce(1.0)
    except LostError as error:
        return error.what
    return ""


def main(folder: Path) -> None:
    torch.set_num_threads(1)
    ranks = Ranks.join(2, CPU)
    found: dict[str, Any] = {"ranks": ranks, "printed": print("the first alone is heard")}
    found |= {name: by_recipe(ranks, name) for name in RECIPES}
    found |= {work.__name__: work(ranks) for work in (in_bf16, diverged, counted, alone, failed, travelled, differing)}
    found["stopped"] = stopped(ranks, folder / "stopped")
    found["stopped_in_evaluation"] = stopped(ranks, folder / "evaluating", in_evaluation=True)
    found["from_one"] = gone_on(ranks, folder / "of_one")
    begun(ranks, folder / "of_two")
    if ranks.rank:
        torch.save(found, folder / "1.pt")
    found["left_behind"] = left_behind(ranks)
    torch.save(found, folder / "0.pt")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
