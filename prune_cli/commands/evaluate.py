"""`prune-cli evaluate RUN`: load a finished run's model and measure it again."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import nn

from prune_cli import pipeline
from prune_cli.common.errors import PruneCliError
from prune_cli.common.terminal import print_table
from prune_cli.config.schema import Settings
from prune_cli.masks.allocate import Sparsity
from prune_cli.models.registry import untrained
from prune_cli.models.weights import restore
from prune_cli.runs.places import Places
from prune_cli.runs.store import find, part_of, read_manifest, tensors_of
from prune_cli.training.evaluate import evaluate as measure
from prune_cli.units.removal import weight_mask


@dataclass(frozen=True)
class Stored:
    """A finished run, opened: its folder, its record, its job without the files that it started from, and its model."""

    folder: Path
    record: dict[str, Any]
    job: pipeline.Job
    model: nn.Module


def evaluate(run: str, places: Places) -> dict[str, Any]:
    """Test accuracy (percent) of the stored model of a finished run, beside what its record says.

    Raises RequestError for an unknown run or other data, PruneCliError where its images would be prepared otherwise or
    the model holds a weight that its mask removed.
    """
    found = stored(run, places)
    job = found.job
    measured = measure(found.model, pipeline.evaluation_batches(job, "test"), job.settings.compute.precision)
    return {
        "run": str(found.folder),
        "images": measured.images,
        "loss": measured.loss,
        "accuracy": measured.accuracy,
        "accuracy_recorded": found.record["accuracy_last"],
    }


def show_evaluation(found: dict[str, Any]) -> None:
    """Print what was measured again, on the test images, beside what the record says."""
    columns = ("Run", "Test images", "Test loss", "Test [%]", "Recorded [%]")
    numbers = (f"{found['loss']:.4f}", f"{found['accuracy']:.2f}", f"{found['accuracy_recorded']:.2f}")
    print_table("", columns, [(found["run"], str(found["images"]), *numbers)])


def stored(run: str, places: Places) -> Stored:
    """Open a finished run. Raises as `evaluate` does."""
    folder = find(places.runs, run)
    record = read_manifest(folder) or {}
    settings = pipeline.composer(places).from_plain(record["config"])
    job = pipeline.Workshop(places).job(_without_files(settings))
    if job.data_digest != record["data_digest"]:
        raise PruneCliError("the dataset is not the one of this run", settings.dataset.name, "build or fetch it again")
    if record.get("input", now := pipeline.input_of(job)) != now:
        hint = f"timm {record['versions']['timm']}, as the run had"
        raise PruneCliError("this timm prepares images otherwise than that of the run", str(folder), hint)
    pipeline.keep_data(job, places)
    model, _ = pipeline.build_model(job)
    restore(model, part_of(folder, record, "model.safetensors"))
    _check_zeros(model, folder, record)
    return Stored(folder, record, job, model)


def _without_files(settings: Settings) -> Settings:
    """The same, but for the files that the run started from: the stored model takes their place, and nothing is scored."""
    model = replace(settings.model, **untrained(settings.model))
    return replace(settings, model=model, mask=None, sparsity=Sparsity(0.0))


def _check_zeros(model: nn.Module, folder: Path, record: dict[str, Any]) -> None:
    removal = record.get("removal", "weights")
    mask = {} if record["method"] == "dense" else tensors_of(folder, record, "mask.safetensors")
    for name, keep in weight_mask(model, mask, None if removal == "weights" else removal).items():
        if bool(model.get_parameter(name).detach().cpu()[~keep].any()):
            raise PruneCliError("a weight that the mask removed is not zero", f"{folder}: {name}", "run it again")
