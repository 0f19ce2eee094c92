"""What every run does when it is finished: it shows its row and is entered in runs.csv."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from prune_cli.common.terminal import note, print_table
from prune_cli.report.entries import runs_table
from prune_cli.runs.files import write_csv
from prune_cli.runs.places import Places
from prune_cli.runs.store import finished

COLUMNS = ("Model", "Dataset", "Method", "Sparsity [%]", "Seed", "Kept", "Accuracy [%]", "Best epoch [%]", "Run")


def enter(places: Places) -> None:
    """Write results/runs.csv again, a row a finished run."""
    write_csv(places.results / "runs.csv", runs_table(list(finished(places.runs, "prune").values())))


def show_runs(records: list[dict[str, Any]], runs_dir: Path) -> None:
    """Print the rows of finished runs on stdout."""
    if any(record["smoke"] for record in records):
        note("smoke run: its figures mean nothing")
    print_table("", COLUMNS, [_row(record, runs_dir) for record in records])


def _row(record: dict[str, Any], runs_dir: Path) -> tuple[str, ...]:
    return (
        record["model_title"],
        record["dataset_title"],
        record["method_title"],
        f"{record['sparsity']:g}",
        str(record["seed"]),
        f"{record['kept']:,} of {record['prunable']:,}",
        f"{record['accuracy_last']:.2f}",
        f"{record['accuracy_best']:.2f} (epoch {record['best_epoch'] + 1}, chosen on {record['best_chosen_on']})",
        str(runs_dir / record["identity"]["kind"] / record["hash"]),
    )
