"""Scorers: how much each weight matters, or each unit. Higher = keep.

scorer = scorers.build("snip_magnitude", alpha=1e-3)
scores = scorer(model, batches, parameters)
"""

from prune_cli.scorers.registry import (
    Batches,
    Parameters,
    Scorer,
    Scores,
    batches_of,
    repeatable,
    rounds_of,
    scorers,
    scores_of,
    sees_data,
)

build = scorers.build
register = scorers.register

__all__ = [
    "Batches",
    "Parameters",
    "Scorer",
    "Scores",
    "batches_of",
    "build",
    "register",
    "repeatable",
    "rounds_of",
    "scorers",
    "scores_of",
    "sees_data",
]
