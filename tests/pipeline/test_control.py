"""A control from the command line to the record: its mask, its identity and its label."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
import torch
from conftest import QUICK, stored_mask, stored_model

Run = Callable[..., object]
SMOKE = (*QUICK, "scorer=snip")


def pruned(run: Run, here: Path, *words: str) -> tuple[dict, dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    typed = words if any(word.startswith("sparsity") for word in words) else ("sparsity=90", *words)
    record = run("prune", *SMOKE, *typed, "--json").json  # type: ignore[attr-defined]
    folder = here / "runs/prune" / record["hash"]
    return record, stored_mask(folder), stored_model(folder)


def counts(mask: dict[str, torch.Tensor]) -> dict[str, int]:
    return {name: int(keep.sum()) for name, keep in mask.items()}


def test_controls_keep_the_counts_and_are_told_apart(run: Run, here: Path) -> None:
    plain, mask, _ = pruned(run, here)
    assert "control" not in plain["identity"]
    hashes = {plain["hash"]}
    for kind in ("shuffle", "layerwise_random", "layerwise_magnitude"):
        record, other, _ = pruned(run, here, f"control={kind}")
        assert (record["identity"]["control"], record["method_title"]) == (kind, f"SNIP, {kind}")
        assert counts(other) == counts(mask)
        assert record["mask_digest"] != plain["mask_digest"]
        hashes.add(record["hash"])
    assert len(hashes) == 4
    assert len(list((here / "runs/score").glob("*/manifest.json"))) == 1  # the scores are those of the method


def test_inverted_keeps_what_the_method_ranks_last(run: Run, here: Path) -> None:
    _, mask, _ = pruned(run, here, "sparsity=50")
    _, inverted, _ = pruned(run, here, "sparsity=50", "control=inverted")
    shared = sum(int((mask[name] & inverted[name]).sum()) for name in mask)
    assert shared == 0  # at 50 % the two halves


def test_reinit_keeps_the_mask_and_draws_the_survivors_anew(run: Run, here: Path) -> None:
    still = ("recipe.lr=0", "recipe.min_lr=0", "recipe.warmup_lr=0")
    plain, mask, before = pruned(run, here, *still)
    record, same, after = pruned(run, here, *still, "control=reinit")
    assert record["mask_digest"] == plain["mask_digest"]
    for name, keep in mask.items():
        assert torch.equal(keep, same[name])
        assert not bool(after[name][~keep].any())
        assert not torch.equal(after[name][keep], before[name][keep])
    assert torch.equal(after["head.weight"], before["head.weight"])
    assert torch.equal(after["patch_embed.proj.weight"], before["patch_embed.proj.weight"])


def test_a_control_of_a_mask_made_before(run: Run, here: Path) -> None:
    plain, mask, _ = pruned(run, here)
    path = f"mask={here}/runs/prune/{plain['hash']}/mask.safetensors"
    record, other, _ = pruned(run, here, path, "control=shuffle")
    assert record["method_title"] == "Mask, shuffle"
    assert counts(other) == counts(mask)
    refused = run("prune", *SMOKE, path, "control=inverted")
    assert refused.code == 2  # type: ignore[attr-defined]
    assert "no scores" in refused.err  # type: ignore[attr-defined]


def test_a_pattern_and_a_control_that_breaks_it_are_refused(run: Run) -> None:
    words = ("prune", *SMOKE, "sparsity=50", "sparsity.pattern=2:4")
    for kind in ("shuffle", "layerwise_random", "layerwise_magnitude"):
        refused = run(*words, f"control={kind}")
        assert refused.code == 2  # type: ignore[attr-defined]
        assert "would not keep 2:4" in refused.err  # type: ignore[attr-defined]
    assert run(*words, "control=inverted", "--dry-run").code == 0  # type: ignore[attr-defined]


@pytest.mark.usefixtures("in_process")
def test_tables_and_runs_csv_tell_controls_apart(run: Run, here: Path) -> None:
    """The brackets of Table 1 are those of random pruning as it is."""
    found = run("sweep", *QUICK, "sparsity=90", "scorer=snip_magnitude,random", "control=none,inverted", "--json").json  # type: ignore[attr-defined]
    runs = {(r["method"], r["identity"].get("control", "none")): r["accuracy_last"] for r in found["runs"]}
    cells = [row["MNIST-5k Acc. [%]"] for row in found["table1"]["rows"]]
    assert [cell["mean"] for cell in cells] == [runs["snip_magnitude", kind] for kind in ("none", "inverted")]
    assert [cell["random"]["mean"] for cell in cells] == [runs["random", "none"]] * 2
    table = pd.read_csv(here / "results/runs.csv")
    assert sorted(zip(table.method, table.control, strict=True)) == sorted(runs)


def test_a_mask_in_a_dense_training_is_refused(run: Run, here: Path) -> None:
    plain, _, _ = pruned(run, here)
    path = f"mask=runs/prune/{plain['hash']}/mask.safetensors"
    for command in ("train", "drift"):
        refused = run(command, "recipe=smoke", path)
        assert refused.code == 2  # type: ignore[attr-defined]
        assert "no use for mask" in refused.err  # type: ignore[attr-defined]


def test_a_dense_run_has_no_scope(run: Run) -> None:
    words = ("sweep", "recipe=smoke", "sparsity=dense", "sparsity.scope=global,row", "--dry-run", "--json")
    assert len(run(*words).json["points"]) == 1  # type: ignore[attr-defined]


def test_a_dense_run_has_no_control(run: Run) -> None:
    words = ("prune", *QUICK, "sparsity=dense", "--json")
    hashes = {run(*words, *more).json["hash"] for more in ((), ("control=shuffle",))}  # type: ignore[attr-defined]
    assert len(hashes) == 1


@pytest.mark.parametrize("scorer", ["synflow", "force"])
def test_a_mask_in_rounds_is_recorded_and_made_once(run: Run, scorer: str) -> None:
    words = ("prune", *QUICK, f"scorer={scorer}", "scorer.rounds=3", "sparsity=90", "--json")
    record = run(*words).json  # type: ignore[attr-defined]
    assert record["scoring"]["rounds"] == 3
    assert record["scoring"]["images"] == 128
    assert record["kept"] == 78_643
    assert run(*words).json == record  # type: ignore[attr-defined]
