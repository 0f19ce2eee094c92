"""A kept fact is believed only where all that decides it is as it was; whatever is wrong with the folder, it is found again."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from prune_cli.common.errors import PruneCliError
from prune_cli.runs import facts
from prune_cli.runs.files import sha256


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where facts are kept; what decides the code is looked at afresh."""
    monkeypatch.setenv(facts.VARIABLE, str(tmp_path / "cache"))
    facts._code.cache_clear()
    return tmp_path / "cache"


@pytest.fixture(autouse=True)
def fresh_code(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No test's packages, sources or plug-ins are another's."""
    monkeypatch.setattr(facts, "_trusted", True)
    yield
    facts._code.cache_clear()


def entry(cache: Path) -> Path:
    """The one file in the cache."""
    (file,) = cache.iterdir()
    return file


def is_kept(about: object = "it") -> bool:
    return facts.recall("test", about) is not None


def test_a_fact_is_found_once(cache: Path) -> None:
    found: list[int] = []

    def find() -> dict[str, tuple[int, ...]]:
        found.append(1)
        return {"b": (1, 2), "a": ()}

    for _ in range(2):  # found, then kept: of the same types, in the same order
        value = facts.known("test", {"x": (1,)}, find)
        assert value == {"b": [1, 2], "a": []}
        assert list(value) == ["b", "a"]
    assert found == [1]
    assert facts.known("test", {"x": (2,)}, find) is not None
    assert len(found) == len(list(cache.iterdir())) == 2


@pytest.mark.parametrize(
    "content",
    [b"", b"\xff\xfe", b"[]", b"{}", b'{"key": {}, "fact": 2}', b'{"fact": 2}', b'{"a": "\\ud800"}'],
    ids=["empty", "no text", "list", "nothing", "unsealed", "no key", "half a character"],
)
def test_a_damaged_entry_is_found_again_and_written_again(cache: Path, content: bytes) -> None:
    facts.remember("test", "it", 1)
    entry(cache).write_bytes(content)
    assert facts.recall("test", "it") is None
    assert facts.known("test", "it", lambda: 1) == 1
    assert facts.recall("test", "it") == 1


def test_one_changed_digit_is_noticed(cache: Path) -> None:
    facts.remember("test", "it", {"digest": "abc1"})
    entry(cache).write_text(entry(cache).read_text().replace("abc1", "abc2"))
    assert not is_kept()


def test_an_entry_under_anothers_name_is_not_believed(cache: Path) -> None:
    """As two facts of one short hash would be."""
    facts.remember("test", "it", 1)
    facts.remember("test", "other", 2)
    one, two = sorted(cache.iterdir())
    shutil.copy(one, two)
    assert is_kept("it") != is_kept("other")


def test_a_forgotten_fact_is_no_longer_kept(cache: Path) -> None:  # noqa: ARG001
    facts.remember("test", "it", 1)
    facts.forget("test", "it")
    facts.forget("test", "it")
    assert not is_kept()


@pytest.mark.parametrize("package", facts.BENEATH)
def test_another_version_of_a_package_keeps_facts_of_its_own(
    cache: Path,  # noqa: ARG001
    monkeypatch: pytest.MonkeyPatch,
    package: str,
) -> None:
    facts.remember("test", "it", 1)
    version = facts._version
    monkeypatch.setattr(facts, "_version", lambda name: "0.0.1" if name == package else version(name))
    facts._code.cache_clear()
    assert not is_kept()


@pytest.fixture
def package(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:  # noqa: ARG001
    """A file of a package that stands for this one; it was written before the process has started."""
    file = tmp_path / "package/room/part.py"
    file.parent.mkdir(parents=True)
    file.write_text("one = 1\n")
    monkeypatch.setattr(facts, "PACKAGE", tmp_path / "package")
    monkeypatch.setattr(facts, "STARTED_NS", facts.STARTED_NS + 10**15)
    return file


def test_an_edited_source_file_keeps_facts_of_its_own(package: Path) -> None:
    facts.remember("test", "it", 1)
    facts._code.cache_clear()
    assert is_kept()
    times = package.stat()
    package.write_text("one = 2\n")  # as long as before
    os.utime(package, ns=(times.st_atime_ns, times.st_mtime_ns))  # and as old
    facts._code.cache_clear()
    assert not is_kept()


def test_a_new_source_file_keeps_facts_of_its_own(package: Path) -> None:
    facts.remember("test", "it", 1)
    package.with_name("other.py").write_text("")
    facts._code.cache_clear()
    assert not is_kept()


def test_nothing_is_kept_where_the_source_is_younger_than_the_process(
    package: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is imported may be an older text."""
    monkeypatch.setattr(facts, "STARTED_NS", package.stat().st_ctime_ns)
    facts.remember("test", "it", 1)
    assert not is_kept()


def test_nothing_is_kept_where_a_package_may_be_edited_under_one_version(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(facts, "_is_editable", lambda name: name == "timm")
    facts.remember("test", "it", 1)
    assert not is_kept() and not cache.exists()


def test_this_package_itself_is_known_to_be_editable() -> None:
    """The check can tell: tests run in an editable install."""
    assert facts._is_editable("prune-cli") and not facts._is_editable("torch")


def test_a_process_with_plug_ins_keeps_and_believes_nothing(cache: Path) -> None:
    facts.remember("test", "it", 1)
    facts.trust(False)
    try:
        assert not is_kept()
        facts.remember("test", "other", 2)
    finally:
        facts.trust(True)
    assert is_kept() and len(list(cache.iterdir())) == 1


def test_an_empty_variable_keeps_nothing_and_none_means_the_users_cache(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv(facts.VARIABLE, "")
    assert facts.cache_folder() is None
    assert facts.known("test", "it", lambda: 3) == 3
    monkeypatch.delenv(facts.VARIABLE)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert facts.cache_folder() == tmp_path / "prune-cli"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert facts.cache_folder() == tmp_path / ".cache/prune-cli"


def test_a_folder_that_cannot_be_written_is_no_error(cache: Path) -> None:
    cache.write_text("a file, where the folder would be")
    assert facts.known("test", "it", lambda: 1) == 1
    facts.forget("test", "it")
    assert not is_kept()


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes everywhere")
def test_a_read_only_folder_is_no_error(cache: Path) -> None:
    cache.mkdir()
    cache.chmod(0o500)
    assert facts.known("test", "it", lambda: 1) == 1
    cache.chmod(0o700)


def test_a_full_disk_is_no_error(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: ARG001
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("prune_cli.runs.files.write_text", full)
    assert facts.known("test", "it", lambda: 1) == 1


def test_the_oldest_facts_go(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(facts, "MOST", 3)
    for number in range(5):
        facts.remember("test", number, number)
        os.utime(max(cache.iterdir(), key=lambda file: file.stat().st_mtime_ns), ns=(number, number))
    assert [number for number in range(5) if is_kept(number)] == [2, 3, 4]


def test_files_of_others_in_the_folder_stay(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(facts, "MOST", 3)
    cache.mkdir(exist_ok=True)
    others = [cache / f"image{number}.json" for number in range(5)]
    for file in others:
        file.write_text("{}")
    for number in range(5):
        facts.remember("test", number, number)
    assert all(file.is_file() for file in others) and len(list(cache.iterdir())) == 8


def change(path: Path, keep_times: bool) -> None:
    """Another content of the same size."""
    times = path.stat()
    path.write_bytes(bytes(byte ^ 1 for byte in path.read_bytes()))
    if keep_times:
        os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


@pytest.fixture(params=["small", "large"])
def file(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file that is told by its content, or one that is told by its size and times; nothing is too young."""
    monkeypatch.setattr(facts, "LARGE", 3 if request.param == "large" else 100)
    monkeypatch.setattr(facts, "YOUNG_NS", -(10**15))
    path = tmp_path / "file"
    path.write_bytes(b"content")
    return path


@pytest.mark.parametrize("keep_times", [True, False])
def test_a_file_of_the_same_size_and_another_content_has_another_stamp(file: Path, keep_times: bool) -> None:
    before = facts.stamps([file])
    assert before is not None and facts.stamps([file]) == before
    change(file, keep_times)
    assert facts.stamps([file]) != before


def test_a_file_in_anothers_place_has_another_stamp(file: Path, tmp_path: Path) -> None:
    before = facts.stamps([file])
    other = tmp_path / "other"
    other.write_bytes(b"CONTENT")
    shutil.copystat(file, other)
    other.replace(file)
    assert facts.stamps([file]) != before


def test_a_large_file_that_has_just_changed_has_no_stamp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(facts, "LARGE", 3)
    (tmp_path / "file").write_bytes(b"content")
    assert facts.stamps([tmp_path / "file"]) is None


@pytest.mark.parametrize("keep_times", [True, False])
def test_the_sha256_of_an_edited_file_is_found_again(cache: Path, file: Path, keep_times: bool) -> None:
    assert [facts.file_sha256(file) for _ in range(2)] == [sha256(file)] * 2
    assert cache.exists() == (facts.LARGE == 3)
    change(file, keep_times)
    assert facts.file_sha256(file) == sha256(file)


def test_a_file_that_changes_while_it_is_read_keeps_nothing(
    cache: Path, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or the old content, back in its place, would have the new one's sha256."""
    read = sha256

    def meanwhile(path: Path) -> str:
        if path == file:  # and not the source, which is read too
            change(path, keep_times=False)
        return read(path)

    monkeypatch.setattr(facts, "sha256", meanwhile)
    facts.file_sha256(file)
    assert not cache.exists()


def test_a_wrong_sha256_is_found_out_where_the_work_begins(
    cache: Path,  # noqa: ARG001
    file: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(facts, "LARGE", 3)
    facts.remember("sha256", facts.stamps([file]), "0" * 64)
    believed = facts.file_sha256(file)
    assert believed == "0" * 64
    with pytest.raises(PruneCliError, match="forgotten now"):
        facts.confirm_sha256(file, believed)
    facts.confirm_sha256(file, facts.file_sha256(file))
