"""Targets: the kinds of things that can be removed from a model."""

from prune_cli.targets.base import Target
from prune_cli.targets.registry import Removal, kinds, target_named, target_of, targets

__all__ = ["Removal", "Target", "kinds", "target_named", "target_of", "targets"]
