"""The report's own tables, and ours set beside them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import resources
from typing import Any

from prune_cli.common.lazy import pd
from prune_cli.report.table import Cell, Row, Table

METHOD = "snip_magnitude"  # the report's own: that of its Table 1, and Ours in both
TABLE1_DATASETS = ("CIFAR-10", "CIFAR-100")
TABLE2_DATASET, TABLE2_PERCENT = "ImageNet-1K", 98.0
TABLE2_METHODS = ("Ours", "Magnitude", "SNIP", "GraSP")
KEYS = {"table1": ["Model", "Sparsity [%]"], "table2": ["Method"]}  # what a row of the report is called by
DATASET = {"table1": {}, "table2": {"Dataset": TABLE2_DATASET}}  # what a row of the report does not say itself

EMPTY = Cell((("", False),), None)


def reference(name: str) -> pd.DataFrame:
    """The report's `table1` or `table2`, every cell as the report writes it."""
    with resources.as_file(resources.files("prune_cli.report") / "reference" / f"{name}.csv") as path:
        return pd.read_csv(path, dtype=str)


def against_report(table: Table, percent: float | None = None) -> Table:
    """Our rows, each with the report's numbers where it has the same row; then the report's rows that we have no run for.

    The report's row is the same if model, dataset and sparsity are, and the weights' pre-training as far as we know
    it (`Row.twin`). percent: of Table 1, the one sparsity to show; by default all of them.
    """
    keys, written = KEYS[table.name], reference(table.name)
    rows_of_report: list[dict[Any, str]] = written.to_dict("records")
    theirs = {tuple(row[key] for key in keys): row for row in rows_of_report}
    added = [name for name in written.columns if name not in keys]
    rows = [Row(row.cells + _theirs(theirs.get(row.twin or ()), added), row.twin) for row in table.rows]
    beside = {row.twin for row in table.rows}
    for twin, row in theirs.items():
        if twin not in beside and (percent is None or percent == float(row.get("Sparsity [%]", percent))):
            named = {key: row[key] for key in keys} | DATASET[table.name]
            rows.append(Row([_name(named.get(name)) for name in table.columns] + _theirs(row, added), twin))
    columns = [*table.columns, *(f"{name} (report)" for name in added)]
    return Table(f"{table.name}_against_report", f"{table.caption}; the report's own", columns, rows, table.missing)


def _theirs(row: Mapping[str, str] | None, columns: Sequence[str]) -> list[Cell]:
    """The report's cells of these columns, empty ones where it has no such row."""
    if row is None:
        return [EMPTY] * len(columns)
    return [Cell.of(row[name]) if name == "# Params." else _accuracy(row[name]) for name in columns]


def _name(text: str | None) -> Cell:
    """The value of a cell that names a row of the report, in one of our columns; a sparsity is a number in JSON."""
    if text is None:
        return EMPTY
    return Cell.of(text, value=float(text) if text[0].isdigit() else text)


def _accuracy(text: str) -> Cell:
    """`own` or `own (random)`, of which the report says neither spread nor n."""
    own, *random = ({"mean": float(part), "std": None, "n": None} for part in text.rstrip(")").split(" ("))
    return Cell.of(text, value=own | {"random": random[0]} if random else own)
