"""`prune-cli shrink RUN`: the smaller model that removal has left, with the same answers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from prune_cli import pipeline
from prune_cli.common.errors import PruneCliError, RequestError
from prune_cli.common.lazy import nn, torch
from prune_cli.common.path_checks import check_export, typed_path
from prune_cli.common.plain import JsonObject
from prune_cli.common.terminal import note, print_table
from prune_cli.execution.stored_run import StoredRun, mask_of, open_run
from prune_cli.runs.artefacts import SHRUNK
from prune_cli.runs.files import sha256, write_json, write_tensors
from prune_cli.runs.paths import Paths
from prune_cli.runs.store import find
from prune_cli.training.evaluate import evaluate

NEAR = 1e-4  # logits of the two models may differ by rounding


@dataclass(frozen=True)
class Shrunk:
    """The smaller model of a run: what it has left (`sizes`, by its noun), what that saves, and how near its answers are.

    parameters, bytes: of the smaller model and its file; _before: of the masked one, all of its zeros counted.
    accuracy [%]: on the test set, beside the recorded one. largest_difference: between the logits of both. file: where
    it is.
    """

    run: str
    sizes: Mapping[str, object]
    parameters_before: int
    parameters: int
    bytes_before: int
    bytes: int
    accuracy_recorded: float
    accuracy: float
    largest_difference: float
    file: str

    def to_json(self) -> JsonObject:
        """The fields by name, the sizes among them."""
        found: JsonObject = {}
        for name, value in vars(self).items():
            found |= value if name == "sizes" else {name: value}
        return found


def shrink(run: str, paths: Paths, export: Path | None = None) -> Shrunk:
    """Write the smaller model and say what it saves; it is held against the masked model on the whole test set.

    Raises RequestError for an unknown run, or one whose removal leaves no smaller model.
    """
    to = export or typed_path(find(paths.runs, run) / SHRUNK, "--export", check_export)
    found = open_run(run, paths)
    _check(found)
    mask = mask_of(found.folder, found.record)
    test, precision = pipeline.evaluation_batches(found.job, "test"), found.job.settings.compute.precision
    small = found.target.shrink(found.model, mask)
    difference = _difference(found, small)
    write_tensors(to, small.state_dict())
    result = Shrunk(
        run=str(found.folder),
        sizes=found.target.sizes(mask),
        parameters_before=_parameters(found.model),
        parameters=_parameters(small),
        bytes_before=_bytes(found.model),
        bytes=to.stat().st_size,
        accuracy_recorded=found.record.accuracy_last,
        accuracy=evaluate(small, test, precision).accuracy,
        largest_difference=difference,
        file=str(to),
    )
    card = found.target.card(found.job.settings, len(found.job.data.outline.classes))
    write_json(to.with_suffix(".json"), result.to_json() | card | {"sha256": sha256(to)})
    note(f"to use it: {found.target.usage(found.record.model, mask, str(to))}")
    return result


def show_shrunk(found: Shrunk) -> None:
    """Print what the smaller model saves, and how near its answers are; accuracies in percent, on the test set."""
    shown = {key: _words(value) for key, value in found.sizes.items() if isinstance(value, Mapping)}
    shown |= {"accuracy_recorded": f"{found.accuracy_recorded:.2f} %", "accuracy": f"{found.accuracy:.2f} %"}
    shown |= {"largest_difference": f"{found.largest_difference:.1e}"}
    print_table("", ("what", "value"), list((found.to_json() | shown).items()))


def _words(values: Mapping[str, object]) -> str:
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


def _bytes(model: nn.Module) -> int:
    return sum(t.numel() * t.element_size() for t in model.state_dict().values())
