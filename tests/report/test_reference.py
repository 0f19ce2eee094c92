"""The report's numbers stand beside the same model, dataset and sparsity, and beside nothing else."""

from __future__ import annotations

from typing import Any

import pytest
from records import entry, report_row, table2_row

from prune_cli.report.reference import against_report
from prune_cli.report.table import Table
from prune_cli.report.tables import table1, table2


def beside(table: Table) -> list[list[str]]:
    """What the report's columns say in the rows of ours."""
    against = against_report(table)
    return [row[len(table.columns) :] for row in against.plain_rows()[: len(table.rows)]]


def followed_by(table: Table) -> list[list[str]]:
    return against_report(table).plain_rows()[len(table.rows) :]


def test_the_report_stands_beside_ours_and_its_other_rows_follow() -> None:
    table = against_report(table1(report_row()))
    ours, *theirs = table.plain_rows()
    assert ours == [
        "ViT-B/16",
        "98.0",
        "84.9M → 1.7M",
        "90.92 (81.96)",
        "68.35 (55.59)",
        "84.9M → 1.7M",
        "90.92 (81.96)",
        "68.35 (55.59)",
    ]
    assert len(theirs) == 17
    assert theirs[0][:3] == ["ViT-B/16", "90.0", ""]
    assert theirs[-1][0] == "Pool-M48"


def test_the_report_stands_beside_its_table_2() -> None:
    table = table2(table2_row("imagenet1k"))
    assert beside(table) == [["79.07", "78.62", "79.07", "77.23"]]
    assert followed_by(table) == [["ViT-L/16", "ImageNet-1K", "", "", "", "", "80.79", "80.60", "80.61", "78.53"]]


@pytest.mark.parametrize("entries", [table2_row("cifar10"), table2_row("imagenet1k", 90.0), table2_row("mnist5k")])
def test_another_dataset_or_sparsity_is_never_set_beside_the_report_s_imagenet(entries: list[Any]) -> None:
    table = table2(entries)
    assert beside(table) == [["", "", "", ""]]
    assert [row[:2] for row in followed_by(table)] == [["ViT-B/16", "ImageNet-1K"], ["ViT-L/16", "ImageNet-1K"]]


NOT_THE_REPORTS: dict[str, dict[str, Any]] = {
    "another dataset": {"dataset": "mnist5k"},
    "another sparsity": {"percent": 97.0},
    "another model": {"model_title": "ViT-micro"},
    "from scratch": {"weights": "random"},
    "weights of another pre-training": {"weights": "hub:augreg_in1k"},
    "a smoke run": {"smoke": True},
    "a ranking by tensor": {"scope": "erk"},
}


@pytest.mark.parametrize("change", NOT_THE_REPORTS.values(), ids=NOT_THE_REPORTS.keys())
def test_what_the_report_has_not_run_is_not_set_beside_its_numbers(change: dict[str, Any]) -> None:
    change = dict(change)
    scope, percent = change.pop("scope", None), change.pop("percent", 98.0)
    own = entry("snip_magnitude", 50.0, percent, **change)
    if scope:
        own.identity["sparsity"]["scope"] = scope
    assert beside(table1([own])) == [["", "", ""]]
    assert len(followed_by(table1([own]))) == 18


def test_another_method_is_not_set_beside_the_report_s_own() -> None:
    assert beside(table1([entry("magnitude", 50.0)])) == [["", "", ""]]


def test_a_file_of_weights_and_runs_still_to_come_are_set_beside_it() -> None:
    """An offline machine gets the hub's weights as a file."""
    assert beside(table1([entry("snip_magnitude", None, weights="file")])) == [
        ["84.9M → 1.7M", "90.92 (81.96)", "68.35 (55.59)"]
    ]


def test_one_sparsity_is_followed_by_the_report_s_rows_at_it() -> None:
    made = against_report(table1(report_row(), percent=98.0), 98.0)
    assert [row[1] for row in made.plain_rows()] == ["98.0"] * 6


def test_the_report_s_numbers_are_numbers_in_json() -> None:
    ours, *theirs = against_report(table1(report_row())).as_json()["rows"]
    assert ours["CIFAR-10 Acc. [%] (report)"] == {
        **{"mean": 90.92, "std": None, "n": None},
        "random": {"mean": 81.96, "std": None, "n": None},
    }
    assert (theirs[0]["Model"], theirs[0]["Sparsity [%]"], theirs[0]["CIFAR-10 Acc. [%]"]) == ("ViT-B/16", 90.0, None)
    (only,) = against_report(table2(table2_row("imagenet1k"))).as_json()["rows"][1:]
    assert only["SNIP (report)"] == {"mean": 80.61, "std": None, "n": None}
