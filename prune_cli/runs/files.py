"""Files are whole or absent: written under a temporary name that ends in .tmp, brought to the disk, then renamed."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import platform
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf
from safetensors import SafetensorError

from prune_cli.common.errors import PruneCliError
from prune_cli.common.lazy import load_file, pd, save_file, torch
from prune_cli.common.plain import JsonObject

TEMPORARY = ".tmp"
TEMPORARIES = (f"*{TEMPORARY}", f"{TEMPORARY}*")  # safetensors has its own, under a name that begins so
FILES, CHECKSUM = "files", "sha256"  # keys of a record: the digest of each file by its name, and the record's own
AGAIN = "remove its folder and run again"
FULL = (errno.ENOSPC, errno.EDQUOT)


class DamagedError(PruneCliError):
    """The content of a file is not what was written."""


class DiskFullError(PruneCliError):
    """The disk has no room for a file; an earlier file of that name is unchanged."""

    def __init__(self, path: Path, needed: int):
        free = shutil.disk_usage(path.parent).free
        hint = "make room, then type the same command again"
        super().__init__(f"the disk is full: {needed:,} bytes needed, {free:,} free", str(path), hint)


@contextmanager
def whole(path: Path, size: int = 0) -> Iterator[Path]:
    """Yield a temporary path beside `path`; rename it to `path` if the block ends well, remove it if not.

    The bytes, then the new name, are on the disk when this returns: not even a power cut leaves half a file.
    size: bytes that the block will write, where they are known. Raises DiskFullError.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.{platform.node()}-{os.getpid()}{TEMPORARY}")
    try:
        if size > shutil.disk_usage(path.parent).free:
            raise DiskFullError(path, size)
        yield temporary
        _flush(temporary)
        temporary.replace(path)
        _flush(path.parent)
    except OSError as error:
        if error.errno in FULL:
            raise DiskFullError(path, max(size, _size(temporary) + 1)) from None
        raise
    finally:
        temporary.unlink(missing_ok=True)


def sweep_temporaries(folder: Path) -> None:
    """Remove the temporary files that processes of this machine left in a folder when they died."""
    for path in of_dead_processes(folder, TEMPORARY):
        path.unlink(missing_ok=True)


def of_dead_processes(folder: Path, suffix: str = "") -> list[Path]:
    """The entries of a folder named …HOST-PID and the suffix, of processes of this machine that have ended."""
    named = re.compile(rf"(?:.*\.)?{re.escape(platform.node())}-(\d+){re.escape(suffix)}")
    found = ((path, named.fullmatch(path.name)) for path in folder.glob(f"*{suffix}"))
    return [path for path, name in found if name and not _alive(int(name[1]))]


def write_text(path: Path, text: str) -> None:
    """Write a text file, whole or not at all."""
    with whole(path, len(text)) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    """Write a JSON file, whole or not at all."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def write_checksummed(path: Path, value: Mapping[str, Any]) -> JsonObject:
    """Write a JSON object with the sha256 of its content as one more key, atomically. Returns the written object."""
    plain = json.loads(json.dumps(value))
    write_json(path, plain | {CHECKSUM: _seal(plain)})
    return plain | {CHECKSUM: _seal(plain)}


def read_checksummed(path: Path) -> JsonObject:
    """What `write_checksummed` wrote. Raises DamagedError if it says anything else now, FileNotFoundError if it is gone.

    Records older than seals name no files and have no seal: they are believed.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError):  # neither JSON nor, sometimes, text
        value = None
    except (FileNotFoundError, NotADirectoryError):
        raise
    except OSError as error:
        raise DamagedError(f"this record cannot be read: {error.strerror}", str(path), AGAIN) from None
    if not isinstance(value, dict):
        raise DamagedError("this record is not JSON", str(path), AGAIN)
    if not _fits_seal(value):
        raise DamagedError("this record is damaged: it does not fit its own sha256", str(path), AGAIN)
    if not isinstance(value.get(FILES, {}), dict):
        raise DamagedError(f"this record's {FILES!r} is no object of digests", str(path), AGAIN)
    return value


def _fits_seal(value: JsonObject) -> bool:
    """Whether a record says what it said when it was written; one without a seal may say what it will, but for files."""
    try:
        seal = _seal(value)
    except (ValueError, RecursionError):  # what no record holds: half a character, or a thousand objects in each other
        return False
    return bool(value.get(CHECKSUM, None if FILES in value else seal) == seal)


def _seal(value: Mapping[str, Any]) -> str:
    said = {key: part for key, part in value.items() if key != CHECKSUM}
    return hashlib.sha256(json.dumps(said, sort_keys=True, ensure_ascii=False).encode()).hexdigest()


def write_yaml(path: Path, value: Mapping[str, Any]) -> None:
    """Write a YAML file in the order of its keys, whole or not at all."""
    write_text(path, OmegaConf.to_yaml(OmegaConf.create(dict(value))))


def write_csv(path: Path, table: pd.DataFrame) -> None:
    """Write a table without its index, whole or not at all."""
    write_text(path, table.to_csv(index=False))


def write_tensors(path: Path, tensors: Mapping[str, torch.Tensor], metadata: Mapping[str, str] | None = None) -> None:
    """Write a safetensors file, whole or not at all."""
    named = {name: t.detach().cpu().contiguous() for name, t in tensors.items()}
    size = sum(t.numel() * t.element_size() for t in named.values())
    with whole(path, size) as temporary:
        temporary.touch()
        mode = temporary.stat().st_mode
        try:
            save_file(named, temporary, dict(metadata or {}) if named else None)  # neither of both: not readable
        except SafetensorError as error:  # it has no errno
            full = any(f"os error {number}" in str(error) for number in FULL)
            raise OSError(errno.ENOSPC if full else errno.EIO, str(error)) from None
        temporary.chmod(mode)  # safetensors leaves a file that only its owner can read


def read_tensors(path: Path, digest: str | None = None) -> dict[str, torch.Tensor]:
    """The tensors of a safetensors file. Raises DamagedError if its sha256 is not `digest` or it cannot be read."""
    check(path, digest)
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise DamagedError(f"this file cannot be read: {error}", str(path), AGAIN) from None


def is_file(path: Path) -> bool:
    """Whether there is such a file; a name that no file can have is none."""
    try:
        return path.is_file()
    except OSError:  # e.g. of 300 letters
        return False


def check(path: Path, digest: str | None) -> None:
    """Raise DamagedError unless the file has this sha256 (None: it was written before files had one)."""
    if not path.is_file():
        raise DamagedError("this file is missing", str(path), AGAIN)
    if digest is not None and (found := sha256(path)) != digest:
        what = f"this file is damaged: its sha256 is {found[:12]}…, not {digest[:12]}…"
        raise DamagedError(what, str(path), AGAIN)


def sha256(path: Path) -> str:
    """The sha256 of a file's bytes, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _flush(path: Path) -> None:
    """Wait until a file, or the names in a folder, are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True
