"""stdout and stderr that never fail: closed ones, broken pipes, full disks, and encodings without most letters."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, TextIO, cast

NAMES = ("stdin", "stdout", "stderr")  # in the order of their descriptors


class Stream:
    """A text stream that raises no OSError: after the first OSError it discards everything.

    error: the first OSError, or None. A reader that has gone (`| head`, a terminal that was closed) leaves None.
    """

    def __init__(self, stream: TextIO):
        self._stream, self._terminal = stream, stream.isatty()
        self.error: OSError | None = None
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """Write the text, or discard it after an OSError. Returns the length of the text."""
        with self._tolerate_errors():
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        """Flush the stream; an OSError is kept in `error`."""
        with self._tolerate_errors():
            self._stream.flush()

    @contextmanager
    def _tolerate_errors(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            gone = isinstance(error, BrokenPipeError) or self._terminal
            self.error = self.error or (None if gone else error)
            self._discard()

    def _discard(self) -> None:
        """Redirect the descriptor to the null device, also for what Python flushes when it ends."""
        with suppress(OSError):  # a stream without a descriptor
            _redirect_to_null(self._stream.fileno())
            self._stream.flush()


@contextmanager
def tolerant_streams() -> Iterator[Stream]:
    """Replace sys.stdout and sys.stderr by Streams inside this context. Yields the Stream of stdout."""
    _reopen_closed_streams()
    before = sys.stdout, sys.stderr
    out, err = map(Stream, before)
    sys.stdout, sys.stderr = cast(TextIO, out), cast(TextIO, err)
    try:
        yield out
    finally:
        out.flush()
        err.flush()
        sys.stdout, sys.stderr = before


def _reopen_closed_streams() -> None:
    """Open closed standard streams on the null device: else the next files that are opened would get their descriptors."""
    for number, name in enumerate(NAMES):
        if getattr(sys, name) is None:
            _redirect_to_null(number)
            setattr(sys, name, os.fdopen(number, "r" if name == "stdin" else "w", encoding="utf-8", closefd=False))


def _redirect_to_null(descriptor: int) -> None:
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, descriptor)
    os.set_inheritable(descriptor, True)  # as a standard stream is; dup2 leaves it where both are one
    if null != descriptor:
        os.close(null)
