"""Wrong requests of the recurrent half, as typed, and `prune-cli shrink` of runs that leave a smaller LSTM or none."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import Answer, everything_in
from safetensors.torch import load_file, save_file
from tiny_lstm import SMALL, SMALL_CLIPS

Run = Callable[..., Answer]
VIDEO = ("model=lstm128", "dataset=action_mnist")  # 20 frames of 64 pixels
TE = (*VIDEO, "scorer=transfer_entropy")
SHIFTED = ("scorer.surrogates=9", "scorer.surrogate_kind=shift")
MASKED = (*SMALL, "recipe=none")  # of 6 units
NO_UNITS = ("vit_micro", "no recurrent units", "model=lstm128")
OF_WEIGHTS = ("single weights, not units",)
UNITS = 6


WRONG: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "a scorer of units on a ViT": (("prune", "scorer=transfer_entropy"), ("scorer=transfer_entropy", *NO_UNITS)),
    "its scores alone": (("score", "scorer=weight_norm"), ("scorer=weight_norm", *NO_UNITS)),
    "it in a sweep": (("sweep", "scorer=snip,mutual_information"), ("scorer=mutual_information", *NO_UNITS)),
    "units of a ViT": (("prune", "removal=recurrence"), ("removal=recurrence", *NO_UNITS)),
    "random units of a ViT": (("score", "removal=readout", "scorer=random"), ("removal=readout", *NO_UNITS)),
    "images for an LSTM": (("prune", "model=lstm128"), ("lstm128 sees clips", "dataset=mnist5k")),
    "images to train an LSTM": (("train", "model=lstm128"), ("lstm128 sees clips", "dataset=mnist5k")),
    "clips for a ViT": (("prune", "dataset=action_mnist"), ("vit_micro sees images", "model=vit_micro")),
    "a lag longer than the clips": (("prune", *TE, "scorer.lag=50"), ("20 frames are too short", "scorer.lag", "51")),
    "histories longer than the clips": (("score", *TE, "scorer.target_history=20"), ("need 21", "dataset.frames")),
    "units by a scorer of weights": (("prune", *VIDEO, "removal=recurrence", "scorer=snip"), ("snip scores weights",)),
    "its scores of units": (("score", *VIDEO, "removal=readout", "scorer=snip"), ("removal=readout", "not units")),
    "weights by a scorer of units": (("prune", *TE, "removal=weights"), ("transfer_entropy scores units",)),
    "units drawn anew": (("prune", *TE, "control=reinit"), ("control=reinit", *OF_WEIGHTS)),
    "units by magnitude": (("prune", *TE, "control=layerwise_magnitude"), ("control=layerwise_magnitude", *OF_WEIGHTS)),
    "a pattern of units": (("prune", *TE, "sparsity=50", "sparsity.pattern=2:4"), ("sparsity.pattern", *OF_WEIGHTS)),
    "a pattern of random units": (
        ("prune", *VIDEO, "scorer=random", "sparsity=50", "sparsity.pattern=2:4"),
        ("sparsity.pattern", *OF_WEIGHTS),
    ),
    "rows of units": (("prune", *TE, "sparsity.scope=row"), ("sparsity.scope=row", "sparsity.scope=global")),
    "clips cut and mixed": (
        ("prune", *TE, "recipe.epochs=1", "recipe.cutmix_alpha=1"),
        ("CutMix", "recipe.cutmix_alpha=0"),
    ),
    "clips mirrored": (
        ("prune", *TE, "recipe.epochs=1", "recipe.horizontal_flip=true"),
        ("mirrored", "recipe.horizontal_flip=false"),
    ),
    "a recipe for images": (("train", *VIDEO, "recipe=pretrain"), ("mirrored", "recipe.horizontal_flip")),
    "a typo in keep": (("prune", *TE, "scorer.keep=lo"), ("did you mean scorer.keep=low?",)),
    "a typo in source": (("prune", *TE, "scorer.source=labl"), ("did you mean scorer.source=label?",)),
    "a typo in binning": (("prune", *TE, "scorer.binning=equl"), ("did you mean scorer.binning=equal?",)),
    "a typo in the kind of surrogates": (
        ("prune", *TE, "scorer.surrogate_kind=shifts"),
        ("did you mean scorer.surrogate_kind=shift?",),
    ),
    "what a unit tells of a label that never changes": (
        ("score", *TE, "scorer.source=label", "scorer.direction=from_unit"),
        ("each clip has one label", "scorer.source=label", "scorer.source=output, or dataset.actions_per_clip=2"),
    ),
    "a label that never changes shifted in time": (
        ("score", *VIDEO, "scorer=mutual_information", "scorer.source=label", *SHIFTED),
        ("each clip has one label", "scorer.source=label", "scorer.source=output, or dataset.actions_per_clip=2"),
    ),
    "a typo in direction": (
        ("prune", *TE, "scorer.direction=to_units"),
        ("did you mean scorer.direction=to_unit?",),
    ),
    "a typo in removal": (("prune", *TE, "removal=recurence"), ("did you mean removal=recurrence?",)),
    "a typo in its kind": (("prune", *TE, "removal.kind=recurence"), ("did you mean removal.kind=recurrence?",)),
    "an option of another measure": (
        ("prune", *VIDEO, "scorer=mutual_information", "scorer.lag=2"),
        ("no option 'scorer.lag'",),
    ),
    "one bin": (("prune", *TE, "scorer.bins=1"), ("scorer.bins", "2 or more, not 1")),
    "no lag": (("prune", *TE, "scorer.lag=0"), ("scorer.lag", "1 or more, not 0")),
    "no units": (("prune", *TE, "model.units=0"), ("model.units", "not 0")),
    "weights that are not packaged": (
        ("prune", *TE, "model.weights=packaged:nothing"),
        ("model.weights=packaged:nothing", "packaged:action_mnist"),
    ),
    "weights of more units": (("prune", *TE, "model.units=6"), ("another shape", "lstm.bias_hh_l0")),
    "weights on the hub": (("prune", *TE, "model.weights=hub"), ("model.weights=hub", "no weights on the hub")),
    "fewer than no epochs": (("prune", *TE, "recipe.epochs=-1"), ("recipe.epochs", "not -1")),
    "a frame smaller than a digit": (("prune", *TE, "dataset.frame_size=20"), ("dataset.frame_size", "28 px", "20 px")),
    "one frame": (("build-data", "dataset=action_mnist", "dataset.frames=1"), ("dataset.frames=1", "two frames")),
    "more units kept than there are": (
        ("prune", *MASKED, "scorer=transfer_entropy", "sparsity.min_kept_per_tensor=9"),
        ("lstm", "cannot keep 9", "min_kept_per_tensor"),
    ),
    "one measure to ablate": (("ablate", *TE), ("two measures", "scorer=transfer_entropy,mutual_information")),
    "weights to ablate": (("ablate", *VIDEO, "scorer=snip,magnitude"), ("snip measures no units", "scorer=snip")),
    "a ViT to ablate": (("ablate",), NO_UNITS),
    "a measure to ablate twice": (("ablate", *TE, "scorer.keep=low,high"), ("taken once", "transfer_entropy")),
    "a wrong recipe to ablate": (("ablate", *VIDEO, "recipe.epochs=-1"), ("recipe.epochs", "not -1")),
    "dynamics of random orders alone": (
        ("dynamics", *VIDEO, "scorer=random"),
        ("random measures no units", "scorer=random"),
    ),
    "dynamics of a ViT": (("dynamics",), NO_UNITS),
    "a mask of weights for units": (
        ("prune", *MASKED, "mask=weights.safetensors", "removal=recurrence"),
        ("weights.safetensors", "only the model has", "lstm"),
    ),
    "a mask of units for weights": (
        ("prune", *MASKED, "mask=units.safetensors", "removal=weights"),
        ("units.safetensors", "only the mask has", "lstm"),
    ),
    "a mask of fewer units": (
        ("prune", *MASKED, "mask=fewer.safetensors", "removal=recurrence"),
        ("fewer.safetensors", "(4,)", "(6,)"),
    ),
    "a mask of units for a ViT": (("prune", "mask=units.safetensors", "removal=recurrence"), ("model=lstm128",)),
    "a mask of units drawn anew": (
        ("prune", *MASKED, "mask=units.safetensors", "removal=recurrence", "sparsity=dense", "control=reinit"),
        ("control=reinit", *OF_WEIGHTS),
    ),
    "an unknown run to shrink": (("shrink", "abcdef"), ("'abcdef'", "runs/prune")),
    "an unknown folder to shrink": (("shrink", "runs/prune/nothing"), ("'runs/prune/nothing'",)),
}


@pytest.fixture
def mask_files(here: Path) -> None:
    """Masks of the 6 units, of 4 units, and of their weights."""
    save_file({"lstm": torch.tensor([True, False, True, True, False, True])}, here / "units.safetensors")
    save_file({"lstm": torch.tensor([True, False, True, True])}, here / "fewer.safetensors")
    sizes = {"lstm.weight_ih_l0": (4 * UNITS, 4096), "lstm.weight_hh_l0": (4 * UNITS, UNITS)}
    save_file({name: torch.rand(size) < 0.5 for name, size in sizes.items()}, here / "weights.safetensors")


@pytest.mark.usefixtures("mask_files")
@pytest.mark.parametrize(("words", "said"), WRONG.values(), ids=WRONG.keys())
def test_a_wrong_request_is_answered_in_three_lines_and_writes_nothing(
    run: Run, here: Path, built_data: Path, words: tuple[str, ...], said: tuple[str, ...]
) -> None:
    before = everything_in(here), everything_in(built_data)
    answer = run(*words)
    assert answer.code == 2, answer.err
    assert 1 <= len(answer.lines) <= 3, answer.err
    for word in said:
        assert word in answer.err
    assert answer.out == ""
    assert (everything_in(here), everything_in(built_data)) == before


def pruned(run: Run, *words: str) -> dict[str, Any]:
    answer = run("prune", *MASKED, *words, "--json")
    assert answer.code == 0, answer.err
    return answer.json


NOTHING_SMALLER = {
    "a scorer of weights": (("scorer=magnitude", "sparsity=50"), "weights were pruned"),
    "units silent to the classifier": (("scorer=weight_norm", "sparsity=50", "removal=readout"), "still hears"),
    "a dense run": (("sparsity=dense",), "nothing was removed"),
    "no unit left": (("scorer=weight_norm", "sparsity=95"), "without units"),
}


@pytest.mark.parametrize(("words", "said"), NOTHING_SMALLER.values(), ids=NOTHING_SMALLER.keys())
def test_a_run_that_leaves_no_smaller_lstm_is_not_shrunk(
    run: Run, here: Path, words: tuple[str, ...], said: str
) -> None:
    record = pruned(run, *words)
    before = everything_in(here)
    for export in ((), ("--export", "small/er.safetensors")):
        answer = run("shrink", record["hash"], *export)
        assert (answer.code, len(answer.lines) <= 3) == (2, True), answer.err
        assert said in answer.err
        assert answer.out == ""
    assert everything_in(here) == before


@pytest.mark.parametrize("words", [("sparsity=dense",), ("scorer=weight_norm", "sparsity=50", "removal=readout")])
def test_what_cannot_be_shrunk_can_be_evaluated(run: Run, words: tuple[str, ...]) -> None:
    record = pruned(run, *words)
    found = run("evaluate", record["hash"], "--json")
    assert found.code == 0, found.err
    assert found.json["accuracy"] == found.json["accuracy_recorded"] == record["accuracy_last"]


def test_a_smaller_lstm_is_written_and_answers_as_the_run_did(run: Run, finished: Run, here: Path) -> None:
    record = pruned(finished, "scorer=weight_norm", "sparsity=50")
    before = everything_in(here)
    answer = run("shrink", record["hash"], "--json")
    assert answer.code == 0, answer.err
    found, own = answer.json, f"runs/prune/{record['hash']}"
    assert everything_in(here) - before == {f"{own}/shrunk.safetensors", f"{own}/shrunk.json"}
    assert found["units"] == record["kept"] == 3
    assert found["largest_difference"] < 1e-4
    assert found["accuracy"] == found["accuracy_recorded"] == record["accuracy_last"]
    tensors = load_file(here / found["file"])
    assert tensors["lstm.weight_hh_l0"].shape == (4 * 3, 3)
    assert tensors["head.weight"].shape == (8, 3)
    names = ("conv.weight", "lstm.weight_ih_l0", "lstm.weight_hh_l0", "lstm.bias_ih_l0", "lstm.bias_hh_l0")
    names += ("conv.bias", "norm.weight", "norm.bias", "head.weight", "head.bias")
    assert found["parameters"] == sum(tensors[name].numel() for name in names)
    assert found["bytes"] == (here / found["file"]).stat().st_size < found["bytes_before"]


def test_the_smaller_file_is_used_as_the_note_says(run: Run, finished: Run, here: Path) -> None:
    record = pruned(finished, "scorer=weight_norm", "sparsity=50")
    answer = run("shrink", record["hash"], "--export", "small/er.safetensors")
    assert everything_in(here / "small") == {"er.safetensors", "er.json"}
    words = answer.lines[-1].removeprefix("to use it: ").split()
    assert words == ["model=lstm128", "model.units=3", "model.weights=small/er.safetensors"]
    again = run("prune", *words, *SMALL_CLIPS, "sparsity=dense", "recipe=none", "--json")
    assert again.code == 0, again.err
    assert (again.json["weights"], again.json["prunable"]) == ("file", 4 * 3 * (4096 + 3))
    assert again.json["accuracy_last"] == record["accuracy_last"]


def test_a_smaller_lstm_is_pruned_and_shrunk_again(run: Run, finished: Run) -> None:
    record = pruned(finished, "scorer=weight_norm", "sparsity=50")
    words = run("shrink", record["hash"], "--export", "small.safetensors").lines[-1].removeprefix("to use it: ").split()
    second = run("prune", *words, *SMALL_CLIPS, "scorer=weight_norm", "sparsity=34", "--json")
    assert (second.json["prunable"], second.json["kept"]) == (3, 2), second.err
    assert run("shrink", second.json["hash"], "--json").json["units"] == 2


@pytest.mark.usefixtures("mask_files")
def test_a_run_with_a_mask_of_units_is_evaluated_and_shrunk(run: Run) -> None:
    """The mask says what was removed: no scorer is asked."""
    record = pruned(run, "mask=units.safetensors", "removal=recurrence")
    assert (record["method"], record["removal"], record["kept"]) == ("mask", "recurrence", 4)
    evaluated = run("evaluate", record["hash"], "--json")
    assert evaluated.code == 0, evaluated.err
    assert evaluated.json["accuracy"] == record["accuracy_last"]
    assert run("shrink", record["hash"], "--json").json["units"] == 4


def test_the_mask_of_a_run_removes_the_same_units_again(run: Run, finished: Run) -> None:
    first = pruned(finished, "scorer=weight_norm", "sparsity=50")
    second = pruned(run, f"mask=runs/prune/{first['hash']}/mask.safetensors", "removal=recurrence")
    assert second["mask_digest"] == first["mask_digest"]
    assert second["accuracy_last"] == first["accuracy_last"]
