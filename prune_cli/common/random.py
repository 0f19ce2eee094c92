"""Random generators: every use of randomness draws from its own, seeded by (seed, purpose).

So two scorers of one sweep see the same head, the same batch order and the same scoring batch.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager

from prune_cli.common.lazy import torch


def derive(seed: int, *purpose: str | int) -> int:
    """A 63-bit seed for one purpose: the first bytes of sha256("seed/purpose/…")."""
    digest = hashlib.sha256("/".join(map(str, (seed, *purpose))).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def generator(seed: int, *purpose: str | int) -> torch.Generator:
    """A torch generator for one purpose, on the CPU, so that every device sees the same draws."""
    return torch.Generator().manual_seed(derive(seed, *purpose))


@contextmanager
def seeded(seed: int, *purpose: str | int) -> Iterator[None]:
    """Seed torch's global generators inside this context (for a model's initialisation), then restore their states."""
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        torch.manual_seed(derive(seed, *purpose))
        yield
