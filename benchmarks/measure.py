"""What the benchmarks share: each candidate runs in a child process of its own, so that peaks of memory do not mix."""

from __future__ import annotations

import ctypes
import multiprocessing
import resource
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any


def in_child(work: Callable[..., dict[str, Any]], *given: Any) -> dict[str, Any]:
    """The result of `work` in a fresh process."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(work, given)


def peak_of_process() -> int:
    """Bytes of memory that this process has held at most."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


class PeakGrowth:
    """How far the memory of this process rises above its level at the start of the block, sampled every millisecond."""

    def __enter__(self) -> PeakGrowth:
        ctypes.CDLL(None).malloc_trim(0)  # what was freed before must not hide what is taken from now on (glibc)
        self._base = self.bytes = _resident()
        self._running = True
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._running = False
        self._thread.join()
        self.peak = max(self.bytes, _resident())  # of the whole process
        self.bytes = self.peak - self._base

    def _watch(self) -> None:
        while self._running:
            self.bytes = max(self.bytes, _resident())
            time.sleep(0.001)


def _resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
