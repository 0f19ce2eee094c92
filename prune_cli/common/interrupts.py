"""Ctrl-C and the signals of schedulers: they stop the work at once, or, where deferred, at its next safe point."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

NAMES = ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR2")  # the last one is Slurm's warning, through submitit
SIGNALS = tuple(getattr(signal, name) for name in NAMES if hasattr(signal, name))


class _State:
    deferred = False
    stop_requested = False
    handler: Callable[[int], None] | None = None
    count = 0


_STATE = _State()


class Stopped(KeyboardInterrupt):
    """The work was asked to stop and has stopped at a safe point, its checkpoint written."""


@contextmanager
def handle_signals() -> Iterator[None]:
    """Let each of SIGNALS raise KeyboardInterrupt inside this context, as Ctrl-C does."""
    if threading.current_thread() is not threading.main_thread():  # Python delivers signals nowhere else
        yield
        return
    handled = [number for number in SIGNALS if signal.getsignal(number) != signal.SIG_IGN]  # nohup stays nohup
    before = {number: signal.signal(number, _on_signal) for number in handled}
    _STATE.stop_requested = False
    try:
        yield
    finally:
        _STATE.stop_requested = False
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def defer_interrupts() -> Iterator[None]:
    """Inside this context the first signal only makes `stop_requested` return True; the second raises KeyboardInterrupt."""
    _STATE.deferred = True
    try:
        yield
    finally:
        _STATE.deferred = False


@contextmanager
def on_signals(handler: Callable[[int], None]) -> Iterator[None]:
    """Inside this context a signal raises nothing: it calls `handler` with the number of signals so far (1, 2, …)."""
    _STATE.handler, _STATE.count = handler, 0
    try:
        yield
    finally:
        _STATE.handler = None


def stop_requested() -> bool:
    """Whether a signal has asked the work to stop at its next safe point."""
    return _STATE.stop_requested


def _on_signal(number: int, frame: FrameType | None) -> None:  # noqa: ARG001
    if _STATE.handler is not None:
        _STATE.count += 1
        _STATE.handler(_STATE.count)
        return
    again, _STATE.stop_requested = _STATE.stop_requested, True
    if again or not _STATE.deferred:
        raise KeyboardInterrupt
