"""What happens to files when processes die, disks fill up and bits flip."""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from prune_cli.runs import files
from prune_cli.runs.files import (
    DamagedError,
    DiskFullError,
    read_checksummed,
    read_tensors,
    sha256,
    sweep_temporaries,
    whole,
    write_checksummed,
    write_tensors,
)

WRITER = Path(__file__).parents[1] / "training/checkpoint_writer.py"
FILLER = Path(__file__).with_name("full_disk.py")
ALONE = {"OMP_NUM_THREADS": "1"}


def python(script: Path, *words: str, before: str = "") -> dict[str, Any]:
    """What a script prints. before: what the shell does first."""
    command = f"{before} exec {sys.executable} {script} {' '.join(words)}"
    shell = ["unshare", "--map-root-user", "--mount", "sh", "-c"] if before else ["sh", "-c"]
    done = subprocess.run([*shell, command], capture_output=True, text=True, env=os.environ | ALONE)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("kills", [15, pytest.param(100, marks=pytest.mark.slow)])
def test_kills_during_checkpoint_writes_lose_and_corrupt_nothing(kills: int, tmp_path: Path) -> None:
    found = python(WRITER, str(tmp_path), str(kills), "0")
    assert (found["corrupt"], found["missing"]) == (0, 0)
    assert found["steps"] > 0  # checkpoints were written meanwhile
    assert list(tmp_path.glob("*.tmp"))  # and some of the processes died in the middle of one


@pytest.mark.skipif(shutil.which("unshare") is None, reason="a small file system needs Linux's unshare")
@pytest.mark.parametrize("overstated", ["0", pytest.param("1", marks=pytest.mark.slow)])
def test_a_full_disk_is_named_and_the_checkpoint_before_is_valid(tmp_path: Path, overstated: str) -> None:
    """A file system of 2 MB; with free space overstated it is full only while the file is written."""
    mount = f"mount -t tmpfs -o size=2m tmpfs {tmp_path} &&"
    found = python(FILLER, str(tmp_path), overstated, before=mount)
    assert "the disk is full" in found["lines"][0] and "needed" in found["lines"][0] and "free" in found["lines"][0]
    assert "checkpoint-" in found["lines"][1]
    assert found["whole"] and found["left"] == found["failed"] - 1 > 1
    assert len(found["names"]) == 2  # the checkpoint and what names it, nothing half-written


def test_a_file_that_does_not_fit_is_refused_before_it_is_written(tmp_path: Path) -> None:
    with pytest.raises(DiskFullError, match="bytes needed"), whole(tmp_path / "a", size=1 << 60):
        pytest.fail("it was begun")


def test_content_and_names_are_brought_to_the_disk_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The bytes before the name: after a power cut a name never stands for bytes that are not there."""
    done: list[str] = []
    flush, replace = files._flush, Path.replace
    monkeypatch.setattr(files, "_flush", lambda path: (done.append(f"flush {path.name}"), flush(path)))
    monkeypatch.setattr(Path, "replace", lambda path, to: (done.append("rename"), replace(path, to))[1])
    with whole(tmp_path / "a.txt") as temporary:
        temporary.write_text("x")
    assert done == [f"flush {temporary.name}", "rename", f"flush {tmp_path.name}"]


def test_temporaries_of_the_dead_are_swept_and_those_of_the_living_are_not(tmp_path: Path) -> None:
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    names = [f"a.csv.{host}-{pid}.tmp" for host in (platform.node(), "elsewhere") for pid in (dead.pid, os.getpid())]
    for name in (*names, "b.tmp", f"c.{platform.node()}-x.tmp"):
        (tmp_path / name).touch()
    sweep_temporaries(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {*names[1:], "b.tmp", f"c.{platform.node()}-x.tmp"}


RECORD = {"files": {"a": "0" * 64}, "accuracy": 97.25, "text": "α θ²", "none": None, "list": [1, {"x": 0.1}]}


def test_a_checksummed_record_says_what_was_written(tmp_path: Path) -> None:
    written = write_checksummed(tmp_path / "a.json", RECORD)
    assert read_checksummed(tmp_path / "a.json") == written == RECORD | {"sha256": written["sha256"]}


def test_every_single_bit_of_a_checksummed_record_matters(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_checksummed(path, RECORD)
    content = path.read_bytes()
    for bit in range(8 * len(content)):
        flipped = bytearray(content)
        flipped[bit // 8] ^= 1 << bit % 8
        path.write_bytes(flipped)
        with pytest.raises(DamagedError):
            read_checksummed(path)


def test_a_record_older_than_seals_is_believed(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('{"accuracy": 1.0}')
    assert read_checksummed(tmp_path / "a.json") == {"accuracy": 1.0}


def test_every_single_bit_of_tensors_matters(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    write_tensors(path, {"w": torch.arange(4.0)})
    content, digest = path.read_bytes(), sha256(path)
    assert torch.equal(read_tensors(path, digest)["w"], torch.arange(4.0))
    for bit in range(8 * len(content)):
        flipped = bytearray(content)
        flipped[bit // 8] ^= 1 << bit % 8
        path.write_bytes(flipped)
        with pytest.raises(DamagedError, match="sha256"):
            read_tensors(path, digest)
