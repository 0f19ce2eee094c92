"""Run folders: runs/KIND/HASH. A run is finished when its manifest.json is there, and that is written last."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from prune_cli.common.errors import PruneCliError, RequestError
from prune_cli.runs.identity import run_hash

MANIFEST = "manifest.json"


@dataclass(frozen=True)
class RunFolder:
    """One run: its folder and the identity that gave the folder its name."""

    path: Path
    identity: dict[str, Any]

    @classmethod
    def of(cls, runs_dir: Path, kind: str, identity: dict[str, Any]) -> RunFolder:
        """The folder that a run with this identity has, there or not."""
        identity = {"kind": kind, **json.loads(json.dumps(identity))}
        return cls(runs_dir / kind / run_hash(identity), identity)

    def manifest(self) -> dict[str, Any] | None:
        """The record of the finished run, or None. Raises if the folder holds another run's record."""
        record = read_manifest(self.path)
        if record is not None and record.get("identity") != self.identity:
            raise PruneCliError(
                "this folder holds the record of another run", str(self.path), "move it away and type the command again"
            )
        return record

    @contextmanager
    def claimed(self, wait: bool = False) -> Iterator[None]:
        """Hold the run against other processes (or wait for them); a folder that stays unfinished is removed."""
        locks = self.path.parent / ".locks"
        locks.mkdir(parents=True, exist_ok=True)
        lock = FileLock(locks / f"{self.path.name}.lock")
        try:
            lock.acquire(timeout=-1 if wait else 0)
        except Timeout:
            raise PruneCliError(
                "another process is computing this run", str(self.path), "wait for it, then type the command again"
            ) from None
        with lock:
            self._clear()
            try:
                yield
            finally:
                self._clear()

    def _clear(self) -> None:
        if not (self.path / MANIFEST).exists():
            shutil.rmtree(self.path, ignore_errors=True)


def read_manifest(folder: Path) -> dict[str, Any] | None:
    """The record of a finished run, or None where there is none."""
    path = folder / MANIFEST
    if not path.exists():
        return None
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError:  # neither JSON nor, sometimes, text
        raise PruneCliError("this record is not JSON", str(path), "remove its folder and run again") from None


def finished(runs_dir: Path, kind: str) -> dict[str, dict[str, Any]]:
    """The records of all finished runs of one kind, by hash."""
    folders = sorted((runs_dir / kind).glob("*/" + MANIFEST))
    return {path.parent.name: read_manifest(path.parent) or {} for path in folders}


def find(runs_dir: Path, run: str) -> Path:
    """The folder of a finished run, named by its path or by the start of its hash. Raises RequestError."""
    if (Path(run) / MANIFEST).exists():
        return Path(run)
    found = [path.parent for path in sorted(runs_dir.glob(f"*/{run}*/{MANIFEST}")) if path.parts[-3] != "score"]
    if len(found) == 1:
        return found[0]
    what = f"{len(found)} runs start with {run!r}" if found else f"there is no finished run {run!r}"
    raise RequestError(what, str(runs_dir), "give the run's folder: ls runs/prune shows them")
