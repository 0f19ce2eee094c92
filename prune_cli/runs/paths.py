"""Where things are: run folders, results, data, and a user's own configs and plug-ins."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prune_cli.common.plain import JsonObject


@dataclass(frozen=True)
class Paths:
    """Folders and files, relative to the current folder unless given in full. None of them changes a run's numbers: what
    is in a plug-in counts, not where it is. plugins: Python files that register parts (plugins.py)."""

    runs: Path = Path("runs")
    results: Path = Path("results")
    data: Path = Path("datasets")
    configs: Path | None = None
    plugins: tuple[Path, ...] = ()

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Paths:
        """What `to_json` gave; what is missing has its default."""
        plugins = tuple(map(Path, value.get("plugins", ())))
        return cls(**{name: Path(path) for name, path in value.items() if name != "plugins"}, plugins=plugins)

    def to_json(self) -> JsonObject:
        """Each folder or file that there is, in full, by its name here."""
        folders = {name: path for name, path in vars(self).items() if path is not None and name != "plugins"}
        plain: JsonObject = {name: str(path.absolute()) for name, path in folders.items()}
        return plain | ({"plugins": [str(path.absolute()) for path in self.plugins]} if self.plugins else {})
