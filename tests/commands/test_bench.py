"""`prune-cli bench` as typed: what it measures, its counts by hand, and what it refuses. No test looks at a time."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import QUICK, Answer, everything_in
from tiny_lstm import SMALL
from torch import nn

from prune_cli.analysis import timing
from prune_cli.analysis.multiply_adds import multiply_adds
from prune_cli.analysis.timing import counted, in_turn, timed
from prune_cli.execution import comparison, peers, pruned_model
from prune_cli.runs.paths import Paths

Run = Callable[..., Answer]
VIT = ("prune", "model=vit_micro", "dataset=mnist5k", "scorer=magnitude", "sparsity=98", *QUICK)
DENSE = ("train", "model=vit_micro", "dataset=mnist5k", *QUICK)
LSTM = ("prune", *SMALL, "scorer=transfer_entropy", "sparsity=50")
LSTM_WEIGHTS = ("prune", *SMALL, "scorer=magnitude", "sparsity=50", "recipe=smoke")


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three rounds, memory that nobody measures, and every layer sparse that can be."""
    for name, value in {"WARM_UP": 1, "LEAST": 3, "MOST": 3}.items():
        monkeypatch.setattr(timing, name, value)
    monkeypatch.setattr(comparison, "memory_of", lambda _, __, side, ___: {"dense": 300, "pruned": 100}[side])
    monkeypatch.setattr(pruned_model, "faster_sparse", lambda _, __, names, *___: names)


def folder_of(run: Run, here: Path, *words: str) -> Path:
    answer = run(*words, "--json")
    assert answer.code == 0, answer.err
    return here / "runs" / words[0] / answer.json["hash"]


def measured(run: Run, folder: Path, *words: str) -> dict[tuple[str, int | None, str], dict[str, Any]]:
    answer = run("bench", str(folder), *words, "--json")
    assert answer.code == 0, answer.err
    assert json.loads(Path("results/bench.json").read_text()) == answer.json
    return {(row["quantity"], row["batch"], row["side"]): row for row in answer.json["measurements"]}


@pytest.mark.usefixtures("short")
def test_both_sides_of_every_quantity_are_measured_and_written(run: Run, finished: Run, here: Path) -> None:
    folder = folder_of(finished, here, *VIT)
    found = measured(run, folder, "--batch", "1,3,1")
    quantities = [("model file", None), ("multiply-adds", 1), ("peak memory", 8)]
    quantities += [("latency", 1), ("latency", 3), ("training step", 8)]
    assert list(found) == [(*quantity, side) for quantity in quantities for side in ("dense", "pruned")]
    assert found["model file", None, "dense"]["value"] == 4 * 803_338
    assert found["model file", None, "pruned"]["value"] == (folder / "model.safetensors").stat().st_size
    assert found["peak memory", 8, "pruned"]["ratio"] == 3
    for key, row in found.items():
        repeated = key[0] in ("latency", "training step")
        assert (row["n"], row["p95"] is not None, row["per_second"] is not None) == (
            3 if repeated else 1,
            repeated,
            repeated,
        )
        assert row["ratio_low"] <= row["ratio"] <= row["ratio_high"]
        assert row["sparse_layers"] == (16 if repeated and key[2] == "pruned" else None)
    with Path("results/bench.csv").open() as file:
        rows = list(csv.DictReader(file))
    written = [(row["quantity"], int(row["batch"]) if row["batch"] else None, row["side"]) for row in rows]
    assert written == list(found)
    assert Path("results/bench.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.usefixtures("short")
def test_multiply_adds_of_a_pruned_transformer_are_those_of_its_survivors(run: Run, finished: Run, here: Path) -> None:
    found = measured(run, folder_of(finished, here, *VIT), "--batch", "1")
    tokens, width = 17, 128
    layer = tokens * width * width * (3 + 1 + 4 + 4)  # qkv, proj, fc1, fc2
    attention = 2 * tokens * tokens * width
    rest = 16 * 49 * width + width * 10  # patches, head
    assert found["multiply-adds", 1, "dense"]["value"] == 4 * (layer + attention) + rest
    left = 786_432 - round(0.98 * 786_432)
    pruned = 4 * attention + rest + tokens * left
    assert abs(found["multiply-adds", 1, "pruned"]["value"] - pruned) <= 16  # rounded in each of the layers


def test_multiply_adds_by_hand() -> None:
    model = nn.Sequential(nn.Conv2d(2, 3, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(3 * 16, 5))
    conv, linear = 16 * 3 * 2 * 9, 3 * 16 * 5
    x = torch.zeros(1, 2, 4, 4)
    assert multiply_adds(model, x) == conv + linear
    keep = torch.zeros(5, 48, dtype=torch.bool)
    keep[1, :7] = True
    assert multiply_adds(model, x, {"3.weight": keep}) == conv + 7
    assert multiply_adds(model, torch.cat([x, x]), {"3.weight": keep}) == 2 * (conv + 7)
    assert model[0].weight.device.type == "cpu"


def test_times_and_counts_become_ratios_to_the_first_side() -> None:
    dense, pruned = timed("latency", 4, {"dense": [2.0, 4.0, 6.0], "pruned": [1.0, 1.0, 2.0]}, {"pruned": 5})
    assert (dense.value, dense.ratio, dense.per_second) == (4000, 1, 1)
    assert (pruned.value, pruned.ratio, pruned.per_second, pruned.n, pruned.sparse_layers) == (1000, 3, 4, 3, 5)
    assert (pruned.ratio_low, pruned.ratio_high) == pytest.approx((2.1, 3.9))
    assert pruned.p95 == pytest.approx(1900)
    assert [one.ratio for one in counted("model file", "bytes", {"dense": 10, "pruned": 4})] == [1, 2.5]


def test_sides_are_timed_in_turn_after_a_warm_up(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"WARM_UP": 1, "LEAST": 2, "MOST": 2}.items():
        monkeypatch.setattr(timing, name, value)
    called: list[str] = []
    found = in_turn({name: lambda name=name: called.append(name) for name in "ab"})  # type: ignore[misc]
    assert "".join(called) == "ab" + "ab" + "ba"
    assert {name: len(seconds) for name, seconds in found.items()} == {"a": 2, "b": 2}


@pytest.mark.usefixtures("short")
def test_removed_units_are_timed_before_and_after_shrink(run: Run, finished: Run, here: Path) -> None:
    found = measured(run, folder_of(finished, here, *LSTM), "--batch", "1")
    frames, pixels = 4, 4096
    outside = 16 * 9 * 32 * 32
    for side, units in (("dense", 6), ("pruned", 3)):
        of_lstm = 4 * units * (pixels + units) + units * 8
        assert found["multiply-adds", 1, side]["value"] == frames * (outside + of_lstm)
    saved = 3 * (4 * 4096 + 8 + 8) + 4 * (36 - 9)
    assert found["model file", None, "dense"]["value"] - found["model file", None, "pruned"]["value"] == 4 * saved
    assert found["latency", 1, "pruned"]["sparse_layers"] is None


@pytest.mark.usefixtures("short")
def test_an_lstm_whose_weights_were_pruned_stays_dense(run: Run, finished: Run, here: Path) -> None:
    found = measured(run, folder_of(finished, here, *LSTM_WEIGHTS), "--batch", "1")
    assert found["latency", 1, "pruned"]["sparse_layers"] == 0
    assert found["multiply-adds", 1, "pruned"]["value"] < found["multiply-adds", 1, "dense"]["value"]


@pytest.mark.usefixtures("short")
def test_peers_compute_the_dense_model(run: Run, finished: Run, here: Path) -> None:
    folder = folder_of(finished, here, *VIT)
    installed = [name for name, peer in peers.PEERS.items() if not peer.missing]
    if not installed:
        pytest.skip("no peer is installed")
    found = measured(run, folder, "--batch", "2", "--against", ",".join(("torch", *installed)))
    assert [side for quantity, _, side in found if quantity == "latency"] == ["dense", "pruned", *installed]
    assert [side for quantity, _, side in found if quantity == "training step"] == ["dense", "pruned"]


@pytest.mark.usefixtures("short")
def test_peers_that_are_not_installed_are_named_with_what_to_type(
    run: Run, finished: Run, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = folder_of(finished, here, *VIT)
    monkeypatch.setattr(peers, "find_spec", lambda _: None)
    answer = run("bench", str(folder), "--batch", "1", "--against", "torch,onnxruntime,openvino")
    assert answer.code == 0, answer.err
    (line,) = [line for line in answer.lines if "not installed" in line]
    assert "onnxruntime, openvino" in line and "pip install 'prune-cli[export]' openvino" in line
    for part in ("latency", "training step", "peak memory", "model file", "multiply-adds", "×"):
        assert part in answer.out


@pytest.mark.usefixtures("short")
def test_a_pruned_model_that_answers_otherwise_is_not_measured(
    run: Run, finished: Run, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = folder_of(finished, here, *VIT)
    side = comparison.pruned_side

    def wrong(*given: Any) -> pruned_model.Side:
        made = side(*given)
        with torch.no_grad():
            made.model.get_parameter("head.bias").add_(1)
        return made

    monkeypatch.setattr(comparison, "pruned_side", wrong)
    before = everything_in(here)
    answer = run("bench", str(folder))
    assert (answer.code, "answers otherwise" in answer.err) == (1, True)
    assert everything_in(here) == before


def test_memory_is_that_of_a_process_a_side(finished: Run, here: Path) -> None:
    folder = folder_of(finished, here, *VIT)
    paths = Paths(data=Path(os.environ["PRUNE_CLI_DATA"]))
    found = pruned_model.memory_of(str(folder), paths, "pruned", [])
    assert 1e8 < found < 1e11


WRONG = {
    "an unknown peer": (("--against", "torch,tensorrt"), "--against torch,onnxruntime,openvino"),
    "no peer": (("--against", ""), "there is no peer ''"),
    "an empty batch": (("--batch", "0"), "--batch 1,8"),
    "a batch that is no number": (("--batch", "1,x"), "--batch 1,8"),
    "a batch that is too large": (("--batch", "100000"), "1 to 4096"),
}


@pytest.mark.parametrize(("words", "said"), WRONG.values(), ids=WRONG)
def test_a_wrong_request_is_refused_and_nothing_is_written(
    run: Run, finished: Run, here: Path, words: tuple[str, ...], said: str
) -> None:
    folder = folder_of(finished, here, *VIT)
    before = everything_in(here)
    answer = run("bench", str(folder), *words)
    assert (answer.code, answer.out, len(answer.lines) <= 3) == (2, "", True)
    assert said in answer.err
    assert everything_in(here) == before


@pytest.mark.parametrize(
    ("words", "said"),
    [(DENSE, "nothing was removed"), ((*LSTM, "removal=readout"), "still hears its units")],
    ids=["dense", "readout"],
)
def test_runs_that_left_nothing_smaller_are_refused(
    run: Run, finished: Run, here: Path, words: tuple[str, ...], said: str
) -> None:
    answer = run("bench", str(folder_of(finished, here, *words)))
    assert (answer.code, said in answer.err, len(answer.lines) <= 3) == (2, True, True)
    assert not (here / "results/bench.csv").exists()
