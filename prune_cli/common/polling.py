"""Something that is done again and again while something else goes on."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def watching(look: Callable[[], None], seconds: float) -> Iterator[None]:
    """Meanwhile call `look` every so many seconds, in a thread of its own."""
    over = threading.Event()

    def watch() -> None:
        """Until it is over."""
        while not over.wait(seconds):
            look()

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
