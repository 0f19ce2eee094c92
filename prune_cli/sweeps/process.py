"""The interface between a sweep and the processes of its runs, and a fresh process as one implementation."""

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
    """The arguments of a process of a run; stdin is /dev/null.

    environment: variables added to those of the sweep. cwd: None: that of the sweep. stdout, stderr: descriptors. kept:
    descriptors that the process holds open until it ends.
    """

    folder: Path
    stdout: int
    stderr: int
    cwd: Path | None = None
    environment: Mapping[str, str] = field(default_factory=dict)
    kept: Sequence[int] = ()


class Process(Protocol):
    """A running or ended process in its own session."""

    @property
    def returncode(self) -> int | None:
        """The exit code as of the last `poll`: None while the process runs, -N where signal N ended it."""

    def poll(self) -> int | None:
        """Check whether the process has ended, and return its returncode."""

    def wait(self) -> int:
        """Wait until the process has ended, and return its returncode."""

    def send_signal(self, number: int, /) -> None:
        """Send a signal to the process; do nothing where it has ended."""

    def kill_session(self) -> None:
        """Kill it, with all that it has started."""


class Start(Protocol):
    """A function that starts a process of a run."""

    def __call__(self, spec: Spec, /) -> Process:
        """Start the process. Raises OSError where the cwd does not exist or the system has no process left."""


class Fresh(subprocess.Popen[bytes]):
    """A new process by subprocess, which does its imports itself."""

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
