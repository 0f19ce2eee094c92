"""Archives: read and unpacked as they are; what leads out of them, or unpacks to too much, is refused in time."""

from __future__ import annotations

import io
import struct
import tarfile
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hostile_files import BOMB, OUTWARD, member, write_bomb, write_header, write_tar

from prune_cli.common.errors import DataError
from prune_cli.data import archives
from prune_cli.data.archives import ALWAYS_ALLOWED, Limits
from prune_cli.data.idx import read_idx

LIMITS = Limits(bytes=2**30, members=50)
MEMORY = 2**24  # bytes, far less than any bomb here has


def read(path: Path, _: Path) -> Any:
    return archives.read(path, "folder", LIMITS)


def unpack(path: Path, to: Path) -> None:
    archives.unpack(path, to, LIMITS)


USES = pytest.mark.parametrize("use", [read, unpack])


def refused(use: Callable[[], Any]) -> DataError:
    tracemalloc.start()
    with pytest.raises(DataError) as caught:
        use()
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < MEMORY
    assert len(caught.value.lines()) == 3
    return caught.value


@pytest.fixture
def to(tmp_path: Path) -> Path:
    (tmp_path / "in/to").mkdir(parents=True)
    return tmp_path / "in/to"


@pytest.mark.parametrize("mode", ["w", "w:gz"])
def test_an_honest_archive_is_read_and_unpacked(tmp_path: Path, to: Path, mode: str) -> None:
    large = bytes(range(256)) * 2**14  # more than one chunk
    with tarfile.open(tmp_path / "a.tar", mode) as tar:
        member("folder", kind=tarfile.DIRTYPE)(tar)
        for name, content in (
            ("./folder/a", b"one"),
            ("folder/large", large),
            ("folder/in/b", b"two"),
            ("c", b"three"),
        ):
            member(name, content)(tar)
    assert read(tmp_path / "a.tar", to) == {"a": b"one", "large": large}
    unpack(tmp_path / "a.tar", to)
    assert {path.relative_to(to).as_posix() for path in to.rglob("*") if path.is_file()} == {
        *("folder/a", "folder/large", "folder/in/b", "c")
    }
    assert (to / "folder/large").read_bytes() == large


def test_archives_in_an_archive_become_folders(tmp_path: Path, to: Path) -> None:
    inner = io.BytesIO()
    with tarfile.open(fileobj=inner, mode="w") as tar:
        member("image.JPEG", b"pixels")(tar)
    write_tar(tmp_path / "a.tar", member("n01.tar", inner.getvalue()))
    archives.unpack(tmp_path / "a.tar", to, LIMITS, inner=True)
    assert (to / "n01/image.JPEG").read_bytes() == b"pixels"
    assert sorted(path.name for path in to.iterdir()) == ["folder", "n01"]


@USES
@pytest.mark.parametrize("add", OUTWARD.values(), ids=OUTWARD.keys())
def test_what_leads_out_is_refused_by_name(tmp_path: Path, to: Path, add: Any, use: Any) -> None:
    path = write_tar(tmp_path / "a.tar", add)
    error = refused(lambda: use(path, to))
    assert str(error.where).startswith(f"{path}: ")
    assert "this member" in error.what
    assert sorted(found.name for found in tmp_path.iterdir()) == ["a.tar", "in"]
    assert sorted(found.name for found in (tmp_path / "in").iterdir()) == ["to"]
    assert not list(to.rglob("last"))  # nothing after it was unpacked


@pytest.mark.parametrize("add", OUTWARD.values(), ids=OUTWARD.keys())
def test_what_leads_out_of_an_archive_in_an_archive_is_refused_too(tmp_path: Path, to: Path, add: Any) -> None:
    inner = io.BytesIO()
    with tarfile.open(fileobj=inner, mode="w") as tar:
        add(tar)
    path = write_tar(tmp_path / "a.tar", member("n01.tar", inner.getvalue()))
    error = refused(lambda: archives.unpack(path, to, LIMITS, inner=True))
    assert str(error.where).startswith(f"{path}: n01.tar: ")
    assert sorted(found.name for found in (tmp_path / "in").iterdir()) == ["to"]


BOMBS = {
    "zeros": (BOMB, tarfile.REGTYPE, "would unpack to more"),
    "more than any disk": (2**62, tarfile.REGTYPE, "would unpack to more"),
    "less than nothing": (-512, tarfile.REGTYPE, "would unpack to more"),
    "a long name": (BOMB, tarfile.GNUTYPE_LONGNAME, "a header in it takes"),
    "a long link": (BOMB, tarfile.GNUTYPE_LONGLINK, "a header in it takes"),
    "attributes": (BOMB, tarfile.XHDTYPE, "a header in it takes"),
    "attributes of all": (BOMB, tarfile.XGLTYPE, "a header in it takes"),
    "less attributes than none": (-512, tarfile.XHDTYPE, "a header in it takes"),
    "an old sparse file": (BOMB, tarfile.GNUTYPE_SPARSE, "neither a file nor a folder"),
}


@USES
@pytest.mark.parametrize(("size", "kind", "said"), BOMBS.values(), ids=BOMBS.keys())
def test_a_bomb_is_refused_before_it_is_expanded(
    tmp_path: Path, to: Path, size: int, kind: bytes, said: str, use: Any
) -> None:
    path = write_header(tmp_path / "a.tar.gz", size, kind)
    assert path.stat().st_size * archives.RATIO < BOMB and ALWAYS_ALLOWED < BOMB
    error = refused(lambda: use(path, to))
    assert said in error.what
    assert str(path) in str(error.where)
    assert not list(to.iterdir())


@USES
def test_what_little_unpacks_to_is_no_bomb(tmp_path: Path, to: Path, use: Any) -> None:
    use(write_tar(tmp_path / "a.tar.gz", member("folder/zeros", bytes(ALWAYS_ALLOWED // 2))), to)


@USES
def test_a_bomb_after_the_last_member_is_refused_too(tmp_path: Path, to: Path, use: Any) -> None:
    with tarfile.open(tmp_path / "plain.tar", "w") as tar:
        member("folder/a")(tar)
    path = write_bomb(tmp_path / "a.tar.gz", (tmp_path / "plain.tar").read_bytes())
    assert "unpacks to more" in refused(lambda: use(path, to)).what


@USES
def test_too_many_members_are_refused(tmp_path: Path, to: Path, use: Any) -> None:
    path = write_tar(tmp_path / "a.tar", *[member(f"folder/{number}") for number in range(LIMITS.members)])
    assert "more than 50 members" in refused(lambda: use(path, to)).what


@USES
@pytest.mark.parametrize("limit", [3_000, 5_000])
def test_no_archive_unpacks_to_more_than_its_dataset_has(
    tmp_path: Path, to: Path, use: Any, limit: int, monkeypatch: Any
) -> None:
    monkeypatch.setattr("test_archives.LIMITS", Limits(limit, 50))
    path = write_tar(tmp_path / "a.tar", member("folder/a", bytes(2**14)))
    assert f"more than {limit:,} bytes" in refused(lambda: use(path, to)).what


@USES
@pytest.mark.parametrize("keep", [0, 1, 2, 9, 60, -9])
def test_a_damaged_archive_is_named(tmp_path: Path, to: Path, use: Any, keep: int) -> None:
    path = write_tar(tmp_path / "a.tar", member("folder/a", bytes(range(256)) * 9))
    path.write_bytes(path.read_bytes()[:keep])
    error = refused(lambda: use(path, to))
    assert "damaged" in error.what
    assert str(path) in str(error.where)


@pytest.mark.parametrize(
    ("shape", "said"),
    [
        ((2, 3, 4), "25 bytes of data where its header says 24 (and more may follow)"),
        ((BOMB // 2**20, 1024, 1024), f"its header says {BOMB:,} bytes"),
        ((2**32 - 1,) * 3, "is the most for its size"),
    ],
)
def test_a_gzipped_idx_file_is_unpacked_no_further_than_its_header(
    tmp_path: Path, shape: tuple[int, ...], said: str
) -> None:
    write_bomb(tmp_path / "a.gz", bytes((0, 0, 8, 3)) + struct.pack(">3I", *shape))
    error = refused(lambda: read_idx(tmp_path / "a.gz", 3))
    assert said in error.what
    assert error.where == str(tmp_path / "a.gz")
