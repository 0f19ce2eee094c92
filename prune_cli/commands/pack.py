"""`prune-cli pack`: finished runs without their weights, small enough to be committed."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from prune_cli.commands.verify import there
from prune_cli.common.errors import RequestError
from prune_cli.common.terminal import note
from prune_cli.runs.artefacts import CONFIG, LAYERS, MANIFEST, METRICS
from prune_cli.runs.files import CHECKSUM, DamagedError, check, write_checksummed, write_text
from prune_cli.runs.store import PACKED, digest_of, find, read_manifest

KEPT = (CONFIG, METRICS, LAYERS)  # and the manifest, with the digest of the mask and of every file


@dataclass(frozen=True)
class PackedRun:
    """A run that was packed: its new folder, and the bytes in it."""

    run: str
    bytes: int


@dataclass(frozen=True)
class DamagedRun:
    """A run that was left out, and what is wrong with it."""

    run: str
    what: str


@dataclass(frozen=True)
class Packed:
    """What came of packing."""

    packed: list[PackedRun]
    damaged: list[DamagedRun]


def pack(runs: Iterable[str], runs_dir: Path, to: Path) -> Packed:
    """Copy the runs, or all finished ones, to another runs folder; they count as finished there.

    Where no run is named, scores, which are no runs of their own, are left out, and so are damaged runs, each with a
    note. Raises RequestError, and DamagedError for a run that is named.
    """
    if to.resolve() == runs_dir.resolve():
        raise RequestError("runs cannot be packed into their own folder", f"--to {to}", "--to ANOTHER_FOLDER")
    named = [find(runs_dir, run) for run in runs]
    if named:
        return Packed([_packed(folder, to) for folder in named], [])
    packed, damaged = [], []
    for folder in there(runs_dir, [MANIFEST]):
        try:
            packed += [_packed(folder, to)] if folder.parent.name != "score" else []
        except DamagedError as error:
            note(f"left out: {error.where}: {error.what}")
            damaged.append(DamagedRun(str(folder), error.what))
    return Packed(packed, damaged)


def _packed(folder: Path, to: Path) -> PackedRun:
    record, target = read_manifest(folder) or {}, to / folder.parent.name / folder.name
    kept = [name for name in KEPT if (folder / name).exists()]
    for name in kept:
        check(folder / name, digest_of(record, name))
    for name in kept:
        write_text(target / name, (folder / name).read_text(encoding="utf-8"))
    said = {key: value for key, value in record.items() if key != CHECKSUM}
    write_checksummed(target / MANIFEST, said | {PACKED: True})
    return PackedRun(str(target), sum(path.stat().st_size for path in target.iterdir()))
