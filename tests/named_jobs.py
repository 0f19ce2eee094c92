"""Jobs with made-up digests, for tests of what a run is called."""

from __future__ import annotations

from typing import Any

from prune_cli import pipeline
from prune_cli.config.schema import Settings
from prune_cli.models.sources import Weights
from prune_cli.pipeline.job_data import DataOutline


class NamedData:
    """Data of which nothing is known but the digest."""

    def __init__(self, digest: str):
        self.outline = DataOutline(digest, tuple(map(str, range(10))))


def named_job(settings: Settings, digest: str, weights: Weights) -> pipeline.Job:
    """A job that can be named, but neither counted nor run. digest: of its data."""
    data: Any = NamedData(digest)
    outline: Any = None
    return pipeline.Job(settings, data, weights, outline)
