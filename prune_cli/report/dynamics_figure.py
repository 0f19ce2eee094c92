"""Finite-time and long-run Lyapunov exponents beside the accuracy, against the share of units removed."""

from __future__ import annotations

from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from prune_cli.common.lazy import pd
from prune_cli.report.figures import draw_grid, look

WIDTH, HEIGHT, AROUND = 3.9, 3.1, 1.3  # inches a panel; inches for the legend and the caption
PANELS = {  # column -> what it is called
    "ftle": "finite-time exponent along a clip\n[nats a frame]",
    "lyapunov_frozen": "λ, last frame frozen [nats a frame]",
    "lyapunov_looped": "λ, clip looped [nats a frame]",
    "accuracy": "accuracy [%]",
}


def draw_dynamics(table: pd.DataFrame, titles: dict[str, str], path: Path) -> None:
    """A row a dataset, a column a quantity; the legend above and the caption below hold for all panels."""
    datasets = list(dict.fromkeys(table.dataset))
    size = (WIDTH * len(PANELS), HEIGHT * len(datasets) + AROUND)
    figure = Figure(figsize=size, layout="constrained")
    figure.supxlabel(_caption(table), fontsize="small")

    def panel(axes: Axes, dataset: str, quantity: str) -> None:
        """A quantity of a dataset."""
        _panel(axes, table[table.dataset == dataset], quantity, titles)
        axes.set_title(titles[dataset], fontsize="medium")
        if not figure.legends:
            figure.legend(*axes.get_legend_handles_labels(), loc="outside upper center", ncols=5, fontsize="small")

    draw_grid(figure, datasets, PANELS, panel, path)


def _caption(table: pd.DataFrame) -> str:
    """The caption, which says over what the lines are means and what the bands are."""
    models = int(table.groupby("dataset").seed.nunique().max())
    clips, long_clips = int(table.clips.max()), int(table.long_clips.max())
    chaotic, drifting = (_share(table, fate) for fate in ("chaotic", "drifting"))
    return (
        f"Means over {clips} clips (finite-time) and {long_clips} clips (λ), of {models} model{'s'[: models > 1]} a dataset; "
        "band: 95 % interval of the mean over a model's clips (Student's t), not over models.\n"
        "A finite-time exponent above 0 is growth for a while and no evidence of chaos: that would be λ above 0 on bounded "
        f"trajectories that never return, which {100 * chaotic:.0f} % of the long ones are; {100 * drifting:.0f} % still drift."
    )


def _share(table: pd.DataFrame, fate: str) -> float:
    """The share of trajectories with this fate (drifting, chaotic) among all long ones, frozen and looped, in all rows."""
    return float(table[[f"frozen_{fate}", f"looped_{fate}"]].to_numpy().mean())


def _panel(axes: Axes, own: pd.DataFrame, quantity: str, titles: dict[str, str]) -> None:
    measures = [name for name in dict.fromkeys(own.measure) if name != "random"]
    for (measure, keep), rows in own.groupby(["measure", "keep"], sort=False):
        style = look(str(measure), str(keep), measures, titles)
        mean = rows.groupby("fraction").mean(numeric_only=True)
        across = 100 * mean.index.to_numpy(dtype=float)
        axes.plot(across, mean[quantity], **style)
        if f"{quantity}_low" in mean:
            ends = mean[f"{quantity}_low"], mean[f"{quantity}_high"]
            axes.fill_between(across, *ends, color=style["color"], alpha=0.12, linewidth=0)
    if quantity != "accuracy":
        axes.axhline(0, color="black", linewidth=0.8)
    axes.set(xlabel="units removed inside the recurrence [%]", ylabel=PANELS[quantity])
