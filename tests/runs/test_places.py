"""Places of survivors, written in few bytes and read back, and codes that no writer makes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prune_cli.runs.places import BITS, ENCODINGS, GAP_BITS, _gap_code, decode, encode, expected_bytes


def u8(*values: int) -> np.ndarray:
    return np.array(values, np.uint8)


@given(st.integers(0, 400), st.floats(0, 1), st.integers(0, 2**32 - 1))
@settings(max_examples=200, deadline=None)
def test_every_encoding_gives_the_places_back(size: int, density: float, seed: int) -> None:
    places = np.flatnonzero(np.random.default_rng(seed).random(size) < density)
    name, code = encode(places, size)
    assert np.array_equal(decode(name, code, size), places)
    codes = {gaps: _gap_code(np.diff(places, prepend=-1) - 1, bits) for gaps, bits in GAP_BITS.items()}
    codes[BITS] = np.packbits(np.isin(np.arange(size), places))
    for other, written in codes.items():
        assert np.array_equal(decode(other, written, size), places), other
    assert code.nbytes == min(written.nbytes for written in codes.values())


@pytest.mark.parametrize(
    ("places", "size", "name", "code"),
    [
        ([0, 2, 3, 9], 10, BITS, u8(0b10110000, 0b01000000)),
        ([], 80, "gaps4", u8()),
        ([3, 20], 400, "gaps4", u8(0x3F, 0x1F)),  # three removed; fifteen and one more; one 15 to fill the byte
        ([2, 258, 600], 10_000, "gaps8", u8(2, 255, 0, 255, 86)),
        ([70_000], 10**6, "gaps16", np.array([65535, 4465], np.uint16)),
    ],
)
def test_codes_worked_out_by_hand(places: list[int], size: int, name: str, code: np.ndarray) -> None:
    found = encode(np.array(places, np.int64), size)
    assert found[0] == name
    assert found[1].dtype == code.dtype and found[1].tolist() == code.tolist()
    assert decode(*found, size).tolist() == places


def test_a_row_longer_than_16_bits_can_count_is_no_exception() -> None:
    places = np.array([0, 65_534, 65_535, 65_536, 200_000, 299_999])
    name, code = encode(places, 300_000)
    assert name == "gaps16"
    assert decode(name, code, 300_000).tolist() == places.tolist()


@pytest.mark.parametrize(
    ("name", "code", "size", "said"),
    [
        ("rows", u8(1), 8, "are written as 'rows'"),
        (BITS, u8(1), 9, "its bitmask has 1 bytes, not 2"),
        (BITS, u8(1, 2, 3), 9, "its bitmask has 3 bytes, not 2"),
        (BITS, u8(0, 1), 9, "goes on after its 9 weights"),
        (BITS, np.array([1.0]), 8, "its places are float64 of shape (1,)"),
        (BITS, u8(1, 2).reshape(2, 1), 16, "of shape (2, 1)"),
        ("gaps4", u8(0x0F, 0xFF), 99, "go on after the last survivor"),
        ("gaps4", u8(0xF7), 22, "a survivor is at place 22 of 22 weights"),
        ("gaps8", u8(3, 255), 999, "go on after the last survivor"),
        ("gaps8", u8(3, 3), 7, "a survivor is at place 7 of 7 weights"),
        ("gaps8", u8(0), 0, "a survivor is at place 0 of 0 weights"),
        ("gaps8", np.array([1], np.uint16), 8, "its places are uint16"),
        ("gaps16", u8(1), 8, "its places are uint8"),
        ("gaps16", np.array([65535, 65534], np.uint16), 131_069, "a survivor is at place 131,069"),
    ],
)
def test_a_code_that_no_writer_makes_is_refused(name: str, code: np.ndarray, size: int, said: str) -> None:
    with pytest.raises(ValueError, match=said.replace("(", r"\(").replace(")", r"\)")):
        decode(name, code, size)


@pytest.mark.parametrize("sparsity", [0.0, 0.3, 0.8, 0.9, 0.95, 0.98, 0.999, 1.0])
def test_the_expected_size_is_the_size_of_random_places(sparsity: float) -> None:
    size = 2**20
    places = np.flatnonzero(np.random.default_rng(0).random(size) >= sparsity)
    _, code = encode(places, size)
    assert expected_bytes(size, len(places)) == pytest.approx(code.nbytes, rel=0.03)


def test_the_expected_size_of_nothing() -> None:
    assert expected_bytes(0, 0) == expected_bytes(100, 0) == 0
    assert expected_bytes(10, 10) == 2


@pytest.mark.parametrize("wrong", ["one place on", "escapes at 254"])
def test_a_wrong_reader_is_told_apart(wrong: str) -> None:
    """What the tests above reject: the formula without its −1, and entries that pass over one weight too few."""
    places = np.arange(0, 9000, 300)
    entries = _gap_code(np.diff(places, prepend=-1) - 1, 8).astype(np.int64)
    named = entries < 255
    steps = entries + named if wrong == "one place on" else np.minimum(entries, 254) + named
    assert not np.array_equal(np.cumsum(steps)[named] - (wrong != "one place on"), places)
    assert ENCODINGS == (BITS, "gaps4", "gaps8", "gaps16")
