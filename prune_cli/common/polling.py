"""Call a function at regular intervals while other work goes on."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def polling(function: Callable[[], None], seconds: float) -> Iterator[None]:
    """Inside this context call `function` every `seconds` seconds, in a thread."""
    over = threading.Event()

    def call_until_over() -> None:
        """Call the function after each interval, until the context is left."""
        while not over.wait(seconds):
            function()

    thread = threading.Thread(target=call_until_over, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
