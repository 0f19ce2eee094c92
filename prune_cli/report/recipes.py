"""Recipes in a few words: the name that says most, and what differs from it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from prune_cli.report.labels import short


@dataclass(frozen=True)
class Recipes:
    """The recipes that have names. named: their options by name. defaults: options that a run's identity leaves out."""

    named: Mapping[str, Mapping[str, Any]]
    defaults: Mapping[str, Any]

    def words(self, changed: Mapping[str, Any]) -> str:
        """A run's recipe as it would be typed after `recipe=`: the nearest that has a name, then what differs from it.

        changed: the options in the run's identity.
        """
        options = {**self.defaults, **changed}
        differing = {
            name: [key for key, value in options.items() if value != recipe.get(key)]
            for name, recipe in self.named.items()
        }
        nearest = min(differing, key=lambda name: len(differing[name]))
        return ", ".join([nearest, *(f"recipe.{key}={short(options[key])}" for key in differing[nearest])])
