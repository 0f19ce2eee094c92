"""What pruning is worth, as bars: a panel a quantity, a bar a side."""

from __future__ import annotations

from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from prune_cli.common.lazy import pd
from prune_cli.report.figures import save

WIDTH, HEIGHT, ROWS = 2.4, 2.9, 2  # inches a panel; rows of panels at most
SHADES = {"dense": ("0.35", ""), "pruned": ("0.85", "//")}  # grey and hatching of a side
OTHERS = (("0.6", ".."), ("0.98", "xx"))  # of peers
UNITS = {"bytes": ("MB", 1e6), "multiply-adds": ("millions", 1e6), "ms": ("ms", 1.0)}  # as drawn


def draw_bench(table: pd.DataFrame, title: str, caption: str, path: Path) -> None:
    """Write the rows of bench.csv as one PNG, a panel for each quantity and batch.

    Bars: values, of times medians with a line up to the 95th percentile. Below a bar: its side and value.
    """
    panels = [rows for _, rows in table.groupby(["quantity", "batch"], sort=False, dropna=False)]
    columns = -(-len(panels) // ROWS)
    figure = Figure(figsize=(WIDTH * columns + 0.4, HEIGHT * ROWS + 1), layout="constrained")
    grid = figure.subplots(ROWS, columns, squeeze=False)
    for unused in grid.flat[len(panels) :]:
        unused.remove()
    for axes, rows in zip(grid.flat, panels, strict=False):
        _panel(axes, rows)
    figure.suptitle(title, fontsize="medium")
    figure.supxlabel(caption, fontsize="x-small")
    save(figure, path)


def _panel(axes: Axes, rows: pd.DataFrame) -> None:
    unit, scale = UNITS[rows.unit.iloc[0]]
    batch = rows.batch.iloc[0]
    for place, (_, row) in enumerate(rows.iterrows()):
        grey, hatch = SHADES.get(row.side) or OTHERS[(place - len(SHADES)) % len(OTHERS)]
        up = 0.0 if pd.isna(row.p95) else float(row.p95 - row.value) / scale
        axes.bar(place, row.value / scale, color=grey, hatch=hatch, edgecolor="black", linewidth=0.8)
        axes.errorbar(place, row.value / scale, [[0.0], [up]], color="black", capsize=3 if up else 0)
    names = [f"{_named(side)}\n{value / scale:.3g}" for side, value in zip(rows.side, rows.value, strict=True)]
    axes.set_xticks(range(len(rows)), names, fontsize="x-small")
    axes.set_ylabel(unit, fontsize="small")
    n = f", n = {rows.n.iloc[0]}" if rows.n.iloc[0] > 1 else ""
    axes.set_title(f"{rows.quantity.iloc[0]}\n{'' if pd.isna(batch) else f'batch {batch}{n}'}", fontsize="small")


def _named(side: str) -> str:
    return {"dense": "dense\n(torch)", "onnxruntime": "ONNX\nRuntime", "openvino": "Open-\nVINO"}.get(side, f"{side}\n")
