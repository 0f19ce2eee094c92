"""Facts that take torch, timm or seconds to find, kept as small JSON files in a cache folder of the user's.

A fact is believed only where all that decides it is as it was when it was found: what it is about, the content of the
files that it was read from (`stamps`), every source file of this package, and the versions of Python and of the packages
beneath. Plug-ins can change anything, so a process with plug-ins neither keeps nor believes facts. A file that cannot be
read, or that does not fit its own sha256, counts as absent, and a folder that cannot be written is no error.

The folder is the one that PRUNE_CLI_CACHE names (empty: nothing is kept), else prune-cli in the user's cache folder.
Removing it loses nothing but time.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import re
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import cache
from importlib.metadata import PackageNotFoundError, distributions, version
from pathlib import Path
from typing import Any

from prune_cli.common.errors import PruneCliError
from prune_cli.common.path_checks import expanded
from prune_cli.runs.files import CHECKSUM, DamagedError, read_checksummed, sha256, write_checksummed
from prune_cli.runs.identity import run_hash

VARIABLE = "PRUNE_CLI_CACHE"
PACKAGE = Path(__file__).parents[1]
BENEATH = ("torch", "torchvision", "timm", "numpy", "safetensors", "mlxtend", "scikit-learn", "pandas", "pillow")
MOST = 500  # facts in the folder: the oldest go
FACT_FILE = re.compile(r"[a-z\d-]+-[\da-f]{12}\.json")  # of a fact; the folder may hold files of others
LARGE = 2**28  # bytes: a larger file is told by its size and times, not by its content
SECOND_NS = 10**9
YOUNG_NS = 2 * SECOND_NS  # so soon after a change another one may leave the times of a file as they are
STARTED_NS = time.time_ns()  # what is imported is not what a source file says that has changed since

_trusted = True


def trust(facts: bool) -> None:
    """Set whether this process reads and writes cached facts from now on."""
    global _trusted
    _trusted = facts


def known(kind: str, about: Any, find: Callable[[], Any]) -> Any:
    """The fact of this kind about this: the one that is kept, else what `find` gives, which is kept.

    Both are values of JSON, so it makes no difference which one it is: a tuple is a list.
    """
    kept = recall(kind, about)
    if kept is not None:
        return kept
    found = json.loads(json.dumps(find()))
    remember(kind, about, found)
    return found


def recall(kind: str, about: Any) -> Any:
    """The cached fact, a JSON value, or None where there is none or it is outdated."""
    key = _key(kind, about)
    if key is None:
        return None
    try:
        entry = read_checksummed(_file(key))
    except (OSError, DamagedError):
        return None
    return entry.get("fact") if CHECKSUM in entry and entry.get("key") == key else None


def remember(kind: str, about: Any, fact: Any) -> None:
    """Cache a fact, a JSON value that is not None; do nothing where the cache folder cannot be written."""
    key = _key(kind, about)
    if key is None:
        return
    with suppress(OSError, PruneCliError):
        write_checksummed(_file(key), {"key": key, "fact": fact})
        _tidy(_file(key).parent)


def forget(kind: str, about: Any) -> None:
    """Remove a fact from the cache, if it is there."""
    key = _key(kind, about)
    if key is not None:
        with suppress(OSError):
            _file(key).unlink(missing_ok=True)


def stamps(files: Iterable[Path]) -> list[list[Any]] | None:
    """What tells these files from all others, as values of JSON; None where one has changed too recently to be told.

    A file of LARGE bytes or fewer is told by its sha256; a larger one by its size, its times of change and its inode.
    Raises OSError.
    """
    found = [_stamp(path) for path in files]
    return None if None in found else found  # type: ignore[return-value]


def file_sha256(path: Path) -> str:
    """The sha256 of a file's bytes, in hex; that of a large one is kept, and believed while its stamp is as it was."""
    stamp = stamps([path])
    if stamp is None or path.stat().st_size <= LARGE:
        return sha256(path)
    kept = recall("sha256", stamp)
    if kept is not None:
        return str(kept)
    found = sha256(path)
    if stamps([path]) == stamp:
        remember("sha256", stamp, found)
    return found


def confirm_sha256(path: Path, digest: str) -> None:
    """Read a large file again whose sha256 may have been one that was kept. Raises PruneCliError where it is another."""
    if path.stat().st_size > LARGE and sha256(path) != digest:
        if (stamp := stamps([path])) is not None:
            forget("sha256", stamp)
        raise outdated(str(path))


def outdated(where: str) -> PruneCliError:
    """What is raised where the work begins and a kept fact turns out to be another; it is forgotten by then."""
    what = "what was kept of this is no longer so, and is forgotten now"
    return PruneCliError(what, where, "type the same command again")


def cache_folder() -> Path | None:
    """The cache folder, which need not exist; None where facts are not cached."""
    named = os.environ.get(VARIABLE)
    if named is not None:
        return expanded(named) if named else None
    with suppress(RuntimeError):  # a user without a home
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "prune-cli"
    return None


def _key(kind: str, about: Any) -> dict[str, Any] | None:
    """The key of a fact: all that decides its value; None where facts are not cached."""
    if not _trusted or cache_folder() is None or (code := _code()) is None:
        return None
    return json.loads(json.dumps({"kind": kind, "about": about, "code": code}))


def _file(key: dict[str, Any]) -> Path:
    folder = cache_folder()
    assert folder is not None  # or there would be no key
    return folder / f"{key['kind']}-{run_hash(key)}.json"


def _tidy(folder: Path) -> None:
    """Remove the oldest facts where there are too many, and nothing else: the folder may be one of the user's."""
    facts = [file for file in folder.iterdir() if FACT_FILE.fullmatch(file.name)]
    files = sorted(facts, key=lambda file: file.stat().st_mtime_ns)
    for file in files[:-MOST]:
        file.unlink(missing_ok=True)


def _stamp(path: Path) -> list[Any] | None:
    status = path.stat()
    if status.st_size <= LARGE:
        return [str(path.resolve()), sha256(path)]
    if max(status.st_mtime_ns, status.st_ctime_ns) > time.time_ns() - YOUNG_NS:
        return None
    return [str(path.resolve()), status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino]


@cache
def _code() -> dict[str, Any] | None:
    """What finds the facts: this package's source, and the versions beneath; None where these do not tell.

    They do not where a source file is younger than this process, or where a package is installed to be edited.
    """
    files = sorted(PACKAGE.rglob("*.py"))
    youngest = max(max(status.st_mtime_ns, status.st_ctime_ns) for status in map(Path.stat, files))
    if youngest > STARTED_NS - YOUNG_NS or any(map(_is_editable, BENEATH)):
        return None
    source = hashlib.sha256()
    for file in files:
        source.update(f"{file.relative_to(PACKAGE)}\0{sha256(file)}\n".encode())
    versions = {name: _version(name) for name in ("prune-cli", *BENEATH)}
    return {
        "source": source.hexdigest(),
        "python": platform.python_version(),
        "machine": platform.machine(),
        **versions,
    }


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _is_editable(package: str) -> bool:
    """Whether a package is installed from a folder in which it may be edited under one version."""
    try:  # all that bear the name: of an editable one there may be a second in the current folder
        texts = [found.read_text("direct_url.json") for found in distributions(name=package)]
        return any(json.loads(text or "{}").get("dir_info", {}).get("editable") for text in texts)
    except (ValueError, AttributeError):
        return False
