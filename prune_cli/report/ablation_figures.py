"""Figure 4 of the report: what a unit's information says of the accuracy without it, and accuracy against removal."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import PathCollection
from matplotlib.figure import Figure

from prune_cli.common.lazy import pd
from prune_cli.common.statistics import mean_interval
from prune_cli.report.figures import draw_grid, look

WIDTH, HEIGHT = 5.6, 4.2  # inches a panel
BESIDE = 0.5  # percentage points between bars of one share removed
RANDOM = "random"  # orders drawn by chance
Row = TypeVar("Row")
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


def draw_curves(
    table: pd.DataFrame, baselines: Sequence[str], chance: dict[str, float], titles: dict[str, str], path: Path
) -> None:
    """Panel (b): accuracy against the share removed; bars are 95 % intervals over trained models, where there are several.

    table: `ablation.curves` at one number of fine-tuning steps, with columns dataset and run. A row of panels a dataset
    and a set of options of the measures; of the baselines, which have no options, the better way round (High) is in each.
    chance: accuracy [%] of a guess, by dataset.
    """
    studied = table[~table.measure.isin([*baselines, RANDOM])]
    rows = list(dict.fromkeys(zip(studied.dataset, map(_options, studied.measure), strict=True)))

    def panel(axes: Axes, row: tuple[str, str], placement: str) -> None:
        """The curves of a dataset, of the measures with these options."""
        dataset, options = row
        own = table[(table.dataset == dataset) & (table.placement == placement)]
        shown = [name for name in dict.fromkeys(studied.measure) if _options(name) == options]
        lines = own[own.measure.isin(shown) | (own.measure.isin(baselines) & (own.keep == "high"))]
        _band(axes, own[own.measure == RANDOM])
        _lines(axes, lines, [*shown, *baselines], titles)
        axes.axhline(chance[dataset], color="black", linewidth=0.8, linestyle=":", label="chance")
        axes.set(xlabel="units removed [%]", ylabel="accuracy [%]", ylim=(0, 102))
        models = own.run.nunique()
        several = f", {models} models" if models > 1 else ""
        axes.set_title(f"{titles[dataset]}, {PLACED[placement]}{several}", fontsize="medium")
        axes.legend(fontsize="x-small", loc="lower left")

    _draw(rows, panel, path)


def _draw(rows: list[Row], panel: Callable[[Axes, Row, str], None], path: Path) -> None:
    """A grid of panels with `rows` rows, a column a placement."""
    figure = Figure(figsize=(WIDTH * len(PLACED), HEIGHT * len(rows)), layout="constrained")
    draw_grid(figure, rows, PLACED, panel, path)


def _options(measure: str) -> str:
    """The options in the name of a measure, after the scorer's name."""
    return measure.partition(" ")[2]


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


def _lines(axes: Axes, own: pd.DataFrame, measures: list[str], titles: dict[str, str]) -> None:
    """A line a measure and way round; they stand side by side, so that no bar hides another."""
    groups = [(key, rows.groupby("fraction").accuracy) for key, rows in own.groupby(["measure", "keep"], sort=False)]
    for place, ((measure, keep), by) in enumerate(groups):
        half = by.apply(lambda values: mean_interval(values.to_list())[1])
        axes.errorbar(
            _percent(by) + BESIDE * (place - (len(groups) - 1) / 2),
            by.mean(),
            yerr=half if half.notna().all() else None,
            linewidth=1.2,
            capsize=1.5,
            elinewidth=0.8,
            **look(str(measure), str(keep), measures, titles),
        )


def _percent(by: Any) -> np.ndarray:
    return 100 * np.array(list(by.groups), dtype=float)
