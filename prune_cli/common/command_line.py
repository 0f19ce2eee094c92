"""The command line of this process, as the records of runs keep it."""

from __future__ import annotations

import sys
from pathlib import Path


def typed_argv() -> tuple[str, ...]:
    """The words of this process's command line. The program is named without its folder: no record holds a local path."""
    return (Path(sys.argv[0]).name, *sys.argv[1:])
