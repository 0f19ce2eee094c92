"""Checks of the folders and files that a user types, made before any work starts."""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryFile

from prune_cli.common.errors import RequestError

SUFFIX_LENGTH = 100  # bytes that names of files in a folder, or of an unfinished file, add to a path at most
Check = Callable[[Path], None]  # raises OSError


def typed_path(text: str | Path, option: str, check: Check) -> Path:
    """The path that was typed for an option, after `check`. Raises RequestError where the path cannot be used."""
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


def expanded(path: str | Path) -> Path:
    """The path with a leading ~ or ~USER as the folder of that user, and as it stands where there is no such user."""
    return Path(os.path.expanduser(path))  # noqa: PTH111 - that of Path raises RuntimeError


def _refused(reason: str, text: str | Path, option: str) -> RequestError:
    where = f"{option} {shlex.quote(str(text))}"
    return RequestError(f"this path cannot be used: {reason}", where, f"another path for {option}")


def check_readable_folder(folder: Path) -> None:
    """Raise OSError where the folder exists and cannot be read."""
    with suppress(FileNotFoundError), os.scandir(folder):
        pass


def check_data_folder(folder: Path) -> None:
    """Raise OSError unless the folder can be read, or does not exist and could be created. It need not be writable."""
    check = check_readable_folder if folder.exists() else check_writable_folder
    check(folder)


def check_writable_folder(folder: Path) -> None:
    """Raise OSError unless files can be written in the folder, which may not exist yet.

    A temporary file is created and deleted, because a folder's mode and owner do not reveal a read-only disk or /proc.
    """
    there = folder
    while not os.path.lexists(there):
        there = there.parent
    for name in folder.parts[len(there.parts) :]:
        _check_length(there / name)
    _check_length(folder.absolute() / ("x" * SUFFIX_LENGTH))
    with TemporaryFile(dir=there):
        pass


def check_writable_file(file: Path) -> None:
    """Raise OSError unless a regular file can be written at this path, in a folder that exists or could be created."""
    if os.path.lexists(file) and not file.is_file():
        raise OSError("it is no regular file")
    check_writable_folder(
        file.with_name(file.name + "x" * SUFFIX_LENGTH)
    )  # the name is longer while the file is unfinished


def check_export(file: Path) -> None:
    """Raise OSError unless a weights file can be written at this path, and beside it a JSON file that describes them."""
    if file.suffix == ".json":
        raise OSError("the .json beside the weights says how they were made")
    check_writable_file(file)
    check_writable_file(file.with_suffix(".json"))


def check_plugin(file: Path) -> None:
    """Raise OSError unless the plug-in is a Python file that can be read."""
    if file.suffix != ".py":
        raise OSError("a plug-in is a Python file, FILE.py")
    with file.open("rb"):
        pass


def _check_length(path: Path) -> None:
    """Raise OSError where the path, or its last name, is longer than the file system allows."""
    with suppress(FileNotFoundError, NotADirectoryError):
        path.lstat()
