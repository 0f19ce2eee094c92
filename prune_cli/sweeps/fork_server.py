"""A process that has imported torch, timm and what else a run needs, and forks a child for each run that is asked for.

A child goes on as `python -m prune_cli run FOLDER` does once its imports are done: nothing else has happened in the
server, which has one thread, has drawn no number and has touched no GPU. sweeps/forked.py is the other end of the
socket. The server ends when that end closes; children that are at work live on.
"""

from __future__ import annotations

import gc
import json
import os
import select
import socket
import sys
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module

ENTRY = "prune_cli.__main__"  # what a child runs
MOST_BYTES, MOST_DESCRIPTORS = 2**16, 250  # of one request
PID, CODE, ERRNO = "pid", "code", "errno"  # the answers: the child works, has ended, could not be forked
THREADS = "OMP_NUM_THREADS"


@dataclass(frozen=True)
class Request:
    """A request to fork a run. environment: variables added to those of the server.

    descriptors: of the cwd, stdout and stderr, then those that the child only holds open, such as the locks of GPUs.
    """

    argv: list[str]
    environment: dict[str, str]
    answers: socket.socket
    descriptors: list[int]

    @classmethod
    def receive(cls, control: socket.socket) -> Request | None:
        """Wait for the next request; None where there will be no more."""
        raw, descriptors, *_ = socket.recv_fds(control, MOST_BYTES, MOST_DESCRIPTORS)
        if not raw:
            return None
        return cls(**json.loads(raw), answers=socket.socket(fileno=descriptors[0]), descriptors=descriptors[1:])

    def send(self, control: socket.socket) -> None:
        """Send the request to the server."""
        raw = json.dumps({"argv": self.argv, "environment": self.environment}).encode()
        socket.send_fds(control, [raw], [self.answers.fileno(), *self.descriptors])

    def answer(self, kind: str, value: int) -> None:
        """Send an answer (PID, CODE or ERRNO and its value). Raises OSError where the client has closed its end."""
        self.answers.send(f"{kind} {value}".encode())


def serve(control: socket.socket) -> Request | None:
    """Fork for each request until `control` closes. Returns None in the server, and in each child its request."""
    running: dict[int, tuple[int, Request]] = {}  # descriptor of a child -> its number and what it does
    while True:
        for ready in select.select([control.fileno(), *running], [], [])[0]:
            if ready in running:
                _reap(*running.pop(ready))
                os.close(ready)
            elif (request := Request.receive(control)) is None:
                return None
            elif (number := _fork(request)) == 0:
                _close([control.detach(), *running, *(other.answers.detach() for _, other in running.values())])
                return request
            elif number is not None:
                running[os.pidfd_open(number)] = number, request


def _fork(request: Request) -> int | None:
    """Fork, and return the child's pid, 0 in the child; None where the system has no process left."""
    try:
        number = os.fork()
    except OSError as error:
        with suppress(OSError):
            request.answer(ERRNO, error.errno or 0)
        number = None
        request.answers.close()
    if number != 0:
        _close(request.descriptors)
    return number


def _reap(number: int, request: Request) -> None:
    code = os.waitstatus_to_exitcode(os.waitpid(number, 0)[1])
    with suppress(OSError):
        request.answer(CODE, code)
    request.answers.close()


def become(request: Request) -> None:
    """Turn this child into the requested process; exit at once where the client has closed its end."""
    os.setsid()
    try:
        request.answer(PID, os.getpid())
    except OSError:
        os._exit(0)
    request.answers.close()
    cwd, *streams = request.descriptors[:3]
    os.fchdir(cwd)
    for number, descriptor in enumerate(streams, start=1):
        os.dup2(descriptor, number)
    _close({cwd, *streams})
    os.environ.update(request.environment)
    sys.argv = request.argv
    _start_afresh(request.environment)


def _start_afresh(environment: dict[str, str]) -> None:
    """Reset library state that was set at import: numpy's global generator and torch's number of threads."""
    if numpy := sys.modules.get("numpy"):
        numpy.random.seed()  # else all children would draw the same numbers
    if (torch := sys.modules.get("torch")) and THREADS in environment:
        torch.set_num_threads(int(environment[THREADS]))


def _close(descriptors: Iterable[int]) -> None:
    for descriptor in descriptors:
        os.close(descriptor)


def main(control: socket.socket, preloaded: Iterable[str]) -> None:
    """Import, serve, and in each child run the command."""
    for name in preloaded:
        import_module(name)
    gc.freeze()  # a child that collects garbage would copy the pages of all that was imported
    request = serve(control)
    if request is not None:
        become(request)
        import_module(ENTRY).main()


if __name__ == "__main__":
    main(socket.socket(fileno=int(sys.argv[1])), sys.argv[2:])
