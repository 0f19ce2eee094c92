"""Runs that are forked from a preloaded server process (sweeps/fork_server.py), so that they start without imports."""

from __future__ import annotations

import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from prune_cli.sweeps import fork_server
from prune_cli.sweeps.fork_server import CODE, ERRNO, PID, Request
from prune_cli.sweeps.process import Spec, Start

PRELOADED = ("torch", "timm", "pandas", "torchvision.transforms.v2", "prune_cli.commands.run")  # they take seconds
ENTRY_FILE = str(Path(fork_server.__file__).parents[1] / "__main__.py")  # what a run's argv begins with
LOST = 256  # in place of an exit code that is unknown, because the server has died before the run


class LostServerError(RuntimeError):
    """The process that forks the runs has died."""

    def __init__(self) -> None:
        super().__init__("the process that starts the runs has died")


def can_fork() -> bool:
    """Whether this system can fork a process with torch in it safely, and has pidfd to wait for it."""
    return sys.platform == "linux" and hasattr(os, "pidfd_open")


@contextmanager
def fork_server_for(quiet: bool, preloaded: Sequence[str] = PRELOADED) -> Iterator[Start]:
    """Start a fork server for this context; yields a function that forks a run from it.

    quiet: send the runs' stderr to /dev/null. Runs inherit the server's stderr, because rich checks once, at its
    import, whether that is a terminal. preloaded: the modules that the server imports.
    """
    ours, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    words = [sys.executable, "-P", "-m", fork_server.__name__, str(its.fileno()), *preloaded]
    with ours:
        with its:
            server = subprocess.Popen(
                words,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL if quiet else None,
                start_new_session=True,
                pass_fds=[its.fileno()],
            )
        try:
            yield lambda spec: Forked(ours, spec)
        finally:
            server.kill()  # no run needs it any more
            server.wait()


class Forked:
    """A run that the server was asked to fork. pid: None until the run has begun.

    The server answers on a socket of this run alone: first the pid, which the run itself sends from its own session,
    then the exit code. Where the server dies, `poll` waits for the run all the same, and gives LOST.
    """

    def __init__(self, control: socket.socket, spec: Spec):
        self.returncode: int | None = None
        self.pid: int | None = None
        self._process: int | None = None  # a descriptor of the run, which no later process of its pid can take over
        self._code_if_lost = LOST  # the returncode where the server says none
        self._answers, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with its:
            cwd = os.open(spec.cwd or Path(), os.O_RDONLY | os.O_DIRECTORY)
            request = Request(
                [ENTRY_FILE, "run", str(spec.folder)],
                dict(spec.environment),
                its,
                [cwd, spec.stdout, spec.stderr, *spec.kept],
            )
            with suppress(BrokenPipeError, ConnectionResetError):  # the server is dead, as `poll` will find out
                request.send(control)
            os.close(cwd)

    def poll(self) -> int | None:
        """The exit code, or None while the run has not ended. Raises OSError where the run could not be forked."""
        while self.returncode is None and _readable(self._source(), 0):
            self._read_answer()
        return self.returncode

    def wait(self) -> int:
        """Wait until the run has ended, and return its exit code."""
        while (code := self.poll()) is None:
            _readable(self._source(), None)
        return code

    def send_signal(self, number: int, /) -> None:
        """Send a signal to the run; a run that has not begun is cancelled."""
        if self._is_running(number) and self.pid is not None:
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def kill_session(self) -> None:
        """Kill the run and all processes of its session."""
        if self._is_running(signal.SIGKILL) and self.pid is not None:
            with suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL)

    def _is_running(self, number: int) -> bool:
        """Whether the run has begun and has not ended. A run that has not begun is cancelled, as if by signal `number`."""
        if self.poll() is None and self.pid is None:
            self._code_if_lost = -number
            self._answers.shutdown(socket.SHUT_RD)  # a run that cannot say that it begins does not begin
        return self.poll() is None

    def _source(self) -> int:
        """The descriptor to poll for news: the server's answers or, where the server is dead, the run's pidfd."""
        return self._answers.fileno() if self._answers.fileno() >= 0 else self._process or -1

    def _read_answer(self) -> None:
        if self._answers.fileno() < 0:
            return self._end(self._code_if_lost)
        kind, _, value = self._answers.recv(64).decode().partition(" ")
        if kind == PID:
            self.pid = int(value)
            with suppress(ProcessLookupError):  # it has ended already, and its code is on the way
                self._process = os.pidfd_open(self.pid)
        elif kind == CODE:
            self._end(int(value))
        elif kind == ERRNO:
            self._end(LOST)
            raise OSError(int(value), os.strerror(int(value)))
        elif self._process is None:
            self._end(self._code_if_lost)
        else:
            self._answers.close()
        return None

    def _end(self, code: int) -> None:
        self.returncode = code
        self._answers.close()
        if self._process is not None:
            os.close(self._process)


def _readable(descriptor: int, seconds: float | None) -> bool:
    return bool(select.select([descriptor], [], [], seconds)[0])
