"""stdout and stderr as they may be: closed, read by nobody, on a full disk, or of an encoding without most letters."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, TextIO, cast

NAMES = ("stdin", "stdout", "stderr")  # in the order of their descriptors


class Stream:
    """A text stream that raises no OSError: after the first one nothing more is written, and work goes on.

    error: that first OSError. None after a reader has gone (`| head`, a terminal that was closed): nobody misses anything.
    """

    def __init__(self, stream: TextIO):
        self._stream, self._terminal = stream, stream.isatty()
        self.error: OSError | None = None
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """Write it if that is possible. Returns its length."""
        with self._outlived():
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        """Hand on what was written, if that is possible."""
        with self._outlived():
            self._stream.flush()

    @contextmanager
    def _outlived(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            gone = isinstance(error, BrokenPipeError) or self._terminal
            self.error = self.error or (None if gone else error)
            self._abandon()

    def _abandon(self) -> None:
        """From now on the descriptor leads nowhere, also for what is flushed when Python ends."""
        with suppress(OSError):  # a stream without a descriptor
            _lead_nowhere(self._stream.fileno())
            self._stream.flush()


@contextmanager
def outlived_streams() -> Iterator[Stream]:
    """Meanwhile sys.stdout and sys.stderr are Streams, whatever they were. Yields the first."""
    _open_the_closed()
    before = sys.stdout, sys.stderr
    out, err = map(Stream, before)
    sys.stdout, sys.stderr = cast(TextIO, out), cast(TextIO, err)
    try:
        yield out
    finally:
        out.flush()
        err.flush()
        sys.stdout, sys.stderr = before


def _open_the_closed() -> None:
    """Let closed standard streams lead nowhere: else the next files that are opened would get their descriptors."""
    for number, name in enumerate(NAMES):
        if getattr(sys, name) is None:
            _lead_nowhere(number)
            setattr(sys, name, os.fdopen(number, "r" if name == "stdin" else "w", encoding="utf-8", closefd=False))


def _lead_nowhere(descriptor: int) -> None:
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, descriptor)
    os.set_inheritable(descriptor, True)  # as a standard stream is; dup2 leaves it where both are one
    if null != descriptor:
        os.close(null)
