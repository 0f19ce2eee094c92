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
    """The model with its weights and head, on the device, and what can be removed of it: see Target.parameters."""
    settings, classes = job.prepare().settings, len(job.data.outline.classes)
    model = weight_files.build(settings.model, job.weights, classes, settings.seed)
    model = model.to(job.device, settings.compute.dtype).to(memory_format=settings.compute.memory_format)
    parameters = job.target.parameters(model, settings.model.prunable)
    if ModelOutline.of(model, job.target, settings.model.prunable) != job.outline:
        confirm_outline(job.outline, settings, job.target, classes)
    return model, parameters


def keep_data(job: Job, paths: Paths) -> None:
    """Write the dataset where later runs find it sooner, if it is one that is made here and its folder takes it."""
    if not job.ranks.main:
        return
    try:
        job.data.build()
    except OSError as error:  # e.g. a data folder of others
        note(f"the dataset is made again each time, {paths.data} does not take it: {error.strerror}")


def choose_mask(
    job: Job, model: nn.Module, parameters: Parameters, paths: Paths, folder: RunFolder
) -> tuple[masks.Mask, ScoringCost | None]:
    """The job's mask, and what the scoring behind it took if there was one. A dense run has an empty mask.

    What was scored for is kept in the run's folder: a run that was stopped goes on with the same mask. Of several
    processes the first one scores the whole batches, and the others take its mask: it is the one that a process alone
    finds, which sums of scores over shares would be to rounding only.
    """
    if job.method == "dense":
        return {}, None
    if job.method == "mask":
        return mask_files.load(job.mask_path, parameters), None
    mask, scoring = job.ranks.run_on_main(lambda: _found_mask(job, model, parameters, paths, folder))
    return mask, scoring


def _found_mask(
    job: Job, model: nn.Module, parameters: Parameters, paths: Paths, folder: RunFolder
) -> tuple[masks.Mask, ScoringCost]:
    found = _kept_mask(folder.path, parameters)
    if found is None:
        found = _scored_mask(job, model, paths)
        _keep_mask(folder.path, *found)
    mask, scoring = found
    return mask if job.ranks.world_size == 1 else {name: keep.cpu() for name, keep in mask.items()}, scoring


def _scored_mask(job: Job, model: nn.Module, paths: Paths) -> tuple[masks.Mask, ScoringCost]:
    if job.settings.scorer.rounds > 1:
        return _mask_in_rounds(job, model)
    found, record = find_scores(job, model, paths)
    scores = job.settings.control.control.scores(job.target.scores(model, found))
    return masks.select(scores, **_selection(job)), record.cost


def _keep_mask(folder: Path, mask: masks.Mask, scoring: ScoringCost) -> None:
    write_mask(folder / SCORED_MASK, mask)
    write_checksummed(
        folder / SCORED, {"scoring": scoring.to_json(), FILES: {SCORED_MASK: sha256(folder / SCORED_MASK)}}
    )


def _kept_mask(folder: Path, parameters: Parameters) -> tuple[masks.Mask, ScoringCost] | None:
    """The mask of an earlier attempt at this run, if it can be believed."""
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
    """The mask of a scorer that needs the sparsity: nothing of it is kept for other runs."""
    batches, scorer, target = scoring_batches(job), job.settings.scorer, job.target
    parameters = target.to_score(model, job.settings.model.prunable)
    wanted = _selection(job) | {"control": job.settings.control.control, "target": target}
    note(f"{scorer.title} scores in {scorer.rounds} rounds")
    start = time.perf_counter()
    mask = find_mask(model, batches, parameters, scorer, **wanted)
    seconds, peak = time.perf_counter() - start, peak_memory(job.device)
    return mask, ScoringCost(images=batches.images, seconds=seconds, peak_memory_bytes=peak, rounds=scorer.rounds)


def control(job: Job, parameters: Parameters, mask: masks.Mask) -> masks.Mask:
    """What the job's control makes of the mask, and in place of the weights that are not removed yet."""
    settings, control = job.settings, job.settings.control.control
    if mask:
        control.weights(parameters, lambda: _fresh(job))
    return control.mask(mask, parameters, settings.seed)


def _fresh(job: Job) -> Parameters:
    """The prunable weights as another draw of the initialisation has them."""
    settings = job.settings
    model = weight_files.build(settings.model, RANDOM, len(job.data.outline.classes), derive(settings.seed, "reinit"))
    return prunable(model, settings.model.prunable)


def remove(job: Job, model: nn.Module, mask: masks.Mask) -> masks.Mask:
    """Set to zero what the mask removes, in place. Returns the mask of the weights that this takes, True = keep.

    Raises PruneCliError where the processes of a run do not have the same mask.
    """
    if job.ranks.world_size > 1:
        job.ranks.check_same(masks.digest(mask), "their masks")
    zeroed = job.target.weight_mask(model, mask)
    masks.apply({name: model.get_parameter(name) for name in zeroed}, zeroed)
    return zeroed


def train(job: Job, model: nn.Module, mask: masks.Mask, title: str, folder: RunFolder | None = None) -> list[Row]:
    """Fine-tune in place over the surviving weights, with checkpoints in the run's folder; returns a row an epoch.

    Meanwhile, with compute.sparse, pruned layers hold nothing but these.

    All processes begin with the first one's weights, and each draws dropout and the like for itself.
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
    """The trackers of a run; what they write themselves is beside the folders of runs."""
    if folder is None:
        return Tracking()
    home, settings = folder.path.parents[1] / "trackers", job.settings
    return Tracking.open(settings.compute.trackers, f"{folder.path.name[:8]} {title}", home, settings.plain)
