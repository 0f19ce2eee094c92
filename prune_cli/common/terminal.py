"""Output to the terminal: progress and notes on stderr, results on stdout. Plain lines when piped."""

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
_noted: set[str] = set()  # the texts that note_once has shown
STDERR = Console(stderr=True, highlight=False, soft_wrap=True)


class _ConsoleHandler(logging.Handler):
    """A logging handler that prints to stderr, above a live progress bar if there is one."""

    def emit(self, record: logging.LogRecord) -> None:
        STDERR.print(record.getMessage(), markup=False, highlight=False)


class _LogHandler(logging.FileHandler):
    """A logging handler for a run's log file that ignores write errors: a full disk is reported where results are written."""

    def handleError(self, record: logging.LogRecord) -> None:
        """Leave out a line that cannot be written."""

    def close(self) -> None:
        """Close the file; lines that do not fit on a full disk are lost."""
        with suppress(OSError):
            super().close()


def start_notes() -> None:
    """Show notes on stderr from now on, and forget which texts `note_once` has shown."""
    _noted.clear()
    LOG.setLevel(logging.DEBUG)
    LOG.propagate = False
    LOG.handlers = [_ConsoleHandler(logging.INFO)]


def note(text: str) -> None:
    """Print one line on stderr and write it to the log of the run."""
    LOG.info(text)


def note_once(text: str) -> None:
    """Print a note unless this command has printed the text before."""
    if text not in _noted:
        _noted.add(text)
        note(text)


@contextmanager
def log_to(path: Path) -> Iterator[None]:
    """Inside this context append every note to the file `path` too, each line with its time (UTC)."""
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
    """Print a value as JSON on stdout; NaN and infinity, which JSON does not have, become null."""
    narrow = not (sys.stdout.encoding or "utf-8").lower().startswith("utf")  # letters that it lacks become \uXXXX
    text = json.dumps(_finite(value), indent=2, ensure_ascii=narrow, allow_nan=False, default=str)
    sys.stdout.write(text + "\n")


def _finite(value: Any) -> Any:
    """The value with None in place of each float that is not finite, at any depth."""
    if isinstance(value, Mapping):
        return {key: _finite(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(inner) for inner in value]
    return None if isinstance(value, float) and not isfinite(value) else value


def print_table(title: str, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Print a table on stdout: with lines on a terminal, plain when piped."""
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
        """Count steps that an earlier process has done, after a run is resumed."""
        self._bar.update(self._task, completed=steps)

    def step(self, loss: float) -> None:
        """Count one training step. loss: of its batch, in nats."""
        self._bar.update(self._task, advance=1, loss=f"{loss:.3f}")

    def epoch(self, row: Row, split: str) -> None:
        """Report the end of an epoch. row: its row of metrics.csv; split: the split whose accuracy is shown."""
        accuracy = f"{split} {row[f'{split}_accuracy']:.2f} %"
        self._bar.update(self._task, accuracy=accuracy)
        LOG.log(
            logging.DEBUG if self._live else logging.INFO,  # a live bar shows it already
            f"{self._title}: epoch {row['epoch']}/{self._epochs}  train loss {row['train_loss']:.4f}"
            f"  {accuracy}  lr {row['lr']:.2e}  {row['seconds']:.1f} s",
        )
