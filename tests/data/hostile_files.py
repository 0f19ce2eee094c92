"""Writes files that would do harm if they were believed, for tests."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import pickle
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from safetensors.torch import load, save
from torch import Tensor

from prune_cli.runs.compressed import BLANK, METADATA

BOMB = 200 * 2**20  # bytes that a bomb unpacks to


class Canary:
    """Makes a folder when Python's own reader loads it."""

    def __init__(self, folder: Path):
        self._folder = folder

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self._folder),)


def hostile_pickle(canary: Path) -> bytes:
    """A dictionary with what makes the canary."""
    return pickle.dumps({"data": Canary(canary), "labels": [0, 1]}, 2)


def sings(raw: bytes, canary: Path) -> bool:
    """Whether Python's own reader would make the canary of it: a test in which it does not means nothing."""
    assert not canary.exists()
    pickle.loads(raw)
    made = canary.exists()
    canary.rmdir()
    return made


def member(name: str, content: bytes = b"harm", kind: bytes = tarfile.REGTYPE, to: str = "") -> Callable[..., None]:
    """What adds one member to a tar."""

    def add(tar: tarfile.TarFile) -> None:
        info = tarfile.TarInfo(name)
        info.type, info.linkname = kind, to
        info.size = len(content) if kind == tarfile.REGTYPE else 0
        tar.addfile(info, io.BytesIO(content))

    return add


def write_tar(path: Path, *members: Callable[[tarfile.TarFile], None]) -> Path:
    """A gzipped tar with an honest member before and after those."""
    with tarfile.open(path, "w:gz") as tar:
        for add in (member("folder/first"), *members, member("folder/last")):
            add(tar)
    return path


def write_header(path: Path, size: int, kind: bytes = tarfile.REGTYPE, zeros: int = BOMB) -> Path:
    """A gzipped tar of one member whose header says `size`, with so many zeros after it."""
    info = tarfile.TarInfo("folder/zeros")
    info.size, info.type = size, kind
    return write_bomb(path, info.tobuf(tarfile.GNU_FORMAT), zeros)


def write_bomb(path: Path, start: bytes, zeros: int = BOMB) -> Path:
    """A gzipped file that starts so and goes on with so many zeros, packed to a thousandth."""
    path.write_bytes(gzip.compress(start) + gzip.compress(bytes(2**20)) * (zeros // 2**20))
    return path


OUTWARD = {
    "up": member("../canary"),
    "up, deeper": member("folder/../../canary"),
    "absolute": member("/tmp/prune-cli-canary"),
    "of Windows": member("C:\\canary"),
    "up, of Windows": member("..\\canary"),
    "a link out": member("folder/link", kind=tarfile.SYMTYPE, to="/etc"),
    "a link to beside": member("folder/link", kind=tarfile.SYMTYPE, to="first"),
    "a hard link": member("folder/link", kind=tarfile.LNKTYPE, to="/etc/passwd"),
    "a device": member("folder/null", kind=tarfile.CHRTYPE),
    "a pipe": member("folder/pipe", kind=tarfile.FIFOTYPE),
}


Change = Callable[[dict[str, Any], dict[str, Tensor]], Any]


def forged_compressed(raw: bytes, change: Change) -> bytes:
    """A compressed file whose metadata and stored tensors were changed, under a digest that fits."""
    header = json.loads(raw[8 : 8 + int.from_bytes(raw[:8], "little")])
    about, tensors = json.loads(header["__metadata__"][METADATA]), load(raw)
    change(about, tensors)
    blank = save(tensors, {METADATA: json.dumps(about | {"sha256": BLANK})})
    return blank.replace(BLANK.encode(), hashlib.sha256(blank).hexdigest().encode(), 1)
