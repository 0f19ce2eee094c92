"""Plug-ins: scorers, models, datasets, controls and targets of a user's own, registered by the decorators that this package's own parts use.

One comes from a file (`--plugin FILE.py`), or from an installed package by the entry-point group `prune_cli.plugins`. Each
registered class is a choice of its group. Its options' values come from GROUP/NAME.yaml beside the file that defines it; a
class without one is a choice with the defaults of its dataclass. Other YAML files belong in --config-dir.
"""

from __future__ import annotations

import hashlib
import inspect
import re
import sys
import traceback
from collections.abc import Callable, Set
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import ModuleType
from typing import Any

from prune_cli.common.errors import ConfigError
from prune_cli.common.registry import Registry
from prune_cli.config.catalogue import Catalogue, Choice
from prune_cli.runs import facts
from prune_cli.runs.paths import Paths

GROUP = "prune_cli.plugins"  # of entry points
ROOMS = (
    "models.registry",
    "data.registry",
    "scorers.registry",
    "targets.registry",
    "masks.controls",
)  # where registries are
GROUP_OF = {"target": "removal"}  # the config group of a registry where that has another name
BY_KIND = ("control", "removal")  # groups whose YAML says `kind`, not `name`
NAME = re.compile(r"\w[\w-]*")


@dataclass(frozen=True)
class Plugin:
    """A plug-in that was imported. origin: what `ls` says of its choices. parts: its classes, with their registries."""

    origin: str
    parts: tuple[tuple[Registry[Any], type], ...]

    def register(self, where: str) -> Plugin:
        """Let the registries hold its classes again. Raises ConfigError where another plug-in has taken a name."""
        try:
            for registry, cls in self.parts:
                registry.add(cls)
        except ValueError as error:
            raise ConfigError(str(error), where, "leave one of the two out") from None
        return self


_imported: dict[tuple[str, str], Plugin] = {}  # where it is and what is in it -> the plug-in, for all of this process


def catalogue(paths: Paths) -> Catalogue:
    """Every option that can be named, those of the plug-ins too.

    The plug-ins are imported, and afterwards the registries hold their classes and those of no others. Raises ConfigError
    for a plug-in that cannot be used.
    """
    installed = entry_points(group=GROUP)
    facts.trust(not (paths.plugins or installed))
    if not (paths.plugins or installed or _imported):
        return Catalogue(paths.configs)
    for room in ROOMS:
        import_module(f"prune_cli.{room}")
    _hold_ours_alone()
    files = dict.fromkeys(path.resolve() for path in paths.plugins)
    plugins = [*map(_installed, installed), *map(_from_file, files)]
    choices = [
        _choice(GROUP_OF.get(registry.kind, registry.kind), cls, plugin.origin)
        for plugin in plugins
        for registry, cls in plugin.parts
    ]
    return Catalogue(paths.configs, tuple(choices))


def _hold_ours_alone() -> None:
    """Let the registries hold every class of this package, so that a plug-in that takes its name is refused, and no other's."""
    for plugin in _imported.values():
        for registry, cls in plugin.parts:
            registry.remove(cls)
    for registry in Registry.all.values():
        _ = registry.classes  # imports them


def _from_file(file: Path) -> Plugin:
    try:
        source = file.read_bytes()
    except OSError as error:
        raise ConfigError(f"this plug-in cannot be read: {error.strerror}", str(file), "--plugin FILE.py") from None
    key = str(file), hashlib.sha256(source).hexdigest()
    if key in _imported:
        return _imported[key].register(key[0])
    module = f"plugin_{key[1][:12]}_{hashlib.sha256(key[0].encode()).hexdigest()[:12]}"
    plugin = Plugin(file.name, _imported_now(module, str(file), lambda: _execute(module, file, source)))
    if not plugin.parts:
        hint = "@scorers.register(NAME), or that of models or datasets, above a dataclass"
        raise ConfigError("this plug-in registers nothing", str(file), hint)
    for _, cls in plugin.parts:  # the digest of what was executed, whatever the file holds by now
        cls.source_sha256 = key[1]  # type: ignore[attr-defined]
    return _imported.setdefault(key, plugin)


def _installed(entry: EntryPoint) -> Plugin:
    origin = f"{entry.dist.name} {entry.dist.version}" if entry.dist else entry.name
    key = origin, entry.value
    where = f"{origin}: {entry.value}"
    if key in _imported:
        return _imported[key].register(where)
    package = entry.module.partition(".")[0]
    return _imported.setdefault(key, Plugin(origin, _imported_now(package, where, entry.load)))


def _execute(module: str, file: Path, source: bytes) -> None:
    """Make a module of the bytes that were read: neither an older compiled form nor a later text of the file counts."""
    made = ModuleType(module)
    made.__file__ = str(file)
    sys.modules[module] = made  # where dataclasses look up the names in their annotations
    exec(compile(source, str(file), "exec", dont_inherit=True), vars(made))


def _imported_now(module: str, where: str, load: Callable[[], Any]) -> tuple[tuple[Registry[Any], type], ...]:
    """Import a plug-in; the classes that its module has registered. Raises ConfigError, with the line, for what goes wrong."""
    known = {cls for plugin in _imported.values() for _, cls in plugin.parts}
    try:
        load()
    except (Exception, SystemExit) as error:
        for registry, cls in _registered(module, known):
            registry.remove(cls)
        line = _line(error, where)
        what = f"this plug-in cannot be imported: {type(error).__name__}: {_first_line(error)}"
        raise ConfigError(what, f"{where}, line {line}" if line else where, "mend it, or leave it out") from None
    return tuple(_registered(module, known))


def _registered(module: str, known: Set[type]) -> list[tuple[Registry[Any], type]]:
    return [(each, cls) for each in Registry.all.values() for cls in each.registered_by(module) if cls not in known]


def _first_line(error: BaseException) -> str:
    text = error.msg if isinstance(error, SyntaxError) else str(error)
    return next(iter(text.strip().splitlines()), "")


def _line(error: BaseException, file: str) -> int | None:
    """The last line of the file that had a part in the error."""
    if isinstance(error, SyntaxError) and error.filename == file:
        return error.lineno
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == file]
    return lines[-1] if lines else None


def _choice(group: str, cls: Any, origin: str) -> Choice:
    name = str(cls.name)
    source = Path(inspect.getfile(cls))
    if not NAME.fullmatch(name):
        raise ConfigError(f"{name!r} cannot be typed: a name has letters, digits, _ and -", str(source), "another name")
    file = source.parent / group / f"{name}.yaml"
    if file.is_file():
        return Choice(group, name, file.read_bytes().decode(errors="replace"), origin, file)
    what = (cls.__doc__ or name).strip().splitlines()[0]
    key = "kind" if group in BY_KIND else "name"
    return Choice(group, name, f"# {what}\n{key}: {name}\n", origin)
