"""Heads from the words to the record, to the table and to a smaller ViT."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
import torch
from conftest import Answer, everything_in, rewrite_manifest, stored_mask, stored_model
from safetensors.torch import load_file, save_file

from prune_cli.runs.files import DamagedError
from prune_cli.targets.heads import load_shrunk

pytestmark = pytest.mark.usefixtures("one_thread")
Run = Callable[..., Answer]
WORDS = ("recipe=smoke", "recipe.train_batches=2", "recipe.test_images=50", "scoring.batch_size=8", "sparsity=50")
HEADS = (*WORDS, "removal=heads")
UNTUNED = ("recipe=none", "scorer=magnitude", "sparsity=50", "removal=heads")


def pruned(run: Run, *words: str) -> dict:
    answer = run("prune", *words, "--json")
    assert answer.code == 0, answer.err
    return answer.json


def test_half_of_the_heads_from_prune_to_a_smaller_vit(run: Run, here: Path) -> None:
    record = pruned(run, *HEADS)
    assert {key: record[key] for key in ("removal", "prunable", "kept")} == {
        "removal": "heads",
        "prunable": 16,
        "kept": 8,
    }
    folder = here / "runs/prune" / record["hash"]
    mask, model = stored_mask(folder), stored_model(folder)
    assert {name: keep.shape for name, keep in mask.items()} == {f"blocks.{n}.attn": (4,) for n in range(4)}
    for name, keep in mask.items():  # zeros after fine-tuning too
        of = keep.repeat_interleave(32)
        assert not bool(model[f"{name}.qkv.weight"][~of.repeat(3)].any())
        assert not bool(model[f"{name}.proj.weight"][:, ~of].any())
        assert bool((model[f"{name}.proj.weight"][:, of] != 0).all())
    assert set(pd.read_csv(folder / "layers.csv").tensor) == {
        f"{name}.{of}.weight" for name in mask for of in ("qkv", "proj")
    }
    assert run("evaluate", record["hash"], "--json").json["accuracy"] == record["accuracy_last"]
    assert "8 of 16 heads" in run("prune", *HEADS).out

    found = run("shrink", record["hash"], "--json").json
    kept = {name: int(keep.sum()) for name, keep in mask.items()}
    assert (found["heads"], found["heads_per_layer"]) == (8, kept)
    assert found["parameters_before"] - found["parameters"] == 8 * (4 * 32 * 128 + 3 * 32)
    assert (found["accuracy"], found["largest_difference"] < 1e-4) == (record["accuracy_last"], True)
    assert found["bytes"] < found["bytes_before"] == 4 * found["parameters_before"]  # however the run's model is stored

    file = folder / "shrunk.safetensors"
    small = load_shrunk(file)
    state = load_file(file)
    assert all(torch.equal(value, state[name]) for name, value in small.state_dict().items())
    assert small(torch.zeros(2, 1, 28, 28)).shape == (2, 10)
    card = json.loads(file.with_suffix(".json").read_text())
    assert (card["model"]["name"], card["classes"], card["precision"]) == ("vit_micro", 10, "fp32")
    save_file({name: value + 1 for name, value in state.items()}, file)
    with pytest.raises(DamagedError, match="sha256"):
        load_shrunk(file)


def test_scores_are_shared_with_single_weights_and_the_runs_are_told_apart(run: Run, here: Path) -> None:
    heads, weights = pruned(run, *HEADS), pruned(run, *WORDS)
    assert heads["identity"] == weights["identity"] | {"kind": "prune", "removal": "heads"}
    assert len(list((here / "runs/score").glob("*/manifest.json"))) == 1
    rows = run("table", "1", "--json").json["rows"]
    assert {row["Settings"]: row["# Params."] for row in rows} == {
        "[removal=heads]": {"prunable": 16, "kept": 8},
        "[removal=default]": {"prunable": 786_432, "kept": 393_216},
    }
    assert "16 → 8 heads" in run("table", "1").out


def test_controls_of_heads_keep_their_number(run: Run, here: Path) -> None:
    def mask(*words: str) -> dict[str, torch.Tensor]:
        folder = here / "runs/prune" / pruned(run, *UNTUNED, *words)["hash"]
        return stored_mask(folder)

    plain, inverted = mask(), mask("control=inverted")
    assert not any(bool((plain[name] & inverted[name]).any()) for name in plain)  # at 50 % the other half
    for kind in ("shuffle", "layerwise_random"):
        other = mask(f"control={kind}")
        assert {name: int(keep.sum()) for name, keep in other.items()} == {
            name: int(keep.sum()) for name, keep in plain.items()
        }


def test_a_weight_of_a_removed_head_that_came_back_is_found(run: Run, here: Path) -> None:
    folder = here / "runs/prune" / pruned(run, *UNTUNED)["hash"]
    tensors, mask = stored_model(folder), stored_mask(folder)
    name = next(name for name, keep in mask.items() if not bool(keep.all()))
    head = int((~mask[name]).nonzero()[0])
    tensors[f"{name}.proj.weight"][0, 32 * head] = 1e-6
    save_file(tensors, folder / "model.safetensors")
    rewrite_manifest(folder)
    answer = run("evaluate", folder.name)
    assert (answer.code, f"{name}.proj.weight" in answer.err) == (1, True)


def test_a_dry_run_counts_heads_and_the_weights_they_take_with_them(run: Run, here: Path) -> None:
    words = ("prune", *HEADS, "--dry-run")
    plan = run(*words, "--json").json
    assert (plan["prunable"], plan["kept"], plan["removal"]) == (16, 8, "heads")
    assert plan["removed_of_all"] == pytest.approx(8 * 4 * 32 * 128 / plan["parameters"])
    assert (plan["bytes"]["mask_file"], plan["bytes"]["score_file"]) == (4, 4 * 786_432)
    assert "prunable  16 heads, of 803,338 parameters" in run(*words).out
    assert everything_in(here) == set()


WRONG = {
    "a Mixer": (("prune", "removal=heads", "model=mixer_micro"), ("no attention heads", "model=vit_micro")),
    "its scores": (("score", "removal=heads", "model=mixer_micro"), ("no attention heads", "model=vit_micro")),
    "a PoolFormer": (("prune", "removal=heads", "model=poolformer_micro"), ("no attention heads", "removal=heads")),
    "an LSTM": (
        ("prune", "removal=heads", "model=lstm128", "dataset=action_mnist", "recipe=none"),
        ("no attention heads", "removal=heads"),
    ),
    "a big Mixer whose weights are not here": (
        ("prune", "removal=heads", "model=mixer_b16"),
        ("no attention heads", "removal=heads"),
    ),
    "a scorer of units": (("prune", "removal=heads", "scorer=transfer_entropy"), ("scores units, not weights",)),
    "heads drawn anew": (("prune", "removal=heads", "control=reinit"), ("about single weights, not heads",)),
    "a pattern": (("prune", "removal=heads", "sparsity=50", "sparsity.pattern=2:4"), ("not heads", "leave it out")),
    "rows": (("prune", "removal=heads", "sparsity.scope=row"), ("a head is no row of weights",)),
    "more heads than a layer has": (
        ("prune", "removal=heads", "sparsity=50", "sparsity.min_kept_per_tensor=5"),
        ("blocks.0.attn", "cannot keep 5"),
    ),
}


@pytest.mark.parametrize(("words", "said"), WRONG.values(), ids=WRONG.keys())
def test_a_wrong_request_is_answered_in_three_lines_and_writes_nothing(
    run: Run, here: Path, words: tuple[str, ...], said: tuple[str, ...]
) -> None:
    answer = run(*words)
    assert (answer.code, len(answer.lines) <= 3) == (2, True), answer.err
    assert all(word in answer.err for word in said), answer.err
    assert everything_in(here) == set()
