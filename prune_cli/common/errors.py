"""The one exception family of prune-cli. The command line prints each in three lines or fewer."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

LISTED = 30  # names that a hint lists at most


class PruneCliError(Exception):
    """A failure while working (exit code 1).

    what: one sentence. where: the file, option or tensor that it is about. hint: what to type or do next.
    """

    exit_code = 1

    def __init__(self, what: str, where: str | None = None, hint: str | None = None):
        super().__init__(what)
        self.what, self.where, self.hint = what, where, hint

    def lines(self) -> list[str]:
        """The message as it is shown: what, where, what to type next."""
        parts = [("error", self.what), ("where", self.where), ("try", self.hint)]
        return [f"{label}: {' '.join(text.split())}" for label, text in parts if text]


def format_error(error: BaseException) -> list[str]:
    """An error as it is shown: our own in its lines, what the system says of a file, any other by its type and first line."""
    if isinstance(error, PruneCliError):
        return error.lines()
    if isinstance(error, OSError) and error.filename is not None:
        return PruneCliError(error.strerror or type(error).__name__, str(error.filename)).lines()
    reason = str(error).strip().splitlines()
    return [f"error: {type(error).__name__}: {reason[0] if reason else ''}"]


class NumericalError(PruneCliError):
    """A loss or a score is NaN or infinite."""


class RequestError(PruneCliError):
    """What was asked for is wrong: refused before any work starts (exit code 2)."""

    exit_code = 2


class ConfigError(RequestError):
    """An option or its value is wrong."""


class DataError(RequestError):
    """A dataset is missing or damaged."""


class WeightsError(RequestError):
    """Weights are missing, damaged or made for another model."""


class SelectionError(RequestError):
    """A mask with the wanted properties does not exist."""


def nearest(name: str, known: Iterable[str], before: str = "", after: str = "") -> str:
    """A hint: the known name that looks most like `name`, as it is typed; else the known names.

    before, after: what is typed around it, such as `scorer=`.
    """
    known = sorted(known)
    begun = [option for option in known if name and option.startswith(name)]
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.6) or begun
    if close:
        return f"did you mean {before}{close[0]}{after}?"
    more = f" … ({len(known):,} in all)" if len(known) > LISTED else ""
    return f"known: {', '.join(known[:LISTED])}{more}"
