"""A training run that is cut off anywhere ends with the same bits as one left alone, on a CPU."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from prune_cli.common import interrupts
from prune_cli.common.errors import NumericalError
from prune_cli.common.random import generator, seeded
from prune_cli.runtime import sparse_layers
from prune_cli.training.checkpoint import Checkpointer, read_checkpoint
from prune_cli.training.loop import Feed, Row, fine_tune
from prune_cli.training.mixing import cut_and_mixed
from prune_cli.training.recipe import Recipe

STEPS, EPOCHS, SIZE = 9, 3, 8
CUTS = (1, 7, STEPS - 1, STEPS, STEPS + 1, 2 * STEPS, EPOCHS * STEPS - 1)  # the edges of an epoch among them
DRAWN = generator(0, "test of resuming")
X, Y = torch.randn(80, 1, 6, 6, generator=DRAWN), torch.randint(3, (80,), generator=DRAWN)
KEEP = torch.rand(12, 36, generator=DRAWN) < 0.3


class Cut(BaseException):
    """What kill -9 does, as far as the files can tell."""


def loader(x: Tensor, y: Tensor) -> DataLoader:
    """A real one: it draws from torch's global generator when it opens."""
    return DataLoader(TensorDataset(x, y), batch_size=SIZE)


def feed(cut: int | None = None, cutmix: bool = False, evaluation_cut: int | None = None) -> Feed:
    """Batches that end in Cut before step `cut`, or in the evaluation after epoch `evaluation_cut`."""

    def train(epoch: int, first: int) -> Iterator[Any]:
        order = torch.randperm(72, generator=generator(0, "order", epoch))[first * SIZE :]
        batches: Any = islice(loader(X[order], Y[order]), STEPS - first)
        if cutmix:
            batches = cut_and_mixed(batches, 1.0, 0.5, 3, 0, epoch, first)
        for step, batch in enumerate(batches, epoch * STEPS + first):
            if step == cut:
                raise Cut
            yield batch

    evaluated = iter(range(100))

    def test() -> Iterator[Any]:
        if next(evaluated) == evaluation_cut:
            raise Cut
        yield from loader(X[72:], Y[72:])

    return Feed(train, STEPS, {"test": test})


def doubled(fed: Feed) -> Feed:
    """The same in float64."""

    def train(epoch: int, first: int) -> Iterator[Any]:
        yield from ((x.double(), y) for x, y in fed.train(epoch, first))

    return Feed(train, fed.steps, {"test": lambda: ((x.double(), y) for x, y in fed.evaluations["test"]())})


def network() -> nn.Module:
    with seeded(0, "weights"):
        made = nn.Sequential(
            nn.Flatten(), nn.Linear(36, 12), nn.BatchNorm1d(12), nn.Tanh(), nn.Dropout(0.3), nn.Linear(12, 3)
        )
    with torch.no_grad():
        made[1].weight.mul_(KEEP)
    return made


def trained(folder: Path | None, fed: Feed, every: int | None = 1, **options: Any) -> tuple[nn.Module, list[Row]]:
    options = dict(options)
    double, sparse = options.pop("double", False), options.pop("sparse", False)
    model, epochs = network().to(torch.float64 if double else torch.float32), options.pop("epochs", EPOCHS)
    recipe = Recipe(epochs=epochs, lr=0.01, warmup_epochs=int(epochs > 1), **options)
    checkpointer = Checkpointer(folder, every) if folder else None
    fed = doubled(fed) if double else fed
    mask = {"1.weight": KEEP}
    with sparse_layers(model, mask, but=() if sparse else mask) as left, seeded(0, "train"):
        rows = fine_tune(model, left, recipe, fed, "fp32", "t", checkpointer)
    return model, [{key: value for key, value in row.items() if key != "seconds"} for row in rows]


def same(one: tuple[nn.Module, list[Row]], other: tuple[nn.Module, list[Row]]) -> bool:
    pairs = zip(one[0].state_dict().values(), other[0].state_dict().values(), strict=True)
    return one[1] == other[1] and all(torch.equal(a, b) for a, b in pairs)


@pytest.mark.parametrize("cut", CUTS)
@pytest.mark.parametrize("every", [1, 4])
def test_a_run_cut_off_before_any_step_ends_as_one_left_alone(cut: int, every: int, tmp_path: Path) -> None:
    with pytest.raises(Cut):
        trained(tmp_path, feed(cut), every)
    assert (read_checkpoint(tmp_path) is not None) == (cut >= every)
    assert same(trained(tmp_path, feed(), every), trained(None, feed()))


@pytest.mark.parametrize(
    "options",
    [
        {"optimizer": "sgd", "momentum": 0.9, "weight_decay": 0.01},
        {"optimizer": "nadam", "clip_norm": 0.1},
        {"optimizer": "rprop"},
        {"optimizer": "nadam", "double": True},
        {"optimizer": "asgd"},
        {"ema_decay": 0.9, "accumulation": 3},
        {"label_smoothing": 0.1},
        {"sparse": True},
        {"sparse": True, "optimizer": "sgd", "momentum": 0.9, "weight_decay": 0.01, "double": True},
        {"sparse": True, "ema_decay": 0.9, "accumulation": 3, "clip_norm": 0.1},
    ],
    ids=lambda options: "-".join(map(str, options.values())),
)
@pytest.mark.parametrize("cut", [7, STEPS + 1])
def test_every_part_of_a_recipe_goes_on_as_it_was(options: dict[str, Any], cut: int, tmp_path: Path) -> None:
    with pytest.raises(Cut):
        trained(tmp_path, feed(cut, cutmix=True), **options)
    assert same(trained(tmp_path, feed(cutmix=True), **options), trained(None, feed(cutmix=True), **options))


def test_a_run_cut_off_again_and_again_ends_as_one_left_alone(tmp_path: Path) -> None:
    for cut in (2, 3, 3, 11, 20, 26):
        with pytest.raises(Cut):
            trained(tmp_path, feed(cut), every=2)
    assert same(trained(tmp_path, feed()), trained(None, feed()))


def test_a_run_cut_off_while_it_is_evaluated_trains_no_batch_again(tmp_path: Path) -> None:
    with pytest.raises(Cut):
        trained(tmp_path, feed(evaluation_cut=1), every=STEPS)
    assert same(trained(tmp_path, feed(cut=2 * STEPS - 1), every=STEPS, epochs=2), trained(None, feed(), epochs=2))


def test_the_generators_matter() -> None:
    """The mutant: a run whose dropout goes on from elsewhere ends elsewhere."""
    with seeded(0, "train"):
        torch.rand(1)
        other = network()
        fine_tune(other, {"1.weight": KEEP}, Recipe(epochs=1), feed(), "fp32", "t")
    assert not torch.equal(other[1].weight, trained(None, feed(), epochs=1)[0][1].weight)


def test_a_signal_writes_a_checkpoint_and_stops_and_the_run_goes_on_from_it(tmp_path: Path) -> None:
    def signalled(epoch: int, first: int) -> Iterator[Any]:
        for step, batch in enumerate(feed().train(epoch, first), first):
            if (epoch, step) == (1, 3):
                os.kill(os.getpid(), signal.SIGTERM)
            yield batch

    with interrupts.handle_signals(), pytest.raises(interrupts.Stopped):
        trained(tmp_path, Feed(signalled, STEPS, feed().evaluations), every=None)
    record = read_checkpoint(tmp_path)
    assert record is not None
    assert (record["progress"]["epoch"], record["progress"]["step"]) == (1, 4)  # the batch that was there is done
    assert same(trained(tmp_path, feed(cut=STEPS + 3)), trained(None, feed()))


@pytest.mark.usefixtures("hears_ctrl_c")
def test_a_signal_during_an_evaluation_is_heeded_there(tmp_path: Path) -> None:
    def test() -> Iterator[Any]:
        os.kill(os.getpid(), signal.SIGINT)
        yield from loader(X[72:], Y[72:])
        pytest.fail("the evaluation went on")

    with interrupts.handle_signals(), pytest.raises(interrupts.Stopped):
        trained(tmp_path, Feed(feed().train, STEPS, {"test": test}), every=None)
    assert same(trained(tmp_path, feed(cut=STEPS - 1)), trained(None, feed()))


@pytest.mark.usefixtures("hears_ctrl_c")
def test_a_second_signal_stops_at_once(tmp_path: Path) -> None:
    def signalled(epoch: int, first: int) -> Iterator[Any]:
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)
        yield from feed().train(epoch, first)

    with interrupts.handle_signals(), pytest.raises(KeyboardInterrupt) as caught:
        trained(tmp_path, Feed(signalled, STEPS, feed().evaluations))
    assert not isinstance(caught.value, interrupts.Stopped)


def test_a_damaged_checkpoint_is_named_and_the_run_begins_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(Cut):
        trained(tmp_path, feed(12))
    (path,) = tmp_path.glob("checkpoint-*.safetensors")
    content = bytearray(path.read_bytes())
    content[-9] ^= 1
    path.write_bytes(content)
    caplog.set_level("INFO", "prune_cli")
    assert same(trained(tmp_path, feed()), trained(None, feed()))
    assert "the checkpoint is not used" in caplog.text and path.name in caplog.text


def test_the_checkpoint_before_counts_until_the_next_is_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Cut off between any two of the steps that a checkpoint is written in, there is always a valid one."""
    import prune_cli.runs.files as files

    flush, calls = files._flush, 0

    def dying(path: Path) -> None:
        nonlocal calls
        calls += 1
        if calls == dies:
            raise Cut
        flush(path)

    monkeypatch.setattr(files, "_flush", dying)
    alone = trained(None, feed(), epochs=1)
    for dies in range(5, 21):  # four a checkpoint: the file and its folder, twice
        calls, folder = 0, tmp_path / str(dies)
        with pytest.raises(Cut):
            trained(folder, feed(), epochs=1)
        found = Checkpointer(folder).load()
        assert found is not None and found.progress.step >= (dies - 1) // 4
        assert same(trained(folder, feed(cut=found.progress.step - 1), epochs=1), alone)


def test_a_failure_leaves_the_last_checkpoint(tmp_path: Path) -> None:
    def spoiled(epoch: int, first: int) -> Iterator[Any]:
        for step, (x, y) in enumerate(feed().train(epoch, first), first):
            yield (x * float("nan") if (epoch, step) == (1, 2) else x), y

    with pytest.raises(NumericalError):
        trained(tmp_path, Feed(spoiled, STEPS, feed().evaluations))
    record = read_checkpoint(tmp_path)
    assert record is not None and record["progress"]["step"] == 2
