"""Figure 4 of the report: what a unit's information says of the accuracy without it, and accuracy against removal."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.collections import PathCollection
from matplotlib.figure import Figure

from prune_cli.common.statistics import mean_interval
from prune_cli.report.figures import draw_grid, look

WIDTH, HEIGHT = 4.6, 3.7  # inches a panel
NAMED = 2  # the most harmful units, which the report calls n1 and n2
BAND = (0.025, 0.975)  # quantiles of the random removals that the band shows
PLACED = {"recurrence": "silent in the recurrence", "readout": "silent to the classifier"}


def draw_units(table: pd.DataFrame, measures: tuple[str, str], titles: dict[str, str], path: Path) -> None:
    """Panel (a): measures[1] across, measures[0] up, a dot a unit, its colour the accuracy without it; a row a dataset.

    table: `ablation.single` with a column dataset. titles: what a measure or a dataset is called.
    """
    datasets = list(dict.fromkeys(table.dataset))

    def panel(axes: Axes, dataset: str, placement: str) -> None:
        """The units of a dataset."""
        own = table[table.dataset == dataset]
        dots = _dots(axes, own, measures, f"accuracy_{placement}")
        axes.figure.colorbar(dots, ax=axes, label="accuracy without the unit [%]")
        axes.set(xlabel=f"{titles[measures[1]]} [nats]", ylabel=f"{titles[measures[0]]} [nats]")
        axes.set_title(f"{titles[dataset]}, {PLACED[placement]}", fontsize="medium")

    _draw(datasets, panel, path)


def draw_curves(table: pd.DataFrame, chance: dict[str, float], titles: dict[str, str], path: Path) -> None:
    """Panel (b): accuracy against the share removed; bars are 95 % intervals over runs, one a seed, where there are several.

    table: `ablation.curves` with columns dataset and run. chance: accuracy [%] of a guess, by dataset.
    """
    datasets = list(dict.fromkeys(table.dataset))

    def panel(axes: Axes, dataset: str, placement: str) -> None:
        """The curves of a dataset."""
        own = table[(table.dataset == dataset) & (table.placement == placement)]
        _band(axes, own[own.measure == "random"])
        _lines(axes, own[own.measure != "random"], titles)
        axes.axhline(chance[dataset], color="black", linewidth=0.8, linestyle=":", label="chance")
        axes.set(xlabel="units removed [%]", ylabel="accuracy [%]", ylim=(0, 102))
        models = own.run.nunique()
        axes.set_title(
            f"{titles[dataset]}, {PLACED[placement]}" + (f", {models} models" if models > 1 else ""), fontsize="medium"
        )
        axes.legend(fontsize="small")

    _draw(datasets, panel, path)


def _draw(datasets: list[str], panel: Callable[[Axes, str, str], None], path: Path) -> None:
    """A row a dataset, a column a placement."""
    figure = Figure(figsize=(WIDTH * len(PLACED), HEIGHT * len(datasets)), layout="constrained")
    draw_grid(figure, datasets, PLACED, panel, path)


def _dots(axes: Axes, own: pd.DataFrame, measures: tuple[str, str], accuracy: str) -> PathCollection:
    up, across = measures
    harmful_last = own.sort_values(accuracy, ascending=False)  # drawn over the others
    dots = axes.scatter(harmful_last[across], harmful_last[up], c=harmful_last[accuracy], cmap="viridis", s=22)
    for rank, (_, unit) in enumerate(own.sort_values(accuracy).head(NAMED).iterrows(), start=1):
        right = unit[across] > own[across].median()  # its name then stands to its left
        axes.annotate(
            f"n{rank}: unit {unit.unit:.0f}",
            (unit[across], unit[up]),
            xytext=(-7 if right else 7, 7 if rank == 1 else -13),  # apart even where both units are
            textcoords="offset points",
            ha="right" if right else "left",
            fontsize="small",
            bbox={"facecolor": "white", "alpha": 0.7, "linewidth": 0, "pad": 0.5},
        )
    return dots


def _band(axes: Axes, random: pd.DataFrame) -> None:
    by = random.groupby("fraction").accuracy
    across = _percent(by)
    low, high = (by.quantile(end) for end in BAND)
    axes.fill_between(across, low, high, color="grey", alpha=0.3, linewidth=0, label="random, 95 % of the draws")
    axes.plot(across, by.mean(), color="grey", linewidth=1)


def _lines(axes: Axes, own: pd.DataFrame, titles: dict[str, str]) -> None:
    measures = list(dict.fromkeys(own.measure))
    for (measure, keep), rows in own.groupby(["measure", "keep"], sort=False):
        by = rows.groupby("fraction").accuracy
        half = by.apply(lambda values: mean_interval(values.to_list())[1])
        axes.errorbar(
            _percent(by),
            by.mean(),
            yerr=half if half.notna().all() else None,
            linewidth=1.4,
            capsize=2,
            **look(str(measure), str(keep), measures, titles),
        )


def _percent(by: Any) -> np.ndarray:
    return 100 * np.array(list(by.groups), dtype=float)
