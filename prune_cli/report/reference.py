"""The report's own tables, and ours set beside them."""

from __future__ import annotations

from importlib import resources

import pandas as pd

from prune_cli.report.table import Cell, Table

KEYS = {"table1": ["Model", "Sparsity [%]"], "table2": ["Method"]}  # what a row of the report is called by


def reference(name: str) -> pd.DataFrame:
    """The report's `table1` or `table2`, every cell as the report writes it."""
    with resources.as_file(resources.files("prune_cli.report") / "reference" / f"{name}.csv") as path:
        return pd.read_csv(path, dtype=str)


def against_report(table: Table) -> Table:
    """Our rows with the report's accuracies beside them; then the report's rows that we have no run for."""
    keys = KEYS[table.name]
    ours = table.frame()
    theirs = reference(table.name).rename(columns=lambda name: name if name in keys else f"{name} (report)")
    beside = ours.merge(theirs, on=keys, how="left")
    ran = set(ours[keys].itertuples(index=False, name=None))
    alone = theirs[[row not in ran for row in theirs[keys].itertuples(index=False, name=None)]]
    both = pd.concat([beside, alone])[beside.columns].fillna("")
    rows = [[Cell.of(value) for value in row] for row in both.itertuples(index=False)]
    return Table(
        f"{table.name}_against_report",
        f"{table.caption}; the report's own",
        list(map(str, both.columns)),
        rows,
        table.missing,
    )
