"""Files are whole or absent."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

from prune_cli.runs.files import sha256, whole, write_csv, write_json, write_tensors, write_text, write_yaml

WRITERS = {
    "text": lambda path: write_text(path, "α θ²\n"),
    "json": lambda path: write_json(path, {"b": 1, "a": [0.1, None]}),
    "yaml": lambda path: write_yaml(path, {"b": 1, "a": {"c": None}}),
    "csv": lambda path: write_csv(path, pd.DataFrame({"x": [0.1]})),
    "tensors": lambda path: write_tensors(path, {"w": torch.ones(2)}),
}
FAILING = {
    "text": lambda path: write_text(path, "\ud800"),  # cannot be encoded
    "json": lambda path: write_json(path, {"a": object()}),
    "tensors": lambda path: write_tensors(path, {"w": torch.ones(2).to_sparse()}),
}


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("stop", [RuntimeError, KeyboardInterrupt, SystemExit, MemoryError])
def test_a_block_that_is_stopped_leaves_no_file(tmp_path: Path, stop: type[BaseException]) -> None:
    with pytest.raises(stop), whole(tmp_path / "a.txt") as temporary:
        temporary.write_text("half")
        raise stop
    assert names(tmp_path) == []


@pytest.mark.parametrize("stop", [RuntimeError, KeyboardInterrupt])
def test_a_block_that_is_stopped_leaves_an_older_file_as_it_was(tmp_path: Path, stop: type[BaseException]) -> None:
    (tmp_path / "a.txt").write_text("old")
    with pytest.raises(stop), whole(tmp_path / "a.txt") as temporary:
        temporary.write_text("half of the new")
        raise stop
    assert names(tmp_path) == ["a.txt"]
    assert (tmp_path / "a.txt").read_text() == "old"


def test_the_file_has_its_name_only_when_it_is_whole(tmp_path: Path) -> None:
    with whole(tmp_path / "deep/er/a.txt") as temporary:
        temporary.write_text("new")
        assert temporary.name.endswith(".tmp")
        assert names(tmp_path / "deep/er") == [temporary.name]
    assert names(tmp_path / "deep/er") == ["a.txt"]
    assert (tmp_path / "deep/er/a.txt").read_text() == "new"


def test_a_block_that_writes_nothing_is_a_failure(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), whole(tmp_path / "a.txt"):
        pass
    assert names(tmp_path) == []


@pytest.mark.parametrize("write", WRITERS.values(), ids=WRITERS.keys())
def test_every_writer_replaces_the_file_and_leaves_nothing_else(tmp_path: Path, write: Callable[[Path], None]) -> None:
    (tmp_path / "a").write_text("old")
    write(tmp_path / "a")
    assert names(tmp_path) == ["a"]
    assert (tmp_path / "a").read_bytes() != b"old"


@pytest.mark.parametrize("write", FAILING.values(), ids=FAILING.keys())
def test_a_writer_that_fails_leaves_the_older_file(tmp_path: Path, write: Callable[[Path], None]) -> None:
    (tmp_path / "a").write_text("old")
    with pytest.raises((ValueError, TypeError, RuntimeError)):
        write(tmp_path / "a")
    assert names(tmp_path) == ["a"]
    assert (tmp_path / "a").read_text() == "old"


def test_what_is_written_can_be_read_again(tmp_path: Path) -> None:
    for name, write in WRITERS.items():
        write(tmp_path / name)
    assert (tmp_path / "text").read_text(encoding="utf-8") == "α θ²\n"
    assert json.loads((tmp_path / "json").read_text()) == {"b": 1, "a": [0.1, None]}
    assert (tmp_path / "yaml").read_text() == "b: 1\na:\n  c: null\n"
    assert (tmp_path / "csv").read_text() == "x\n0.1\n"
    assert torch.equal(load_file(tmp_path / "tensors")["w"], torch.ones(2))


def test_tensors_of_any_layout_are_written_and_others_may_read_them(tmp_path: Path) -> None:
    weight = torch.nn.Parameter(torch.arange(6.0).view(2, 3).t())
    write_tensors(tmp_path / "w.safetensors", {"w": weight, "keep": weight > 2})
    found = load_file(tmp_path / "w.safetensors")
    assert torch.equal(found["w"], weight.detach())
    assert found["keep"].dtype == torch.bool
    (tmp_path / "plain").touch()
    assert (tmp_path / "w.safetensors").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_sha256_is_that_of_the_bytes(tmp_path: Path) -> None:
    content = bytes(range(256)) * 1000
    (tmp_path / "a").write_bytes(content)
    assert sha256(tmp_path / "a") == hashlib.sha256(content).hexdigest()
