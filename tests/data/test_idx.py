"""IDX files: read as they are, or refused with what is wrong."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest
import torch
from idx_files import idx_bytes, write_idx

from prune_cli.common.errors import DataError
from prune_cli.data.idx import find_idx, read_idx

IMAGES = torch.arange(2 * 3 * 4, dtype=torch.uint8).view(2, 3, 4)


@pytest.mark.parametrize("name", ["images", "images.gz"])
def test_a_file_is_read_whether_gzipped_or_not(tmp_path: Path, name: str) -> None:
    write_idx(tmp_path / name, IMAGES)
    found = read_idx(tmp_path / name, 3)
    assert found.dtype == torch.uint8
    assert torch.equal(found, IMAGES)


def test_the_format_is_that_of_the_mnist_files(tmp_path: Path) -> None:
    (tmp_path / "labels").write_bytes(bytes.fromhex("00000801 00000003 05 00 ff"))
    assert read_idx(tmp_path / "labels", 1).tolist() == [5, 0, 255]


def test_an_empty_file_has_no_images(tmp_path: Path) -> None:
    (tmp_path / "images").write_bytes(idx_bytes((0, 28, 28), b""))
    assert read_idx(tmp_path / "images", 3).shape == (0, 28, 28)


WHOLE = idx_bytes(IMAGES.shape, bytes(IMAGES.flatten().tolist()))
DAMAGED = {
    "cut gzip": ("a.gz", gzip.compress(WHOLE)[:-9], "damaged"),
    "gzip with a wrong sum": ("a.gz", gzip.compress(WHOLE)[:-8] + bytes(8), "damaged"),
    "plain bytes called .gz": ("a.gz", WHOLE, "damaged"),
    "damaged gzip stream": ("a.gz", gzip.compress(WHOLE)[:12] + b"\xff" * 9, "damaged"),
    "nothing": ("a", b"", "not an IDX file"),
    "half a header": ("a", WHOLE[:9], "not an IDX file"),
    "another magic number": ("a", b"\x01" + WHOLE[1:], "not an IDX file"),
    "floats": ("a", idx_bytes(IMAGES.shape, bytes(96), code=0x0D), "unsigned bytes"),
    "other dimensions": ("a", idx_bytes((24,), bytes(24)), "3 dimensions"),
    "too few bytes": ("a", WHOLE[:-1], "23 bytes of data where its header says 24"),
    "too many bytes": ("a", WHOLE + b"\0", "25 bytes of data where its header says 24"),
    "a size past any memory": ("a", idx_bytes((2**31, 2**31, 4), b""), "header says"),
}


@pytest.mark.parametrize(("name", "content", "said"), DAMAGED.values(), ids=DAMAGED.keys())
def test_a_damaged_file_is_named_with_what_is_wrong(tmp_path: Path, name: str, content: bytes, said: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match="this file is damaged") as caught:
        read_idx(tmp_path / name, 3)
    assert said in caught.value.what
    assert caught.value.where == str(tmp_path / name)
    assert caught.value.hint


def test_the_gzipped_file_is_found_first(tmp_path: Path) -> None:
    assert find_idx(tmp_path, "a") is None
    (tmp_path / "a").touch()
    assert find_idx(tmp_path, "a") == tmp_path / "a"
    (tmp_path / "a.gz").touch()
    assert find_idx(tmp_path, "a") == tmp_path / "a.gz"
