"""The registry of scorers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import is_dataclass

from prune_cli.common.registry import Registry
from prune_cli.scorers.base import Batches, Parameters, Scorer, Scores, repeatable, with_defaults


class ScorerRegistry(Registry[Scorer]):
    """Registered scorers, each with every attribute that Scorer declares."""

    def register(self, name: str) -> Callable[[type], type]:
        """Class decorator: register a dataclass under `name`, with the defaults of Scorer where it does not inherit them."""
        add = super().register(name)
        return lambda cls: add(with_defaults(cls) if is_dataclass(cls) else cls)


scorers = ScorerRegistry("scorer", "prune_cli.scorers")

__all__ = ["Batches", "Parameters", "Scorer", "Scores", "repeatable", "scorers"]
