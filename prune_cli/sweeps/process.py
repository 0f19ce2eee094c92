"""A process of a run: how one is started, and what the sweep asks of it, however it was started."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol


@dataclass(frozen=True)
class Spec:
    """What a process of a run is started with, beside the environment of the sweep; stdin is /dev/null.

    environment: variables that are added. cwd: None is the sweep's. stdout, stderr: descriptors. kept: descriptors
    that the process holds open until it ends.
    """

    folder: Path
    stdout: int
    stderr: int
    cwd: Path | None = None
    environment: Mapping[str, str] = field(default_factory=dict)
    kept: Sequence[int] = ()


class Process(Protocol):
    """A process in a session of its own."""

    @property
    def returncode(self) -> int | None:
        """None while it runs, as far as `poll` knows; -N where signal N ended it."""

    def poll(self) -> int | None:
        """Look whether it has ended, and return its returncode."""

    def wait(self) -> int:
        """Wait until it has ended, and return its returncode."""

    def send_signal(self, number: int, /) -> None:
        """Send it a signal; nothing where it has ended."""

    def kill_session(self) -> None:
        """Kill it, with all that it has started."""


class Start(Protocol):
    """What starts a process of a run."""

    def __call__(self, spec: Spec, /) -> Process:
        """Start it. Raises OSError where there is no such cwd, or the system has no process left."""


class Fresh(subprocess.Popen[bytes]):
    """A process that has imported nothing yet."""

    def __init__(self, words: Sequence[str], spec: Spec):
        super().__init__(
            words,
            env=os.environ | dict(spec.environment),
            cwd=spec.cwd,
            stdin=subprocess.DEVNULL,
            stdout=spec.stdout,
            stderr=spec.stderr,
            start_new_session=True,  # Ctrl-C in the terminal is for the sweep, which passes it on
            pass_fds=spec.kept,
        )

    def kill_session(self) -> None:
        """Kill it, with all that it has started."""
        with suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
