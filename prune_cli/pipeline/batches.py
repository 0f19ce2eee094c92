"""The batches of a job for scoring, training and evaluation."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import partial
from itertools import islice

from prune_cli.common.lazy import torch
from prune_cli.common.random import generator
from prune_cli.common.ranks import ALONE, Ranks
from prune_cli.data.loading import Batch, Loader
from prune_cli.pipeline.job import Job
from prune_cli.training.loop import Feed
from prune_cli.training.mixing import cut_and_mixed

KEPT_BYTES = 1 << 28  # of scoring batches in memory: three of 128 images of 3×224×224


class ScoringBatches:
    """Batches for scoring, which can be iterated several times with equal contents and order, and are loaded lazily.

    The first batches that fit into KEPT_BYTES stay in memory; each pass loads the others again, one at a time.
    """

    def __init__(self, loader: Loader, indices: list[int], micro_batch: int):
        self._loader, self._indices, self._micro_batch = loader, indices, micro_batch
        self._kept: list[Batch] = []
        self._bytes_left = KEPT_BYTES

    @property
    def images(self) -> int:
        """The number of images or clips in the batches."""
        return len(self._indices)

    def __iter__(self) -> Iterator[Batch]:
        for x, y in self._full_batches():
            yield from zip(x.split(self._micro_batch), y.split(self._micro_batch), strict=True)

    def _full_batches(self) -> Iterator[Batch]:
        kept = list(self._kept)
        yield from kept
        if rest := self._indices[len(kept) * self._loader.batch_size :]:
            for number, batch in enumerate(self._loader.batches(rest), start=len(kept)):
                self._keep(number, batch)
                yield batch

    def _keep(self, number: int, batch: Batch) -> None:
        """Keep batch `number` in memory if it is the next one to keep and fits."""
        if number == len(self._kept):
            self._bytes_left -= sum(tensor.nbytes for tensor in batch)
            if self._bytes_left >= 0:
                self._kept.append(batch)


def scoring_batches(job: Job) -> ScoringBatches:
    """The shuffled training batches that scores are measured on, drawn by a generator for scoring alone.

    The first batch is loaded at once, so that unreadable data raise early and its loading is not timed as scoring.
    """
    options = job.scoring
    loader = _loader(job, "train", options.batch_size)
    batches = job.settings.scorer.scoring_batches if options.batches is None else options.batches
    order = loader.shuffled(job.settings.seed, "scoring")[: batches * options.batch_size]
    found = ScoringBatches(loader, order, options.micro_batch or options.batch_size)
    next(iter(found), None)
    return found


def training_batches(job: Job, purpose: str, steps: int, batch_size: int) -> Iterable[Batch]:
    """`steps` full batches of shuffled training data, drawn for one purpose; a small split is passed through repeatedly."""
    loader = _loader(job, "train", batch_size)
    passes = -(-steps * batch_size // len(loader.split))
    order = [index for number in range(passes) for index in loader.shuffled(job.settings.seed, purpose, number)]
    return loader.batches(order[: steps * batch_size])


def feed(job: Job) -> Feed:
    """The batches of the job's recipe: shuffled training epochs, and the splits to evaluate after each epoch."""
    recipe, seed = job.settings.recipe, job.settings.seed
    loader = _loader(job, "train", recipe.batch_size, job.ranks, even=recipe.cutmix_alpha > 0)
    full = -(-len(job.splits.train) // recipe.batch_size)
    steps = min(full, recipe.train_batches or full)

    def epoch(number: int, first: int = 0) -> Iterable[Batch]:
        """The batches of one epoch from number `first` on, with flips and CutMix as if all batches had been drawn."""
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
    """The loader of a split. ranks: the processes that share each batch; by default batches are whole."""
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
