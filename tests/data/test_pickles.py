"""Pickles of arrays are read; nothing that a pickle asks for is run."""

from __future__ import annotations

import os
import pickle
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cifar_files import python2_pickle

from prune_cli.data.pickles import read_arrays

VALUE = {
    "data": np.arange(256, dtype=np.uint8).reshape(16, 16),
    "labels": [1, 2, 300],
    "name": "Ä",
    "more": (None, 1.5),
}


class Hostile:
    """Makes a file when it is unpickled by Python's own reader."""

    def __init__(self, canary: Path):
        self._canary = canary

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self._canary),)


@pytest.mark.parametrize("raw", [python2_pickle(VALUE), *(pickle.dumps(VALUE, protocol) for protocol in range(5))])
def test_arrays_strings_and_lists_come_back_whoever_wrote_them(raw: bytes) -> None:
    found = read_arrays(raw)
    assert found["data"].dtype == np.uint8
    assert np.array_equal(found["data"], VALUE["data"])
    assert {key: found[key] for key in ("labels", "name", "more")} == {
        key: VALUE[key] for key in ("labels", "name", "more")
    }


@pytest.mark.parametrize("scalar", [np.float64(0.1), np.int64(7)])
def test_numpy_scalars_come_back(scalar: Any) -> None:
    assert read_arrays(pickle.dumps(scalar)) == scalar


@pytest.mark.parametrize("protocol", range(6))
def test_what_a_hostile_pickle_asks_for_never_happens(tmp_path: Path, protocol: int) -> None:
    raw = pickle.dumps({"data": Hostile(tmp_path / "canary")}, protocol)
    with pytest.raises(ValueError, match="mkdir"):
        read_arrays(raw)
    assert not (tmp_path / "canary").exists()
    pickle.loads(raw)
    assert (tmp_path / "canary").exists()  # so that the lines above mean something


@pytest.mark.parametrize(
    "asked",
    [
        b"cos\nsystem\n.",
        b"cbuiltins\neval\n.",
        b"cnumpy\nload\n.",
        b"\x80\x04\x8c\x05numpy\x8c\x0fdtype.__class__\x93.",
    ],
)
def test_a_name_outside_of_the_list_is_refused(asked: bytes) -> None:
    with pytest.raises(ValueError, match="which no file of arrays needs"):
        read_arrays(asked)


@pytest.mark.parametrize("raw", [b"", b"hello", pickle.dumps(VALUE)[:-5], pickle.dumps(VALUE)[3:], b"\x80\x02]K\x01u."])
def test_a_damaged_pickle_is_a_value_error(raw: bytes) -> None:
    with pytest.raises(ValueError):
        read_arrays(raw)


def test_the_last_place_of_the_memo_costs_no_more_than_the_first() -> None:
    """Python's own reader makes a memo of as many places."""
    tracemalloc.start()
    try:
        assert read_arrays(b"\x80\x02]r\xff\xff\xff\xff.") == []
        assert tracemalloc.get_traced_memory()[1] < 2**20
    finally:
        tracemalloc.stop()
