"""Damage is found: by `verify`, and by every command that reads a damaged file. And packed runs."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from conftest import QUICK, Answer, everything_in

from prune_cli.commands.verify import verify
from prune_cli.common import interrupts

Run = Callable[..., Answer]
SMOKE = ("model.weights=random", *QUICK)
FLIPS = 50


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the first test that needs runs leaves a copy of them."""
    return tmp_path_factory.mktemp("kept") / "runs"


@pytest.fixture
def runs(run: Run, here: Path, kept: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A runs folder with a finished run, its scores, and a run that was stopped after a step."""
    if not kept.exists():
        assert run("prune", *SMOKE, "scorer=snip").code == 0
        with monkeypatch.context() as patched:
            patched.setattr(interrupts, "stop_requested", lambda: True)
            assert run("prune", *SMOKE, "scorer=snip", "sparsity=90").code == 130
        shutil.copytree(here / "runs", kept)
    shutil.copytree(kept, here / "runs", dirs_exist_ok=True)
    return here / "runs"


def artefacts(runs: Path) -> list[Path]:
    """Every file whose digest is kept, and the records that keep them."""
    aside = {"run.log", "status.json"}
    found = [path for path in sorted(runs.glob("*/*/*")) if path.is_file() and path.name not in aside]
    return [path for path in found if ".locks" not in path.parts]


def test_whole_runs_pass(run: Run, runs: Path) -> None:
    answer = run("verify", "--json")
    assert answer.code == 0
    states = [(found["state"], found["files"], found["damaged"]) for found in answer.json["runs"]]
    assert states == [("whole", 2, []), ("whole", 5, []), ("whole", 2, [])] or len(states) == 3
    assert {path.name for path in artefacts(runs)} == {
        *("manifest.json", "config.yaml", "metrics.csv", "layers.csv", "mask.safetensors", "model.safetensors"),
        *("scores.safetensors", "checkpoint.json", "checkpoint-a.safetensors"),
        *("checkpoint-scored.json", "checkpoint-mask.safetensors"),
    }
    one = next((runs / "prune").glob("*/manifest.json")).parent
    assert "whole" in run("verify", str(one)).out
    assert run("verify", one.name[:6]).code == 0


def test_fifty_single_bits_flipped_over_all_kinds_of_files_are_found(runs: Path) -> None:
    draw, paths = random.Random(0), artefacts(runs)
    for number in range(FLIPS):
        path = paths[number % len(paths)]
        with damaged(path, lambda content: flip(content, draw.randrange(8 * len(content)))):
            found = [line for checked in verify([], runs) for line in checked.damaged]
            assert len(found) == 1 and found[0].startswith(path.name), (path, found)
    assert not any(checked.damaged for checked in verify([], runs))


def test_ten_truncations_are_ten_clear_errors(run: Run, runs: Path) -> None:
    """Each by the command that reads the file, in three lines or fewer, without a traceback."""
    finished = next((runs / "prune").glob("*/manifest.json")).parent
    stopped = next((runs / "prune").glob("*/checkpoint.json")).parent
    scored = next((runs / "score").glob("*/manifest.json")).parent
    again = ("prune", *SMOKE, "scorer=snip")
    readers = {
        finished / "model.safetensors": ("evaluate", str(finished)),
        finished / "mask.safetensors": ("evaluate", str(finished)),
        finished / "manifest.json": ("evaluate", str(finished)),
        finished / "metrics.csv": ("pack", "--to", "packed"),
        finished / "layers.csv": ("pack", "--to", "packed"),
        finished / "config.yaml": ("pack", "--to", "packed"),
        scored / "scores.safetensors": (*again, "sparsity=95"),
        scored / "manifest.json": (*again, "sparsity=95"),
        stopped / "checkpoint.json": ("verify",),
        stopped / "checkpoint-a.safetensors": ("verify", "--runs-dir", "runs"),
    }
    assert len(readers) == 10
    for path, words in readers.items():
        with damaged(path, lambda content: content[: len(content) // 2]):
            answer = run(*words)
            assert answer.code == 1, (path, answer)
            assert path.name in answer.err + answer.out, (path, answer)
            said = [line for line in answer.lines if line.startswith(("error:", "where:", "try:"))]
            assert len(said) in (0, 3) and "Traceback" not in answer.err, answer.err


@pytest.fixture
def neighbour(runs: Path) -> Path:
    """A finished run beside the other one whose record is half of what it was."""
    finished = next((runs / "prune").glob("*/manifest.json")).parent
    folder = runs / "prune" / ("f" * 12)
    shutil.copytree(finished, folder)
    (folder / "manifest.json").write_bytes((finished / "manifest.json").read_bytes()[:900])
    return folder


def test_a_damaged_record_is_named_once_and_stops_nothing_that_did_not_ask_for_it(
    run: Run, here: Path, neighbour: Path
) -> None:
    sound = next(
        path.name for path in neighbour.parent.iterdir() if (path / "layers.csv").exists() and path != neighbour
    )
    for words in (
        ("table", "1", "--all"),
        ("prune", *SMOKE, "scorer=snip"),
        ("sweep", *SMOKE, "scorer=snip", "sparsity=98"),
        ("sweep", *SMOKE, "scorer=snip", "sparsity=98,97", "--dry-run"),
    ):
        answer = run(*words)
        assert answer.code == 0, answer.err
        assert answer.err.count(f"left out: runs/prune/{neighbour.name}/manifest.json: this record is not JSON") == 1
    assert list(pd.read_csv(here / "results/runs.csv").hash) == [sound]
    assert run("evaluate", sound[:5]).code == 0
    packed = run("pack", "--to", "packed", "--json")
    assert packed.code == 1 and neighbour.name in packed.err
    assert [Path(row["run"]).name for row in packed.json["packed"]] == [sound]
    assert [row["run"] for row in packed.json["damaged"]] == [f"runs/prune/{neighbour.name}"]
    assert not (here / "packed/prune" / neighbour.name).exists()
    for words in (("evaluate", neighbour.name), ("pack", neighbour.name, "--to", "packed"), ("verify", neighbour.name)):
        assert run(*words).code == 1


@pytest.mark.parametrize("content", [b"", b"{}", b"[1]", b"\xff", b"[" * 100_000, None])
def test_whatever_a_record_has_become_tables_leave_it_out(run: Run, neighbour: Path, content: bytes | None) -> None:
    (neighbour / "manifest.json").unlink()
    if content is None:
        (neighbour / "manifest.json").mkdir()
    else:
        (neighbour / "manifest.json").write_bytes(content)
    answer = run("table", "1", "--all")
    assert answer.code == 0, answer.err
    assert answer.err.count(f"left out: runs/prune/{neighbour.name}/manifest.json") == 1


def test_the_copy_of_a_run_is_not_a_second_run(run: Run, here: Path, runs: Path) -> None:
    finished = next((runs / "prune").glob("*/manifest.json")).parent
    shutil.copytree(finished, finished.with_name("before"))
    assert "before/manifest.json: this is the record of another run" in run("prune", *SMOKE, "scorer=snip").err
    assert len(pd.read_csv(here / "results/runs.csv")) == 1


def test_a_sweep_that_asks_for_a_damaged_run_is_refused_before_any_work(run: Run, here: Path, runs: Path) -> None:
    finished = next((runs / "prune").glob("*/manifest.json"))
    before = everything_in(here)
    with damaged(finished, lambda content: content[:900]):
        for more in ((), ("--dry-run",)):
            answer = run("sweep", *SMOKE, "scorer=snip", "sparsity=97,98", *more)
            assert (answer.code, len(answer.lines)) == (1, 3), answer.err
            assert str(finished.parent.name) in answer.err
    assert everything_in(here) == before


@pytest.mark.usefixtures("runs")
def test_the_points_of_the_last_sweep_are_not_guessed(run: Run, here: Path) -> None:
    assert run("sweep", *SMOKE, "scorer=snip", "sparsity=98").code == 0
    points = here / "results/sweep.json"
    for damage in (lambda content: content[:900], lambda content: content.replace(b"98.0", b"95.0"), lambda _: b"{}"):
        with damaged(points, damage):
            answer = run("table", "2")
            assert (answer.code, len(answer.lines)) == (1, 3), answer.err
            assert "sweep.json" in answer.err and "--all" in answer.err
            assert run("table", "2", "--all").code == 0
    assert run("table", "2").code == 0


def test_a_damaged_file_of_a_run_is_not_used_as_mask_or_weights(run: Run, runs: Path) -> None:
    finished = next((runs / "prune").glob("*/manifest.json")).parent
    for option, name in (("mask", "mask.safetensors"), ("model.weights", "model.safetensors")):
        words = ("prune", *QUICK, *(SMOKE[:1] if option == "mask" else ()), f"{option}={finished / name}")
        with damaged(finished / name, lambda content: flip(content, 8 * len(content) - 8)):
            answer = run(*words, "--dry-run")
            assert answer.code == 1 and "sha256" in answer.err, answer.err
        assert run(*words, "--dry-run").code == 0


def test_a_stopped_run_with_a_damaged_checkpoint_begins_again_and_says_so(run: Run, runs: Path) -> None:
    stopped = next((runs / "prune").glob("*/checkpoint.json")).parent
    (stopped / "checkpoint-a.safetensors").write_bytes(b"\0" * 100)
    (stopped / "checkpoint-mask.safetensors").write_bytes(b"\0" * 100)
    answer = run("prune", *SMOKE, "scorer=snip", "sparsity=90")
    assert answer.code == 0
    assert "the checkpoint is not used" in answer.err
    assert run("verify").code == 0


def test_packed_runs_count_as_finished_and_say_that_they_hold_no_weights(run: Run, runs: Path, here: Path) -> None:
    packed = run("pack", "--to", "packed", "--json").json["packed"]
    (name,) = [Path(row["run"]).name for row in packed]
    folder = here / "packed/prune" / name
    assert everything_in(folder) == {"manifest.json", "config.yaml", "metrics.csv", "layers.csv"}
    assert packed[0]["bytes"] < 40_000
    record = json.loads((folder / "manifest.json").read_text())
    assert len(record["mask_digest"]) == 64 and record["files"].keys() >= {"model.safetensors", "mask.safetensors"}
    again = run("prune", *SMOKE, "scorer=snip", "--runs-dir", "packed")
    assert again.code == 0 and "this run is finished" in again.err
    assert run("verify", "--runs-dir", "packed", "--json").json["runs"][0]["files"] == 3
    refused = run("evaluate", str(folder))
    assert refused.code == 1 and "holds no weights" in refused.err
    shutil.rmtree(runs)
    assert run("table", "1", "--all", "--runs-dir", "packed").code == 0


def test_wrong_requests(run: Run, runs: Path) -> None:
    for words, said in (
        (("verify", "nothing"), "no finished run"),
        (("verify", "--runs-dir", "nowhere"), "there is no run"),
        (("pack", "--to", str(runs)), "own folder"),
        (("pack",), "--to"),
        (("run", "nowhere"), "request.json"),
    ):
        answer = run(*words)
        assert (answer.code, len(answer.lines) <= 3) == (2, True), answer.err
        assert said in answer.err


def flip(content: bytes, bit: int) -> bytes:
    flipped = bytearray(content)
    flipped[bit // 8] ^= 1 << bit % 8
    return bytes(flipped)


class damaged:  # noqa: N801 - reads as a word
    """Meanwhile a file has another content."""

    def __init__(self, path: Path, damage: Callable[[bytes], bytes]):
        self._path, self._content = path, path.read_bytes()
        self._new = damage(self._content)

    def __enter__(self) -> None:
        self._path.write_bytes(self._new)

    def __exit__(self, *_: object) -> None:
        self._path.write_bytes(self._content)
