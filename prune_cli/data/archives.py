"""Tar archives, gzipped or not, read and unpacked as if each of them were hostile.

Absolute names, `..`, links, devices and archives that unpack to too many bytes are refused: a bomb is never expanded.
"""

from __future__ import annotations

import gzip
import tarfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath
from tarfile import TarFile, TarInfo
from typing import Any

from prune_cli.common.errors import DataError

CHUNK = 2**20  # bytes that are unpacked at once; a header that is longer is no honest one
ALWAYS_ALLOWED = 2**26  # bytes that are no bomb, however few they are packed in
RATIO = 100  # of unpacked to packed bytes beyond that; photographs have about 1
MAGIC = b"\x1f\x8b"  # of gzip
BROKEN = (OSError, EOFError, ValueError, OverflowError, zlib.error, tarfile.TarError)


@dataclass(frozen=True)
class Limits:
    """The most that an archive may hold: bytes when unpacked (headers included), and members."""

    bytes: int
    members: int


def at_most(packed: int, limit: int) -> int:
    """The number of bytes that `packed` bytes may unpack to: RATIO times as many, or ALWAYS_ALLOWED, and never above `limit`."""
    return min(limit, max(ALWAYS_ALLOWED, RATIO * packed))


def read(archive: Path, folder: str, limits: Limits) -> dict[str, bytes]:
    """The contents of the files in one folder of the archive, by file name. Nothing is written. Raises DataError."""
    found = {}
    with _open_tar(archive, limits) as stream:
        for tar, member in _members(stream, str(archive), limits):
            parent, _, name = member.name.removeprefix("./").rpartition("/")
            if parent == folder and member.isfile():
                found[name] = b"".join(_chunks(tar, member))
    return found


def unpack(archive: Path, folder: Path, limits: Limits, inner: bool = False) -> None:
    """Unpack the whole archive into an empty folder. Raises DataError that names the archive and the member.

    inner: each .tar inside the archive is unpacked too, into a folder of its name.
    """
    with _open_tar(archive, limits) as stream:
        for tar, member in _members(stream, str(archive), limits):
            packed = tar.extractfile(member) if inner and member.name.endswith(".tar") else None
            if packed is None:
                tar.extract(member, folder, filter="data")
                continue
            place = folder / member.name.removesuffix(".tar")
            for part, file in _members(_LimitedReader(packed, stream.limit), f"{archive}: {member.name}", limits):
                part.extract(file, place, filter="data")


class _LimitedReader:
    """A stream for tarfile that reads at most CHUNK bytes at once and `limit` bytes in all, whatever the headers ask for."""

    def __init__(self, stream: Any, limit: int):
        self._stream, self.limit = stream, limit
        self.tell = stream.tell

    def read(self, size: int) -> bytes:
        """Read the next `size` bytes. Raises ReadError beyond the limits."""
        if not 0 <= size <= CHUNK:
            raise tarfile.ReadError(f"a header in it takes {size:,} bytes")
        self._check(self.tell())
        return self._stream.read(size)

    def seek(self, place: int) -> int:
        """Move to an offset in bytes. Raises ReadError beyond the limit."""
        self._check(place)
        return self._stream.seek(place)

    def seekable(self) -> bool:
        """Return True: tarfile only moves forwards, which gzip streams can."""
        return True

    def _check(self, place: int) -> None:
        if place > self.limit:
            raise tarfile.ReadError(f"it unpacks to more than {self.limit:,} bytes")


@contextmanager
def _open_tar(archive: Path, limits: Limits) -> Iterator[_LimitedReader]:
    """The unpacked bytes of the archive as a stream. An error while they are read is raised as DataError."""
    try:
        with archive.open("rb") as packed:
            zipped = packed.read(len(MAGIC)) == MAGIC
            packed.seek(0)
            limit = at_most(archive.stat().st_size, limits.bytes) if zipped else limits.bytes
            yield _LimitedReader(gzip.GzipFile(fileobj=packed) if zipped else packed, limit)
    except BROKEN as error:
        raise _refused(str(archive), f"this file is damaged: {error}") from None


def _members(stream: _LimitedReader, where: str, limits: Limits) -> Iterator[tuple[TarFile, TarInfo]]:
    """Yield each member after checking its header, before its bytes are read. Raises DataError that names a refused one."""
    with tarfile.open(fileobj=stream, mode="r:") as tar:  # type: ignore[call-overload]
        for number, member in enumerate(tar, 1):
            if number > limits.members:
                raise _refused(where, f"this archive has more than {limits.members:,} members")
            if fault := _fault(member, stream.limit):
                raise _refused(f"{where}: {member.name!r}", f"this member {fault}")
            yield tar, member
        while stream.read(CHUNK):  # to its end, where gzip keeps its checksum
            pass


def _fault(member: TarInfo, limit: int) -> str | None:
    """The reason to refuse this member, or None."""
    if any(path.anchor or ".." in path.parts for path in (PurePosixPath(member.name), PureWindowsPath(member.name))):
        return "leads out of its folder"
    if not member.isdir() and (not member.isreg() or member.issparse()):
        return "is neither a file nor a folder"
    if member.size < 0 or member.offset_data + member.size > limit:
        return f"would unpack to more than {limit:,} bytes"
    return None


def _chunks(tar: TarFile, member: TarInfo) -> Iterator[bytes]:
    content = tar.extractfile(member)
    assert content is not None  # as a file has some
    return iter(lambda: content.read(CHUNK), b"")


def _refused(where: str, what: str) -> DataError:
    return DataError(what, where, "fetch the published archive again")
