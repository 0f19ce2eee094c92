"""The public Python API, and what jobs share."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from prune_cli import masks, pipeline, scorers
from prune_cli.config.schema import Point
from prune_cli.data.splits import Split
from prune_cli.pipeline.batches import feed, scoring_batches
from prune_cli.runs.paths import Paths

RANDOM = {"model.weights": "random"}


def job(data: Path, choices: dict[str, str] | None = None, values: dict | None = None) -> pipeline.Job:
    paths = Paths(data=data)
    settings = pipeline.composer(paths).settings(Point(choices or {}, RANDOM | (values or {})))
    return pipeline.JobFactory(paths).job(settings)


def first(run: pipeline.Job) -> tuple[torch.Tensor, torch.Tensor]:
    """The first scoring batch."""
    return next(iter(scoring_batches(run)))


def test_the_public_api_scores_and_selects(built_data: Path) -> None:
    run = job(built_data)
    model, parameters = pipeline.build_model(run)
    batches = scoring_batches(run)
    scorer = scorers.build("snip_magnitude", alpha=1e-3)
    mask = pipeline.find_mask(model, batches, parameters, scorer, sparsity=0.98, scope="global")
    same = masks.select(scorer(model, batches, parameters), sparsity=0.98, scope="global", min_kept_per_tensor=0)
    assert list(mask) == list(parameters)
    assert sum(int(keep.sum()) for keep in mask.values()) == 15_729
    assert masks.digest(mask) == masks.digest(same)


def test_every_scorer_of_a_sweep_sees_the_same_head_batches_and_order(built_data: Path) -> None:
    one, two = job(built_data, {"scorer": "snip"}), job(built_data, {"scorer": "random", "sparsity": "90"})
    for a, b in zip(pipeline.build_model(one)[0].parameters(), pipeline.build_model(two)[0].parameters(), strict=True):
        assert torch.equal(a, b)
    assert torch.equal(first(one)[0], first(two)[0])
    orders = [torch.cat([y for _, y in feed(run).train(3)]) for run in (one, two)]
    assert torch.equal(*orders)


def test_seeds_and_purposes_draw_apart(built_data: Path) -> None:
    one, two = job(built_data), job(built_data, values={"seed": 1})
    labels = [torch.cat([y for _, y in feed(run).train(epoch)]) for run in (one, two) for epoch in (0, 1)]
    assert len({tuple(found.tolist()) for found in labels}) == 4
    assert not torch.equal(first(one)[1], labels[0][:128])
    assert not torch.equal(pipeline.build_model(one)[0].head.weight, pipeline.build_model(two)[0].head.weight)


def test_the_scoring_batch_is_as_large_as_asked(built_data: Path) -> None:
    run = job(built_data, values={"scoring.batches": 3, "scoring.batch_size": 50})
    assert [len(y) for _, y in scoring_batches(run)] == [50, 50, 50]


def read_batches(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The sizes of the batches that are read from here on, in their order."""
    read: list[int] = []
    images = Split.images

    def counted(self: Split, paths: list[int], *size: int) -> torch.Tensor:
        read.append(len(paths))
        return images(self, paths, *size)

    monkeypatch.setattr(Split, "images", counted)
    return read


@pytest.mark.parametrize(("kept", "reads"), [(0, 9), (1, 6), (2, 4), (5, 2)])
def test_scoring_batches_are_made_when_asked_for_and_are_the_same_in_every_pass(
    built_data: Path, monkeypatch: pytest.MonkeyPatch, kept: int, reads: int
) -> None:
    """Those that there is room for are read once, the others once a pass."""
    run = job(built_data, values={"scoring.batches": 3, "scoring.batch_size": 50, "scoring.micro_batch": 20})
    one_batch = 50 * (28 * 28 * 4 + 8)
    monkeypatch.setattr(pipeline.batches, "KEPT_BYTES", kept * one_batch)
    read = read_batches(monkeypatch)
    batches = scoring_batches(run)
    assert (read, batches.images) == ([50], 150)
    next(iter(batches))  # a pass that ends early
    read.clear()
    passes = [list(batches) for _ in range(3)]
    assert len(read) == reads
    assert [len(y) for _, y in passes[0]] == [20, 20, 10] * 3
    for later in passes[1:]:
        assert all(
            torch.equal(a, b) for one, two in zip(passes[0], later, strict=True) for a, b in zip(one, two, strict=True)
        )


def test_an_outline_counts_without_a_weight(built_data: Path) -> None:
    outline = job(built_data).outline
    assert (outline.size, outline.parameters) == (786_432, 803_338)
    model, parameters = pipeline.build_model(job(built_data))
    assert {name: tuple(p.shape) for name, p in parameters.items()} == {
        name: each.shape for name, each in outline.removable.items()
    }
    assert sum(p.numel() for p in model.parameters()) == outline.parameters


def test_stored_scores_keep_the_models_order_which_breaks_ties(built_data: Path, tmp_path: Path) -> None:
    run = job(built_data, {"scorer": "magnitude"})
    model, parameters = pipeline.build_model(run)
    paths = Paths(runs=tmp_path)
    for _ in range(2):  # computed, then read again
        scores, _record = pipeline.find_scores(run, model, paths)
        assert list(scores) == list(parameters)


@pytest.mark.parametrize("workers", [0, 2])
def test_batches_do_not_depend_on_the_loaders_workers(built_data: Path, workers: int) -> None:
    run = job(built_data, values={"compute.workers": workers, "recipe.train_batches": 2})
    x = torch.cat([x for x, _ in feed(run).train(0)])
    expected = torch.cat([x for x, _ in feed(job(built_data, values={"recipe.train_batches": 2})).train(0)])
    assert torch.equal(x, expected)
