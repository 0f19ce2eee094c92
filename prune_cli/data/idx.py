"""The IDX files of MNIST and its kin: a magic number, sizes, then bytes; gzipped or not."""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from pathlib import Path
from typing import IO

import numpy as np

from prune_cli.common.errors import DataError
from prune_cli.common.lazy import Tensor, torch
from prune_cli.data.archives import at_most

LARGEST = 2**33  # bytes of one file; MNIST's largest has 47 MB


def find_idx(folder: Path, stem: str) -> Path | None:
    """`stem`.gz or `stem` in the folder, or None."""
    return next((path for path in (folder / f"{stem}.gz", folder / stem) if path.is_file()), None)


def read_idx(path: Path, dimensions: int) -> Tensor:
    """The uint8 tensor in an IDX file with that many dimensions. Raises DataError for a damaged file."""
    return torch.from_numpy(read_idx_array(path, dimensions))


def read_idx_array(path: Path, dimensions: int) -> np.ndarray:
    """The uint8 array in an IDX file with that many dimensions. Raises DataError that says what is wrong with the file.

    A gzipped file is unpacked no further than its header says, and that may be no more than `archives.at_most` allows.
    """
    try:
        limit = at_most(path.stat().st_size, LARGEST)
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            return _array(file, dimensions, limit)  # type: ignore[arg-type]
    except (OSError, EOFError, ValueError, zlib.error) as error:
        raise DataError(f"this file is damaged: {error}", str(path), "fetch or install it again") from None


def _array(file: IO[bytes], dimensions: int, limit: int) -> np.ndarray:
    """The array in an open IDX file. Raises ValueError for a wrong header or more than `limit` bytes."""
    size = 4 + 4 * dimensions
    header = file.read(size)
    if len(header) < size or header[:4] != bytes((0, 0, 8, dimensions)):  # 8: the code of unsigned bytes
        raise ValueError(f"not an IDX file of unsigned bytes in {dimensions} dimensions")
    shape = struct.unpack(f">{dimensions}I", header[4:])
    wanted = math.prod(shape)
    if wanted > limit:
        raise ValueError(f"its header says {wanted:,} bytes of data, and {limit:,} is the most for its size")
    raw = file.read(wanted + 1)  # one more than there should be, and never all that there may be
    if len(raw) != wanted:
        more = " (and more may follow)" if len(raw) > wanted else ""
        raise ValueError(f"{len(raw):,} bytes of data where its header says {wanted:,}{more}")
    return np.frombuffer(raw, np.uint8).reshape(shape).copy()
