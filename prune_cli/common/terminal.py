"""What a person sees: progress and notes on stderr, results on stdout. Plain lines when piped."""

from __future__ import annotations

import json
import logging
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from math import isfinite
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Table

from prune_cli.common.plain import Row

WIDE = 200  # columns when piped, so that a table is never folded


LOG = logging.getLogger("prune_cli")
_said: set[str] = set()  # the notes that are said once
STDERR = Console(stderr=True, highlight=False, soft_wrap=True)


class _ConsoleHandler(logging.Handler):
    """Notes to stderr, around a live progress bar if there is one."""

    def emit(self, record: logging.LogRecord) -> None:
        STDERR.print(record.getMessage(), markup=False, highlight=False)


class _LogHandler(logging.FileHandler):
    """A run's log. A full disk stops no run here: what matters says so itself."""

    def handleError(self, record: logging.LogRecord) -> None:
        """Leave the line out."""

    def close(self) -> None:
        """Close the file, with as much as there was room for."""
        with suppress(OSError):
            super().close()


def start_notes() -> None:
    """Let notes be seen on stderr; none has been said so far."""
    _said.clear()
    LOG.setLevel(logging.DEBUG)
    LOG.propagate = False
    LOG.handlers = [_ConsoleHandler(logging.INFO)]


def note(text: str) -> None:
    """One line for the person, on stderr and in the log of the run."""
    LOG.info(text)


def note_once(text: str) -> None:
    """A note that is left out where the command has said it before."""
    if text not in _said:
        _said.add(text)
        note(text)


@contextmanager
def log_to(path: Path) -> Iterator[None]:
    """Keep what is noted meanwhile in a file too, with the time (UTC) of each line."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handler = _LogHandler(path, encoding="utf-8")
    formatter = logging.Formatter("%(asctime)sZ %(message)s", "%Y-%m-%dT%H:%M:%S")
    formatter.converter = time.gmtime
    handler.setFormatter(formatter)
    LOG.addHandler(handler)
    try:
        yield
    finally:
        LOG.removeHandler(handler)
        handler.close()


def print_json(value: Any) -> None:
    """One machine-readable object on stdout; null for a number that JSON does not have (NaN, infinity)."""
    narrow = not (sys.stdout.encoding or "utf-8").lower().startswith("utf")  # letters that it lacks become \uXXXX
    text = json.dumps(_finite(value), indent=2, ensure_ascii=narrow, allow_nan=False, default=str)
    sys.stdout.write(text + "\n")


def _finite(value: Any) -> Any:
    """The value, at any depth None for a float that is not finite."""
    if isinstance(value, Mapping):
        return {key: _finite(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(inner) for inner in value]
    return None if isinstance(value, float) and not isfinite(value) else value


def print_table(title: str, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """A table on stdout: drawn for a terminal, plain when piped."""
    terminal = sys.stdout.isatty()
    table = Table(box=box.SIMPLE_HEAD if terminal else None, pad_edge=False, collapse_padding=terminal)
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*("" if cell is None else escape(str(cell)) for cell in row))
    console = Console(highlight=False, width=None if terminal else WIDE)
    if title:
        console.print(title, markup=False)
    console.print(table)


class EpochProgress:
    """Progress of a training run: a live bar with loss, accuracy and time left, or one plain line an epoch."""

    def __init__(self, title: str, epochs: int, steps: int):
        self._title, self._epochs, self._steps = title, epochs, steps
        self._live = sys.stderr.isatty()
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("train loss {task.fields[loss]}  {task.fields[accuracy]}"),
            TimeRemainingColumn(),
            console=STDERR,
            disable=not self._live,
            transient=True,
        )
        self._task: TaskID = self._bar.add_task(title, total=epochs * steps, loss="-", accuracy="-")

    def __enter__(self) -> EpochProgress:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def skip(self, steps: int) -> None:
        """This many steps were done before."""
        self._bar.update(self._task, completed=steps)

    def step(self, loss: float) -> None:
        """One training step is done."""
        self._bar.update(self._task, advance=1, loss=f"{loss:.3f}")

    def epoch(self, row: Row, split: str) -> None:
        """One epoch is done: `row` is its line of metrics.csv, `split` the one whose accuracy is shown."""
        accuracy = f"{split} {row[f'{split}_accuracy']:.2f} %"
        self._bar.update(self._task, accuracy=accuracy)
        LOG.log(
            logging.DEBUG if self._live else logging.INFO,  # a live bar shows it already
            f"{self._title}: epoch {row['epoch']}/{self._epochs}  train loss {row['train_loss']:.4f}"
            f"  {accuracy}  lr {row['lr']:.2e}  {row['seconds']:.1f} s",
        )
