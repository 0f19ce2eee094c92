"""The IDX files of MNIST and its kin: a magic number, sizes, then bytes; gzipped or not."""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from prune_cli.common.errors import DataError


def find_idx(folder: Path, stem: str) -> Path | None:
    """`stem`.gz or `stem` in the folder, or None."""
    return next((path for path in (folder / f"{stem}.gz", folder / stem) if path.is_file()), None)


def read_idx(path: Path, dimensions: int) -> Tensor:
    """The uint8 tensor in an IDX file with that many dimensions. Raises DataError that says what is wrong with it."""
    try:
        raw = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (OSError, EOFError, zlib.error) as error:
        raise _damaged(path, str(error)) from None
    header = 4 + 4 * dimensions
    if len(raw) < header or raw[:4] != bytes((0, 0, 8, dimensions)):  # 8: the code of unsigned bytes
        raise _damaged(path, f"not an IDX file of unsigned bytes in {dimensions} dimensions")
    shape = struct.unpack(f">{dimensions}I", raw[4:header])
    if len(raw) - header != math.prod(shape):
        raise _damaged(path, f"{len(raw) - header:,} bytes of data where its header says {math.prod(shape):,}")
    return torch.from_numpy(np.frombuffer(raw, np.uint8, offset=header).reshape(shape).copy())


def _damaged(path: Path, reason: str) -> DataError:
    return DataError(f"this file is damaged: {reason}", str(path), "fetch or install it again")
