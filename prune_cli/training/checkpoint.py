"""Checkpoints of a training run: tensors in one file, and a JSON file with their name and sha256, written last."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from prune_cli.common.lazy import Tensor
from prune_cli.common.plain import JsonObject, Row
from prune_cli.common.terminal import note
from prune_cli.runs.artefacts import CHECKPOINT, CHECKPOINT_TENSORS
from prune_cli.runs.files import (
    FILES,
    DamagedError,
    read_checksummed,
    read_tensors,
    sha256,
    write_checksummed,
    write_tensors,
)


@dataclass(frozen=True)
class Progress:
    """The progress of a training run: `step` batches of `epoch` are done; their loss is summed over `samples`.

    seconds: spent on this epoch. rows: the rows of metrics.csv of the finished epochs.
    """

    epoch: int = 0
    step: int = 0
    loss: float = 0.0
    samples: int = 0
    seconds: float = 0.0
    rows: tuple[Row, ...] = ()

    def after_batch(self, loss: float, samples: int) -> Progress:
        """The progress after one more batch. loss: the mean over the samples of the batch."""
        return replace(self, step=self.step + 1, loss=self.loss + loss * samples, samples=self.samples + samples)

    def after_epoch(self, row: Row) -> Progress:
        """The progress at the beginning of the next epoch. row: the finished epoch's row of metrics.csv."""
        return Progress(self.epoch + 1, rows=(*self.rows, row))


@dataclass(frozen=True)
class Checkpoint:
    """All that a training run needs to go on: tensors by name, and the optimiser's state that is no tensor."""

    progress: Progress
    tensors: Mapping[str, Tensor]
    scalars: Mapping[str, Any]


@dataclass(frozen=True)
class Checkpointer:
    """The checkpoint of the run in `folder`, renewed every `every` steps (None: only when the run is stopped)."""

    folder: Path
    every: int | None = None

    def due(self, steps: int) -> bool:
        """Whether a checkpoint should follow this step; steps: those of all epochs so far."""
        return self.every is not None and steps % self.every == 0

    def save(self, checkpoint: Checkpoint) -> None:
        """Write a checkpoint; the previous one stays valid until this one is complete on the disk. Raises DiskFullError."""
        before = self._record()
        name = CHECKPOINT_TENSORS[
            before is not None and CHECKPOINT_TENSORS[0] in before[FILES]
        ]  # never the one that is named
        write_tensors(self.folder / name, checkpoint.tensors)
        record = {"progress": asdict(checkpoint.progress), "scalars": dict(checkpoint.scalars)}
        write_checksummed(self.folder / CHECKPOINT, record | {FILES: {name: sha256(self.folder / name)}})
        self._clear(but=name)

    def load(self) -> Checkpoint | None:
        """The stored checkpoint; None where there is none or it is damaged, which a note says."""
        try:
            return self._load()
        except DamagedError as error:
            note(f"the checkpoint is not used, the run begins again: {error.what} ({error.where})")
            return None

    def _load(self) -> Checkpoint | None:
        record = read_checkpoint(self.folder)
        if record is None:
            return None
        ((name, digest),) = record[FILES].items()
        tensors = read_tensors(self.folder / name, digest)
        self._clear(but=name)
        progress = Progress(**record["progress"])
        return Checkpoint(replace(progress, rows=tuple(progress.rows)), tensors, record["scalars"])

    def _record(self) -> JsonObject | None:
        try:
            return read_checkpoint(self.folder)
        except DamagedError:
            return None

    def _clear(self, but: str) -> None:
        for name in CHECKPOINT_TENSORS:
            if name != but:
                (self.folder / name).unlink(missing_ok=True)


def read_checkpoint(folder: Path) -> JsonObject | None:
    """The JSON object of the checkpoint in a folder, or None where there is none. Raises DamagedError."""
    path = folder / CHECKPOINT
    return read_checksummed(path) if path.exists() else None
