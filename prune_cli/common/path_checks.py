"""Folders and files as they are typed: refused before any work starts where that work could not use them."""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryFile

from prune_cli.common.errors import RequestError

ROOM = 100  # bytes that what is written adds to a path, or to a name while the file is not whole yet
Check = Callable[[Path], None]  # raises OSError


def typed_path(text: str | Path, option: str, check: Check) -> Path:
    """The path that was typed for an option, checked. Raises RequestError that says what is wrong with it."""
    try:
        if not str(text):
            raise OSError("no name was given")
        str(text).encode()  # records and requests hold it as UTF-8
        check(Path(text))
    except OSError as error:
        raise _refused(error.strerror or str(error), text, option) from None
    except UnicodeEncodeError:
        raise _refused("its name is not UTF-8", text, option) from None
    return Path(text)


def _refused(reason: str, text: str | Path, option: str) -> RequestError:
    where = f"{option} {shlex.quote(str(text))}"
    return RequestError(f"this path cannot be used: {reason}", where, f"another path for {option}")


def check_readable_folder(folder: Path) -> None:
    """Raise OSError unless the folder can be read, or is not there."""
    with suppress(FileNotFoundError), os.scandir(folder):
        pass


def check_data_folder(folder: Path) -> None:
    """Raise OSError unless the folder can be read, or could be made: what is in it may be all that is wanted."""
    check = check_readable_folder if folder.exists() else check_writable_folder
    check(folder)


def check_writable_folder(folder: Path) -> None:
    """Raise OSError unless files can be written in the folder, or in a folder that could be made there.

    Tried with a file that is gone at once: neither a mode nor a user tells of a read-only disk, or of /proc.
    """
    there = folder
    while not os.path.lexists(there):
        there = there.parent
    for name in folder.parts[len(there.parts) :]:
        _check_length(there / name)
    _check_length(folder.absolute() / ("x" * ROOM))
    with TemporaryFile(dir=there):
        pass


def check_writable_file(file: Path) -> None:
    """Raise OSError unless the file can be written: a regular one or none, in a folder that is or could be made."""
    if os.path.lexists(file) and not file.is_file():
        raise OSError("it is no regular file")
    check_writable_folder(file.with_name(file.name + "x" * ROOM))  # as if it were one, under its longer name


def check_export(file: Path) -> None:
    """Raise OSError unless weights can be written there, and beside them the JSON that says how they were made."""
    if file.suffix == ".json":
        raise OSError("the .json beside the weights says how they were made")
    check_writable_file(file)
    check_writable_file(file.with_suffix(".json"))


def check_plugin(file: Path) -> None:
    """Raise OSError unless it is a Python file that can be read."""
    if file.suffix != ".py":
        raise OSError("a plug-in is a Python file, FILE.py")
    with file.open("rb"):
        pass


def _check_length(path: Path) -> None:
    """Raise OSError where the path, or its last name, is longer than the file system allows."""
    with suppress(FileNotFoundError, NotADirectoryError):
        path.lstat()
