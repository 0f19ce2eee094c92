"""The options of each config group: the YAML files that ship with prune-cli and those of --config-dir."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path

from prune_cli.common.errors import ConfigError, nearest
from prune_cli.config.schema import GROUPS


@dataclass(frozen=True)
class Catalogue:
    """Every option that can be named, with the first comment line of its file. Raises ConfigError for a bad folder."""

    config_dir: Path | None = None

    def __post_init__(self) -> None:
        if self.config_dir is not None and not self.config_dir.is_dir():
            raise ConfigError("there is no such folder of configs", str(self.config_dir), "--config-dir DIR")

    @cached_property
    def options(self) -> dict[str, dict[str, str]]:
        """group -> option -> what it is, in one line."""
        return {group: self._group(group) for group in GROUPS}

    def check(self, group: str, option: str) -> str:
        """Return `option` if the group has it. Raises ConfigError with the nearest name."""
        if option not in self.options[group]:
            raise ConfigError(
                f"there is no {group} {option!r}", f"{group}={option}", nearest(option, self.options[group])
            )
        return option

    def _group(self, group: str) -> dict[str, str]:
        own = _first_comments(resources.files("prune_cli.configs") / group)
        users = _first_comments(self.config_dir / group) if self.config_dir else {}
        for name in own.keys() & users.keys():
            raise ConfigError(
                f"{group} {name!r} is in --config-dir and in prune-cli",
                str(self.config_dir),
                "give your file another name",
            )
        return dict(sorted((own | users).items()))


def _first_comments(folder: Traversable) -> dict[str, str]:
    if not folder.is_dir():
        return {}
    files = [file for file in folder.iterdir() if file.name.endswith(".yaml")]
    return {
        file.name.removesuffix(".yaml"): _first_comment(file.read_bytes().decode(errors="replace")) for file in files
    }


def _first_comment(text: str) -> str:
    comments = (
        line.lstrip("# ").rstrip() for line in text.splitlines() if line.startswith("#") and "@package" not in line
    )
    return next(comments, "")
