"""`prune-cli export RUN`: a finished run's model as a file for other programs, measured before it counts as written."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from prune_cli import pipeline
from prune_cli.common.errors import PruneCliError, RequestError
from prune_cli.common.path_checks import check_writable_file, typed_path
from prune_cli.common.terminal import note, print_table
from prune_cli.execution.exports import OTHER_KERNELS, Export, export_named
from prune_cli.execution.stored_run import StoredRun, open_run
from prune_cli.runs.files import sha256, whole
from prune_cli.runs.manifest import provenance
from prune_cli.runs.paths import Paths
from prune_cli.runs.store import find
from prune_cli.training.evaluate import Evaluation, evaluate


@dataclass(frozen=True)
class Exported:
    """A file that was written, and measured.

    bytes, bytes_dense: of the file, and of every weight as the run has it. accuracy [%]: of the model in the file on the
    images or clips of the test set, beside the recorded one, from which it may be off by `tolerance` percentage points.
    """

    run: str
    format: str
    dtype: str
    file: str
    sha256: str
    bytes: int
    bytes_dense: int
    images: int
    accuracy: float
    accuracy_recorded: float
    tolerance: float


def export(run: str, format_: str, paths: Paths, out: Path | None = None, dtype: str | None = None) -> Exported:
    """Write the model of a finished run, read it back, and measure it on the test set.

    out: the file; None: one in the run's folder. A file that is there is left as it is, and only one of the very same
    bytes is no error. Raises RequestError for an unknown run, format or dtype, PruneCliError where the accuracy is off.
    """
    kind = export_named(format_, dtype)
    kind.check()
    to = out or typed_path(find(paths.runs, run) / kind.file, "--out", check_writable_file)
    _check_suffix(kind, to)
    found = open_run(run, paths)
    with whole(to) as temporary:
        kind.write(found, temporary)
        _check_there(to, temporary)
        measured = _measured(kind, found, temporary)
    state = found.model.state_dict().values()
    return Exported(
        run=str(found.folder),
        format=format_,
        dtype=dtype or ("float32" if format_ == "onnx" else str(found.job.settings.compute.dtype).split(".")[-1]),
        file=str(to),
        sha256=sha256(to),
        bytes=to.stat().st_size,
        bytes_dense=sum(tensor.numel() * tensor.element_size() for tensor in state),
        images=measured.images,
        accuracy=measured.accuracy,
        accuracy_recorded=found.record.accuracy_last,
        tolerance=tolerance(kind, found, measured.images),
    )


def show_exported(found: Exported) -> None:
    """Print where the file is, how small it is, and how accurate."""
    ratio = found.bytes_dense / found.bytes
    smaller = f": {ratio:.1f} times smaller than {found.bytes_dense:,}" if ratio > 1.05 else ""
    off = "exactly" if not found.tolerance else f"to {found.tolerance:.2f} percentage points"
    rows = [
        ("file", found.file),
        ("format", f"{found.format}, {found.dtype}"),
        ("bytes", f"{found.bytes:,}{smaller}"),
        ("test", f"{found.accuracy:.2f} % of {found.images:,}; recorded {found.accuracy_recorded:.2f} %, held {off}"),
    ]
    print_table("", ("what", "value"), rows)


def tolerance(kind: Export, found: StoredRun, images: int) -> float:
    """By how many percentage points the accuracy may differ from the recorded one.

    0 where the file holds the run's weights and the run computed with them as this process does: by this version of torch,
    on such a device, on as many threads, alone and over dense layers. Else what the format rounds, OTHER_KERNELS at least,
    or one image, whichever is more.
    """
    allowed = max(kind.rounding(found), 0.0 if _computed_alike(found) else OTHER_KERNELS)
    return max(allowed, 100 / images) if allowed else 0.0


def _computed_alike(found: StoredRun) -> bool:
    """Whether this process sums in the order in which the run did."""
    record, now = found.record, provenance(found.job.device, [])
    then = record.provenance
    here = all(getattr(now, name) == getattr(then, name) for name in ("device", "threads"))
    torch_alike = now.versions["torch"] == then.versions.get("torch")
    return here and torch_alike and record.processes in (None, 1) and record.sparse_layers is None


def _measured(kind: Export, found: StoredRun, path: Path) -> Evaluation:
    """The test set through the model in the file. Raises PruneCliError where it is not as accurate as the run."""
    note(f"measuring the {kind.name} file on the test set")
    model, job = kind.read(found, path), found.job
    measured = evaluate(model, pipeline.evaluation_batches(job, "test"), job.settings.compute.precision)
    recorded, allowed = found.record.accuracy_last, tolerance(kind, found, measured.images)
    if not abs(measured.accuracy - recorded) <= allowed + 1e-9:
        what = f"the exported model has {measured.accuracy:.2f} %, and the run {recorded:.2f} %: more than {allowed:.2f} apart"
        raise PruneCliError(what, str(found.folder), f"prune-cli evaluate {found.folder}")
    return measured


def _check_suffix(kind: Export, to: Path) -> None:
    if to.suffix != kind.suffix:
        raise RequestError(
            f"a file of this format ends in {kind.suffix}", f"--out {to}", f"--out {to.stem}{kind.suffix}"
        )


def _check_there(to: Path, written: Path) -> None:
    if to.exists() and sha256(to) != sha256(written):
        raise RequestError("there is another file of this name, which is left as it is", str(to), "--out ANOTHER_FILE")
