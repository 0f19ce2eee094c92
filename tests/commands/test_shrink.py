"""`prune-cli shrink` as typed: what it records and what it checks. The runs that it refuses: test_video_requests.py."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from conftest import Answer, everything_in, rewrite_manifest, stored_mask, stored_model
from safetensors.torch import load_file, save_file
from tiny_lstm import SMALL

from prune_cli.runs.files import sha256

Run = Callable[..., Answer]
TE = ("scorer=transfer_entropy", "sparsity=50")


def pruned(run: Run, *words: str) -> str:
    answer = run("prune", *SMALL, *words, "--json")
    assert answer.code == 0, answer.err
    return answer.json["hash"]


def test_a_smaller_lstm_is_written_beside_the_run_and_says_what_it_saves(run: Run, finished: Run, here: Path) -> None:
    name = pruned(finished, *TE)
    folder = here / "runs/prune" / name
    answer = run("shrink", name, "--json")
    assert answer.code == 0, answer.err
    found, tensors = answer.json, load_file(folder / "shrunk.safetensors")
    assert found["units"] == 3
    assert tensors["lstm.weight_hh_l0"].shape == (12, 3)
    assert tensors["head.weight"].shape == (8, 3)
    assert found["parameters_before"] - found["parameters"] == 3 * (4 * 4096 + 8 + 8) + 4 * (36 - 9)
    assert found["bytes"] == (folder / "shrunk.safetensors").stat().st_size < 0.6 * found["bytes_before"]
    assert found["accuracy"] == found["accuracy_recorded"]
    assert found["largest_difference"] < 1e-5
    card = json.loads((folder / "shrunk.json").read_text())
    assert card == found | {"sha256": sha256(folder / "shrunk.safetensors")}
    assert f"model=lstm128 model.units=3 model.weights={Path('runs/prune', name, 'shrunk.safetensors')}" in answer.err


def test_a_fine_tuned_run_can_be_shrunk(run: Run) -> None:
    found = run("shrink", pruned(run, *TE, "recipe.epochs=1"), "--json").json
    assert (found["units"], found["accuracy"]) == (3, found["accuracy_recorded"])


def test_the_smaller_lstm_is_measured_in_the_precision_of_the_run(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    from prune_cli.commands import shrink as command
    from prune_cli.training.evaluate import evaluate

    asked: list[tuple] = []

    def told(model: torch.nn.Module, batches: object, *precision: str) -> object:
        asked.append(precision)
        return evaluate(model, batches, *precision)  # type: ignore[arg-type]

    name = pruned(run, *TE, "compute.precision=bf16")
    monkeypatch.setattr(command, "evaluate", told)
    found = run("shrink", name, "--json").json
    assert asked == [("bf16",)]
    assert found["accuracy"] == found["accuracy_recorded"]


def test_a_smaller_lstm_that_answers_otherwise_is_not_written(
    run: Run, finished: Run, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from prune_cli.targets.units import Recurrence
    from prune_cli.units.removal import shrink

    def wrong(_: Recurrence, model: torch.nn.Module, mask: dict) -> torch.nn.Module:
        small = shrink(model, mask)
        with torch.no_grad():
            small.head.bias += 0.01  # type: ignore[union-attr,operator]
        return small

    name = pruned(finished, *TE)
    before = everything_in(here)
    monkeypatch.setattr(Recurrence, "shrink", wrong)
    answer = run("shrink", name)
    assert (answer.code, len(answer.lines) <= 3) == (1, True)
    assert "answers otherwise" in answer.err
    assert everything_in(here) == before


def test_a_unit_that_came_back_is_found_first(run: Run, finished: Run, here: Path) -> None:
    folder = here / "runs/prune" / pruned(finished, *TE)
    tensors, keep = stored_model(folder), stored_mask(folder)["lstm"]
    tensors["lstm.weight_hh_l0"][3, ~keep] = 1e-6
    save_file(tensors, folder / "model.safetensors")
    rewrite_manifest(folder)
    answer = run("shrink", folder.name)
    assert (answer.code, "lstm.weight_hh_l0" in answer.err) == (1, True)
