"""What mypy must refuse in settings: `make lint` checks this file, and an ignored error that is none fails there."""

from __future__ import annotations

from prune_cli.config.schema import Settings


def misspelt(settings: Settings) -> None:
    """Each line names an option or a property that its part does not have."""
    _ = settings.model.titel  # type: ignore[attr-defined]
    _ = settings.dataset.titel  # type: ignore[attr-defined]
    _ = settings.scorer.round  # type: ignore[attr-defined]
    _ = settings.sparsity.percentage  # type: ignore[attr-defined]
    _ = settings.removal.knid  # type: ignore[attr-defined]
    _ = settings.control.knid  # type: ignore[attr-defined]
    _ = settings.recipe.epoch  # type: ignore[attr-defined]
    _ = settings.compute.thread  # type: ignore[attr-defined]
    _ = settings.modle  # type: ignore[attr-defined]


def known(settings: Settings) -> tuple[str, float, int]:
    """The right names have their types."""
    return settings.model.title, settings.sparsity.percent, settings.recipe.epochs
