"""`prune-cli ablate` as typed: Figure 4 of a tiny LSTM on a few clips."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest
from conftest import Answer, Undrawn, everything_in
from safetensors.torch import save_file
from tiny_lstm import SMALL, SMALL_CLIPS, SMALL_LSTM

from prune_cli.analysis import ablation, probe
from prune_cli.commands.ablate import _axes
from prune_cli.common.random import seeded
from prune_cli.data.action_mnist import ActionMnist
from prune_cli.data.splits import Splits
from prune_cli.models.networks.clip_classifier import ClipClassifier
from prune_cli.scorers import scorers

Run = Callable[..., Answer]
FILES = {"ablation.csv", "curves.csv", "claims.csv", "ablation.png", "curves.png", "curves_10_steps.png"}
FILED = ("model=lstm128", "model.units=6", "model.weights=w.safetensors", *SMALL_CLIPS)
WHOSE = ["dataset", "model", "seed", "run"]
PNG = b"\x89PNG\r\n\x1a\n"


@pytest.fixture(autouse=True)
def little_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    """Random orders and fine-tuning take most of the time."""
    monkeypatch.setattr(probe, "STEPS", 2)  # the tables name ablation's own, 10
    monkeypatch.setattr(probe, "STEP_CLIPS", 4)
    monkeypatch.setattr(ablation, "DRAWS", 3)
    monkeypatch.setattr(ablation, "TUNED_DRAWS", 1)


@pytest.fixture
def few_shares(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fewer shares of units removed, for tests that do not count them."""
    monkeypatch.setattr(ablation, "FRACTIONS", (0.0, 0.5))
    monkeypatch.setattr(ablation, "TUNED_FRACTIONS", (0.5,))


def weights(folder: Path, units: int = 6) -> None:
    """The same ones each time, so that runs of them can be taken over from another test."""
    with seeded(0, "weights"):
        save_file(ClipClassifier(8, units).state_dict(), folder / "w.safetensors")


def ablated(run: Run, *words: str) -> dict[str, list[dict]]:
    answer = run("ablate", *words, "--json")
    assert answer.code == 0, answer.err
    return answer.json


def test_weights_of_a_file_are_taken_apart_and_drawn(finished: Run, here: Path) -> None:
    weights(here)
    found = ablated(finished, *FILED)
    assert everything_in(here / "results") == FILES
    for name in ("ablation", "curves", "curves_10_steps"):
        assert (here / f"results/{name}.png").read_bytes().startswith(PNG)
    units, curves = (
        pd.read_csv(here / f"results/{name}.csv", keep_default_na=False) for name in ("ablation", "curves")
    )
    measures = ["transfer_entropy", "mutual_information", "activation_variance", "weight_norm"]
    assert list(units.columns) == ["unit", *measures, "accuracy_recurrence", "accuracy_readout", *WHOSE]
    assert list(units.unit) == list(range(6))
    assert (units[measures] >= 0).all(axis=None)
    assert list(curves.columns) == [
        *("measure", "keep", "draw", "placement", "steps", "fraction", "removed", "accuracy"),
        *WHOSE,
    ]
    assert {key: len(rows) for key, rows in curves.groupby(["measure", "keep"])} == {
        **{(measure, keep): 2 * (10 + 5) for measure in measures for keep in ("low", "high")},
        ("random", ""): 3 * 2 * 10 + 1 * 2 * 5,
    }
    assert curves.accuracy.between(0, 100).all()
    whole = curves[curves.fraction == 0].accuracy
    assert whole.nunique() == 1  # nothing removed is nothing removed
    assert {name: len(rows) for name, rows in found.items()} == {
        "ablation": 6,
        "curves": 8 * 30 + 70,
        "claims": (4 + 2 * (1 + 4 + 2)) * 2 * 2 * 5,  # placements, steps and shares removed
    }
    assert not list((here / "runs").glob("train/*"))
    assert len(list((here / "runs/score").glob("*/manifest.json"))) == 4


@pytest.mark.usefixtures("few_shares")
def test_what_is_measured_is_the_score_without_its_direction(run: Run, here: Path, undrawn: Undrawn) -> None:
    undrawn()
    weights(here)
    both = "scorer=transfer_entropy,mutual_information"
    low = pd.DataFrame(ablated(run, *FILED, both)["ablation"])
    high = pd.DataFrame(ablated(run, *FILED, both, "scorer.keep=high")["ablation"])
    for measure in ("transfer_entropy", "mutual_information"):
        assert list(low[measure]) == pytest.approx(list(high[measure]))
        assert (low[measure] >= 0).all()


def test_a_second_run_measures_nothing_again_and_writes_the_same(
    run: Run, finished: Run, here: Path, undrawn: Undrawn
) -> None:
    weights(here)
    ablated(finished, *FILED)
    undrawn()
    tables = {name: (here / "results" / name).read_text() for name in FILES if name.endswith("csv")}
    stamps = {path: path.stat().st_mtime_ns for path in (here / "runs").rglob("manifest.json")}
    answer = run("ablate", *FILED)
    assert "this run is finished" in answer.err
    assert {name: (here / "results" / name).read_text() for name in tables} == tables
    assert {path: path.stat().st_mtime_ns for path in (here / "runs").rglob("manifest.json")} == stamps
    assert "transfer_entropy" in answer.out and "random" in answer.out


def test_random_weights_are_trained_once_and_several_seeds_make_claims(run: Run, here: Path, undrawn: Undrawn) -> None:
    undrawn()
    words = (*SMALL, "recipe=smoke", "seed=0,1")
    answer = run("ablate", *words)
    assert answer.code == 0, answer.err
    assert len(list((here / "runs/train").glob("*/manifest.json"))) == 2
    claims = pd.read_csv(here / "results/claims.csv")
    about = ["claim", "dataset", "placement", "steps", "fraction", "mean"]
    assert list(claims.columns) == [*about, "low", "high", "p", "low_holm", "high_holm", "p_holm", "family", "n"]
    assert {
        "transfer_entropy: low - high",
        "mutual_information: low - high",
        "low: transfer_entropy - mutual_information",
        "high: transfer_entropy - mutual_information",
        "high: transfer_entropy - activation_variance",
        "low: mutual_information - random",
    } <= set(claims.claim)
    assert set(claims.n) == {2}
    assert set(claims.family) == {2 * 2 * 5}
    tested = claims[claims.p.notna()]  # none where both models differ by as much
    assert len(tested) and (tested.p_holm >= tested.p).all()
    assert claims[["low", "high"]].notna().all(axis=None)
    assert ((claims["low"] <= claims["mean"]) & (claims["mean"] <= claims["high"])).all()
    assert "Differences [points]" in answer.out
    curves = pd.read_csv(here / "results/curves.csv")
    assert (set(curves.seed), curves.run.nunique()) == ({0, 1}, 2)
    own = curves[(curves.measure == "transfer_entropy") & (curves.fraction == 0.5) & (curves.placement == "readout")]
    own = own[own.steps == 0]
    wide = own.pivot_table(index="seed", columns="keep", values="accuracy")
    row = claims[(claims.claim == "transfer_entropy: low - high") & (claims.fraction == 0.5)]
    row = row[(row.placement == "readout") & (row.steps == 0)]
    assert row["mean"].item() == pytest.approx((wide["low"] - wide["high"]).mean())

    again = run("ablate", *words)
    assert len(list((here / "runs/train").glob("*/manifest.json"))) == 2
    assert again.err.count("this run is finished") == 4  # two trainings, two ablations
    trained = run("train", *(word for word in words if not word.startswith("seed")), "--json").json
    assert trained["hash"] in {path.parent.name for path in (here / "runs/train").glob("*/manifest.json")}


@pytest.mark.usefixtures("few_shares")
@pytest.mark.parametrize("words", [FILED, (*SMALL, "recipe=smoke", "seed=0,1")], ids=["a file", "trained"])
def test_a_dataset_is_opened_once_for_all_models_and_measures(
    run: Run, here: Path, undrawn: Undrawn, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...]
) -> None:
    undrawn()
    weights(here)
    opened, original = [], ActionMnist.load

    def watched(dataset: ActionMnist, home: Path) -> Splits:
        opened.append(home)
        return original(dataset, home)

    monkeypatch.setattr(ActionMnist, "load", watched)
    ablated(run, *words)
    assert len(opened) == 1


def test_one_model_has_no_interval(run: Run, finished: Run, here: Path, undrawn: Undrawn) -> None:
    weights(here)
    ablated(finished, *FILED)
    undrawn()
    answer = run("ablate", *FILED)
    claims = pd.read_csv(here / "results/claims.csv")
    assert claims[["low", "high", "p_holm"]].isna().all(axis=None)
    assert "Differences [points]" not in answer.out


@pytest.mark.usefixtures("few_shares")
def test_a_measure_with_other_options_is_another_measure(run: Run, here: Path, undrawn: Undrawn) -> None:
    undrawn()
    weights(here)
    options = ("scorer=transfer_entropy,mutual_information", "scorer.bins=8,16")
    found = ablated(run, *FILED, *options)
    names = [f"{scorer}{bins}" for scorer in ("transfer_entropy", "mutual_information") for bins in ("", " bins=16")]
    units = pd.DataFrame(found["ablation"])
    assert set(units.columns) >= {*names, "activation_variance", "weight_norm"}
    assert not units["transfer_entropy"].equals(units["transfer_entropy bins=16"])
    claims = {row["claim"] for row in found["claims"]}
    assert {f"low: {names[0]} - {names[2]}", f"low: {names[1]} - {names[3]}"} <= claims
    assert not {f"low: {names[0]} - {names[3]}", f"low: {names[0]} - {names[1]}"} & claims


@pytest.mark.usefixtures("few_shares")
def test_two_files_of_weights_are_two_models(run: Run, here: Path, undrawn: Undrawn) -> None:
    undrawn()
    for name in ("one", "two"):
        save_file(ClipClassifier(8, 6).state_dict(), here / f"{name}.safetensors")
    words = ("model=lstm128", "model.units=6", "model.weights=one.safetensors,two.safetensors", *SMALL_CLIPS)
    assert {row["n"] for row in ablated(run, *words)["claims"]} == {2}


WRONG = {  # and more in test_video_requests.py
    "one model under several seeds": ((*FILED, "seed=0,1,2"), "another seed does not make another model"),
    "one model twice": (("model=lstm128", "model.units=6", "model.weights=w.safetensors,./w.safetensors", "seed=0,1", *SMALL_CLIPS), "another seed"),
    "models of other sizes": (("model=lstm128", "model.units=6,7", "model.weights=random", *SMALL_CLIPS), "differ in more than their seed"),
    "clips of other lengths": ((*SMALL, "dataset.noise=0,1"), "differ in more than their seed"),
    "two recipes": ((*SMALL, "recipe=smoke,micro"), "one recipe"),
    "one measure twice": ((*SMALL, "scorer=transfer_entropy,mutual_information", "scorer.keep=low,high"), "a measure is taken once"),
    "baselines alone": ((*SMALL, "scorer=activation_variance,weight_norm"), "two measures"),
    "random beside a measure": ((*SMALL, "scorer=transfer_entropy,random"), "random measures no units"),
    "a ViT on clips": (SMALL_CLIPS, "vit_micro sees images"),
    "an LSTM on images": ((*SMALL_LSTM, "dataset=mnist5k"), "lstm128 sees clips"),
    "an option that one measure lacks": ((*SMALL, "scorer.lag=2"), "scorer.lag"),
    "missing weights": (("model=lstm128", "model.weights=no.safetensors", *SMALL_CLIPS), "no.safetensors"),
    "weights of other units": (("model=lstm128", "model.units=6", "model.weights=five.safetensors", *SMALL_CLIPS), "of another shape"),
    "an unknown measure": ((*SMALL, "scorer=transfer_entropy,mutual_informaton"), "mutual_information"),
}  # fmt: skip


@pytest.mark.parametrize(("words", "said"), WRONG.values(), ids=WRONG.keys())
def test_a_wrong_request_is_refused_in_three_lines_and_nothing_is_written(
    run: Run, here: Path, words: tuple[str, ...], said: str
) -> None:
    save_file(ClipClassifier(8, 5).state_dict(), here / "five.safetensors")
    weights(here)
    answer = run("ablate", *words)
    assert answer.code == 2, answer.err
    assert 1 <= len(answer.lines) <= 3, answer.err
    assert said in answer.err
    assert answer.out == ""
    assert everything_in(here) == {"five.safetensors", "w.safetensors"}


def test_panel_a_sets_two_scorers_against_each_other_also_where_one_has_several_options() -> None:
    def settings(name: str, **options: int) -> SimpleNamespace:
        return SimpleNamespace(scorer=scorers.build(name, **options))

    measures = [
        settings("transfer_entropy"),
        settings("transfer_entropy", surrogates=9),
        settings("mutual_information"),
    ]
    assert _axes(SimpleNamespace(measures=measures)) == ("transfer_entropy", "mutual_information")
    assert _axes(SimpleNamespace(measures=measures[:2])) == ("transfer_entropy", "transfer_entropy surrogates=9")
