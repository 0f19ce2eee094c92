"""From scores to a mask: how many weights each tensor keeps, which, and an optimiser that holds only those."""

from prune_cli.masks.allocate import Sparsity
from prune_cli.masks.mask import Mask, apply, digest
from prune_cli.masks.select import select

__all__ = ["Mask", "Sparsity", "apply", "digest", "select"]
