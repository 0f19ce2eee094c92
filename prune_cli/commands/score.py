"""`prune-cli score`: the scores alone, for a look at them; `prune` takes them from here."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from prune_cli import pipeline
from prune_cli.common.lazy import pd
from prune_cli.common.terminal import print_table
from prune_cli.runs.artefacts import LAYERS, UNITS
from prune_cli.runs.paths import Paths
from prune_cli.runs.record import ScoreRecord

SHOWN = ("tensor", "size", "q01", "median", "q99", "max")  # columns of layers.csv that are printed


EXTREMES = 8  # units printed from either end


def score(job: pipeline.Job, paths: Paths) -> tuple[ScoreRecord, Path]:
    """Score the prunable weights unless this scoring run is finished already. Returns its record and folder."""
    model, _ = pipeline.build_model(job)
    pipeline.keep_data(job, paths)
    _, record = pipeline.find_scores(job, model, paths)
    return record, paths.runs / "score" / record.hash


def show_layers(record: ScoreRecord, folder: Path) -> None:
    """Print the spread of the scores, a row a tensor; of units the extremes."""
    title = f"{record.scorer}: {record.seconds:.1f} s over {record.images} images or clips, {folder}"
    if (folder / UNITS).exists():
        units = pd.read_csv(folder / UNITS).sort_values("value", ascending=False)
        ends = pd.concat([units.head(EXTREMES), units.tail(EXTREMES)]).drop_duplicates("unit")
        print_table(title, list(ends.columns), [[_short(v) for v in row] for row in ends.itertuples(index=False)])
        return
    layers = pd.read_csv(folder / LAYERS)
    wanted = [column for column in map(str, layers.columns) if column in SHOWN or column.rpartition("_")[2] in SHOWN]
    print_table(title, wanted, [[_short(v) for v in row] for row in layers[wanted].itertuples(index=False)])


def _short(value: Any) -> Any:
    return f"{value:.2e}" if isinstance(value, float) else value
