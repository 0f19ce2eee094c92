"""The request of a run: what was planned is what is read, whatever of it is missing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prune_cli.runs.files import DamagedError
from prune_cli.runs.paths import Paths
from prune_cli.runs.run_request import RunRequest, read_request, write_request

FOLDERS = st.text("abc d", min_size=1).map(lambda name: Path("/", name.strip() or "x"))
CONFIGS = st.dictionaries(st.text(), st.none() | st.booleans() | st.integers() | st.text() | st.lists(st.text()))
REQUESTS = st.builds(
    RunRequest,
    st.sampled_from(["prune", "train"]),
    CONFIGS,
    st.builds(Paths, FOLDERS, FOLDERS, FOLDERS, st.none() | FOLDERS, st.lists(FOLDERS).map(tuple)),
    st.lists(st.text()).map(tuple),
    st.none() | FOLDERS,
    st.sampled_from(["auto", "cpu", "cuda"]),
    st.integers(1, 64),
)


@given(REQUESTS)
def test_a_request_comes_back_from_its_json(request: RunRequest) -> None:
    assert RunRequest.from_json(json.loads(json.dumps(request.to_json()))) == request


def test_a_request_holds_every_path_in_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_request(tmp_path, RunRequest(cwd=Path()))
    monkeypatch.chdir("/")
    found = read_request(tmp_path)
    assert found.paths == Paths(tmp_path / "runs", tmp_path / "results", tmp_path / "datasets", None)
    assert found.cwd == tmp_path


def test_what_is_missing_has_its_default_and_what_is_new_is_left_out(tmp_path: Path) -> None:
    (tmp_path / "request.json").write_text('{"device": "cpu", "newer": 1}')
    assert read_request(tmp_path) == RunRequest(device="cpu")


@pytest.mark.parametrize("content", ["", "{", "[]", '{"paths": 3}', '{"processes": "two"}', "[" * 100_000])
def test_what_is_no_request_is_named(tmp_path: Path, content: str) -> None:
    (tmp_path / "request.json").write_text(content)
    with pytest.raises(DamagedError, match="no request"):
        read_request(tmp_path)


def test_a_run_without_a_request_has_none(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_request(tmp_path)
