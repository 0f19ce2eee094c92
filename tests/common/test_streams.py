"""Whatever becomes of stdout and stderr, a command ends with a plain exit code and without a traceback."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from prune_cli.common.streams import Stream

FULL = Path("/dev/full")  # as a disk without room
PROGRAM = f"{sys.executable} -m prune_cli"


def typed(line: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """What a shell makes of a line, in which $P is the program."""
    script = f'P="{PROGRAM}"; set -o pipefail; {line}'
    surroundings = os.environ | environment
    return subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=False, env=surroundings)


NOBODY = {
    "stdout is closed": ("$P ls scorer >&-", 0, ""),
    "the reader goes at once": ("$P ls scorer --json | true", 0, ""),
    "the reader of the help goes": ("$P --help | true", 0, ""),
    "stderr is closed": ("$P ls nope 2>&-", 2, ""),
    "all are closed": ("$P ls nope <&- >&- 2>&-", 2, ""),
    "stderr is full": ("$P ls nope 2>/dev/full", 2, ""),
    "stdout is full": ("$P ls scorer >/dev/full", 1, "No space left on device"),
    "stdout is full for the help": ("$P --help >/dev/full", 1, "No space left on device"),
}


@pytest.mark.skipif(not FULL.exists(), reason="a device of Linux")
@pytest.mark.parametrize(("line", "code", "said"), NOBODY.values(), ids=NOBODY.keys())
def test_lost_output_is_a_failure_only_where_somebody_would_have_read_it(line: str, code: int, said: str) -> None:
    done = typed(line)
    assert done.returncode == code, done.stderr
    assert said in done.stderr and bool(said) == bool(done.stderr)
    assert len(done.stderr.splitlines()) <= 3 and "report it" not in done.stderr


@pytest.mark.slow
def test_an_encoding_without_some_letters_loses_none(tmp_path: Path) -> None:
    narrow = typed("$P ls scorer --json", PYTHONIOENCODING="ascii")
    assert (narrow.returncode, narrow.stderr) == (0, "") and narrow.stdout.isascii()
    assert "·" in json.dumps(json.loads(narrow.stdout), ensure_ascii=False)
    table = typed(f"cd {tmp_path}; $P ls scorer; $P ls ± 1>&2", PYTHONIOENCODING="ascii")
    assert table.returncode == 2 and "\\u" in table.stdout and "\\xb1" in table.stderr
    assert len(table.stderr.splitlines()) <= 3


class Refusing(io.StringIO):
    """A stream that the system refuses to write to."""

    def __init__(self, error: OSError, terminal: bool = False):
        super().__init__()
        self.error, self.terminal = error, terminal

    def isatty(self) -> bool:
        return self.terminal

    def write(self, text: str) -> int:  # noqa: ARG002
        raise self.error


def test_what_cannot_be_written_is_remembered_and_stops_nothing() -> None:
    stream = Stream(Refusing(OSError(28, "No space left on device")))
    print("a result", file=stream)  # type: ignore[call-overload]
    stream.flush()
    assert stream.error is not None and stream.error.errno == 28


@pytest.mark.parametrize(
    ("error", "terminal"), [(BrokenPipeError(32, "Broken pipe"), False), (OSError(5, "Input/output error"), True)]
)
def test_a_reader_that_has_gone_is_no_error(error: OSError, terminal: bool) -> None:
    stream = Stream(Refusing(error, terminal))
    print("a result", file=stream)  # type: ignore[call-overload]
    stream.flush()
    assert stream.error is None
