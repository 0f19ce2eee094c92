"""Named parts of one kind (scorers, datasets, models): a decorator adds a class, its name finds it again."""

from __future__ import annotations

import dataclasses
import importlib
import pkgutil
from collections.abc import Callable
from typing import Any, Generic, TypeVar

from prune_cli.common.errors import ConfigError, nearest

T = TypeVar("T")
NOT_IN_HASH = {"identity": False}  # metadata of an option that cannot change a run's numbers (see runs/identity.py)


class Registry(Generic[T]):
    """The frozen dataclasses of one kind, by name. Their fields are the options of the part."""

    def __init__(self, kind: str, package: str):
        self.kind = kind
        self._package = package
        self._classes: dict[str, type] = {}

    def register(self, name: str) -> Callable[[type], type]:
        """Class decorator: add a dataclass under `name` and give it that `name`. Raises ValueError if it is taken."""

        def add(cls: type) -> type:
            """Name the class and keep it."""
            if name in self._classes:
                raise ValueError(f"{self.kind} {name!r} is registered twice: {self._classes[name]} and {cls}")
            if not dataclasses.is_dataclass(cls):
                raise ValueError(f"{self.kind} {name!r} is not a dataclass: put @register above @dataclass")
            cls.name = name  # type: ignore[attr-defined]
            self._classes[name] = cls
            return cls

        return add

    @property
    def classes(self) -> dict[str, type]:
        """Every registered class by name, after every file of the package has been imported."""
        package = importlib.import_module(self._package)
        for module in pkgutil.iter_modules(package.__path__):
            importlib.import_module(f"{self._package}.{module.name}")
        return dict(sorted(self._classes.items()))

    def build(self, name: str, **options: Any) -> T:
        """Make the part `name` with its options. Raises ConfigError for an unknown name or option."""
        classes = self.classes
        if name not in classes:
            raise ConfigError(f"there is no {self.kind} {name!r}", hint=nearest(name, classes))
        fields = {field.name for field in dataclasses.fields(classes[name])}
        for option in options.keys() - fields:
            raise ConfigError(f"{self.kind} {name!r} has no option {option!r}", hint=nearest(option, fields))
        return classes[name](**options)
