"""prune-cli: prune pre-trained image models once, before fine-tuning, and compare the methods in tables.

The public API: `prune_cli.load`, `prune_cli.scorers`, `prune_cli.masks`, `prune_cli.pipeline` and `prune_cli.runtime`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from torch import nn


def load(path: str | Path) -> nn.Module:
    """The trained model of a compressed file (`prune-cli export RUN --format compressed`) or of a finished run's folder.

    A module of dense tensors on the CPU, in eval mode, in float32 (float64 where it was trained in that). Its `card` says
    the size, mean and std of its images, and its classes (prune_cli.models.card.ModelCard). Raises a PruneCliError that
    says what is wrong with the file or folder.
    """
    from prune_cli.models.stored import load as load_stored

    return load_stored(path)
