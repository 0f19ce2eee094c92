"""The built form of a video dataset: one folder with clips, labels, a table, pictures and, written last, a manifest.

SPLIT-clips.npy            uint8 (N, T, H, W); SPLIT is train, validation (where there is one) or test
SPLIT-labels.npy           uint8 (N, T), one label a frame
clips.csv                  a row a clip
preview.png  preview.gif   the first clip of each class
manifest.json              what it was made from, and the size and sha256 of every file
"""

from __future__ import annotations

import csv
import hashlib
import io
import math
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from prune_cli.common.errors import DataError, PruneCliError
from prune_cli.data.preview import draw_gif, draw_png
from prune_cli.runs.artefacts import MANIFEST
from prune_cli.runs.files import sha256, whole, write_checksummed
from prune_cli.runs.manifest import versions
from prune_cli.runs.store import RunFolder

SPLITS = ("train", "validation", "test")
COLUMNS = ("split", "clip", "class", "source", "start", "path")
CHUNK_BYTES = 2**21  # of frames that are rendered together
Sizes = Mapping[str, tuple[int, int, int, int]]  # each split that there is -> N, T, H, W


@dataclass(frozen=True)
class Chunk:
    """Some clips: clips_NTHW and labels_NT uint8; rows: class, source, start and path of each."""

    clips_NTHW: np.ndarray
    labels_NT: np.ndarray
    rows: Sequence[tuple[str, ...]]


class Renderer(Protocol):
    """Renders clips. The result depends only on the split and the clip numbers, so chunks can be rendered in any order."""

    @property
    def facts(self) -> dict[str, Any]:
        """Entries that the renderer adds to the manifest."""
        ...

    def render(self, split: str, clips: range) -> Chunk:
        """Render the clips with these numbers of the split."""
        ...


def check(folder: RunFolder, sizes: Sizes, command: str) -> dict[str, Any] | None:
    """The manifest of a built folder, after the sizes and headers of its files are checked; None where nothing is built.

    Raises DataError that names the damaged or missing file, with `command`, which builds the folder again, as its hint.
    """
    try:
        manifest = folder.manifest()
    except (PruneCliError, AttributeError) as error:  # an AttributeError where its JSON is no object
        raise _damaged(folder.path / MANIFEST, str(error), command) from None
    if manifest is None:
        return None
    for name in _names(sizes):
        path = folder.path / name
        size = path.stat().st_size if path.is_file() else None
        expected = _listed_file(manifest, name).get("bytes")
        if size != expected or size is None:
            known = f"{expected:,}" if isinstance(expected, int) else f"{expected}"
            found = "it is gone" if size is None else f"{size:,} bytes, not {known}"
            raise _damaged(path, found, command)
    for split, size_NTHW in sizes.items():
        _check_header(folder.path / f"{split}-clips.npy", size_NTHW, command)
        _check_header(folder.path / f"{split}-labels.npy", size_NTHW[:2], command)
    return manifest


def verify(folder: RunFolder, sizes: Sizes, command: str) -> None:
    """Read every file again and compare its sha256. Raises DataError that names the damaged file, or where nothing is built."""
    manifest = check(folder, sizes, command)
    if manifest is None:
        raise DataError("there is nothing to verify: it is not built", str(folder.path), command)
    for name in _names(sizes):
        if sha256(folder.path / name) != _listed_file(manifest, name).get("sha256"):
            raise _damaged(folder.path / name, "its sha256 is another", f"remove its folder, then {command}")


def write(folder: RunFolder, sizes: Sizes, facts: Mapping[str, Any], renderer: Renderer, workers: int) -> None:
    """Render all clips into the folder, the manifest last. Memory does not grow with the number of clips."""
    files: dict[str, dict[str, Any]] = {}
    path = folder.path
    with _hashing_writer(path / "clips.csv", files) as table:
        table(_lines([COLUMNS]))
        for split, size_NTHW in sizes.items():
            _write_split(path, split, size_NTHW, _rendered(renderer, split, size_NTHW, workers), table, files)
    for name, draw in (("preview.png", draw_png), ("preview.gif", draw_gif)):
        first = np.load(path / "train-clips.npy", mmap_mode="r", allow_pickle=False)[: len(facts["classes"])]
        with _hashing_writer(path / name, files) as picture:
            picture(draw(first, _titles(path, len(first))))
    record = {"identity": folder.identity, **facts, **renderer.facts}
    record |= {"shape_NTHW": {split: list(size) for split, size in sizes.items()}}
    write_checksummed(path / MANIFEST, record | {"files": files, "versions": versions()})


def _listed_file(manifest: Mapping[str, Any], name: str) -> dict[str, Any]:
    """The manifest's entry of a file (bytes, sha256); empty where there is none."""
    files = manifest.get("files")
    known = files.get(name) if isinstance(files, dict) else None
    return known if isinstance(known, dict) else {}


def _names(sizes: Sizes) -> list[str]:
    return [
        *(f"{s}-{part}.npy" for s in sizes for part in ("clips", "labels")),
        "clips.csv",
        "preview.png",
        "preview.gif",
    ]


def _check_header(path: Path, shape: tuple[int, ...], hint: str) -> None:
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except Exception as error:  # numpy raises nearly anything over a damaged header
        raise _damaged(path, f"{error}", hint) from None
    if not isinstance(array, np.ndarray):  # of a .zip it makes something else
        raise _damaged(path, "no .npy file", hint)
    if array.shape != shape or array.dtype != np.uint8:
        raise _damaged(path, f"{array.dtype} {array.shape}, not uint8 {shape}", hint)


def _damaged(path: Path, reason: str, hint: str) -> DataError:
    return DataError(f"this file is damaged or half-copied: {reason}", str(path), hint)


def _write_split(
    folder: Path,
    split: str,
    size_NTHW: tuple[int, int, int, int],
    chunks: Iterator[Chunk],
    table: Callable[[Any], None],
    files: dict[str, dict[str, Any]],
) -> None:
    with ExitStack() as stack:
        clips = stack.enter_context(_hashing_writer(folder / f"{split}-clips.npy", files))
        labels = stack.enter_context(_hashing_writer(folder / f"{split}-labels.npy", files))
        clips(_header(size_NTHW))
        labels(_header(size_NTHW[:2]))
        place = 0
        for chunk in chunks:
            clips(np.ascontiguousarray(chunk.clips_NTHW).data)
            labels(np.ascontiguousarray(chunk.labels_NT).data)
            table(_lines((split, place + n, *row) for n, row in enumerate(chunk.rows)))
            place += len(chunk.rows)


def _rendered(renderer: Renderer, split: str, size_NTHW: tuple[int, int, int, int], workers: int) -> Iterator[Chunk]:
    """The rendered chunks of a split, in order; at most workers + 1 of them exist at once."""
    step = max(1, CHUNK_BYTES // math.prod(size_NTHW[1:]))
    waiting: deque[Future[Chunk]] = deque()
    with ThreadPoolExecutor(workers) as pool:
        for start in range(0, size_NTHW[0], step):
            clips = range(start, min(start + step, size_NTHW[0]))
            waiting.append(pool.submit(renderer.render, split, clips))
            if len(waiting) > workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


@contextmanager
def _hashing_writer(path: Path, files: dict[str, dict[str, Any]]) -> Iterator[Callable[[Any], None]]:
    """Yield a function that appends bytes to the file, an atomic write; its sha256 and size go into `files`."""
    digest = hashlib.sha256()
    with whole(path) as temporary, temporary.open("wb") as file, ThreadPoolExecutor(1) as beside:

        def add(part: Any) -> None:
            """Write these bytes and hash them at the same time."""
            hashing = beside.submit(digest.update, part)
            file.write(part)
            hashing.result()

        yield add
    files[path.name] = {"bytes": path.stat().st_size, "sha256": digest.hexdigest()}


def _header(shape: tuple[int, ...]) -> bytes:
    found = io.BytesIO()
    np.lib.format.write_array_header_1_0(found, {"descr": "|u1", "fortran_order": False, "shape": shape})
    return found.getvalue()


def _lines(rows: Any) -> bytes:
    found = io.StringIO()
    csv.writer(found, lineterminator="\n").writerows(rows)
    return found.getvalue().encode()


def _titles(folder: Path, clips: int) -> list[str]:
    """The classes of the first `clips` clips, from clips.csv."""
    with (folder / "clips.csv").open(newline="", encoding="utf-8") as file:
        rows = csv.DictReader(file)
        return [next(rows)["class"] for _ in range(clips)]
