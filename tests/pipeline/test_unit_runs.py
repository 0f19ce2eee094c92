"""Units from the words to the record: where they are removed and what that is called. Refusals: test_video_requests.py."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from conftest import Answer, everything_in, rewrite_manifest, stored_mask, stored_model
from safetensors.torch import load_file, save_file
from tiny_lstm import SMALL

from prune_cli import pipeline
from prune_cli.config.catalogue import Catalogue
from prune_cli.config.overrides import single
from prune_cli.pipeline.batches import scoring_batches
from prune_cli.runs.paths import Paths
from prune_cli.targets import target_of

Run = Callable[..., Answer]
TE = "scorer=transfer_entropy"
COMPOSER = pipeline.composer(Paths())


def settings(*words: str) -> Any:
    return COMPOSER.settings(single(words, Catalogue(), "prune"))


def pruned(run: Run, here: Path, *words: str) -> tuple[dict, dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """The record, the mask and the model of a run of the tiny LSTM with half of its units or weights removed."""
    answer = run("prune", *SMALL, "sparsity=50", *words, "--json")
    assert answer.code == 0, answer.err
    folder = here / "runs/prune" / answer.json["hash"]
    return answer.json, stored_mask(folder), stored_model(folder)


@pytest.mark.parametrize(
    ("words", "target"),
    [
        (("model=lstm128", TE), "recurrence"),
        (("model=lstm128", TE, "removal=readout"), "readout"),
        (("model=lstm128", TE, "removal=recurrence"), "recurrence"),
        (("model=lstm128", "scorer=snip"), "weights"),
        (("model=lstm128", "scorer=random"), "recurrence"),
        (("model=lstm128", "scorer=random", "removal=weights"), "weights"),
        (("model=lstm128", "scorer=random", "removal=readout"), "readout"),
        (("scorer=random",), "weights"),
        (("scorer=snip",), "weights"),
    ],
    ids=str,
)
def test_where_units_fall_silent_follows_from_the_scorer_unless_it_is_typed(
    words: tuple[str, ...], target: str
) -> None:
    assert target_of(settings(*words)).name == target


@pytest.mark.parametrize(
    ("words", "epochs"),
    [
        (("model=lstm128", TE), 0),
        (("model=lstm128", TE, "removal=readout"), 0),
        (("model=lstm128", "scorer=random"), 0),
        (("model=lstm128", TE, "recipe.epochs=3"), 3),  # fine-tunes after all
        (("model=lstm128", TE, "recipe.epochs=1"), 1),  # which the warm-up of another recipe would not allow
        (("model=lstm128", TE, "recipe=micro"), 10),  # a recipe is typed
        (("model=lstm128", TE, "recipe=none"), 0),
        (("model=lstm128", TE, "sparsity=dense"), 10),  # nothing is removed
        (("model=lstm128", "scorer=random", "removal=weights"), 10),
        (("model=lstm128", "scorer=snip"), 10),
        ((TE, "experiment=rivals_micro"), 10),  # an experiment has a recipe of its own
        ((), 10),
    ],
    ids=str,
)
def test_no_recipe_is_implied_only_where_units_are_removed(words: tuple[str, ...], epochs: int) -> None:
    assert settings(*words).recipe.epochs == epochs


def test_a_unit_run_leaves_a_whole_record(finished: Run, here: Path) -> None:
    record, mask, model = pruned(finished, here, TE)
    assert {key: record[key] for key in ("removal", "prunable", "kept", "parameters", "best_epoch")} == {
        "removal": "recurrence",
        "prunable": 6,
        "kept": 3,
        "parameters": 160 + 32 + 24 * (4096 + 6 + 2) + 6 * 8 + 8,
        "best_epoch": 0,
    }
    assert (list(mask), mask["lstm"].shape, int(mask["lstm"].sum())) == (["lstm"], (6,), 3)
    for name in ("lstm.weight_hh_l0", "head.weight"):
        assert not bool(model[name][:, ~mask["lstm"]].any())
        assert bool((model[name][:, mask["lstm"]] != 0).all())
    folder = here / "runs/prune" / record["hash"]
    metrics = pd.read_csv(folder / "metrics.csv")
    assert list(metrics.epoch) == [0]
    layers = pd.read_csv(folder / "layers.csv")
    assert set(layers.iloc[:, 0]) == {"lstm.weight_hh_l0", "head.weight"}
    scores = here / "runs/score" / record["scoring"]["hash"]
    units = pd.read_csv(scores / "units.csv")
    assert list(units.columns) == ["unit", "layer", "value"]
    kept = set(units.nsmallest(3, "value").unit)
    assert kept == set(mask["lstm"].nonzero().flatten().tolist())  # keep: low


def test_placements_share_their_scores_and_are_two_runs(run: Run, finished: Run, here: Path) -> None:
    inside, one, first = pruned(finished, here, TE)
    outside, other, second = pruned(run, here, TE, "removal=readout")
    assert inside["hash"] != outside["hash"]
    assert (inside["identity"]["removal"], outside["identity"]["removal"]) == ("recurrence", "readout")
    assert inside["mask_digest"] == outside["mask_digest"]
    assert torch.equal(one["lstm"], other["lstm"])
    assert len(list((here / "runs/score").glob("*/manifest.json"))) == 1
    gone = ~one["lstm"]
    assert not bool(first["lstm.weight_hh_l0"][:, gone].any())
    assert bool((second["lstm.weight_hh_l0"][:, gone] != 0).all())
    assert not bool(second["head.weight"][:, gone].any())
    assert pruned(run, here, TE, "removal=recurrence")[0] == inside  # auto means the same


def test_random_units_and_random_weights_are_apart(run: Run, here: Path) -> None:
    units, mask, _ = pruned(run, here, "scorer=random")
    weights, others, _ = pruned(run, here, "scorer=random", "removal=weights", "recipe=smoke")
    assert (units["removal"], weights["removal"]) == ("recurrence", "weights")
    assert list(mask) == ["lstm"]
    assert set(others) == {"lstm.weight_ih_l0", "lstm.weight_hh_l0"}
    assert weights["prunable"] == 24 * (4096 + 6)
    assert "removal" not in weights["identity"]
    assert len(list((here / "runs/score").glob("*/manifest.json"))) == 2


def test_weights_of_an_lstm_are_pruned_as_any_others(run: Run, here: Path) -> None:
    record, mask, model = pruned(run, here, "scorer=snip_magnitude", "recipe=smoke")
    assert record["kept"] == record["prunable"] // 2
    for name, keep in mask.items():
        assert not bool(model[name][~keep].any())
    assert run("evaluate", record["hash"], "--json").json["accuracy"] == record["accuracy_last"]


def test_an_epoch_fine_tunes_after_all_and_what_was_removed_stays_zero(run: Run, finished: Run, here: Path) -> None:
    still, mask, before = pruned(finished, here, TE)
    tuned, same, after = pruned(run, here, TE, "recipe.epochs=2")
    assert (still["best_epoch"], tuned["hash"] != still["hash"]) == (0, True)
    assert list(pd.read_csv(here / "runs/prune" / tuned["hash"] / "metrics.csv").epoch) == [1, 2]
    keep = mask["lstm"]
    assert torch.equal(keep, same["lstm"])
    for name in ("lstm.weight_hh_l0", "head.weight"):
        assert not bool(after[name][:, ~keep].any())
        assert not torch.equal(after[name], before[name])
    assert not torch.equal(after["lstm.weight_ih_l0"], before["lstm.weight_ih_l0"])


def test_controls_of_units_keep_their_number(run: Run, finished: Run, here: Path) -> None:
    plain, mask, _ = pruned(finished, here, TE)
    found = {kind: pruned(run, here, TE, f"control={kind}")[:2] for kind in ("inverted", "shuffle", "layerwise_random")}
    assert not bool((mask["lstm"] & found["inverted"][1]["lstm"]).any())  # at 50 % the other half
    assert {int(other["lstm"].sum()) for _, other in found.values()} == {3}
    assert len({plain["hash"], *(record["hash"] for record, _ in found.values())}) == 4
    random = pruned(run, here, "scorer=random")[1]
    assert torch.equal(found["layerwise_random"][1]["lstm"], random["lstm"])


def test_a_mask_of_units_made_before_is_used_as_it_is(run: Run, finished: Run, here: Path) -> None:
    first, _, _ = pruned(finished, here, TE)
    path = f"mask={here}/runs/prune/{first['hash']}/mask.safetensors"
    again, same, _ = pruned(run, here, path, "scorer=random", "removal=readout")
    assert (again["method"], again["removal"], again["sparsity"]) == ("mask", "readout", 50.0)
    assert again["mask_digest"] == first["mask_digest"]
    assert list(same) == ["lstm"]


def test_evaluate_measures_what_the_record_says_and_finds_a_unit_that_came_back(run: Run, here: Path) -> None:
    for placement, name in (("recurrence", "lstm.weight_hh_l0"), ("readout", "head.weight")):
        record, mask, model = pruned(run, here, TE, f"removal={placement}")
        found = run("evaluate", record["hash"], "--json").json
        assert found["accuracy"] == record["accuracy_last"] == found["accuracy_recorded"]
        folder = here / "runs/prune" / record["hash"]
        model[name][0, ~mask["lstm"]] += 1e-6
        save_file(model, folder / "model.safetensors")
        assert "sha256" in run("evaluate", record["hash"]).err
        rewrite_manifest(folder)
        answer = run("evaluate", record["hash"])
        assert answer.code == 1
        assert name in answer.err


def test_a_dry_run_counts_units_and_the_weights_they_take_with_them(run: Run, here: Path) -> None:
    words = ("prune", *SMALL, "sparsity=50", TE, "--dry-run")
    plan = run(*words, "--json").json
    assert (plan["tensors"], plan["prunable"], plan["kept"], plan["removal"]) == ({"lstm": [6]}, 6, 3, "recurrence")
    assert plan["removed_of_prunable"] == 0.5
    assert plan["removed_of_all"] == pytest.approx(3 * (24 + 8) / plan["parameters"])
    assert (plan["bytes"]["mask_file"], plan["bytes"]["score_file"]) == (1, 24)
    readout = run(*words, "removal=readout", "--json").json
    assert readout["removed_of_all"] == pytest.approx(3 * 8 / plan["parameters"])
    text = run(*words).out
    assert "6 units (recurrence)" in text
    assert plan["config"]["recipe"]["epochs"] == 0
    assert everything_in(here) == set()


def test_units_see_sixteen_batches_of_clips_and_weights_one() -> None:
    words = (*SMALL, "scoring.batch_size=1")
    paths = Paths()
    for scorer, batches in (("transfer_entropy", 16), ("snip", 1)):
        asked = settings(*words, f"scorer={scorer}")
        assert asked.scorer.scoring_batches == batches
    typed = settings(*words, TE, "scoring.batches=2")
    job = pipeline.JobFactory(paths).job(typed)
    assert pipeline.score_identity(job)["scoring"] == {"batches": 2, "batch_size": 1}
    wanted = pipeline.JobFactory(paths).job(settings(*words, TE, "scoring.batches=16"))
    unsaid = pipeline.JobFactory(paths).job(settings(*words, TE))
    assert pipeline.score_identity(wanted) == pipeline.score_identity(unsaid)


def test_the_scoring_clips_are_as_many_as_asked(built_data: Path) -> None:
    paths = Paths(data=built_data)
    job = pipeline.JobFactory(paths).job(settings(*SMALL, TE, "scoring.batch_size=3", "scoring.batches=2"))
    pipeline.keep_data(job, paths)
    assert [tuple(x.shape) for x, _ in scoring_batches(job)] == [(3, 4, 32, 32)] * 2


def test_scores_of_units_are_shown_with_what_was_measured_of_each(run: Run, here: Path) -> None:
    record = run("score", *SMALL, TE, "scorer.surrogates=3", "--json").json
    folder = here / "runs/score" / record["hash"]
    assert everything_in(folder) == {"scores.safetensors", "units.csv", "manifest.json"}
    units = pd.read_csv(folder / "units.csv")
    assert list(units.columns) == ["unit", "layer", "value", "uncorrected", "surrogate_mean", "p", "p_adjusted"]
    assert list(units["value"]) == pytest.approx(list(units.uncorrected - units.surrogate_mean))
    assert units.p.between(0.25, 1).all()
    (scores,) = load_file(folder / "scores.safetensors").values()
    assert scores.tolist() == pytest.approx(list(-units["value"]))  # keep: low
    answer = run("score", *SMALL, TE, "scorer.surrogates=3")
    assert all(column in answer.out for column in units.columns)
    assert f"over {record['images']} images or clips" in answer.out
    assert record["images"] == 16  # all there are


@pytest.mark.usefixtures("in_process")
def test_a_sweep_of_units_fills_table_1_for_each_placement(run: Run) -> None:
    words = (*SMALL, "scorer=transfer_entropy,random", "sparsity=50", "removal=recurrence,readout")
    found = run("sweep", *words, "--json").json
    accuracy = {(r["method"], r["removal"]): r["accuracy_last"] for r in found["runs"]}
    assert len(accuracy) == 4
    rows = found["table1"]["rows"]
    assert [row["# Params."] for row in rows] == [{"prunable": 6, "kept": 3}] * 2
    assert [row["Settings"] for row in rows] == ["[removal=recurrence]", "[removal=readout]"]
    for row, kind in zip(rows, ("recurrence", "readout"), strict=True):
        cell = row["Action MNIST Acc. [%]"]
        assert cell["mean"] == pytest.approx(accuracy["transfer_entropy", kind])
        assert cell["random"]["mean"] == pytest.approx(accuracy["random", kind])
        assert (cell["n"], cell["random"]["n"]) == (1, 1)


def test_half_the_units_of_six_are_three_by_every_scope(run: Run, here: Path) -> None:
    for scope in ("uniform", "erk"):
        assert pruned(run, here, TE, f"sparsity.scope={scope}")[0]["kept"] == 3
