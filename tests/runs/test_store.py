"""Run folders: finished or not, held by one process, found again."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from filelock import FileLock
from manifests import FIRST, PLAN, RESULT

from prune_cli.common.errors import PruneCliError, RequestError
from prune_cli.runs.identity import run_hash
from prune_cli.runs.store import RunFolder, find, finished, read_manifest

IDENTITY = {"seed": 0, "scorer": {"name": "snip"}}


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    return RunFolder.of(tmp_path, "prune", IDENTITY)


def record(folder: RunFolder, **more: object) -> None:
    """Finish a run by hand."""
    folder.path.mkdir(parents=True, exist_ok=True)
    (folder.path / "manifest.json").write_text(json.dumps({"identity": folder.identity, **more}))


@contextmanager
def held_elsewhere(folder: RunFolder) -> Iterator[subprocess.Popen]:
    """Another process claims the run until its stdin is closed."""
    code = (
        "import sys; from pathlib import Path; from prune_cli.runs.store import RunFolder\n"
        f"with RunFolder.of(Path(sys.argv[1]), 'prune', {IDENTITY!r}).claimed():\n"
        "    print('held', flush=True); sys.stdin.read()"
    )
    words = [sys.executable, "-c", code, str(folder.path.parents[1])]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None and process.stdin is not None
        assert process.stdout.readline() == "held\n"
        yield process
        process.stdin.close()
        assert process.wait() == 0


def test_a_folder_is_called_by_its_kind_and_the_hash_of_its_identity(tmp_path: Path, folder: RunFolder) -> None:
    assert folder.path == tmp_path / "prune" / run_hash({"kind": "prune", **IDENTITY})
    assert RunFolder.of(tmp_path, "score", IDENTITY).path.name != folder.path.name


def test_a_run_is_finished_when_its_manifest_is_there_and_not_before(folder: RunFolder) -> None:
    assert folder.manifest() is None
    folder.path.mkdir(parents=True)
    for name in ("config.yaml", "metrics.csv", "model.safetensors", "manifest.json.1.tmp"):
        (folder.path / name).write_text("x")
        assert folder.manifest() is None
    record(folder, accuracy_last=90.5)
    found = folder.manifest()
    assert found is not None and found["accuracy_last"] == 90.5


def test_an_identity_survives_the_way_through_json(folder: RunFolder) -> None:
    numbers = {"alpha": 0.1 + 0.2, "tiny": 1e-300, "shape": (1, 2), "name": "α"}
    made = RunFolder.of(folder.path.parents[1], "prune", numbers)
    record(made)
    assert made.manifest() is not None


@pytest.mark.parametrize("other", [{"seed": 1, "scorer": {"name": "snip"}}, {"seed": 0}, {}])
def test_the_record_of_another_run_is_not_believed(folder: RunFolder, other: dict) -> None:
    record(RunFolder(folder.path, other))
    with pytest.raises(PruneCliError, match="another run"):
        folder.manifest()


def test_a_record_without_an_identity_is_not_believed(folder: RunFolder) -> None:
    folder.path.mkdir(parents=True)
    (folder.path / "manifest.json").write_text("{}")
    with pytest.raises(PruneCliError, match="another run"):
        folder.manifest()


@pytest.mark.parametrize("content", [b"", b'{"identity": ', b"\xff\xfe"])
def test_a_record_that_is_not_json_is_named(folder: RunFolder, content: bytes) -> None:
    folder.path.mkdir(parents=True)
    (folder.path / "manifest.json").write_bytes(content)
    with pytest.raises(PruneCliError, match="not JSON") as caught:
        read_manifest(folder.path)
    assert "manifest.json" in str(caught.value.where)


@pytest.mark.parametrize("content", [b'{"identity": "\\ud800"}', b'{"a": ' * 900 + b"1" + b"}" * 900])
def test_what_no_record_holds_is_damaged_or_of_another_run(folder: RunFolder, content: bytes) -> None:
    folder.path.mkdir(parents=True)
    (folder.path / "manifest.json").write_bytes(content)
    with pytest.raises(PruneCliError):
        folder.manifest()


def test_what_an_unfinished_run_left_is_removed_before_and_after(folder: RunFolder) -> None:
    folder.path.mkdir(parents=True)
    (folder.path / "metrics.csv").write_text("of a process that was killed")
    with folder.claimed():
        assert not folder.path.exists()
        folder.path.mkdir()
        (folder.path / "metrics.csv").write_text("half")
    assert not folder.path.exists()


@pytest.mark.parametrize("stop", [RuntimeError, KeyboardInterrupt])
def test_a_run_that_is_stopped_leaves_no_folder_and_can_be_claimed_again(
    folder: RunFolder, stop: type[BaseException]
) -> None:
    with pytest.raises(stop), folder.claimed():
        folder.path.mkdir()
        raise stop
    assert not folder.path.exists()
    with folder.claimed():
        record(folder)
    assert folder.manifest() is not None


def test_a_finished_run_is_never_removed(folder: RunFolder) -> None:
    record(folder)
    with pytest.raises(RuntimeError), folder.claimed():
        raise RuntimeError
    with folder.claimed():
        pass
    assert folder.manifest() is not None


def test_a_run_that_another_process_computes_is_refused_and_left_alone(folder: RunFolder) -> None:
    with held_elsewhere(folder):
        folder.path.mkdir()
        (folder.path / "metrics.csv").write_text("theirs")
        with pytest.raises(PruneCliError, match="another process"), folder.claimed():
            pytest.fail("claimed twice")
        assert (folder.path / "metrics.csv").read_text() == "theirs"
    with folder.claimed():
        assert not folder.path.exists()


def test_a_second_claim_in_the_same_process_is_refused_too(tmp_path: Path, folder: RunFolder) -> None:
    same = RunFolder.of(tmp_path, "prune", IDENTITY)
    with folder.claimed(), pytest.raises(PruneCliError, match="another process"), same.claimed():
        pytest.fail("claimed twice")


def test_other_runs_can_be_claimed_meanwhile(tmp_path: Path, folder: RunFolder) -> None:
    with folder.claimed(), RunFolder.of(tmp_path, "prune", {"seed": 1}).claimed():
        pass


def test_a_claim_may_wait_for_another_process(folder: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    asked, claimed, acquire = threading.Event(), threading.Event(), FileLock.acquire

    def asking(lock: FileLock, *words: float, **options: float) -> object:
        asked.set()
        return acquire(lock, *words, **options)

    def wait() -> None:
        with folder.claimed(wait=True):
            claimed.set()

    with held_elsewhere(folder):
        thread = threading.Thread(target=wait, daemon=True)
        monkeypatch.setattr(FileLock, "acquire", asking)
        thread.start()
        assert asked.wait(timeout=60)
        thread.join(timeout=0.5)  # a claim that does not wait has failed by now
        assert thread.is_alive() and not claimed.is_set()
    thread.join(timeout=60)
    assert claimed.is_set()


def test_finished_runs_are_listed_by_hash(tmp_path: Path) -> None:
    assert finished(tmp_path, "prune") == {}
    folders = [RunFolder.of(tmp_path, "prune", {"seed": seed}) for seed in range(3)]
    for folder in folders[:2]:
        record(folder, **{**PLAN, "hash": folder.path.name, "identity": folder.identity, **RESULT, **FIRST})
    folders[2].path.mkdir()
    record(RunFolder.of(tmp_path, "score", {"seed": 0}))
    assert finished(tmp_path, "prune").keys() == {folder.path.name for folder in folders[:2]}


def test_a_run_is_found_by_its_path_and_by_the_start_of_its_hash(tmp_path: Path, folder: RunFolder) -> None:
    record(folder)
    record(RunFolder.of(tmp_path, "score", IDENTITY))
    assert find(tmp_path, str(folder.path)) == folder.path
    for length in (3, 12):
        assert find(tmp_path, folder.path.name[:length]) == folder.path


def test_what_is_not_one_finished_run_is_not_found(tmp_path: Path, folder: RunFolder) -> None:
    scored = RunFolder.of(tmp_path, "score", IDENTITY)
    record(scored)
    folder.path.mkdir(parents=True)  # not finished
    for run in (folder.path.name, scored.path.name, "nothing", str(folder.path), str(tmp_path)):
        with pytest.raises(RequestError, match="no finished run"):
            find(tmp_path, run)
    with pytest.raises(RequestError, match="no finished run"):
        find(tmp_path / "nowhere", folder.path.name)


@pytest.mark.parametrize("run", ["", "*", "?", "[a-f0-9]", "x" * 300, "../"])
def test_a_pattern_is_no_start_of_a_hash(tmp_path: Path, folder: RunFolder, run: str) -> None:
    record(folder)
    with pytest.raises(RequestError, match="no finished run"):
        find(tmp_path, run)


def test_the_start_of_two_hashes_is_not_enough(tmp_path: Path) -> None:
    for name in ("abc111111111", "abc222222222"):
        record(RunFolder(tmp_path / "prune" / name, {}))
    with pytest.raises(RequestError, match="2 runs start with 'abc'"):
        find(tmp_path, "abc")
    assert find(tmp_path, "abc1").name == "abc111111111"
