"""A finished run measured again: its images are prepared as the run did, whatever the weights were called."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import huggingface_hub.constants
import pandas as pd
import pytest
import torch
from conftest import QUICK, Answer
from safetensors.torch import save_file

from prune_cli.models.registry import ImageInput
from prune_cli.models.timm_arch import TimmArch
from prune_cli.runs.files import write_checksummed
from prune_cli.runs.identity import sources

Run = Callable[..., Answer]
ARCH, TAG = "mobilenetv3_large_100", "miil_in21k"  # mean 0 and std 1, where the default tag has those of ImageNet
DIGITS = ("model=vit_micro", "dataset=mnist5k", "scorer=magnitude", *QUICK)
SMALL = ("model=timm", "model.image_size=32", "scorer=magnitude", "sparsity=50", "recipe=smoke")


@pytest.fixture
def weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Made-up weights of the tag, in the cache of the hub."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    model = TimmArch(ARCH, f"hub:{TAG}")
    folder = tmp_path / "hub" / f"models--{model.hub_id.replace('/', '--')}"
    path = folder / "snapshots/1234/model.safetensors"
    path.parent.mkdir(parents=True)
    (folder / "refs").mkdir()
    (folder / "refs/main").write_text("1234")
    torch.manual_seed(5)
    save_file(model.build(11_221).state_dict(), path)
    return path


def pruned(run: Run, *words: str) -> dict:
    answer = run("prune", *SMALL, *words, "--json")
    assert answer.code == 0, answer.err
    return answer.json


def test_a_run_of_another_tag_is_measured_with_the_images_of_that_tag(
    run: Run, finished: Run, here: Path, weights: Path
) -> None:
    record = pruned(finished, f"model.arch={ARCH}", f"model.weights=hub:{TAG}")
    weights.unlink()  # the run's own file is enough
    found = run("evaluate", record["hash"], "--json").json
    recorded = pd.read_csv(here / "runs/prune" / record["hash"] / "metrics.csv").iloc[-1]
    assert found["loss"] == pytest.approx(recorded.test_loss, rel=1e-12)
    assert found["accuracy"] == record["accuracy_last"]
    assert (record["input"]["mean"], record["input"]["std"]) == ([0, 0, 0], [1, 1, 1])


def test_a_file_is_another_run_unless_its_tag_is_told(run: Run, finished: Run, weights: Path) -> None:
    of_tag = pruned(finished, f"model.arch={ARCH}", f"model.weights=hub:{TAG}")
    untold = pruned(run, f"model.arch={ARCH}", f"model.weights={weights}")
    assert of_tag["weights_sha256"] == untold["weights_sha256"]
    assert of_tag["hash"] != untold["hash"]
    assert untold["input"]["mean"] == [0.485, 0.456, 0.406]
    told = run("prune", *SMALL, f"model.arch={ARCH}.{TAG}", f"model.weights={weights}", "--json")
    assert "this run is finished" in told.err
    assert told.json["hash"] == of_tag["hash"]


@pytest.mark.usefixtures("weights")
def test_a_timm_that_prepares_images_otherwise_measures_nothing(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    record = pruned(run, f"model.arch={ARCH}", "model.weights=random")
    before = TimmArch.pretrained_input

    def moved(model: TimmArch) -> ImageInput:
        return replace(before.fget(model), mean=(0.5, 0.5, 0.5))  # type: ignore[misc]

    monkeypatch.setattr(TimmArch, "pretrained_input", property(moved))
    answer = run("evaluate", record["hash"])
    assert answer.code == 1
    assert "prepares images otherwise" in answer.err
    assert f"timm {record['versions']['timm']}" in answer.err


@pytest.mark.parametrize("command", ["evaluate", "shrink", "bench"])
@pytest.mark.parametrize("kind", ["score", "ablate"])
def test_a_run_that_stored_no_model_is_refused_in_plain_words(run: Run, here: Path, command: str, kind: str) -> None:
    folder = here / "runs" / kind / "123412341234"
    folder.mkdir(parents=True)
    (folder / "manifest.json").write_text('{"hash": "123412341234", "config": {}}')
    answer = run(command, str(folder))
    assert answer.code == 2
    assert answer.lines[0] == "error: no model was stored in this run"


@pytest.mark.parametrize(
    ("part", "value"),
    [("recipe", {}), ("recipe", "x"), ("model", 3), ("compute", [1]), ("seed", None), ("mask", None)],
)
def test_options_that_are_none_are_told_by_the_file(run: Run, finished: Run, here: Path, part: str, value: Any) -> None:
    name = finished("prune", *DIGITS, "--json").json["hash"]
    manifest = here / "runs/prune" / name / "manifest.json"
    record = json.loads(manifest.read_text())
    del record["sha256"]
    record["config"] = {key: given for key, given in (record["config"] | {part: value}).items() if given is not None}
    write_checksummed(manifest, record)
    answer = run("evaluate", name)
    assert (answer.code, answer.lines[-2]) == (1, f"where: {Path('runs/prune', name, 'manifest.json')}")
    assert "this record's 'config' is of no run" in answer.err


@pytest.mark.parametrize("scorer", [None, 3, "source_sha256"])
def test_a_part_of_an_identity_that_is_no_object_is_of_no_plug_in(scorer: Any) -> None:
    assert list(sources({"scorer": scorer})) == []
