"""`prune-cli shrink RUN`: the smaller model that removal has left, with the same answers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from prune_cli import pipeline
from prune_cli.common.errors import PruneCliError, RequestError
from prune_cli.common.lazy import nn, torch
from prune_cli.common.path_checks import check_export, typed_path
from prune_cli.common.terminal import note, print_table
from prune_cli.execution.stored_run import StoredRun, open_run
from prune_cli.runs.artefacts import MASK, MODEL, SHRUNK
from prune_cli.runs.files import sha256, write_json, write_tensors
from prune_cli.runs.paths import Paths
from prune_cli.runs.store import find, tensors_of
from prune_cli.training.evaluate import evaluate

NEAR = 1e-4  # logits of the two models may differ by rounding


def shrink(run: str, paths: Paths, export: Path | None = None) -> dict[str, Any]:
    """Write the smaller model and say what it saves; it is held against the masked model on the whole test set.

    Raises RequestError for an unknown run, or one whose removal leaves no smaller model.
    """
    to = export or typed_path(find(paths.runs, run) / SHRUNK, "--export", check_export)
    found = open_run(run, paths)
    _check(found)
    mask = tensors_of(found.folder, found.record, MASK)
    test, precision = pipeline.evaluation_batches(found.job, "test"), found.job.settings.compute.precision
    small = found.target.shrink(found.model, mask)
    difference = _difference(found, small)
    write_tensors(to, small.state_dict())
    result = {
        "run": str(found.folder),
        **found.target.sizes(mask),
        "parameters_before": _parameters(found.model),
        "parameters": _parameters(small),
        "bytes_before": (found.folder / MODEL).stat().st_size,
        "bytes": to.stat().st_size,
        "accuracy_recorded": found.record.accuracy_last,
        "accuracy": evaluate(small, test, precision).accuracy,
        "largest_difference": difference,
        "file": str(to),
    }
    card = found.target.card(found.job.settings, len(found.job.data.outline.classes))
    write_json(to.with_suffix(".json"), result | card | {"sha256": sha256(to)})
    note(f"to use it: {found.target.usage(found.record.model, mask, str(to))}")
    return result


def show_shrunk(found: dict[str, Any]) -> None:
    """Print what the smaller model saves, and how near its answers are; accuracies in percent, on the test set."""
    shown = {key: f"{value:.2f} %" for key, value in found.items() if key.startswith("accuracy")}
    shown |= {"largest_difference": f"{found['largest_difference']:.1e}"}
    shown |= {key: _words(value) for key, value in found.items() if isinstance(value, dict)}
    print_table("", ("what", "value"), list((found | shown).items()))


def _words(values: dict[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in values.items())


def _check(found: StoredRun) -> None:
    why = "nothing was removed" if found.record.method == "dense" else found.target.no_smaller
    if why is not None:
        hint = "a run of units with removal=recurrence, or of a ViT with removal=heads"
        raise RequestError(f"this run leaves no smaller model: {why}", str(found.folder), hint)


def _difference(found: StoredRun, small: nn.Module) -> float:
    """The largest difference between the logits of the two models. Raises PruneCliError where it is no rounding."""
    largest = 0.0
    with torch.no_grad():
        for x, _ in pipeline.evaluation_batches(found.job, "test"):
            largest = max(largest, float((small.eval()(x) - found.model.eval()(x)).abs().max()))
    if not largest < NEAR:
        raise PruneCliError(f"the smaller model answers otherwise, by {largest:.2g}", str(found.folder), "run it again")
    return largest


def _parameters(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())
