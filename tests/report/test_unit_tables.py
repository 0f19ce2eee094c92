"""Removed units in tables, and Figure 4: what is drawn, and that pictures come of it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from manifests import planned_or_finished
from matplotlib.figure import Figure
from scipy import stats

from prune_cli.execution import run_once
from prune_cli.report import ablation_figures
from prune_cli.report.ablation_figures import draw_curves, draw_units
from prune_cli.report.entries import Entry, frame, runs_table, target_of_entry
from prune_cli.report.tables import table1, table2

PNG = b"\x89PNG\r\n\x1a\n"
TITLES = {"transfer_entropy": "TE", "mutual_information": "MI", "random": "Random", "snip_magnitude": "Ours"}


def entry(
    method: str, accuracy: float | None, removal: str = "recurrence", percent: float = 50.0, seed: int = 0
) -> Entry:
    """A record of a run whose units, or weights, were removed."""
    identity: dict[str, Any] = {
        "kind": "prune",
        "model": {"name": "lstm128", "weights": "a" * 64},
        "dataset": {"name": "action_mnist", "digest": "b" * 64},
        "compute": {},
        "seed": seed,
        "recipe": {"epochs": 0},
        "sparsity": {"percent": percent},
        "scorer": {"name": method},
        "scoring": {},
    }
    if removal != "weights":
        identity |= {"removal": removal, "of": "units"}
    total = 2_162_688 if removal == "weights" else 128
    found = {
        "hash": f"{method}-{removal}-{percent:g}-{seed}",
        "identity": identity,
        "smoke": False,
        "model": "lstm128",
        "model_title": "LSTM-128",
        "weights": "packaged:action_mnist",
        "dataset": "action_mnist",
        "dataset_title": "Action MNIST",
        "method": method,
        "method_title": TITLES[method],
        "removal": removal,
        "sparsity": percent,
        "seed": seed,
        "prunable": total,
        "kept": total - round(percent / 100 * total),
        "parameters": 2_164_936,
    }
    return planned_or_finished(found, accuracy)


def test_table1_sets_a_measure_of_units_against_random_and_counts_units() -> None:
    table = table1([entry("transfer_entropy", 91.5), entry("random", 60.25)])
    assert table.columns == ["Method", "Model", "Sparsity [%]", "# Params.", "Action MNIST Acc. [%]"]
    assert table.plain_rows() == [["TE", "LSTM-128", "50.0", "128 → 64 units", "91.50 (60.25)"]]
    assert "**91.50** (60.25)" in table.markdown()


def test_table2_of_units_has_a_column_a_measure_and_none_of_the_reports_weights() -> None:
    table = table2([entry("transfer_entropy", 91.5), entry("mutual_information", 92.5), entry("random", 60.0)])
    assert table.columns == ["Method", "Dataset", "TE", "MI"]
    assert table.plain_rows() == [["LSTM-128", "Action MNIST", "91.50", "92.50"]]


def on_uiuc_video(found: Entry, weights: str) -> Entry:
    """The same run on the other dataset, with the weights named so."""
    other = {"model": found.identity["model"] | {"weights": "c" * 64}, "dataset": {"name": "uiuc_video"}}
    about = {"hash": f"{found.hash}-uiuc", "dataset": "uiuc_video", "dataset_title": "UIUC Video"}
    return replace(found, **about, weights=weights, identity={**found.identity, **other})


@pytest.mark.parametrize(("weights", "rows"), [("packaged:uiuc_video", 1), ("file", 2)])
def test_packaged_weights_of_each_dataset_are_one_model_and_other_weights_are_not(weights: str, rows: int) -> None:
    here = entry("transfer_entropy", 80.0)
    made = table1([here, on_uiuc_video(here, weights)])
    assert len(made.rows) == rows
    assert made.plain_rows()[0][1] == ("LSTM-128" if rows == 1 else "LSTM-128 [weights=packaged]")


def test_placements_never_share_a_cell() -> None:
    runs = [entry("transfer_entropy", 90.0), entry("transfer_entropy", 50.0, "readout")]
    runs += [entry("random", 70.0), entry("random", 30.0, "readout")]
    rows = table1(runs).plain_rows()
    assert [row[0] for row in rows] == ["[removal=recurrence]", "[removal=readout]"]
    assert [row[-1] for row in rows] == ["90.00 (70.00)", "50.00 (30.00)"]


def test_units_and_weights_of_one_model_stand_apart() -> None:
    runs = frame([entry("random", 70.0), entry("random", 80.0, "weights")])
    assert list(runs.counts) == ["128 → 64 units", "2.2M → 1.1M"]
    assert runs.settings.nunique() == 2


def test_a_missing_run_of_units_is_named() -> None:
    (missing,) = table1([entry("transfer_entropy", 90.0), entry("random", None)]).missing
    assert missing.text == "LSTM-128, Action MNIST, Random, 50 %, seed 0"


def test_runs_csv_and_the_shown_row_say_units(monkeypatch: pytest.MonkeyPatch) -> None:
    table = runs_table([entry("transfer_entropy", 90.0), entry("random", 80.0, "weights")])
    assert list(table.removal) == ["recurrence", "weights"]
    assert list(table.kept) == [64, 1_081_344]
    old = replace(entry("random", 80.0, "weights"), removal=None)  # a record from before there were units
    assert target_of_entry(old).single_weights
    assert list(runs_table([old]).removal) == ["weights"]
    shown: list[Any] = []
    monkeypatch.setattr(run_once, "print_table", lambda _title, _columns, rows: shown.extend(rows))
    run_once.show_runs([entry("transfer_entropy", 90.0), old], Path("runs"))
    assert [row[5] for row in shown] == ["64 of 128 units", "1.1M of 2.2M"]


# -- Figure 4 --------------------------------------------------------------------------------------------------------

MEASURES = ("transfer_entropy", "mutual_information")
NAMES = TITLES | {"action_mnist": "Action MNIST", "uiuc_video": "UIUC Video"}
PLACEMENTS = ("recurrence", "readout")
DATASETS = ("action_mnist", "uiuc_video")


def units_table() -> pd.DataFrame:
    """20 units a dataset, of which 3 and 17 are the most harmful in the recurrence, 5 and 6 at the readout."""
    draw = np.random.default_rng(0)
    tables = []
    for dataset in DATASETS:
        table = pd.DataFrame({"dataset": dataset, "unit": range(20)} | {m: draw.random(20) for m in MEASURES})
        for placement, (worst, second) in zip(PLACEMENTS, ((3, 17), (5, 6)), strict=True):
            table[f"accuracy_{placement}"] = 90.0
            table.loc[worst, f"accuracy_{placement}"] = 40.0
            table.loc[second, f"accuracy_{placement}"] = 60.0
        tables.append(table)
    return pd.concat(tables, ignore_index=True)


def curves_table(runs: int) -> pd.DataFrame:
    rows = [
        {"dataset": dataset, "placement": placement, "fraction": tenth / 10, "run": f"{dataset}{run}", "seed": run,
         "measure": measure, "keep": keep, "draw": draw, "accuracy": 90.0 - 5 * tenth + run + draw / 10}
        for dataset in DATASETS for placement in PLACEMENTS for tenth in range(10) for run in range(runs)
        for measure, keep, draws in (*((m, k, 1) for m in MEASURES for k in ("low", "high")), ("random", "", 20))
        for draw in range(draws)
    ]  # fmt: skip
    return pd.DataFrame(rows)


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """The figures that are made, kept to be looked at."""
    made: list[Figure] = []

    class Kept(Figure):
        def __init__(self, *words: object, **options: object):
            super().__init__(*words, **options)  # type: ignore[arg-type]
            made.append(self)

    monkeypatch.setattr(ablation_figures, "Figure", Kept)
    return made


TITLED = [
    "Action MNIST, silent in the recurrence",
    "Action MNIST, silent to the classifier",
    "UIUC Video, silent in the recurrence",
    "UIUC Video, silent to the classifier",
]


def test_panel_a_has_a_dot_a_unit_and_names_the_two_most_harmful(tmp_path: Path, drawn: list[Figure]) -> None:
    table, path = units_table(), tmp_path / "new/ablation.png"
    draw_units(table, MEASURES, NAMES, path)
    assert path.read_bytes().startswith(PNG)
    assert [file.name for file in path.parent.iterdir()] == ["ablation.png"]
    panels = [axes for axes in drawn[0].axes if axes.get_title()]
    assert [axes.get_title() for axes in panels] == TITLED
    assert len(drawn[0].axes) == 2 * len(panels)  # each with its colour bar
    for number, axes in enumerate(panels):
        own = table[table.dataset == DATASETS[number // 2]].set_index("unit")
        (dots,) = axes.collections
        found = {tuple(xy): float(c) for xy, c in zip(dots.get_offsets(), dots.get_array(), strict=True)}
        accuracy = f"accuracy_{PLACEMENTS[number % 2]}"
        assert found == {(row[MEASURES[1]], row[MEASURES[0]]): row[accuracy] for _, row in own.iterrows()}
        assert (axes.get_xlabel(), axes.get_ylabel()) == ("MI [nats]", "TE [nats]")
        first, second = ((3, 17), (5, 6))[number % 2]
        assert [text.get_text() for text in axes.texts] == [f"n1: unit {first}", f"n2: unit {second}"]


@pytest.mark.parametrize("runs", [1, 3])
def test_panel_b_has_low_and_high_of_each_measure_a_random_band_and_chance(
    tmp_path: Path, drawn: list[Figure], runs: int
) -> None:
    table, path = curves_table(runs), tmp_path / "curves.png"
    draw_curves(table, (), {"action_mnist": 12.5, "uiuc_video": 25.0}, NAMES, path)
    assert path.read_bytes().startswith(PNG)
    assert len(drawn[0].axes) == 4
    for number, axes in enumerate(drawn[0].axes):
        assert axes.get_title() == TITLED[number] + (", 3 models" if runs > 1 else "")
        texts = [text.get_text() for text in axes.get_legend().get_texts()]
        lines = ["TE, Low", "TE, High", "MI, Low", "MI, High"]
        assert texts == ["random, 95 % of the draws", "chance", *lines]
        chance = next(line for line in axes.lines if line.get_label() == "chance")
        assert set(chance.get_ydata()) == {(12.5, 25.0)[number // 2]}
        solid = {c.lines[0].get_linestyle() for c in axes.containers if c.get_label().endswith("Low")}
        dashed = {c.lines[0].get_linestyle() for c in axes.containers if c.get_label().endswith("High")}
        assert (solid, dashed) == ({"-"}, {"--"})


def test_lines_are_means_over_runs_and_bars_their_intervals(tmp_path: Path, drawn: list[Figure]) -> None:
    """Of b, b + 1 and b + 2: mean b + 1, half width t(0.975, 2) / √3."""
    draw_curves(curves_table(3), (), dict.fromkeys(DATASETS, 12.5), NAMES, tmp_path / "curves.png")
    container = drawn[0].axes[0].containers[0]
    line, _, (bars,) = container.lines
    beside = -1.5 * ablation_figures.BESIDE  # the first of four lines
    assert line.get_xdata() == pytest.approx([10.0 * tenth + beside for tenth in range(10)])
    assert line.get_ydata() == pytest.approx([91.0 - 5 * tenth for tenth in range(10)])
    half = stats.t.ppf(0.975, 2) / 3**0.5
    for tenth, segment in enumerate(bars.get_segments()):
        middle = 91.0 - 5 * tenth
        assert segment[:, 1] == pytest.approx([middle - half, middle + half])


def test_options_have_panels_of_their_own_and_baselines_stand_in_each(tmp_path: Path, drawn: list[Figure]) -> None:
    table = curves_table(2)
    label = table[table.measure.isin(MEASURES)].assign(measure=lambda rows: rows.measure + " source=label")
    variance = table[table.measure == MEASURES[0]].assign(measure="activation_variance")
    names = (
        NAMES | {f"{m} source=label": f"{NAMES[m]} (source=label)" for m in MEASURES} | {"activation_variance": "Var"}
    )
    draw_curves(
        pd.concat([table, label, variance]),
        ("activation_variance",),
        dict.fromkeys(DATASETS, 12.5),
        names,
        tmp_path / "c.png",
    )
    assert len(drawn[0].axes) == 2 * 2 * 2  # datasets, options, placements
    for axes in drawn[0].axes:
        texts = {text.get_text() for text in axes.get_legend().get_texts()}
        assert "Var, High" in texts and "Var, Low" not in texts
        assert len([text for text in texts if "source=label" in text]) in (0, 4)


def test_one_run_has_no_bars(tmp_path: Path, drawn: list[Figure]) -> None:
    draw_curves(curves_table(1), (), dict.fromkeys(DATASETS, 12.5), NAMES, tmp_path / "curves.png")
    assert all(not container.has_yerr for axes in drawn[0].axes for container in axes.containers)


def test_the_band_holds_95_percent_of_the_draws(tmp_path: Path, drawn: list[Figure]) -> None:
    """20 draws at b, b + 0.1, … b + 1.9: the quantiles 0.025 and 0.975 lie 0.475 steps from the ends."""
    draw_curves(curves_table(1), (), dict.fromkeys(DATASETS, 12.5), NAMES, tmp_path / "curves.png")
    (band,) = [c for c in drawn[0].axes[0].collections if c.get_label().startswith("random")]
    corners = band.get_paths()[0].vertices
    nothing_removed = corners[corners[:, 0] == 0.0][:, 1]
    assert (nothing_removed.min(), nothing_removed.max()) == pytest.approx((90 + 0.0475, 90 + 1.9 - 0.0475))


def test_the_same_table_gives_the_same_picture(tmp_path: Path) -> None:
    for name in ("one.png", "two.png"):
        draw_units(units_table(), MEASURES, NAMES, tmp_path / name)
    assert (tmp_path / "one.png").read_bytes() == (tmp_path / "two.png").read_bytes()


def test_runs_of_a_plug_ins_target_do_not_hide_the_others() -> None:
    runs = [entry("transfer_entropy", 91.5), entry("transfer_entropy", 80.0, removal="own_target")]
    for table in (table1(runs), table2(runs)):
        assert any("91.50" in cell for row in table.plain_rows() for cell in row)
        assert any("80.00" in cell for row in table.plain_rows() for cell in row)
    assert "128 → 64 own_target" in str(table1(runs).plain_rows())
    assert list(runs_table(runs).removal) == ["recurrence", "own_target"]  # type: ignore[arg-type]
