"""Where things are: run folders, results, data and a user's own configs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Paths:
    """Folders, relative to the current one unless given in full. None of them changes a run's numbers."""

    runs: Path = Path("runs")
    results: Path = Path("results")
    data: Path = Path("datasets")
    configs: Path | None = None
