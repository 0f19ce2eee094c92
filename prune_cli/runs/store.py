"""Run folders: runs/KIND/HASH. A run is finished when its manifest.json is there, and that is written last."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from filelock import FileLock, Timeout

from prune_cli.common.errors import PruneCliError, RequestError
from prune_cli.common.lazy import Tensor
from prune_cli.common.plain import Identity, JsonObject
from prune_cli.common.terminal import note, note_once
from prune_cli.runs.artefacts import CHECKPOINT, CHECKPOINTS, CONFIG, MANIFEST, OUTPUT_LOG, REQUEST, RUN_LOG, STATUS
from prune_cli.runs.files import (
    AGAIN,
    FILES,
    TEMPORARIES,
    DamagedError,
    check,
    is_file,
    read_checksummed,
    read_tensors,
    sha256,
    write_checksummed,
)
from prune_cli.runs.identity import run_hash
from prune_cli.runs.json_fields import WrongValueError
from prune_cli.runs.record import RunRecord, Stored
from prune_cli.runs.status import lock_of, read_status

LEFT_OVER = (REQUEST, CHECKPOINT, CHECKPOINTS, *TEMPORARIES, STATUS)  # of a finished run; the status goes last
LOGS = (RUN_LOG, OUTPUT_LOG)  # still growing when the record is written
PACKED = "packed"  # key of a record whose run was packed without its weights
R = TypeVar("R", bound=Stored)
MOMENT = 1.0  # seconds: whoever only asks who holds a run holds it for less


@dataclass(frozen=True)
class RunFolder:
    """One run: its folder and the identity that gave the folder its name."""

    path: Path
    identity: Identity

    @classmethod
    def of(cls, runs_dir: Path, kind: str, identity: Identity) -> RunFolder:
        """The folder that a run with this identity has, there or not."""
        named = {"kind": kind, **json.loads(json.dumps(identity))}
        return cls(runs_dir / kind / run_hash(named), named)

    def record(self, kind: type[R]) -> R | None:
        """The record of the finished run, or None. Raises as `manifest` does, and DamagedError where a key is missing."""
        value = self.manifest()
        return None if value is None else parse_record(kind, value, self.path)

    def manifest(self) -> JsonObject | None:
        """What the finished run's manifest says, or None. Raises if the folder holds another run's."""
        record = read_manifest(self.path)
        if record is not None and record.get("identity") != self.identity:
            raise PruneCliError(
                "this folder holds the record of another run", str(self.path), "move it away and type the command again"
            )
        return record

    @contextmanager
    def claimed(self, wait: bool = False, resumable: bool = False) -> Iterator[None]:
        """Hold the run against other processes, or wait for them. Raises PruneCliError that says who holds it.

        What an unfinished run left is removed before and afterwards; of a `resumable` one all but half-written files stays.
        """
        lock = FileLock(lock_of(self.path))
        Path(lock.lock_file).parent.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire(timeout=MOMENT)
        except Timeout:
            self._await(lock, wait)
        with lock:
            lock.release()  # `with` has taken it once more
            self._tidy(resumable)
            try:
                yield
            finally:
                self._tidy(resumable)

    def _await(self, lock: FileLock, wait: bool) -> None:
        status = read_status(self.path)
        holder = status.holder if status else "another process"
        if not wait:
            raise PruneCliError(
                "another process is computing this run", f"{self.path}: {holder}", "wait for it, or stop it"
            )
        note(f"waiting for {holder}: {self.path}")
        lock.acquire()

    def _tidy(self, resumable: bool) -> None:
        if (self.path / MANIFEST).exists():
            for path in [found for left in LEFT_OVER for found in self.path.glob(left)]:
                path.unlink(missing_ok=True)
        elif resumable:
            for path in [found for left in TEMPORARIES for found in self.path.glob(left)]:  # the lock is ours
                path.unlink(missing_ok=True)
        else:
            shutil.rmtree(self.path, ignore_errors=True)


def write_record(folder: Path, record: R) -> R:
    """Finish a run: `write_manifest` of its record. Returns the record as it is read again."""
    return type(record).from_json(write_manifest(folder, record.to_json()))


def write_manifest(folder: Path, record: Mapping[str, Any]) -> JsonObject:
    """Finish a run: write its record with the sha256 of every file in its folder, last of all. Returns the record."""
    aside = (*LEFT_OVER, *LOGS, ".*")  # an NFS server calls what was removed while it is still read .nfs…
    found = [path for path in sorted(folder.iterdir()) if not any(path.match(left) for left in aside)]
    files = {path.name: sha256(path) for path in found if path.is_file()}
    return write_checksummed(folder / MANIFEST, {**record, FILES: files})


def read_record(folder: Path, kind: type[R]) -> R | None:
    """The record of a finished run, or None where there is none. Raises DamagedError, also where a key is missing."""
    value = read_manifest(folder)
    return None if value is None else parse_record(kind, value, folder)


def parse_record(kind: type[R], value: JsonObject, folder: Path) -> R:
    """What a manifest in the folder says, as a record. Raises DamagedError that names a key that is missing or wrong."""
    try:
        return kind.from_json(value)
    except KeyError as error:
        raise DamagedError(f"this record has no {error.args[0]!r}", str(folder / MANIFEST), AGAIN) from None
    except WrongValueError as error:
        raise DamagedError(f"this record's {error}", str(folder / MANIFEST), AGAIN) from None
    except (TypeError, ValueError, AttributeError):
        raise DamagedError("this record is none of a run", str(folder / MANIFEST), AGAIN) from None


def read_manifest(folder: Path) -> JsonObject | None:
    """What the manifest of a finished run says, or None where there is none. Raises DamagedError."""
    try:
        return read_checksummed(folder / MANIFEST)
    except (FileNotFoundError, NotADirectoryError):
        return None


def run_record(folder: Path) -> RunRecord:
    """The record of a finished run of prune or train. Raises RequestError for another folder, DamagedError."""
    value = read_manifest(folder) or {}
    if "accuracy_last" not in value:  # of scores, or of an ablation
        what = "no model was stored in this run" if value else "there is no finished run in this folder"
        raise RequestError(what, str(folder), "a run of prune or train: ls runs/prune")
    return parse_record(RunRecord, value, folder)


def digest_of(record: Mapping[str, Any], name: str) -> str | None:
    """The sha256 of a file of a run; None in a record that is older than these digests."""
    return record.get(FILES, {}).get(name)


def part_of(folder: Path, record: Stored, name: str) -> Path:
    """A file of a finished run, checked. Raises DamagedError, or PruneCliError where the run was packed without it."""
    if record.packed and not (folder / name).exists():
        hint = f"its {CONFIG} says how to make it again, under another --runs-dir"
        raise PruneCliError("this run is packed: it holds no weights", str(folder), hint)
    check(folder / name, record.digest(name))
    return folder / name


def check_typed(path: Path) -> None:
    """Of a file that was typed: where it belongs to a finished run, it must be what its record says. Raises DamagedError."""
    try:
        record = read_manifest(path.parent) or {}
    except DamagedError:  # or the manifest of another program
        return
    if path.name in record.get(FILES, {}):
        check(path, digest_of(record, path.name))


def tensors_of(folder: Path, record: Stored, name: str) -> dict[str, Tensor]:
    """The tensors of a finished run's file. Raises as `part_of` does."""
    return read_tensors(part_of(folder, record, name))


def finished(runs_dir: Path, kind: str) -> dict[str, RunRecord]:
    """The records of all finished runs of one kind, prune or train, by hash.

    A damaged one is named, once a command, and left out.
    """
    folders = [path.parent for path in sorted((runs_dir / kind).glob("*/" + MANIFEST))]
    found = {folder.name: _sound(folder) for folder in folders}
    return {name: record for name, record in found.items() if record is not None}


def _sound(folder: Path) -> RunRecord | None:
    """The record of a finished run; None, and a note, where it is damaged or does not belong in this folder."""
    try:
        value = read_manifest(folder)
        if value is not None and _hash_of(value) != folder.name:
            note_once(f"left out: {folder / MANIFEST}: this is the record of another run")
            return None
        return None if value is None else parse_record(RunRecord, value, folder)
    except DamagedError as error:
        note_once(f"left out: {error.where}: {error.what}")
        return None


def _hash_of(value: JsonObject) -> str | None:
    """Of what a manifest says of its run; None where that has no hash, as NaN has none."""
    try:
        return run_hash(value.get("identity", {}))
    except ValueError:
        return None


def find(runs_dir: Path, run: str) -> Path:
    """The folder of a finished run, named by its path or by the start of its hash. Raises RequestError."""
    if run and is_file(Path(run) / MANIFEST):
        return Path(run)
    there = [path.parent for path in sorted(runs_dir.glob("*/*/" + MANIFEST)) if path.parts[-3] != "score"]
    found = [folder for folder in there if run and folder.name.startswith(run)]
    if len(found) == 1:
        return found[0]
    what = f"{len(found)} runs start with {run!r}" if found else f"there is no finished run {run!r}"
    raise RequestError(what, str(runs_dir), "give the run's folder: ls runs/prune shows them")
