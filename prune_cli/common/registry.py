"""Registries of scorers, datasets, models …: a decorator registers a class under a name, and `build` makes one by name."""

from __future__ import annotations

import dataclasses
import hashlib
import importlib
import inspect
import pkgutil
import secrets
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar

from prune_cli.common.errors import ConfigError, nearest

T = TypeVar("T")
PACKAGE = __name__.partition(".")[0]
NOT_IN_HASH = {"identity": False}  # metadata of an option that cannot change a run's numbers (see runs/identity.py)


class Registry(Generic[T]):
    """The frozen dataclasses of one kind ("scorer", "model" …), by name. Their fields are their options."""

    all: ClassVar[dict[str, Registry[Any]]] = {}  # kind -> its registry; plugins.py goes through them

    def __init__(self, kind: str, package: str):
        if kind in Registry.all:
            raise ValueError(f"there are two registries of the kind {kind!r}")
        Registry.all[kind] = self
        self.kind = kind
        self._package = package
        self._classes: dict[str, type] = {}

    def register(self, name: str) -> Callable[[type], type]:
        """Class decorator: add a dataclass under `name`. Raises ValueError if the name is taken.

        The class is given that `name`, and `source_sha256`, which stands for its code in the name of a run: None for a
        class of this package, which has a `version` (runs/identity.py).
        """

        def add(cls: type) -> type:
            """Give the class its name and its source_sha256, and register it."""
            self._check_free(name, cls)
            if not dataclasses.is_dataclass(cls):
                raise ValueError(f"{self.kind} {name!r} is not a dataclass: put @register above @dataclass")
            cls.name, cls.source_sha256 = name, _source_sha256(cls)  # type: ignore[attr-defined]
            return self.add(cls)

        return add

    def add(self, cls: type) -> type:
        """Register a class under its own `name`. Raises ValueError if the name is taken."""
        name: str = cls.name  # type: ignore[attr-defined]
        self._check_free(name, cls)
        self._classes[name] = cls
        return cls

    def _check_free(self, name: str, cls: type) -> None:
        if name in self._classes:
            raise ValueError(f"{self.kind} {name!r} is registered twice: {self._classes[name]} and {cls}")

    @property
    def classes(self) -> dict[str, type]:
        """Every registered class by name; imports every file of the package first."""
        package = importlib.import_module(self._package)
        for module in pkgutil.iter_modules(package.__path__):
            importlib.import_module(f"{self._package}.{module.name}")
        return dict(sorted(self._classes.items()))

    def registered_by(self, module: str) -> list[type]:
        """The classes that a module has registered, or that a package and its modules have."""
        return [cls for cls in self._classes.values() if f"{cls.__module__}.".startswith(f"{module}.")]

    def remove(self, cls: type) -> None:
        """Unregister a class; does nothing where the class is not registered."""
        self._classes = {name: kept for name, kept in self._classes.items() if kept is not cls}

    def build(self, name: str, **options: Any) -> T:
        """An instance of the class registered as `name`, with these options. Raises ConfigError for an unknown name or option."""
        classes = self.classes
        if name not in classes:
            raise ConfigError(f"there is no {self.kind} {name!r}", hint=nearest(name, classes))
        fields = {field.name for field in dataclasses.fields(classes[name])}
        for option in options.keys() - fields:
            raise ConfigError(f"{self.kind} {name!r} has no option {option!r}", hint=nearest(option, fields))
        return classes[name](**options)


def is_packaged(part: object) -> bool:
    """Whether the class of `part` is defined in this package, not in a plug-in."""
    return type(part).__module__.partition(".")[0] == PACKAGE


def _source_sha256(cls: type) -> str | None:
    """The sha256 (hex) of the file that defines the class; None for a class of this package.

    A class whose source cannot be read (typed into an interpreter) gets a random digest, so that no run passes for another's.
    """
    if cls.__module__.partition(".")[0] == PACKAGE:
        return None
    file = getattr(sys.modules.get(cls.__module__), "__file__", None)
    try:
        source = Path(file).read_bytes() if file else inspect.getsource(cls).encode()
    except (OSError, TypeError):
        source = secrets.token_bytes()
    return hashlib.sha256(source).hexdigest()
