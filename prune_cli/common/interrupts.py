"""Ctrl-C and the signals of schedulers: work ends at once, or, where it is patient, at the next safe place."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

NAMES = ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR2")  # the last one is Slurm's warning, through submitit
SIGNALS = tuple(getattr(signal, name) for name in NAMES if hasattr(signal, name))


class _Desk:
    patient = False
    requested = False
    answer: Callable[[int], None] | None = None
    count = 0


_DESK = _Desk()


class Stopped(KeyboardInterrupt):
    """The work was asked to end and did so at a safe place."""


@contextmanager
def guarded() -> Iterator[None]:
    """Meanwhile each of SIGNALS stops the work as Ctrl-C does."""
    if threading.current_thread() is not threading.main_thread():  # Python hears signals nowhere else
        yield
        return
    heard = [number for number in SIGNALS if signal.getsignal(number) != signal.SIG_IGN]  # nohup stays nohup
    before = {number: signal.signal(number, _arrived) for number in heard}
    _DESK.requested = False
    try:
        yield
    finally:
        _DESK.requested = False
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def patient() -> Iterator[None]:
    """Meanwhile the first signal only makes `requested` true; the work has to look. The second one stops it at once."""
    _DESK.patient = True
    try:
        yield
    finally:
        _DESK.patient = False


@contextmanager
def answered(answer: Callable[[int], None]) -> Iterator[None]:
    """Meanwhile a signal stops nothing: `answer` is called, with 1 for the first, 2 for the second …"""
    _DESK.answer, _DESK.count = answer, 0
    try:
        yield
    finally:
        _DESK.answer = None


def requested() -> bool:
    """Whether the work should end at the next safe place."""
    return _DESK.requested


def _arrived(number: int, frame: FrameType | None) -> None:  # noqa: ARG001
    if _DESK.answer is not None:
        _DESK.count += 1
        _DESK.answer(_DESK.count)
        return
    again, _DESK.requested = _DESK.requested, True
    if again or not _DESK.patient:
        raise KeyboardInterrupt
