"""Where the survivors of a pruned tensor are, in few bytes: a bit a weight, or the gaps between survivors.

A tensor is read flat, row by row. Letters: N weights, K survivors. A gap is the number of removed weights between a survivor
and the one before it (or the beginning). It is written in entries of 4, 8 or 16 bits: an entry with all of its bits set
passes over that many removed weights, any other passes over as many as it says and then names a survivor. So the places are

    np.cumsum(entries + (entries < full))[entries < full] - 1        full = 2**bits - 1

which takes about one entry a survivor, and no row pointers: docs/format.md has the whole of it.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

BITS = "bits"  # the bitmask of np.packbits
GAP_BITS = {"gaps4": 4, "gaps8": 8, "gaps16": 16}
ENCODINGS = (BITS, *GAP_BITS)
Places = npt.NDArray[np.int64]
Code = npt.NDArray[Any]  # uint8, or of 16-bit gaps uint16


def encode(places_K: Places, size: int) -> tuple[str, Code]:
    """The places of the survivors of `size` weights, ascending, in the encoding that takes the fewest bytes, and its name."""
    gaps_K = np.diff(places_K, prepend=-1) - 1
    taken = {BITS: (size + 7) // 8} | {name: _bytes_of(gaps_K, bits) for name, bits in GAP_BITS.items()}
    name = min(taken, key=taken.__getitem__)  # of two alike the first
    if name == BITS:
        keep_N = np.zeros(size, bool)
        keep_N[places_K] = True
        return name, np.packbits(keep_N)
    return name, _gap_code(gaps_K, GAP_BITS[name])


def decode(name: str, code: Code, size: int) -> Places:
    """The places, ascending, (K,). Raises ValueError, which says what is wrong, for a code that `encode` does not write."""
    if name not in ENCODINGS:
        raise ValueError(f"its places are written as {name!r}, not as one of {', '.join(ENCODINGS)}")
    wanted = np.uint16 if name == "gaps16" else np.uint8
    if code.dtype != wanted or code.ndim != 1:
        raise ValueError(f"its places are {code.dtype} of shape {code.shape}, not a row of {wanted.__name__}")
    return _of_bits(code, size) if name == BITS else _of_gaps(code, GAP_BITS[name], size)


def expected_bytes(size: int, kept: int) -> int:
    """About how many bytes `encode` takes where `kept` of `size` weights survive, each as likely as any other.

    A gap is longer than full·k with probability q^(full·k), q the share that is removed: entries a survivor are
    1 / (1 − q^full).
    """
    taken = [(size + 7) // 8]
    q = 1 - kept / size if size else 0.0
    for bits in GAP_BITS.values():
        passed = q ** (2**bits - 1)
        taken += [math.ceil(kept / (1 - passed) * bits / 8)] if passed < 1 else []
    return min(taken) if kept else 0


def _bytes_of(gaps_K: Places, bits: int) -> int:
    entries = len(gaps_K) + int((gaps_K // (2**bits - 1)).sum())
    return (entries * bits + 7) // 8


def _gap_code(gaps_K: Places, bits: int) -> Code:
    full = 2**bits - 1
    passes_K = gaps_K // full
    ends_K = np.cumsum(passes_K + 1) - 1
    entries = np.full(len(gaps_K) + int(passes_K.sum()), full, np.uint16 if bits == 16 else np.uint8)
    entries[ends_K] = gaps_K % full
    if bits > 4:
        return entries
    pairs = np.append(entries, np.full(len(entries) % 2, full, np.uint8)).reshape(
        -1, 2
    )  # the last may name no survivor
    code: Code = pairs[:, 0] * 16 + pairs[:, 1]
    return code


def _of_bits(code: Code, size: int) -> Places:
    if len(code) != (size + 7) // 8:
        raise ValueError(f"its bitmask has {len(code):,} bytes, not {(size + 7) // 8:,}")
    keep = np.unpackbits(code)
    if keep[size:].any():
        raise ValueError(f"its bitmask goes on after its {size:,} weights")
    return np.flatnonzero(keep[:size])


def _of_gaps(code: Code, bits: int, size: int) -> Places:
    full = 2**bits - 1
    entries = np.stack([code >> 4, code & 15], axis=1).ravel() if bits == 4 else code
    if bits == 4 and len(entries) and entries[-1] == full:
        entries = entries[:-1]
    named = entries < full
    if len(entries) and not named[-1]:
        raise ValueError("its places go on after the last survivor")
    places_K = np.cumsum(entries + named.astype(np.int64))[named] - 1
    if len(places_K) and places_K[-1] >= size:
        raise ValueError(f"a survivor is at place {places_K[-1]:,} of {size:,} weights")
    return places_K
