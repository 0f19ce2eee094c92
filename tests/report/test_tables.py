"""Tables 1 and 2: cells, labels, best values, what is missing, and the three formats."""

from __future__ import annotations

import math
from typing import Any

import pytest
from records import entry, report_row, table2_row

from prune_cli.common.errors import RequestError
from prune_cli.report.entries import frame, human, runs_table
from prune_cli.report.reference import reference
from prune_cli.report.tables import table1, table2


def test_table1_has_the_reports_columns_and_wording() -> None:
    table = table1(report_row())
    assert table.columns == list(reference("table1").columns)
    assert table.plain_rows() == [["ViT-B/16", "98.0", "84.9M → 1.7M", "90.92 (81.96)", "68.35 (55.59)"]]
    expected = reference("table1").query("Model == 'ViT-B/16' and `Sparsity [%]` == '98.0'").values.tolist()
    assert table.plain_rows() == expected


def test_table2_has_the_reports_columns_the_dataset_and_a_row_a_model() -> None:
    table = table2([*table2_row("imagenet1k"), entry("random", 9.0, dataset="imagenet1k")])
    assert table.columns == ["Method", "Dataset", *reference("table2").columns[1:]]
    name, *accuracies = reference("table2").values.tolist()[0]
    assert table.plain_rows() == [[name, "ImageNet-1K", *accuracies]]


def test_the_best_values_are_bold_ties_too_in_markdown_and_latex() -> None:
    table = table2(
        [entry("snip_magnitude", 79.07), entry("magnitude", 78.62), entry("snip", 79.071), entry("dense", 90, 0.0)]
    )
    assert table.columns[-1] == "Dense"
    assert table.markdown().splitlines()[-1] == "| ViT-B/16 | CIFAR-10 | **79.07** | 78.62 | **79.07** | — | 90.00 |"
    assert r"ViT-B/16 & CIFAR-10 & \textbf{79.07} & 78.62 & \textbf{79.07} & --- & 90.00 \\" in table.latex()
    assert "**90.92** (81.96)" in table1(report_row()).markdown()
    assert "70.00 (**81.96**)" in table1([entry("snip_magnitude", 70.0), entry("random", 81.96)]).markdown()


def test_latex_escapes_what_latex_would_read() -> None:
    lines = table1([entry("snip_magnitude", 90.0, model_title="vit_tiny_patch16_224")]).latex().splitlines()
    assert lines[2] == r"Model & Sparsity [\%] & \# Params. & CIFAR-10 Acc. [\%] \\"
    assert r"vit\_tiny\_patch16\_224 & 98.0 & 84.9M $\to$ 1.7M" in lines[4]


def test_several_seeds_give_mean_deviation_and_number() -> None:
    runs = [entry("snip_magnitude", a, seed=s) for s, a in enumerate((90.0, 91.0, 92.0))]
    runs += [entry("random", a, seed=s) for s, a in enumerate((80.0, 82.0))] + [entry("random", None, seed=2)]
    table = table1(runs)
    assert table.plain_rows()[0][3] == f"91.00 ± 1.00, n=3 (81.00 ± {math.sqrt(2):.2f}, n=2)"
    assert [run.text for run in table.missing] == ["ViT-B/16, CIFAR-10, Random, 98 %, seed 2"]


def test_a_cell_whose_runs_are_missing_is_a_dash_and_is_named() -> None:
    table = table1([entry("snip_magnitude", 90.0), entry("random", None), entry("snip_magnitude", None, 90.0)])
    assert table.plain_rows() == [
        ["ViT-B/16", "98.0", "84.9M → 1.7M", "90.00 (—)"],
        ["ViT-B/16", "90.0", "84.9M → 8.5M", "— (—)"],
    ]
    assert [run.text for run in table.missing] == [
        "ViT-B/16, CIFAR-10, Random, 98 %, seed 0",
        "ViT-B/16, CIFAR-10, Ours, 90 %, seed 0",
    ]


def test_runs_that_differ_in_anything_else_never_share_a_cell() -> None:
    changes: list[dict[str, Any]] = [
        {"recipe": {"epochs": 20}},
        {"model": {"weights": "c" * 64}},
        {"scorer": {"alpha": 0.1}},
    ]
    for change in changes:
        table = table1([entry("snip_magnitude", 90.0), entry("snip_magnitude", 50.0, **change)])
        cells = [row[-1] for row in table.plain_rows()]
        assert sorted(cells) == ["50.00 (—)", "90.00 (—)"], change
        first, second = (row[:-1] for row in table.plain_rows())
        assert first != second, change


def test_a_difference_is_written_into_the_label() -> None:
    table = table2([entry("snip_magnitude", 90.0), entry("snip_magnitude", 50.0, scorer={"alpha": 0.1})])
    assert "Ours [alpha=0.1]" in table.columns
    assert "Ours [alpha=default]" in table.columns
    settings = table1([entry("snip_magnitude", 90.0), entry("snip_magnitude", 50.0, recipe={"epochs": 20})])
    assert [row[0] for row in settings.plain_rows()] == ["[recipe.epochs=10]", "[recipe.epochs=20]"]
    scratch = frame(
        [entry("dense", 90.0, 0.0), entry("dense", 50.0, 0.0, model={"weights": "random"}, weights="random")]
    )
    assert "(from scratch)" in scratch.model[1]


def test_smoke_runs_are_marked() -> None:
    assert "[smoke]" in table1([entry("snip_magnitude", 90.0, smoke=True)]).plain_rows()[0][0]


def test_another_method_and_another_sparsity_can_be_shown() -> None:
    runs = [
        entry("snip_magnitude", 90.0),
        entry("magnitude", 88.0),
        entry("magnitude", 95.0, 90.0),
        entry("random", 70.0),
    ]
    assert table1(runs, "magnitude").plain_rows()[0] == [
        "Magnitude",
        "ViT-B/16",
        "98.0",
        "84.9M → 1.7M",
        "88.00 (70.00)",
    ]
    assert table2(runs, 90.0).plain_rows() == [["ViT-B/16", "CIFAR-10", "—", "95.00", "—", "—"]]
    with pytest.raises(RequestError, match="snipp"):
        table1(runs, "snipp")
    with pytest.raises(RequestError, match="91"):
        table2(runs, 91.0)


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (84_934_656, "84.9M"),
        (301_989_888, "302.0M"),
        (1_698_693, "1.7M"),
        (786_432, "786k"),
        (15_729, "15.7k"),
        (999_999, "1.0M"),
        (999_499, "999k"),
        (640, "640"),
    ],
)
def test_counts_are_written_as_the_report_does(count: int, text: str) -> None:
    assert human(count) == text


def test_runs_csv_has_a_row_a_run_with_its_settings() -> None:
    table = runs_table([entry("snip_magnitude", 90.0, scorer={"alpha": 0.1}), entry("random", 80.0)])
    assert list(table.accuracy_last) == [90.0, 80.0]
    assert "scorer.alpha=0.1" in table.settings[0]
