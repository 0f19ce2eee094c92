"""The batches of a job: those that are scored on, trained on and evaluated."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from itertools import islice

import torch

from prune_cli.common.random import generator
from prune_cli.common.ranks import ALONE, Ranks
from prune_cli.data.loading import Batch, Loader
from prune_cli.pipeline.job import Job
from prune_cli.scorers import batches_of
from prune_cli.training.loop import Feed
from prune_cli.training.mixing import cut_and_mixed


def scoring_batches(job: Job) -> list[Batch]:
    """The shuffled training batches that scores are measured on, drawn for this purpose alone."""
    options = job.settings.scoring
    loader = _loader(job, "train", options.batch_size)
    batches = batches_of(job.settings.scorer) if options.batches is None else options.batches
    order = loader.shuffled(job.settings.seed, "scoring")[: batches * options.batch_size]
    size = options.micro_batch or options.batch_size
    return [(x, y) for batch in loader.batches(order) for x, y in zip(*(t.split(size) for t in batch), strict=True)]


def training_batches(job: Job, purpose: str, steps: int, batch_size: int) -> Iterable[Batch]:
    """So many full batches of shuffled training data, drawn for one purpose; a small split is gone through again and again."""
    loader = _loader(job, "train", batch_size)
    passes = -(-steps * batch_size // len(loader.split))
    order = [index for number in range(passes) for index in loader.shuffled(job.settings.seed, purpose, number)]
    return loader.batches(order[: steps * batch_size])


def feed(job: Job) -> Feed:
    """The batches of the job's recipe: shuffled training epochs, and the splits that are evaluated after each."""
    recipe, seed = job.settings.recipe, job.settings.seed
    loader = _loader(job, "train", recipe.batch_size, job.ranks, even=recipe.cutmix_alpha > 0)
    full = -(-len(job.splits.train) // recipe.batch_size)
    steps = min(full, recipe.train_batches or full)

    def epoch(number: int, first: int = 0) -> Iterable[Batch]:
        """The batches of one epoch from `first` on, mixed where the recipe says so: the same as if all had been made."""
        flips = generator(seed, "flip", number) if recipe.horizontal_flip else None
        for _ in range(first if flips is not None else 0):
            torch.rand(recipe.batch_size, generator=flips)  # what the batches before have drawn
        order = loader.shuffled(seed, "order", number)[first * recipe.batch_size :]
        batches = islice(loader.batches(order, flips), steps - first)
        if not recipe.cutmix_alpha:
            return batches
        classes = len(job.splits.classes)
        return cut_and_mixed(batches, recipe.cutmix_alpha, recipe.cutmix_prob, classes, seed, number, first)

    names = [name for name in job.splits.named() if name != "train"]
    return Feed(epoch, steps, {name: partial(evaluation_batches, job, name) for name in names}, job.ranks)


def evaluation_batches(job: Job, split: str) -> Iterable[Batch]:
    """The batches of a split in its own order, as many images as the recipe allows."""
    loader, images = _loader(job, split, 500, job.ranks), job.settings.recipe.test_images
    return loader.batches(range(min(len(loader.split), images or len(loader.split))))


def _loader(job: Job, split: str, batch_size: int, ranks: Ranks = ALONE, even: bool = False) -> Loader:
    """Each rank's batches hold its share where `ranks` says so, else everything."""
    settings, compute = job.settings, job.settings.compute
    return Loader(
        job.splits.named()[split],
        settings.model.input,
        batch_size,
        job.device,
        compute.workers,
        compute.memory_format,
        compute.dtype,
        ranks,
        even,
    )
