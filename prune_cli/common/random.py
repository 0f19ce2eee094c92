"""Every use of chance draws from its own generator, made from (seed, purpose).

So two methods of one sweep see the same head, the same batch order and the same scoring batch.
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
    """A CPU generator for one purpose, so that every device sees the same draws."""
    return torch.Generator().manual_seed(derive(seed, *purpose))


@contextmanager
def seeded(seed: int, *purpose: str | int) -> Iterator[None]:
    """Run code that draws from torch's global generator (a model's initialisation), then restore it."""
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        torch.manual_seed(derive(seed, *purpose))
        yield
