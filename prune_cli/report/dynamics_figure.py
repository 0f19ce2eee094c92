"""The largest Lyapunov exponents beside the accuracy, against the share of units removed."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from prune_cli.report.figures import draw_grid, look

WIDTH, HEIGHT = 4.2, 3.4  # inches a panel
PANELS = {  # column -> what it is called
    "lyapunov_clips": "λ along clips [nats a frame]",
    "lyapunov_frozen": "λ under a frozen input [nats a frame]",
    "accuracy": "accuracy [%]",
}


def draw_dynamics(table: pd.DataFrame, titles: dict[str, str], path: Path) -> None:
    """A row a dataset, a column a quantity; means over clips and runs, the band ± one standard deviation over clips."""
    datasets = list(dict.fromkeys(table.dataset))
    first = datasets[0], next(iter(PANELS))

    def panel(axes: Axes, dataset: str, quantity: str) -> None:
        """A quantity of a dataset; the legend of the first holds for all."""
        _panel(axes, table[table.dataset == dataset], quantity, titles)
        axes.set_title(titles[dataset], fontsize="medium")
        if (dataset, quantity) == first:
            axes.legend(fontsize="small")

    figure = Figure(figsize=(WIDTH * len(PANELS), HEIGHT * len(datasets)), layout="constrained")
    draw_grid(figure, datasets, PANELS, panel, path)


def _panel(axes: Axes, own: pd.DataFrame, quantity: str, titles: dict[str, str]) -> None:
    measures = [name for name in dict.fromkeys(own.measure) if name != "random"]
    for (measure, keep), rows in own.groupby(["measure", "keep"], sort=False):
        style = look(str(measure), str(keep), measures, titles)
        mean = rows.groupby("fraction").mean(numeric_only=True)
        across = 100 * mean.index.to_numpy(dtype=float)
        axes.plot(across, mean[quantity], **style)
        if f"{quantity}_std" in mean:
            low, high = (mean[quantity] + sign * mean[f"{quantity}_std"] for sign in (-1, 1))
            axes.fill_between(across, low, high, color=style["color"], alpha=0.08, linewidth=0)
    if quantity != "accuracy":
        axes.axhline(0, color="black", linewidth=0.8)
    axes.set(xlabel="units removed inside the recurrence [%]", ylabel=PANELS[quantity])
