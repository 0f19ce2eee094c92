"""From the words of the command line to settings and jobs."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from prune_cli.common.errors import ConfigError
from prune_cli.config.catalogue import Catalogue
from prune_cli.config.overrides import single
from prune_cli.config.schema import Settings
from prune_cli.runs.places import Places

if TYPE_CHECKING:  # at run time it would bring torch in before the request is read
    from prune_cli.pipeline import Job


def settings_of(words: Iterable[str], places: Places, command: str) -> Settings:
    """The settings of the one run that was asked for. Raises ConfigError before torch is even imported where it can."""
    point = single(words, Catalogue(places.configs), command)
    from prune_cli.pipeline import composer

    made = composer(places)
    if made.grid(point):
        name = f"experiment={point.choices['experiment']}"
        raise ConfigError("this experiment is a grid of runs", name, f"prune-cli sweep {name}")
    return made.settings(point)


def job_of(words: Iterable[str], places: Places, command: str, fetch: bool = True) -> Job:
    """The one run that was asked for, ready to start. Raises RequestError before any work starts."""
    settings = settings_of(words, places, command)
    from prune_cli.pipeline import Workshop

    return Workshop(places, fetch).job(settings)


def from_scratch(words: list[str]) -> list[str]:
    """The words with what a dense training starts from where they do not say: nothing removed, random weights."""
    typed = any(word.startswith("model.weights=") for word in words)
    return ["sparsity=dense", *([] if typed else ["model.weights=random"]), *words]
