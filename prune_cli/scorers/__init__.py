"""Scorers: how much each weight matters, or each unit. Higher = keep.

scorer = scorers.build("snip_magnitude", alpha=1e-3)
scores = scorer(model, batches, parameters)
"""

from prune_cli.scorers.registry import (
    Batches,
    Parameters,
    Scorer,
    Scores,
    repeatable,
    scorers,
)

build = scorers.build
register = scorers.register

__all__ = [
    "Batches",
    "Parameters",
    "Scorer",
    "Scores",
    "build",
    "register",
    "repeatable",
    "scorers",
]
