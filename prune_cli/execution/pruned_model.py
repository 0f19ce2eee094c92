"""The two sides of a finished run, on the CPU: its dense model, and what pruning has made of it."""

from __future__ import annotations

import copy
from collections.abc import Callable, Collection
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, replace
from multiprocessing import get_context
from pathlib import Path

from prune_cli import pipeline
from prune_cli.common.device import autocast, peak_memory
from prune_cli.common.errors import PruneCliError, RequestError
from prune_cli.common.lazy import Tensor, nn, torch
from prune_cli.execution.stored_run import StoredRun, mask_of, open_run
from prune_cli.masks import Mask
from prune_cli.masks.survivors import SurvivorOptimizer
from prune_cli.runs.paths import Paths
from prune_cli.runtime import sparse_able, sparsify
from prune_cli.runtime.faster import faster_sparse
from prune_cli.training.step import backward

DENSE, PRUNED = "dense", "pruned"
STEPS = 2  # training steps in which memory is measured: the second has the optimiser's state from the start
PURPOSE = "bench"  # of the batches that are drawn


@dataclass(frozen=True)
class Side:
    """A model, the mask of its weights that are pruned in dense tensors, and how many layers are sparse."""

    model: nn.Module
    mask: Mask
    sparse: int | None = None


def open_pruned(run: str, paths: Paths) -> StoredRun:
    """A finished run, its model on the CPU. Raises as `open_run` does, and RequestError where nothing is smaller or faster."""
    found = open_run(run, paths)
    if found.record.method == "dense":
        raise RequestError("nothing was removed in this run", str(found.folder), "prune-cli prune sparsity=98")
    if not found.target.single_weights and found.target.no_smaller is not None:
        hint = "a run of units with removal=recurrence"
        raise RequestError(f"this run leaves no smaller model: {found.target.no_smaller}", str(found.folder), hint)
    return replace(found, model=found.model.cpu())


def weight_mask(found: StoredRun) -> Mask:
    """The mask of the run's weights, on the CPU."""
    mask = found.target.weight_mask(found.model, mask_of(found.folder, found.record))
    return {name: keep.cpu() for name, keep in mask.items()}


def batch_of(found: StoredRun, size: int) -> tuple[Tensor, Tensor]:
    """So many training images or clips, and their labels, on the CPU."""
    x, y = next(iter(pipeline.training_batches(found.job, PURPOSE, steps=1, batch_size=size)))
    return x.cpu(), y.cpu()


def slower_sparse(found: StoredRun, batch: int) -> list[str]:
    """The pruned weights whose layers are no faster sparse at this batch: measured once on this machine."""
    mask, (image, _) = weight_mask(found), batch_of(found, 1)
    if not found.target.single_weights:
        return []
    precision = found.job.settings.compute.precision
    able = list(sparse_able(found.model, mask))
    fast = faster_sparse(found.model, mask, able, image, batch, lambda: autocast(torch.device("cpu"), precision))
    return [name for name in mask if name not in fast]


def pruned_side(found: StoredRun, stay_dense: Collection[str], in_place: bool = False) -> Side:
    """What pruning has made of the model: sparse layers where weights were removed, else the smaller model.

    in_place: the run's own model is changed, and takes no memory any more beside this one. Raises ConfigError.
    """
    if not found.target.single_weights:
        mask = {name: keep.cpu() for name, keep in mask_of(found.folder, found.record).items()}
        return Side(found.target.shrink(found.model, mask), {})
    mask, model = weight_mask(found), found.model if in_place else copy.deepcopy(found.model)
    left = sparsify(model, mask, stay_dense)
    return Side(model, left, len(mask) - len(left))


def inference(found: StoredRun, model: Callable[[Tensor], Tensor], x: Tensor) -> Callable[[], Tensor]:
    """A forward pass in the run's precision."""
    precision = found.job.settings.compute.precision

    def forward() -> Tensor:
        """The logits."""
        with torch.no_grad(), autocast(x.device, precision):
            return model(x)

    return forward


def training(found: StoredRun, side: Side, x: Tensor, y: Tensor) -> Callable[[], None]:
    """A training step by the run's recipe: forward, backward and optimiser; the model is trained. Dense, where the mask is
    empty, all weights are."""
    recipe, model = found.job.settings.recipe, side.model.train()
    options = recipe.optimizer_options()
    optimizer = SurvivorOptimizer(model, side.mask, recipe.optimizer, weight_decay=recipe.weight_decay, **options)

    def step() -> None:
        """One step over the batch."""
        optimizer.zero_grad()
        backward(model, x, y, recipe, found.job.settings.compute.precision)
        optimizer.step()

    return step


def memory_of(run: str, paths: Paths, side: str, stay_dense: Collection[str]) -> int:
    """Peak memory [bytes] of a process of its own that opens the run and takes a forward pass and STEPS training steps
    with one of its sides; libraries and data are in it. Raises PruneCliError where the process is killed."""
    try:
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
            return pool.submit(_peak, run, paths, side, list(stay_dense), torch.get_num_threads()).result()
    except BrokenProcessPool:
        hint = "a run with a smaller recipe.batch_size, or a machine with more memory"
        raise PruneCliError(f"the process that measured the memory of the {side} side was killed", run, hint) from None


def _peak(run: str, paths: Paths, side: str, stay_dense: list[str], threads: int) -> int:
    torch.set_num_threads(threads)
    found = open_pruned(run, paths)
    model = pruned_side(found, stay_dense, in_place=True) if side == PRUNED else Side(found.model, {})
    x, y = batch_of(found, found.job.settings.recipe.batch_size)
    inference(found, model.model.eval(), x[:1])()
    step = training(found, model, x, y)
    for _ in range(STEPS):
        step()
    return _high_water()


def _high_water() -> int:
    """The largest number of bytes that this process has held. On Linux that of the program alone: ru_maxrss begins with
    what the process that started it held."""
    status = Path("/proc/self/status")
    lines = status.read_text().splitlines() if status.exists() else []
    kib = [int(line.split()[1]) for line in lines if line.startswith("VmHWM:")]
    return 1024 * kib[0] if kib else peak_memory(torch.device("cpu"))
