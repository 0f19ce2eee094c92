"""`prune-cli drift` as typed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from conftest import QUICK, Answer, Undrawn, everything_in
from safetensors.torch import save_file

from prune_cli.commands import drift
from prune_cli.models import sources
from prune_cli.models.registry import models
from prune_cli.models.vit_micro import ViTMicro
from prune_cli.runs.files import write_json
from prune_cli.runs.paths import Paths

Run = Callable[..., Answer]
TWO = ("drift", "model.weights=packaged,random", *QUICK)
COLUMNS = [
    *("run", "point", "weights", "model", "dataset", "seed", "smoke", "accuracy_last"),
    *("tensor", "count", "share_within_1pct", "correlation", "relative_l2", "mean_abs_change"),
]
MICRO = ("mixer_micro", "poolformer_micro", "vit_micro")


@pytest.fixture
def scales(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Packaged weights of vit_micro at three scales: random ones, with the cards that say otherwise."""
    folder = tmp_path / "packaged"
    folder.mkdir()
    monkeypatch.setattr(sources, "PACKAGED", folder)
    for images, variant in ((60_000, ""), (6_000, "6000"), (600, "600")):
        path = sources.packaged_file("vit_micro", variant)
        save_file(ViTMicro().build(10).state_dict(), path)
        write_json(path.with_suffix(".json"), {"train_images": images})


def test_drift_writes_a_row_a_tensor_and_a_picture(finished: Run, here: Path) -> None:
    answer = finished(*TWO, "--json")
    assert answer.code == 0, answer.err
    assert everything_in(here / "results") == {"drift.csv", "drift.png"}
    table = pd.read_csv(here / "results/drift.csv")
    assert list(table.columns) == COLUMNS
    assert len(answer.json["rows"]) == len(table)
    assert list(dict.fromkeys(table.point)) == ["60,000 images", "from scratch"]
    assert table.groupby("point").run.nunique().eq(1).all()
    overall = table[table.tensor == "all parameters"]
    assert list(overall["count"]) == [802_048, 802_048]
    assert list(table[table.tensor == "prunable"]["count"]) == [786_432, 786_432]
    assert not table.tensor.str.startswith("head").any()
    assert table.share_within_1pct.between(0, 1).all()
    assert (overall.mean_abs_change > 0).all()


def test_a_constant_tensor_is_null_in_json(finished: Run) -> None:
    rows = finished(*TWO, "--json").json["rows"]
    fresh = [row for row in rows if row["tensor"] == "norm.weight" and row["weights"] == "random"]
    assert [row["correlation"] for row in fresh] == [None]


def test_a_second_drift_trains_nothing_and_writes_the_same(
    run: Run, finished: Run, here: Path, undrawn: Undrawn
) -> None:
    finished(*TWO, "--json")
    undrawn()
    before = (here / "results/drift.csv").read_text()
    answer = run(*TWO)
    assert answer.err.count("this run is finished") == 2
    assert "smoke run: its figures mean nothing" in answer.err
    assert (here / "results/drift.csv").read_text() == before
    assert "60,000 images  prunable" in answer.out


def test_what_train_has_finished_is_not_trained_again(run: Run, undrawn: Undrawn) -> None:
    undrawn()
    run("train", *QUICK)
    assert run("drift", "model.weights=random", *QUICK).err.count("this run is finished") == 1


@pytest.mark.usefixtures("scales")
@pytest.mark.slow
def test_without_an_axis_the_scales_of_the_model_are_compared(run: Run, here: Path, undrawn: Undrawn) -> None:
    undrawn()
    answer = run("drift", *QUICK, "--json")
    assert answer.code == 0, answer.err
    table = pd.read_csv(here / "results/drift.csv")
    assert list(dict.fromkeys(table.weights)) == list(ViTMicro.scales)
    assert list(dict.fromkeys(table.point)) == ["60,000 images", "6,000 images", "600 images", "from scratch"]


def points(*words: str) -> list[str]:
    return drift._titles(drift.plan_drift(["recipe=smoke", *words], Paths()))


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["model.weights=random"], ["from scratch"]),
        (["model.weights=packaged"], ["60,000 images"]),
        (["seed=0,1"], ["seed=0", "seed=1"]),
        (["recipe.clip_norm=null,2.0"], ["recipe.clip_norm=default", "recipe.clip_norm=2.0"]),
        (
            ["model=vit_micro,mixer_micro", "model.weights=random", "seed=0"],
            ["ViT-micro", "Mixer-micro"],
        ),
        (["model=timm", "model.arch=test_vit", "model.weights=random"], ["from scratch"]),
    ],
)
def test_a_panel_is_titled_by_what_sets_it_apart(words: list[str], expected: list[str]) -> None:
    assert points(*words) == expected


def test_every_micro_model_compares_the_same_scales() -> None:
    classes = models.classes
    for name in MICRO:
        assert classes[name].scales == ("packaged", "packaged:6000", "packaged:600", "random")  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", MICRO)
def test_the_weights_of_every_scale_are_packaged(name: str) -> None:
    """`make pretrain pretrain-scales` makes them."""
    there = {v for v in ("", "6000", "600") if sources.packaged_file(name, v).is_file()}
    assert there == {"", "6000", "600"}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["model.weights=packaged,packaged:60"], "there are: packaged"),
        (["model.weights=packaged,hub:augreg_in1k"], "no weights on the hub"),
        (["model.weights=packaged,nowhere.safetensors"], "no such weights"),
        (["sparsity=90"], "drift has no use for sparsity"),
        (["scorer=snip,grasp"], "drift has no use for scorer"),
        (["recipe=smok"], "smoke"),
        (["seed=0,1", "recipe.epochs=-1"], "epochs"),
        (["experiment=demo,figure5"], "experiment"),
    ],
)
def test_a_wrong_request_is_refused_before_any_work(run: Run, here: Path, words: list[str], said: str) -> None:
    answer = run("drift", *words)
    assert answer.code == 2, answer.err
    assert len(answer.lines) <= 3
    assert said in answer.err
    assert everything_in(here) == set()


@pytest.mark.usefixtures("scales")
def test_an_experiment_says_what_is_compared(run: Run, here: Path, undrawn: Undrawn) -> None:
    undrawn()
    (here / "mine/experiment").mkdir(parents=True)
    text = "# @package _global_\n# mine\ndefaults:\n  - override /recipe: smoke\nsweep:\n  model.weights: ['packaged:600', random]\n"
    (here / "mine/experiment/mine.yaml").write_text(text)
    answer = run("drift", "experiment=mine", "--config-dir", "mine", "--json")
    assert answer.code == 0, answer.err
    assert list(dict.fromkeys(row["point"] for row in answer.json["rows"])) == ["600 images", "from scratch"]
