"""Writes IDX files in their real format, for tests."""

from __future__ import annotations

import gzip
import math
import struct
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

UBYTE = 8  # the code of unsigned bytes
TEST_A_CLASS, TRAIN_A_CLASS = 3, 20


def idx_bytes(shape: Sequence[int], data: bytes, code: int = UBYTE) -> bytes:
    """Two zeros, the code of the type, the number of dimensions, their sizes (big-endian), then the data."""
    return bytes((0, 0, code, len(shape))) + struct.pack(f">{len(shape)}I", *shape) + data


def write_idx(path: Path, tensor: Tensor) -> None:
    """One uint8 tensor; gzipped where the name ends in .gz."""
    raw = idx_bytes(tensor.shape, bytes(tensor.flatten().tolist()))
    path.write_bytes(gzip.compress(raw) if path.suffix == ".gz" else raw)


def write_folder(folder: Path, suffix: str = ".gz", side: int = 28) -> dict[str, Tensor]:
    """A small dataset of ten classes as four IDX files; every image differs. Returns what is in them, by stem."""
    made = {}
    for prefix, a_class in (("train", TRAIN_A_CLASS), ("t10k", TEST_A_CLASS)):
        shape = (10 * a_class, side, side)
        numbers = torch.arange(math.prod(shape), dtype=torch.int64)
        made[f"{prefix}-images-idx3-ubyte"] = (numbers * 2654435761 % 4294967296 >> 24).to(torch.uint8).view(shape)
        made[f"{prefix}-labels-idx1-ubyte"] = (torch.arange(10 * a_class) * 7 % 10).to(torch.uint8)
    folder.mkdir(parents=True, exist_ok=True)
    for stem, tensor in made.items():
        write_idx(folder / f"{stem}{suffix}", tensor)
    return made
