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
    theirs = reference(table.name).rename(columns=lambda c: c if c in keys else f"{c} (report)")
    both = table.frame().merge(theirs, on=keys, how="outer", sort=False)
    order = table.frame()[keys].drop_duplicates()
    both = pd.concat(
        [
            order.merge(both, on=keys),
            both.merge(order, on=keys, how="left", indicator=True).query("_merge == 'left_only'"),
        ]
    )
    both = both.drop(columns="_merge").fillna("")
    rows = [[Cell.of(str(value)) for value in row] for row in both.itertuples(index=False)]
    return Table(
        f"{table.name}_against_report", f"{table.caption}, beside the report's", list(both.columns), rows, table.missing
    )
