"""The stages of a run: model, score, select, fine-tune. Each is one plain call."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from prune_cli import masks
from prune_cli.common.device import peak_memory
from prune_cli.common.lazy import nn
from prune_cli.common.plain import Row
from prune_cli.common.random import derive, seeded
from prune_cli.common.terminal import note
from prune_cli.masks import mask as mask_files
from prune_cli.models import weights as weight_files
from prune_cli.models.prunable import prunable
from prune_cli.models.sources import RANDOM
from prune_cli.pipeline.batches import feed, scoring_batches
from prune_cli.pipeline.iterative import find_mask
from prune_cli.pipeline.job import Job
from prune_cli.pipeline.outline import ModelOutline, confirm_outline
from prune_cli.pipeline.scoring import find_scores
from prune_cli.pipeline.sparse_training import sparse_training
from prune_cli.runs.artefacts import SCORED, SCORED_MASK
from prune_cli.runs.compressed import write_mask
from prune_cli.runs.files import (
    FILES,
    DamagedError,
    check,
    read_checksummed,
    sha256,
    write_checksummed,
)
from prune_cli.runs.paths import Paths
from prune_cli.runs.record import ScoringCost
from prune_cli.runs.store import RunFolder, digest_of
from prune_cli.scorers import Parameters
from prune_cli.training.checkpoint import Checkpointer
from prune_cli.training.loop import fine_tune
from prune_cli.training.trackers import Tracking


def build_model(job: Job) -> tuple[nn.Module, dict[str, nn.Parameter]]:
    """The model with its weights and head, on the device, and the parameters that can be removed (Target.parameters)."""
    settings, classes = job.prepare().settings, len(job.data.outline.classes)
    model = weight_files.build(settings.model, job.weights, classes, settings.seed)
    model = model.to(job.device, settings.compute.dtype).to(memory_format=settings.compute.memory_format)
    parameters = job.target.parameters(model, settings.model.prunable)
    if ModelOutline.of(model, job.target, settings.model.prunable) != job.outline:
        confirm_outline(job.outline, settings, job.target, classes)
    return model, parameters


def keep_data(job: Job, paths: Paths) -> None:
    """Write a dataset that is built here into the data folder, so that later runs load it faster; a note where it fails."""
    if not job.ranks.main:
        return
    try:
        job.data.build()
    except OSError as error:  # e.g. a data folder of others
        note(f"the dataset is made again each time, {paths.data} does not take it: {error.strerror}")


def choose_mask(
    job: Job, model: nn.Module, parameters: Parameters, paths: Paths, folder: RunFolder
) -> tuple[masks.Mask, ScoringCost | None]:
    """The job's mask, and the cost of its scoring (None where nothing is scored). A dense run has an empty mask.

    A scored mask is stored in the run's folder, so that a run that was stopped goes on with an equal mask. With several
    processes the main one scores whole batches and the others take its mask, so that the mask equals that of a single
    process; sums of scores over the processes would equal it only up to rounding.
    """
    if job.method == "dense":
        return {}, None
    if job.method == "mask":
        return mask_files.load(job.mask_path, parameters), None
    mask, scoring = job.ranks.run_on_main(lambda: _stored_or_scored_mask(job, model, parameters, paths, folder))
    return mask, scoring


def _stored_or_scored_mask(
    job: Job, model: nn.Module, parameters: Parameters, paths: Paths, folder: RunFolder
) -> tuple[masks.Mask, ScoringCost]:
    found = _stored_mask(folder.path, parameters)
    if found is None:
        found = _scored_mask(job, model, paths)
        _store_mask(folder.path, *found)
    mask, scoring = found
    return mask if job.ranks.world_size == 1 else {name: keep.cpu() for name, keep in mask.items()}, scoring


def _scored_mask(job: Job, model: nn.Module, paths: Paths) -> tuple[masks.Mask, ScoringCost]:
    if job.settings.scorer.rounds > 1:
        return _mask_in_rounds(job, model)
    found, record = find_scores(job, model, paths)
    scores = job.settings.control.control.scores(job.target.scores(model, found))
    return masks.select(scores, **_selection(job)), record.cost


def _store_mask(folder: Path, mask: masks.Mask, scoring: ScoringCost) -> None:
    write_mask(folder / SCORED_MASK, mask)
    write_checksummed(
        folder / SCORED, {"scoring": scoring.to_json(), FILES: {SCORED_MASK: sha256(folder / SCORED_MASK)}}
    )


def _stored_mask(folder: Path, parameters: Parameters) -> tuple[masks.Mask, ScoringCost] | None:
    """The mask and scoring cost that an earlier attempt at this run has stored; None where there is none or it is damaged."""
    try:
        record = read_checksummed(folder / SCORED)
        check(folder / SCORED_MASK, digest_of(record, SCORED_MASK))
    except (FileNotFoundError, DamagedError):
        return None
    return mask_files.load(folder / SCORED_MASK, parameters), ScoringCost.from_json(record["scoring"])


def _selection(job: Job) -> dict[str, Any]:
    sparsity = job.settings.sparsity
    return {
        "sparsity": sparsity.fraction,
        "scope": sparsity.scope,
        "min_kept_per_tensor": sparsity.min_kept_per_tensor,
        "pattern": sparsity.pattern,
    }


def _mask_in_rounds(job: Job, model: nn.Module) -> tuple[masks.Mask, ScoringCost]:
    """The mask of a scorer with rounds, and its cost. Its scores depend on the sparsity, so they are not stored."""
    batches, scorer, target = scoring_batches(job), job.settings.scorer, job.target
    parameters = target.to_score(model, job.settings.model.prunable)
    wanted = _selection(job) | {"control": job.settings.control.control, "target": target}
    note(f"{scorer.title} scores in {scorer.rounds} rounds")
    start = time.perf_counter()
    mask = find_mask(model, batches, parameters, scorer, **wanted)
    seconds, peak = time.perf_counter() - start, peak_memory(job.device)
    return mask, ScoringCost(images=batches.images, seconds=seconds, peak_memory_bytes=peak, rounds=scorer.rounds)


def control(job: Job, parameters: Parameters, mask: masks.Mask) -> masks.Mask:
    """The mask after the job's control; the control may also change the prunable weights, in place."""
    settings, control = job.settings, job.settings.control.control
    if mask:
        control.weights(parameters, lambda: _fresh_weights(job))
    return control.mask(mask, parameters, settings.seed)


def _fresh_weights(job: Job) -> Parameters:
    """The prunable weights of a freshly initialised model."""
    settings = job.settings
    model = weight_files.build(settings.model, RANDOM, len(job.data.outline.classes), derive(settings.seed, "reinit"))
    return prunable(model, settings.model.prunable)


def remove(job: Job, model: nn.Module, mask: masks.Mask) -> masks.Mask:
    """Set the removed weights to zero, in place. Returns the mask of weights that follows from the mask, True = keep.

    Raises PruneCliError where the processes of a run do not have the same mask.
    """
    if job.ranks.world_size > 1:
        job.ranks.check_same(masks.digest(mask), "their masks")
    zeroed = job.target.weight_mask(model, mask)
    masks.apply({name: model.get_parameter(name) for name in zeroed}, zeroed)
    return zeroed


def train(job: Job, model: nn.Module, mask: masks.Mask, title: str, folder: RunFolder | None = None) -> list[Row]:
    """Fine-tune in place over the surviving weights, with checkpoints in the run's folder; returns a row an epoch.

    With compute.sparse the pruned layers hold only their surviving weights during training. All processes begin with the
    weights of the main one; each has its own generator of dropout and other draws.
    """
    settings, ranks = job.settings, job.ranks
    checkpointer = Checkpointer(folder.path, settings.compute.checkpoint_steps) if folder else None
    ranks.broadcast(model.state_dict().values())
    purpose = ("train", ranks.rank) if ranks.rank else ("train",)
    sparse = sparse_training(job, model, mask, folder)
    with sparse as left, _tracking(job, title, folder) as tracking, seeded(settings.seed, *purpose):
        precision = settings.compute.precision
        return fine_tune(model, left, settings.recipe, feed(job), precision, title, checkpointer, tracking)


def _tracking(job: Job, title: str, folder: RunFolder | None) -> Tracking:
    """The trackers of a run, which write their own files into runs/trackers."""
    if folder is None:
        return Tracking()
    home, settings = folder.path.parents[1] / "trackers", job.settings
    return Tracking.open(settings.compute.trackers, f"{folder.path.name[:8]} {title}", home, settings.plain)
