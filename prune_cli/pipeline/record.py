"""The plan and the record of a run, and the files that a finished run writes."""

from __future__ import annotations

import shlex
from dataclasses import asdict
from pathlib import Path
from typing import Any

from prune_cli import masks
from prune_cli.common.errors import RequestError
from prune_cli.common.lazy import nn, pd
from prune_cli.common.plain import JsonObject, Row
from prune_cli.masks import mask as mask_files
from prune_cli.masks.allocate import check_floor, kept_total
from prune_cli.masks.layers import layer_table
from prune_cli.masks.pattern import check_pattern
from prune_cli.models.card import ModelCard
from prune_cli.pipeline.job import Job, prune_identity, train_identity
from prune_cli.pipeline.sparse_training import layers_of
from prune_cli.runs.artefacts import CONFIG, LAYERS, MASK, METRICS, MODEL
from prune_cli.runs.compressed import write_mask, write_model
from prune_cli.runs.files import write_csv, write_tensors, write_yaml
from prune_cli.runs.manifest import provenance
from prune_cli.runs.plan import RunPlan
from prune_cli.runs.record import RunRecord, ScoringCost
from prune_cli.runs.store import RunFolder, write_record
from prune_cli.training.loop import best_row


def describe(job: Job, kind: str) -> RunPlan:
    """The plan of a job: its identity, counts and titles, known before the run.

    Raises RequestError for a mask in a dense training run, SelectionError for a mask that does not exist.
    """
    settings, method = job.settings, job.method
    if kind == "train" and settings.mask is not None:
        word = f"mask={settings.mask}"
        raise RequestError("a dense training run has no use for a mask", word, shlex.join(["prune-cli", "prune", word]))
    identity = prune_identity(job) if kind == "prune" else train_identity(job)
    folder = RunFolder.of(Path(), kind, identity)
    prunable, kept, sparsity = _counts(job)
    return RunPlan(
        hash=folder.path.name,
        identity=folder.identity,
        smoke=settings.recipe.smoke,
        model=settings.model.name,
        model_title=settings.model.title,
        weights=job.weights.name,
        dataset=settings.dataset.name,
        dataset_title=settings.dataset.title,
        method=method,
        method_title=_method_title(job),
        removal=job.target.name,
        sparsity=sparsity,
        seed=settings.seed,
        prunable=prunable,  # of what the target removes
        kept=kept,
        parameters=job.outline.parameters,
    )


def _method_title(job: Job) -> str:
    named = {"mask": "Mask", "dense": "Dense"}.get(job.method) or job.settings.scorer.title
    kind = job.settings.control.kind
    return named if kind == "none" or job.method == "dense" else f"{named}, {kind}"


def _counts(job: Job) -> tuple[int, int, float]:
    """The number of prunable entries, the number kept, and the sparsity in percent."""
    parameters, prunable = job.outline.removable, job.outline.size
    if job.method == "mask":
        kept = mask_files.kept(mask_files.load(job.mask_path, parameters))
        return prunable, kept, 100 * (1 - kept / prunable)
    sparsity = job.settings.sparsity
    kept = kept_total(prunable, sparsity.fraction)
    check_floor(parameters, kept, sparsity.min_kept_per_tensor)
    if sparsity.pattern is not None and job.method != "dense":
        check_pattern(parameters, sparsity.pattern)
    return prunable, kept, sparsity.percent


def input_of(job: Job) -> JsonObject:
    """The size, mean and std of the model's images as a JSON object; empty for clips."""
    values = asdict(job.settings.model.input)
    return {key: list(value) if isinstance(value, tuple) else value for key, value in values.items()}


def accuracies(rows: list[Row]) -> dict[str, Any]:
    """The accuracies [%] that a RunRecord states: of the last epoch, and of the best under its own name."""
    best, split = best_row(rows)
    found = {
        "accuracy_last": rows[-1]["test_accuracy"],
        "accuracy_best": best["test_accuracy"],
        "best_epoch": best["epoch"],
        "best_chosen_on": split,
    }
    if split == "validation":
        found |= {"validation_last": rows[-1]["validation_accuracy"], "validation_best": best["validation_accuracy"]}
    return found


def write_run(
    folder: RunFolder,
    job: Job,
    model: nn.Module,
    mask: masks.Mask,
    rows: list[Row],
    plan: RunPlan,
    scoring: ScoringCost | None = None,
) -> RunRecord:
    """Write all files of a run, the manifest with their digests last. Returns the record. scoring: the cost of scoring."""

    def write() -> RunRecord:
        """Write the files and the record; called in the main process alone."""
        _write_files(folder.path, job, model, mask, rows)
        return write_record(folder.path, _record(folder, job, mask, rows, plan, scoring))

    return job.ranks.run_on_main(write)


def _write_files(path: Path, job: Job, model: nn.Module, mask: masks.Mask, rows: list[Row]) -> None:
    weight_mask = job.target.weight_mask(model, mask)
    write_yaml(path / CONFIG, job.settings.plain)
    write_csv(path / METRICS, pd.DataFrame(rows))
    write_csv(path / LAYERS, layer_table(weight_mask))
    if job.method == "dense":
        write_tensors(path / MASK, {})
        write_tensors(path / MODEL, model.state_dict())
    else:
        write_mask(path / MASK, mask)
        write_model(path / MODEL, model.state_dict(), weight_mask, card_of(job).to_json())


def card_of(job: Job) -> ModelCard:
    """The model card of a job, the metadata of its model files."""
    return ModelCard.of(job.settings.model, list(job.splits.classes))


def _record(
    folder: RunFolder, job: Job, mask: masks.Mask, rows: list[Row], plan: RunPlan, scoring: ScoringCost | None
) -> RunRecord:
    return RunRecord(
        **vars(plan),
        scoring=scoring,
        **accuracies(rows),
        config=job.settings.plain,
        mask_digest=masks.digest(mask),
        images={name: len(split) for name, split in job.splits.named().items()},
        input=input_of(job),
        data_digest=job.data_digest,
        weights_sha256=job.weights.sha256,
        provenance=provenance(job.device, job.argv),
        processes=job.ranks.world_size,
        seconds=sum(row["seconds"] for row in rows) + (scoring.seconds if scoring else 0),
        sparse_layers=layers_of(folder),
    )
