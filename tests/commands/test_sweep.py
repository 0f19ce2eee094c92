"""Sweeps as typed: grids, tables, missing runs, failures."""

from __future__ import annotations

import io
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from conftest import QUICK, Answer, everything_in

Run = Callable[..., Answer]
SMOKE = ("model.weights=random", *QUICK)
TWO = ("sweep", *SMOKE, "scorer=snip_magnitude,random")
TABLES = {f"table{number}.{ending}" for number in (1, 2) for ending in ("csv", "md", "tex")}


@pytest.mark.usefixtures("in_process")
def test_a_sweep_fills_both_tables_and_runs_csv(run: Run, here: Path) -> None:
    answer = run("sweep", *SMOKE, "scorer=snip_magnitude,random", "sparsity=90,98", "seed=0,1", "--json")
    assert answer.code == 0, answer.err
    assert len(answer.json["runs"]) == 8
    assert everything_in(here / "results") == {"runs.csv", "sweep.json", *TABLES}
    assert len(pd.read_csv(here / "results/runs.csv")) == 8
    table = pd.read_csv(here / "results/table1.csv")
    assert list(table.columns) == ["Model", "Sparsity [%]", "# Params.", "MNIST-5k Acc. [%]"]
    assert list(table["# Params."]) == ["786k → 78.6k", "786k → 15.7k"]
    assert table["MNIST-5k Acc. [%]"].str.count("n=2").eq(2).all()


@pytest.mark.usefixtures("in_process")
def test_a_second_sweep_computes_nothing_and_a_table_can_be_made_again(run: Run, finished: Run, here: Path) -> None:
    finished(*TWO, "--json")
    before = (here / "results/table1.csv").read_text()
    assert "2 runs, 2 of them finished" in run(*TWO).err
    (here / "results/table1.csv").unlink()
    assert run("table", "1").code == 0
    assert (here / "results/table1.csv").read_text() == before


@pytest.mark.usefixtures("in_process")
def test_a_table_without_some_runs_is_written_and_names_them(run: Run, finished: Run, here: Path) -> None:
    records = finished(*TWO, "--json").json["runs"]
    shutil.rmtree(here / "runs/prune" / records[1]["hash"])
    answer = run("table", "1")
    assert answer.code == 0
    assert "(—)" in answer.out
    assert "missing: ViT-micro" in answer.err and "Random" in answer.err


FAILING = ("sweep", *SMOKE, "scorer=magnitude", "recipe.optimizer=sgd", "recipe.lr=1e30,1e-3")


def test_a_run_that_fails_does_not_stop_the_others(run: Run, here: Path) -> None:
    answer = run(*FAILING, "--json")
    assert answer.code == 1
    assert len(answer.json["runs"]) == 1
    (failed,) = answer.json["failed"]
    assert "the loss is" in failed["reason"][0] and "epoch 1" in failed["reason"][1]
    assert any("NumericalError" in line for line in failed["log"])
    assert everything_in(here / "results") >= TABLES
    preview = run(*FAILING, "--dry-run")
    assert "1 done, 0 running, 1 failed, 0 pending" in preview.out


@pytest.mark.slow  # test_launch.py shows it with stand-ins
def test_fail_fast_starts_nothing_after_a_failure(run: Run) -> None:
    answer = run(*FAILING, "--fail-fast", "--json")
    assert (answer.code, len(answer.json["runs"]), len(answer.json["failed"])) == (1, 0, 1)


def test_every_point_is_checked_before_the_first_runs(run: Run, here: Path) -> None:
    answer = run("sweep", *SMOKE, "scorer=snip_magnitude", "sparsity=90,120")
    assert answer.code == 2
    assert len(answer.lines) <= 3
    assert everything_in(here) == set()


@pytest.mark.parametrize(("words", "percents"), [("range(90,93)", [90, 91, 92]), ("choice(90,97.5)", [90, 97.5])])
def test_sweeps_over_numbers_are_understood(run: Run, here: Path, words: str, percents: list[float]) -> None:
    points = run("sweep", *SMOKE, f"sparsity={words}", "scorer=magnitude", "--dry-run", "--json").json["points"]
    assert [point["point"].split(", ")[2] for point in points] == [f"{p:g} %" for p in percents]
    assert everything_in(here) == set()


def test_references_are_run_once_however_many_scorers_there_are(run: Run) -> None:
    words = ("sweep", *SMOKE, "scorer=magnitude,random", "sparsity=90,98", "--references", "--dry-run", "--json")
    points = run(*words).json["points"]
    assert len(points) == 4 + 1  # the weights are random already, so dense and from scratch are the same run


def test_axes_typed_replace_those_of_an_experiment(run: Run) -> None:
    points = run("sweep", "experiment=demo", *SMOKE, "--dry-run", "--json").json["points"]
    assert [p["point"] for p in points] == [
        f"ViT-micro on MNIST-5k, {method}, 98 %, seed 0" for method in ("Ours", "Random")
    ]
    points = run("sweep", "experiment=demo", *SMOKE, "scorer=snip", "seed=0,1", "--dry-run", "--json").json["points"]
    assert [p["point"] for p in points] == [f"ViT-micro on MNIST-5k, SNIP, 98 %, seed {seed}" for seed in (0, 1)]


def test_a_table_without_any_run_says_what_to_type(run: Run) -> None:
    answer = run("table", "1")
    assert answer.code == 2
    assert "prune-cli sweep" in answer.err


def test_a_sweep_for_a_cluster_is_planned_on_a_machine_without_its_device(run: Run) -> None:
    words = ("sweep", *SMOKE, "scorer=magnitude", "compute.device=cuda")
    assert run(*words).code == 2  # it would run here
    assert run(*words, "--dry-run").code == 0


def test_a_terminal_that_was_closed_stops_nothing(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    class Closed(io.StringIO):
        def isatty(self) -> bool:
            return True

        def write(self, text: str) -> int:  # noqa: ARG002
            raise OSError(5, "Input/output error")

    monkeypatch.setattr(sys, "stderr", Closed())
    assert run("prune", *SMOKE, "scorer=magnitude").code == 0
