"""Pickles of arrays, strings and lists, read without running anything that they ask for."""

from __future__ import annotations

import codecs
import io
import pickle
from typing import Any

import numpy as np

_RECONSTRUCT, _SCALAR = np.zeros(1).__reduce__()[0], np.float64(0).__reduce__()[0]  # private names in every numpy
_MULTIARRAY = {"_reconstruct": _RECONSTRUCT, "scalar": _SCALAR}
ALLOWED: dict[tuple[str, str], Any] = {
    **{(f"numpy.{core}.multiarray", name): found for core in ("core", "_core") for name, found in _MULTIARRAY.items()},
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
    ("_codecs", "encode"): codecs.encode,
}


class _Unpickler(pickle.Unpickler):
    """Knows nothing but arrays: Python's own imports whatever a file names, and so runs it."""

    def find_class(self, module: str, name: str) -> Any:
        """One of a few harmless things. Raises UnpicklingError for any other."""
        if (module, name) not in ALLOWED:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}, which no file of arrays needs")
        return ALLOWED[module, name]


def read_arrays(raw: bytes) -> Any:
    """What is in a pickle, with the strings of Python 2 as latin1. Raises ValueError if it is damaged or hostile."""
    try:
        return _Unpickler(io.BytesIO(raw), encoding="latin1").load()
    except Exception as error:  # a damaged pickle raises nearly anything
        raise ValueError(f"{error}" or type(error).__name__) from None
