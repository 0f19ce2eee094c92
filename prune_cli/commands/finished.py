"""What every run shows when it is finished: its row."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from prune_cli.common.terminal import note, print_table

COLUMNS = ("Model", "Dataset", "Method", "Sparsity [%]", "Kept", "Accuracy [%]", "Best epoch [%]", "Run")


def report_run(record: dict[str, Any], folder: Path, as_json: bool = False) -> None:
    """Print the run's row on stdout (nothing with --json, which prints the whole record)."""
    if record["smoke"]:
        note("smoke run: its figures mean nothing")
    if as_json:
        return
    row = (
        record["model_title"],
        record["dataset_title"],
        record["method_title"],
        f"{record['sparsity']:g}",
        f"{record['kept']:,} of {record['prunable']:,}",
        f"{record['accuracy_last']:.2f}",
        f"{record['accuracy_best']:.2f} (epoch {record['best_epoch'] + 1}, {record['best_chosen_on']})",
        str(folder),
    )
    print_table("", COLUMNS, [row])
