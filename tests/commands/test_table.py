"""`prune-cli table` as typed: what is shown, what is refused, and the numbers of --json."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import QUICK, Answer, everything_in
from manifests import FIRST

from prune_cli.runs.identity import run_hash
from prune_cli.runs.store import write_manifest

Run = Callable[..., Answer]
SMOKE = {"epochs": 1, "batch_size": 32, "smoke": True, "train_batches": 4, "test_images": 256}
MICRO = {"epochs": 10, "min_lr": 1e-5, "warmup_epochs": 1, "warmup_lr": 1e-4}


def finish(method: str, accuracy: float, percent: float = 98.0, seed: int = 0, recipe: Any = None) -> dict[str, Any]:
    """Leave the record of a finished run in the current folder."""
    identity = {
        "kind": "prune",
        "model": {"name": "vit_b16", "weights": "a" * 64},
        "dataset": {"name": "imagenet1k", "digest": "b" * 64},
        "compute": {},
        "seed": seed,
        "recipe": recipe or MICRO,
        "sparsity": {"percent": percent},
        "scorer": {"name": method},
    }
    name = run_hash(identity)
    record = {
        "hash": name,
        "identity": identity,
        **{"smoke": False, "model": "vit_b16", "model_title": "ViT-B/16", "weights": "hub"},
        **{"dataset": "imagenet1k", "dataset_title": "ImageNet-1K", "method": method},
        **{"method_title": {"snip_magnitude": "Ours", "random": "Random"}.get(method, method.upper())},
        **{"sparsity": percent, "seed": seed, "prunable": 1000, "kept": 1000 - round(10 * percent)},
        **{"parameters": 2000, "accuracy_last": accuracy, "accuracy_best": accuracy},
        **FIRST,
    }
    folder = Path("runs/prune") / name
    folder.mkdir(parents=True)
    return write_manifest(folder, record)


@pytest.fixture
def runs(here: Path) -> Path:
    """Three seeds of the report's method at 98 %, one at 50 %, random and snip beside them."""
    for seed, accuracy in enumerate((70.0, 72.0, 74.0)):
        finish("snip_magnitude", accuracy, seed=seed)
        finish("random", accuracy - 50, seed=seed)
    finish("snip_magnitude", 90.0, 50.0)
    finish("snip", 71.0)
    return here


@pytest.mark.usefixtures("runs")
def test_json_has_numbers(run: Run) -> None:
    at_50, ours = run("table", "1", "--json").json["rows"]
    assert ours == {
        "Model": "ViT-B/16",
        "Sparsity [%]": 98.0,
        "# Params.": {"prunable": 1000, "kept": 20},
        "ImageNet-1K Acc. [%]": {"mean": 72.0, "std": 2.0, "n": 3, "random": {"mean": 22.0, "std": 2.0, "n": 3}},
    }
    alone = {"mean": 90.0, "std": None, "n": 1, "random": {"mean": None, "std": None, "n": 0}}
    assert at_50["ImageNet-1K Acc. [%]"] == alone
    (row,) = run("table", "2", "--json").json["rows"]
    assert (row["Dataset"], row["SNIP"]) == ("ImageNet-1K", {"mean": 71.0, "std": None, "n": 1})
    assert row["GraSP"] == {"mean": None, "std": None, "n": 0}


def test_missing_runs_are_objects_in_json(run: Run, here: Path) -> None:
    done, waiting = finish("snip_magnitude", 70.0), finish("snip", 71.0, seed=3)
    (here / "runs/prune" / waiting["hash"] / "manifest.json").unlink()
    planned = [done, {key: value for key, value in waiting.items() if not key.startswith("accuracy")}]
    (here / "results").mkdir()
    (here / "results/sweep.json").write_text(json.dumps({"points": planned}))
    assert run("table", "2", "--json").json["missing"] == [
        {"model": "ViT-B/16", "dataset": "ImageNet-1K", "method": "SNIP", "sparsity": 98.0, "seed": 3}
    ]


@pytest.mark.usefixtures("runs")
def test_table_1_shows_the_one_sparsity_that_is_asked_for(run: Run) -> None:
    for percent in ("50", "98"):
        rows = run("table", "1", "--sparsity", percent, "--json").json["rows"]
        assert [row["Sparsity [%]"] for row in rows] == [float(percent)]


REFUSED = {
    "a sparsity that Table 1 has not": (("1", "--sparsity", "60"), "there are: 50, 98"),
    "a sparsity that the method has not": (("1", "--method", "snip", "--sparsity", "50"), "there are: 98"),
    "a method of Table 2": (("2", "--method", "snip"), "prune-cli table 1 --method snip"),
    "a method beside the report's": (("1", "--method", "snip", "--against", "report"), "table 2 --against report"),
    "a sparsity beside the report's": (("2", "--sparsity", "50", "--against", "report"), "at 98 % alone"),
    "anything else beside": (("1", "--against", "me"), "--against report"),
}


@pytest.mark.parametrize(("words", "said"), REFUSED.values(), ids=REFUSED.keys())
def test_a_word_that_would_change_nothing_is_refused(run: Run, runs: Path, words: tuple[str, ...], said: str) -> None:
    answer = run("table", *words)
    assert (answer.code, len(answer.lines), answer.out) == (2, 3, ""), answer.err
    assert said in answer.err
    assert not (runs / "results").exists()
    assert everything_in(runs)


@pytest.mark.usefixtures("here")
def test_the_report_s_table_2_needs_runs_at_its_sparsity(run: Run) -> None:
    finish("snip", 90.0, 50.0)
    assert run("table", "2").code == 0
    assert run("table", "2", "--against", "report").code == 2


@pytest.mark.usefixtures("here")
def test_settings_are_the_names_of_recipes(run: Run) -> None:
    for recipe in (MICRO, SMOKE, MICRO | {"epochs": 3}):
        finish("snip_magnitude", 50.0 + recipe["epochs"], recipe=recipe, seed=recipe["epochs"])
    rows = run("table", "1", "--all", "--json").json["rows"]
    assert {row["Settings"] for row in rows} == {
        "[recipe=micro]",
        "[recipe=micro, recipe.epochs=3]",
        "[recipe=smoke]",
    }


@pytest.mark.usefixtures("in_process")
def test_random_runs_of_one_seed_are_one_however_many_batches_are_scored(run: Run) -> None:
    """Random looks at no data, so `scoring.batches=1,4` repeats nothing."""
    words = ("model.weights=random", *QUICK, "scorer=snip_magnitude,random", "scoring.batches=1,4")
    rows = run("sweep", *words, "--json").json["table1"]["rows"]
    randoms = [row["MNIST-5k Acc. [%]"]["random"] for row in rows]
    assert [random["n"] for random in randoms] == [1, 1]
    assert randoms[0] == randoms[1]
