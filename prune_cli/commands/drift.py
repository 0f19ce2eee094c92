"""`prune-cli drift`: how far dense fine-tuning moves the weights, by scale of pre-training (the report's Figure 5)."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prune_cli import pipeline
from prune_cli.analysis.drift import ALL, PRUNABLE, measure, moving
from prune_cli.common.lazy import Tensor, pd
from prune_cli.common.plain import JsonObject
from prune_cli.common.terminal import note, print_table
from prune_cli.config.schema import Settings
from prune_cli.execution.dense_training import train_once
from prune_cli.execution.grid import Planned, check_words, grid_settings, jobs_of
from prune_cli.execution.request import check_used
from prune_cli.models.sources import origin
from prune_cli.report.entries import human
from prune_cli.report.figures import Panel, density, draw, reach
from prune_cli.runs.artefacts import DRIFT_FIGURE, DRIFT_TABLE, MODEL
from prune_cli.runs.files import write_csv
from prune_cli.runs.paths import Paths
from prune_cli.runs.record import RunRecord
from prune_cli.runs.store import tensors_of

TITLED = ("model.name", "model.weights", "dataset.name")  # parts of an identity that have a title
COLUMNS = ("Point", "Parameters", "Count", "Within 1 % of std [%]", "Correlation", "‖Δ‖/‖before‖", "Mean |Δ|", "Run")


@dataclass(frozen=True)
class Trained:
    """A point whose training is finished. model: the model file. title: the options that tell the point from the others."""

    job: pipeline.Job
    record: RunRecord
    model: Path
    title: str

    def pairs(self) -> list[tuple[str, Tensor, Tensor]]:
        """(name, before, after) of each parameter outside the head; the values before training are built again."""
        before, after = (
            moving(pipeline.build_model(self.job)[0]),
            tensors_of(self.model.parent, self.record, self.model.name),
        )
        return [(name, tensor.cpu(), after[name]) for name, tensor in before.items()]

    def prunable(self) -> list[tuple[Tensor, Tensor]]:
        """(before, after) of each prunable weight tensor, for the figure: norm weights around 1 would dwarf the others."""
        names = self.job.outline.removable
        return [(before, after) for name, before, after in self.pairs() if name in names]


def plan_drift(words: Iterable[str], paths: Paths) -> Planned:
    """The dense training runs to compare, by hash, each once. Raises RequestError before any work starts."""
    words = list(words)
    check_used(words, "drift")
    points = grid_settings(["sparsity=dense", *words], paths, otherwise=_scales)
    check_words(words, points, paths)
    return jobs_of(points, paths, "train")


def drift(planned: Planned, paths: Paths) -> pd.DataFrame:
    """Train the runs that are not finished, write drift.csv and drift.png, and return the rows of drift.csv."""
    points = _trained(planned, paths)
    table = pd.concat([_measured(point) for point in points], ignore_index=True)
    write_csv(paths.results / DRIFT_TABLE, table)
    limit = max(_reach(point) for point in points)
    panels = [_panel(point, limit, table) for point in points]
    draw(panels, limit, _heading(points), paths.results / DRIFT_FIGURE)
    return table


def show_drift(table: pd.DataFrame, paths: Paths) -> None:
    """Print the rows over several tensors, and the paths of the full table and the figure."""
    if table.smoke.any():
        note("smoke run: its figures mean nothing")
    overall = table[table.tensor.isin([ALL, PRUNABLE])]
    print_table("", COLUMNS, [_row(row) for _, row in overall.iterrows()])
    note(f"every tensor: {paths.results / DRIFT_TABLE}; the picture: {paths.results / DRIFT_FIGURE}")


def as_json(table: pd.DataFrame) -> list[JsonObject]:
    """The rows as JSON objects, with null for missing values."""
    return json.loads(table.to_json(orient="records", double_precision=15))


def _scales(settings: Settings) -> dict[str, list[str]]:
    """The default axis of a drift: the model's weights of several scales of pre-training, down to random ones."""
    model = settings.model
    return {"model.weights": list(dict.fromkeys(getattr(model, "scales", (model.weights, "random"))))}


def _trained(planned: Planned, paths: Paths) -> list[Trained]:
    points = []
    for number, ((job, _), title) in enumerate(zip(planned.values(), _titles(planned), strict=True), start=1):
        note(f"[{number}/{len(planned)}] {title}")
        record = train_once(job, paths)
        points.append(Trained(job, record, paths.runs / "train" / record.hash / MODEL, title))
    return points


def _titles(planned: Planned) -> list[str]:
    """The title of each point: the options that differ between points, or the origin of its weights where it is alone."""
    identities = pd.json_normalize([dict(plan.identity) for _, plan in planned.values()])
    several = identities.columns[identities.astype(str).nunique(dropna=False) > 1].drop(
        "dataset.digest", errors="ignore"
    )
    varying = [str(key) for key in several]
    others = {_group(key) for key in varying if key.endswith(".name")}  # another model has other options anyway
    told = [key for key in varying if _group(key) not in others or key in TITLED] or ["model.weights"]
    rows = zip(planned.values(), identities.iterrows(), strict=True)
    return [", ".join(_words(key, job, row[key]) for key in told) for (job, _), (_, row) in rows]


def _group(key: str) -> str:
    return key.partition(".")[0]


def _words(key: str, job: pipeline.Job, value: Any) -> str:
    """The text of one option of a point: its title where there is one, else KEY=VALUE."""
    settings = job.settings
    if key == "model.weights":
        return origin(settings.model, job.weights)
    if key in TITLED:
        return getattr(settings, _group(key)).title
    return f"{key}={'default' if value is None or value != value else value}"  # NaN: the option is at its default


def _measured(point: Trained) -> pd.DataFrame:
    """The rows of drift.csv of one point."""
    table = measure(point.pairs(), point.job.outline.removable)
    known = ("model", "dataset", "seed", "smoke", "accuracy_last")
    about = {"run": point.record.hash, "point": point.title, "weights": point.job.weights.name}
    about |= {key: getattr(point.record, key) for key in known}
    return pd.DataFrame([about] * len(table)).join(table)


def _reach(point: Trained) -> float:
    """The largest magnitude to show of the prunable weights, before or after training."""
    return max(reach(tensors) for tensors in zip(*point.prunable(), strict=True))


def _panel(point: Trained, limit: float, table: pd.DataFrame) -> Panel:
    row = table[(table.run == point.record.hash) & (table.tensor == PRUNABLE)].iloc[0]
    stay, moved = f"{100 * row.share_within_1pct:.1f} % stay", f"‖Δ‖/‖x‖ = {row.relative_l2:.2f}"
    caption = f"{stay},  r = {row.correlation:.3f},  {moved}"
    return Panel(point.title, caption, density(point.prunable(), limit))


def _heading(points: list[Trained]) -> str:
    """The figure's heading: its models and datasets, and the meaning of `stay` in the captions."""
    titles = [(point.record.model_title, point.record.dataset_title) for point in points]
    names = [", ".join(dict.fromkeys(titles_of_part)) for titles_of_part in zip(*titles, strict=True)]
    smoke = " [smoke]" if any(point.record.smoke for point in points) else ""
    return f"{' on '.join(names)}{smoke}: prunable weights\nstay: moved by less than 1 % of their tensor's std"


def _row(row: pd.Series) -> tuple[str, ...]:
    return (
        row["point"],
        row["tensor"],
        human(row["count"]),
        f"{100 * row['share_within_1pct']:.1f}",
        f"{row['correlation']:.4f}",
        f"{row['relative_l2']:.3f}",
        f"{row['mean_abs_change']:.2e}",
        row["run"],
    )
