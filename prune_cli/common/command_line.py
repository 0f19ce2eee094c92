"""The command that was typed, as records tell it."""

from __future__ import annotations

import sys
from pathlib import Path


def typed_argv() -> tuple[str, ...]:
    """The words of this process's command line, its program by name alone: no record holds a path of this machine."""
    return (Path(sys.argv[0]).name, *sys.argv[1:])
