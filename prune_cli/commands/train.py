"""`prune-cli train`: a dense model with the same loop and records; its weights can be exported for packaging."""

from __future__ import annotations

from pathlib import Path

from prune_cli import pipeline
from prune_cli.common.lazy import torch
from prune_cli.common.terminal import note
from prune_cli.execution.dense_training import train_once
from prune_cli.runs.artefacts import MODEL
from prune_cli.runs.files import sha256, write_json, write_tensors
from prune_cli.runs.paths import Paths
from prune_cli.runs.record import RunRecord
from prune_cli.runs.store import tensors_of


def train(job: pipeline.Job, paths: Paths, export: Path | None = None) -> RunRecord:
    """Train without a mask unless this run is finished already, and write the weights to the file `export`. Returns the record."""
    record = train_once(job, paths)
    if export is not None and job.ranks.main:
        export_weights(record, paths.runs / "train" / record.hash, export)
    return record


def export_weights(record: RunRecord, run: Path, to: Path) -> None:
    """Write the run's weights as float16 safetensors and, beside them, a JSON that says how they were made."""
    tensors = tensors_of(run, record, MODEL)
    write_tensors(to, {name: t.half() if t.is_floating_point() else t for name, t in tensors.items()})
    card = {
        "command": "prune-cli " + " ".join(record.provenance.argv[1:]),
        "dataset": record.dataset,
        "train_images": record.images["train"],
        "validation_images": record.images.get("validation", 0),
        "test_images": record.images["test"],
        "validation_accuracy": record.validation_last,
        "test_accuracy": round(record.accuracy_last, 2),
        "epochs": record.config["recipe"]["epochs"],
        "seed": record.seed,
        "parameters": record.parameters,
        "dtype": str(torch.float16).removeprefix("torch."),
        "versions": record.provenance.versions,
        "data_digest": record.data_digest,
        "sha256": sha256(to),
    }
    write_json(to.with_suffix(".json"), card)
    note(f"weights written to {to}")
