"""What all figures share: files, grids of panels, and how an order of removal looks. And Figure 5 of the report:
parameters before training across, after it up, a panel a starting point.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.image import AxesImage

from prune_cli.common.lazy import Tensor, torch
from prune_cli.runs.files import whole

BINS = 201  # a side; odd, so that weights around 0 fall into one bin
REACH = 0.9999  # the share of values that a panel's range must hold
COLUMNS = 4  # panels in a row at most
PANEL, MARGIN, DPI = 2.6, 0.8, 150  # inches, inches, pixels an inch
STYLES = {"low": "-", "high": "--"}  # of a line, by what is kept
Row = TypeVar("Row")  # what a row of panels is of
COLOURS = ("tab:blue", "tab:red", "tab:green", "tab:purple")  # of a measure


def save(figure: Figure, path: Path, **options: Any) -> None:
    """Write the figure as a PNG, whole or not at all. options: of `savefig`."""
    FigureCanvasAgg(figure)
    with whole(path) as temporary:
        figure.savefig(temporary, format="png", dpi=DPI, **options)


def draw_grid(
    figure: Figure, rows: Collection[Row], columns: Collection[str], panel: Callable[[Axes, Row, str], None], path: Path
) -> None:
    """Write a PNG with a panel for each row and column, which `panel` draws."""
    grid = figure.subplots(len(rows), len(columns), squeeze=False)
    for axes, (row, column) in zip(grid.flat, product(rows, columns), strict=True):
        panel(axes, row, column)
    save(figure, path)


def look(measure: str, keep: str, measures: Sequence[str], titles: Mapping[str, str]) -> dict[str, Any]:
    """Colour, style and label of the line of an order of removal; a random one keeps neither low nor high values."""
    if not keep:
        return {"color": "grey", "linestyle": ":", "label": "random"}
    colour = COLOURS[measures.index(measure) % len(COLOURS)]
    return {"color": colour, "linestyle": STYLES[keep], "label": f"{titles[measure]}, {keep.capitalize()}"}


@dataclass(frozen=True)
class Panel:
    """One square. counts_XY: weights by bin of x (before) and y (after), each from -limit to limit."""

    title: str
    caption: str
    counts_XY: np.ndarray


def reach(tensors: Sequence[Tensor], share: float = REACH) -> float:
    """The magnitude that `share` of all values do not exceed, found without a joined copy of the tensors."""
    beyond = int((1 - share) * sum(t.numel() for t in tensors)) + 1
    largest = torch.zeros(0)
    for tensor in tensors:
        values = torch.cat([largest, tensor.detach().abs().flatten().float().cpu()])
        largest = values.topk(min(beyond, len(values))).values
    return float(largest[-1])


def density(pairs: Iterable[tuple[Tensor, Tensor]], limit: float, bins: int = BINS) -> np.ndarray:
    """How many values fall into each of bins × bins (before, after), tensor by tensor; none that lie beyond ±limit."""
    counts_XY = np.zeros((bins, bins), dtype=np.int64)
    ends = (-limit, limit)
    for before, after in pairs:
        x, y = (t.detach().cpu().double().flatten().numpy() for t in (before, after))
        counts_XY += np.histogram2d(x, y, bins=bins, range=(ends, ends))[0].astype(np.int64)
    return counts_XY


def draw(panels: Sequence[Panel], limit: float, title: str, path: Path) -> None:
    """Write the panels as one PNG, whole or not at all: the same axes and the same colours in each."""
    figure, axes = _layout(len(panels))
    colours = LogNorm(1, max(2, max(int(panel.counts_XY.max()) for panel in panels)))
    for place, panel in zip(axes, panels, strict=True):
        image = _panel(place, panel, limit, colours)
    figure.suptitle(title)
    figure.colorbar(image, ax=axes, label="weights in a bin", fraction=0.05, aspect=30)
    save(figure, path, bbox_inches="tight")


def _layout(panels: int) -> tuple[Figure, list[Axes]]:
    columns = min(panels, COLUMNS)
    rows = -(-panels // columns)
    size = (columns * PANEL + 2 * MARGIN, rows * (PANEL + MARGIN) + MARGIN)
    figure = Figure(figsize=size, layout="compressed")
    grid = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    for unused in grid.flat[panels:]:
        unused.remove()
    return figure, list(grid.flat[:panels])


def _panel(axes: Axes, panel: Panel, limit: float, colours: LogNorm) -> AxesImage:
    counts_YX = np.ma.masked_equal(panel.counts_XY.T, 0)  # an empty bin stays white
    ends = (-limit, limit)
    image = axes.imshow(counts_YX, origin="lower", extent=(*ends, *ends), norm=colours, cmap="viridis")
    axes.plot(ends, ends, color="crimson", linewidth=0.6)
    axes.locator_params(nbins=5)
    axes.set(xlabel="before fine-tuning", ylabel="after fine-tuning")
    axes.label_outer()
    axes.set_title(f"{panel.title}\n", fontsize="medium")
    axes.text(0.5, 1.02, panel.caption, transform=axes.transAxes, ha="center", va="bottom", fontsize="small")
    return image
