"""Training with sparse layers: which layers of a run are sparse, and their entry in its record."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from prune_cli.common.device import autocast
from prune_cli.common.lazy import nn
from prune_cli.common.terminal import note
from prune_cli.masks import Mask
from prune_cli.pipeline.batches import training_batches
from prune_cli.pipeline.job import Job
from prune_cli.runs.artefacts import CHECKPOINT, SPARSE_LAYERS
from prune_cli.runs.files import DamagedError, read_checksummed, write_checksummed
from prune_cli.runs.record import SparseLayers
from prune_cli.runs.store import RunFolder
from prune_cli.runtime import products, sparse_able, sparse_layers
from prune_cli.runtime.faster import faster_sparse


@contextmanager
def sparse_training(job: Job, model: nn.Module, mask: Mask, folder: RunFolder | None) -> Iterator[Mask]:
    """Make the pruned layers that compute.sparse chooses sparse inside this context; yields the mask of all other weights.

    The choice is stored in the run's folder, so that a run that was stopped goes on with equal layers.
    """
    if job.settings.compute.sparse == "off" or not mask:
        yield mask
        return
    layers = job.ranks.run_on_main(lambda: layers_of(folder) or _keep(folder, _choose(job, model, mask)))
    note(f"sparse layers: {len(layers.sparse)} of {len(mask)} ({layers.products})")
    with sparse_layers(model, mask, but=layers.dense) as left:
        yield left


def layers_of(folder: RunFolder | None) -> SparseLayers | None:
    """The sparse layers stored for the run in this folder; None where none are stored.

    A damaged file removes the run's checkpoint, which belongs to layers that are no longer known: the run begins again.
    """
    if folder is None:
        return None
    try:
        found = read_checksummed(folder.path / SPARSE_LAYERS)
        return SparseLayers(products=found["products"], sparse=found["sparse"], dense=found["dense"])
    except FileNotFoundError:
        return None
    except DamagedError as error:
        note(f"the run begins again: {error.what} ({error.where})")
        (folder.path / CHECKPOINT).unlink(missing_ok=True)
        return None


def _choose(job: Job, model: nn.Module, mask: Mask) -> SparseLayers:
    """The layers to make sparse: on a CPU all that can be, or with `auto` those that are faster sparse."""
    sparse = list(sparse_able(model, mask))
    if job.settings.compute.sparse == "auto" and sparse:
        sparse = _faster(job, model, mask, sparse)
    how = products.best().title if sparse else "dense"
    return SparseLayers(products=how, sparse=sparse, dense=[name for name in mask if name not in sparse])


def _faster(job: Job, model: nn.Module, mask: Mask, names: list[str]) -> list[str]:
    recipe, precision = job.settings.recipe, job.settings.compute.precision
    image, _ = next(iter(training_batches(job, "timing of layers", steps=1, batch_size=1)))
    batch = -(-recipe.batch_size // (recipe.accumulation * job.ranks.world_size))
    return faster_sparse(model, mask, names, image, batch, lambda: autocast(job.device, precision))


def _keep(folder: RunFolder | None, layers: SparseLayers) -> SparseLayers:
    if folder is not None:
        write_checksummed(folder.path / SPARSE_LAYERS, layers.to_json())
    return layers
