"""The options of each config group: the YAML files that ship with prune-cli, those of --config-dir, and those of plug-ins."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from importlib import resources
from importlib.resources.abc import Traversable
from itertools import islice
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]

from prune_cli.common.errors import ConfigError, nearest
from prune_cli.config.schema import GROUPS

MOST = 10_000  # values in one file of a user's, its aliases written out


@dataclass(frozen=True)
class Choice:
    """A choice that a plug-in adds to a group. text: its YAML. origin: its source as `ls` shows it. file: of the YAML, if any."""

    group: str
    name: str
    text: str
    origin: str
    file: Path | None = None


@dataclass(frozen=True)
class Catalogue:
    """Every option that can be named, with the first comment line of its file. Raises ConfigError for a bad folder."""

    config_dir: Path | None = None
    plugged_in: tuple[Choice, ...] = ()

    def __post_init__(self) -> None:
        if self.config_dir is not None and not self.config_dir.is_dir():
            raise ConfigError("there is no such folder of configs", str(self.config_dir), "--config-dir DIR")

    @cached_property
    def options(self) -> dict[str, dict[str, str]]:
        """group -> option -> what it is, in one line."""
        return {group: self._group(group) for group in GROUPS}

    @cached_property
    def defaults(self) -> dict[str, str | None]:
        """group -> the option that is taken where none is typed; None for an experiment."""
        listed = yaml.safe_load(self.text("config"))["defaults"]
        return {group: option for entry in listed if isinstance(entry, dict) for group, option in entry.items()}

    def text(self, name: str) -> str:
        """The YAML text of `config` or of GROUP/OPTION."""
        for choice in self.choices:
            if name == f"{choice.group}/{choice.name}":
                return choice.text
        users = self.config_dir / f"{name}.yaml" if self.config_dir else None
        file = users if users and users.is_file() else resources.files("prune_cli.configs") / f"{name}.yaml"
        return file.read_bytes().decode(errors="replace")

    def check(self, group: str, option: str) -> str:
        """Return `option` if the group has it. Raises ConfigError with the nearest name."""
        if option not in self.options[group]:
            raise ConfigError(
                f"there is no {group} {option!r}",
                f"{group}={option}",
                nearest(option, self.options[group], f"{group}="),
            )
        return option

    def origin(self, group: str, option: str) -> str:
        """Where an option is from: prune-cli, --config-dir, the file of a plug-in, or an installed package."""
        found = [choice.origin for choice in self.choices if (choice.group, choice.name) == (group, option)]
        return found[0] if found else self._folder_of(group, option)

    @cached_property
    def choices(self) -> list[Choice]:
        """The choices of plug-ins, without those whose YAML is in --config-dir alone."""
        return [choice for choice in self.plugged_in if choice.file or not self._is_users(choice.group, choice.name)]

    def _is_users(self, group: str, option: str) -> bool:
        return self.config_dir is not None and (self.config_dir / group / f"{option}.yaml").is_file()

    def _folder_of(self, group: str, option: str) -> str:
        return f"--config-dir {self.config_dir}" if self._is_users(group, option) else "prune-cli"

    def _group(self, group: str) -> dict[str, str]:
        own = _first_comments(resources.files("prune_cli.configs") / group)
        users = _first_comments(self.config_dir / group) if self.config_dir else {}
        for file in sorted((self.config_dir / group).rglob("*.yaml")) if self.config_dir else ():
            _check(file)
        for name in own.keys() & users.keys():
            raise ConfigError(
                f"{group} {name!r} is in --config-dir and in prune-cli",
                str(self.config_dir),
                "give your file another name",
            )
        return dict(sorted((own | users | self._of_plugins(group, own | users)).items()))

    def _of_plugins(self, group: str, others: Mapping[str, str]) -> dict[str, str]:
        """The options that plug-ins add to those of all files. Raises ConfigError for one that is there already."""
        found = {}
        for choice in (each for each in self.choices if each.group == group):
            if choice.name in others:
                what = f"{group} {choice.name!r} is of a plug-in and in {self._folder_of(group, choice.name)}"
                raise ConfigError(what, str(choice.file or choice.origin), "give one of them another name")
            if choice.file is not None:
                _check(choice.file)
            found[choice.name] = _first_comment(choice.text)
        return found


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


def _check(file: Path) -> None:
    """Refuse a user's file whose defaults lead out of the groups, or whose aliases unfold without end."""
    try:
        content = yaml.safe_load(file.read_bytes())
    except (OSError, ValueError, RecursionError, yaml.YAMLError):
        return  # it is refused when it is chosen
    if sum(1 for _ in islice(_values(content), MOST + 1)) > MOST:
        raise ConfigError(f"this config unfolds to more than {MOST:,} values", str(file), "write it without aliases")
    for path in _defaults(content):
        _, *parts = path.split("/") if path.startswith("/") else ("", "this group", *path.split("/"))
        if parts[0] not in (*GROUPS, "this group") or not {"", ".", ".."}.isdisjoint(parts) or "${" in path:
            hint = "defaults name options: override /GROUP: OPTION"
            raise ConfigError(f"its defaults lead out of the config groups: {path}", str(file), hint)


def _values(content: Any) -> Iterator[Any]:
    """Every value, one by one, however deep it lies."""
    waiting = [content]
    while waiting:
        yield (value := waiting.pop())
        if isinstance(value, dict):
            waiting += [*value.keys(), *value.values()]
        elif isinstance(value, list):
            waiting += value


def _defaults(content: Any) -> Iterator[str]:
    """The paths that a file's list of defaults names: group and option."""
    listed = content.get("defaults") if isinstance(content, dict) else None
    for entry in listed if isinstance(listed, list) else []:
        for key, value in entry.items() if isinstance(entry, dict) else [(entry, None)]:
            group = str(key).split("@")[0].split(" ")[-1]
            for option in value if isinstance(value, list) else [value]:
                yield group if option is None else f"{group}/{str(option).split('@')[0]}"
