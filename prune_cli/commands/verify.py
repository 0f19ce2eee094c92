"""`prune-cli verify`: whether every file of a run is what was written."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prune_cli.common.errors import RequestError
from prune_cli.common.terminal import print_table
from prune_cli.runs.artefacts import CHECKPOINT, MANIFEST, SCORED
from prune_cli.runs.files import FILES, DamagedError, check, read_checksummed
from prune_cli.runs.store import PACKED, find

RECORDS = (MANIFEST, CHECKPOINT, SCORED)  # each names files with their sha256


@dataclass(frozen=True)
class Verified:
    """What was checked of one run: its folder, the number of files, what is wrong with any of them, and `whole`, or
    `no digests` where nothing could be checked."""

    run: str
    files: int
    damaged: list[str]
    state: str


def verify(runs: Iterable[str], runs_dir: Path) -> list[Verified]:
    """What was checked of each run, or of all there are: the number of files, and what is wrong. Raises RequestError."""
    folders = [find(runs_dir, run) for run in runs] or there(runs_dir, RECORDS)
    found = [_verified(folder) for folder in folders]
    return [_verified(Path(run.run)) if run.damaged else run for run in found]  # a checkpoint may be replaced


def there(runs_dir: Path, records: Iterable[str]) -> list[Path]:
    """Every run folder that holds one of these records. Raises RequestError where there is none."""
    found = {path.parent for record in records for path in runs_dir.glob(f"*/*/{record}")}
    if not found:
        raise RequestError("there is no run", str(runs_dir), "prune-cli prune")
    return sorted(found)


def show_verified(found: Iterable[Verified]) -> None:
    """Print a row a run."""
    rows = [(run.run, run.files, "; ".join(run.damaged) or run.state) for run in found]
    print_table("", ("run", "files", "what was found"), rows)


def _verified(folder: Path) -> Verified:
    """A record that is older than digests names no files: nothing of its run can be checked."""
    files, damaged = 0, []
    for name in RECORDS:
        try:
            record = read_checksummed(folder / name) if (folder / name).exists() else {}
        except DamagedError as error:
            damaged.append(_line(error))
            continue
        for file, digest in _listed(folder, record):
            files += 1
            try:
                check(folder / file, digest)
            except DamagedError as error:
                damaged.append(_line(error))
    state = "no digests" if not files and not damaged else "whole"
    return Verified(str(folder), files, damaged, state)


def _listed(folder: Path, record: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The files that a record names; of a packed run those that were kept."""
    files = record.get(FILES, {})
    return [(name, digest) for name, digest in files.items() if not record.get(PACKED) or (folder / name).exists()]


def _line(error: DamagedError) -> str:
    return f"{Path(error.where or '').name}: {error.what}"
