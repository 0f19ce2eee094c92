"""From the words of the command line to jobs."""

from __future__ import annotations

from collections.abc import Iterable

from prune_cli import pipeline
from prune_cli.config.catalogue import Catalogue
from prune_cli.config.overrides import single
from prune_cli.runs.places import Places


def job_of(words: Iterable[str], places: Places, command: str, fetch: bool = True) -> pipeline.Job:
    """The one run that was asked for. Raises RequestError before any work starts."""
    point = single(words, Catalogue(places.configs), command)
    settings = pipeline.composer(places).settings(point)
    return pipeline.Workshop(places, fetch).job(settings)
