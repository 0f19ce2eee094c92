"""The largest Lyapunov exponents beside the accuracy, against the share of units removed."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from prune_cli.runs.files import whole

WIDTH, HEIGHT, DPI = 4.2, 3.4, 150  # inches a panel, pixels an inch
PANELS = {  # column -> what it is called
    "lyapunov_clips": "λ along clips [nats a frame]",
    "lyapunov_frozen": "λ under a frozen input [nats a frame]",
    "accuracy": "accuracy [%]",
}
STYLES = {"low": "-", "high": "--", "": ":"}  # of a line, by what is kept; random keeps neither
COLOURS = ("tab:blue", "tab:red", "tab:green", "tab:purple")


def draw_dynamics(table: pd.DataFrame, titles: dict[str, str], path: Path) -> None:
    """A row a dataset, a column a quantity; means over clips and runs, the band ± one standard deviation over clips."""
    datasets = list(dict.fromkeys(table.dataset))
    figure = Figure(figsize=(WIDTH * len(PANELS), HEIGHT * len(datasets)), layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.subplots(len(datasets), len(PANELS), squeeze=False)
    for axes, (dataset, quantity) in zip(grid.flat, product(datasets, PANELS), strict=True):
        _panel(axes, table[table.dataset == dataset], quantity, titles)
        axes.set_title(titles[dataset], fontsize="medium")
    grid.flat[0].legend(fontsize="small")
    with whole(path) as temporary:
        figure.savefig(temporary, format="png", dpi=DPI)


def _panel(axes: Axes, own: pd.DataFrame, quantity: str, titles: dict[str, str]) -> None:
    measures = [name for name in dict.fromkeys(own.measure) if name != "random"]
    for (measure, keep), rows in own.groupby(["measure", "keep"], sort=False):
        colour = "grey" if measure == "random" else COLOURS[measures.index(str(measure)) % len(COLOURS)]
        mean = rows.groupby("fraction").mean(numeric_only=True)
        across = 100 * mean.index.to_numpy(dtype=float)
        label = "random" if measure == "random" else f"{titles[str(measure)]}, {str(keep).capitalize()}"
        axes.plot(across, mean[quantity], color=colour, linestyle=STYLES[str(keep)], label=label)
        if f"{quantity}_std" in mean:
            low, high = (mean[quantity] + sign * mean[f"{quantity}_std"] for sign in (-1, 1))
            axes.fill_between(across, low, high, color=colour, alpha=0.08, linewidth=0)
    if quantity != "accuracy":
        axes.axhline(0, color="black", linewidth=0.8)
    axes.set(xlabel="units removed inside the recurrence [%]", ylabel=PANELS[quantity])
