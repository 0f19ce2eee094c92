"""The one exception family of prune-cli. The command line prints each in three lines or fewer."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from prune_cli.common.plain import JsonObject

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
        """The lines of text that a user sees: what, where, what to type next."""
        return ErrorParts.of(self).lines()


@dataclass(frozen=True)
class ErrorParts:
    """An error as it crosses a process: what, where and hint as in PruneCliError; exit_code: of a command that it ends."""

    what: str
    where: str | None = None
    hint: str | None = None
    exit_code: int = PruneCliError.exit_code

    @classmethod
    def of(cls, error: BaseException) -> ErrorParts:
        """The parts of a PruneCliError; of an OSError its reason and file; of any other error its type and first line."""
        if isinstance(error, PruneCliError):
            return cls(error.what, error.where, error.hint, error.exit_code)
        if isinstance(error, OSError) and error.filename is not None:
            return cls(error.strerror or type(error).__name__, str(error.filename))
        first = next(iter(str(error).strip().splitlines()), "")
        return cls(f"{type(error).__name__}: {first}")

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> ErrorParts:
        """The error that a JSON object from `to_json` holds; unknown keys are ignored. Raises KeyError without `what`."""
        known = {field.name for field in fields(cls)}
        return cls(value["what"], **{key: part for key, part in value.items() if key in known - {"what"}})

    def to_json(self) -> JsonObject:
        """The parts as a JSON object: what, where, hint, exit_code."""
        return asdict(self)

    def lines(self, first: str = "error: ") -> list[str]:
        """The lines of text that a user sees, one for each part that is given. first: the label of the first line."""
        parts = [(first, self.what), ("where: ", self.where), ("try: ", self.hint)]
        return [f"{label}{' '.join(text.split())}" for label, text in parts if text]

    def error(self) -> PruneCliError:
        """The error to raise in this process: a RequestError for exit code 2, else a PruneCliError."""
        kind = RequestError if self.exit_code == RequestError.exit_code else PruneCliError
        return kind(self.what, self.where, self.hint)


def format_error(error: BaseException) -> list[str]:
    """The lines of text that a user sees for any error; `ErrorParts.of` says which parts are taken from it."""
    return ErrorParts.of(error).lines()


class NumericalError(PruneCliError):
    """A loss or a score is NaN or infinite."""


class RequestError(PruneCliError):
    """A wrong request, refused before any work starts (exit code 2)."""

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
    """A hint that names the known name most similar to `name`, or lists the known names where none is similar.

    before, after: text to type before and after that name, such as `scorer=`.
    """
    known = sorted(known)
    begun = [option for option in known if name and option.startswith(name)]
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.6) or begun
    if close:
        return f"did you mean {before}{close[0]}{after}?"
    more = f" … ({len(known):,} in all)" if len(known) > LISTED else ""
    return f"known: {', '.join(known[:LISTED])}{more}"
