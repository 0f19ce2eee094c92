"""Runs are stored small, and runs of earlier versions, with plain weights and masks of a byte a weight, still serve everywhere."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import QUICK, Answer, rewrite_manifest, stored_mask, stored_model
from safetensors.torch import load_file, save_file
from tiny_lstm import SMALL

import prune_cli
from prune_cli.runs import compressed
from prune_cli.runs.files import sha256

Run = Callable[..., Answer]
VIT = ("prune", "model=vit_micro", "dataset=mnist5k", "scorer=magnitude", "sparsity=98", *QUICK)
LSTM = ("prune", *SMALL, "scorer=transfer_entropy", "sparsity=50")
FILES = ("model.safetensors", "mask.safetensors")


def made(run: Run, here: Path, *words: str) -> Path:
    answer = run(*words, "--json")
    assert answer.code == 0, answer.err
    return here / "runs" / words[0] / answer.json["hash"]


def as_before(folder: Path) -> None:
    """Make of a run's files what earlier versions wrote."""
    model, mask = stored_model(folder), stored_mask(folder)
    save_file(model, folder / "model.safetensors")
    save_file(mask, folder / "mask.safetensors")
    rewrite_manifest(folder)


@pytest.fixture
def twins(finished: Run, here: Path, request: pytest.FixtureRequest) -> tuple[Path, Path]:
    """A run as it is stored now, and as it was stored before, each in a runs folder of its own."""
    new = made(finished, here, *request.param)
    old = here / "old" / "prune" / new.name
    shutil.copytree(new, old)
    as_before(old)
    return new, old


def test_a_pruned_run_is_stored_small_and_a_dense_one_plainly(run: Run, here: Path) -> None:
    folder = made(run, here, *VIT)
    assert [compressed.is_compressed(folder / name) for name in FILES] == [True, True]
    found = compressed.read(folder / "model.safetensors")
    dense = sum(4 * t.numel() for t in found.state_dict().values())
    assert (folder / "model.safetensors").stat().st_size < 0.06 * dense
    assert (folder / "mask.safetensors").stat().st_size < 0.03 * 786_432
    assert found.mask().keys() == stored_mask(folder).keys()
    assert all(bool((keep == stored_mask(folder)[name]).all()) for name, keep in found.mask().items())
    card = found.model
    assert (card["classes"], card["class_names"][3], card["input"]["mean"]) == (10, "3", [0.286])
    assert card["model"] == {
        "name": "vit_micro",
        "weights": "random",
        "prunable": card["model"]["prunable"],
    }
    dense_run = made(run, here, "prune", "model=vit_micro", "dataset=mnist5k", "sparsity=dense", *QUICK)
    assert not any(compressed.is_compressed(dense_run / name) for name in FILES)
    assert load_file(dense_run / "model.safetensors").keys() == found.state_dict().keys()


@pytest.mark.parametrize("twins", [VIT, LSTM], indirect=True, ids=["weights", "units"])
def test_an_older_run_gives_what_a_newer_one_gives(run: Run, here: Path, twins: tuple[Path, Path]) -> None:
    new, old = twins
    assert sha256(new / "mask.safetensors") != sha256(old / "mask.safetensors")
    again = [run("evaluate", str(folder), "--json").json["accuracy"] for folder in twins]
    assert again[0] == again[1]
    for folder in twins:
        assert run("verify", str(folder)).code == 0
    packed = [run("pack", str(folder), "--to", str(here / f"packed{at}")).code for at, folder in enumerate(twins)]
    assert packed == [0, 0]


@pytest.mark.parametrize("twins", [LSTM], indirect=True)
def test_an_older_run_is_shrunk_to_the_same_weights(run: Run, twins: tuple[Path, Path]) -> None:
    for folder in twins:
        assert run("shrink", str(folder)).code == 0
    digests = {sha256(folder / "shrunk.safetensors") for folder in twins}
    assert len(digests) == 1


@pytest.mark.parametrize("twins", [VIT], indirect=True)
def test_a_mask_names_the_same_run_in_either_form_and_in_a_compressed_model(run: Run, twins: tuple[Path, Path]) -> None:
    new, old = twins
    words = ("prune", "model=vit_micro", "dataset=mnist5k", *QUICK, "--dry-run", "--json")
    files = [new / "mask.safetensors", old / "mask.safetensors", new / "model.safetensors"]
    plans = [run(*words, f"mask={file}").json for file in files]
    assert len({plan["run"] for plan in plans}) == 1
    assert plans[0]["kept"] == round(0.02 * 786_432)


@pytest.mark.parametrize("twins", [VIT], indirect=True)
def test_an_older_run_is_loaded_and_exported_to_the_same_bytes(run: Run, twins: tuple[Path, Path]) -> None:
    new, old = (prune_cli.load(folder) for folder in twins)
    assert all(bool((tensor == new.state_dict()[name]).all()) for name, tensor in old.state_dict().items())
    assert (old.card.classes, old.card.input) == (new.card.classes, new.card.input)
    for folder in twins:
        assert run("export", str(folder), "--format", "compressed").code == 0
    assert len({sha256(folder / "exported-compressed.safetensors") for folder in twins}) == 1
