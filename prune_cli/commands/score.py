"""`prune-cli score`: the scores alone, for a look at them; `prune` takes them from here."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from prune_cli import pipeline
from prune_cli.common.terminal import print_table
from prune_cli.runs.places import Places

SHOWN = ("tensor", "size", "q01", "median", "q99", "max")  # columns of layers.csv that are printed


def score(job: pipeline.Job, places: Places) -> tuple[dict[str, Any], Path]:
    """Score the prunable weights unless this scoring run is finished already. Returns its record and folder."""
    model, parameters = pipeline.build_model(job)
    pipeline.keep_data(job, places)
    _, record = pipeline.find_scores(job, model, parameters, places)
    return record, places.runs / "score" / record["hash"]


def show_layers(record: dict[str, Any], folder: Path) -> None:
    """Print the spread of the scores, a row a tensor."""
    layers = pd.read_csv(folder / "layers.csv")
    wanted = [column for column in map(str, layers.columns) if column in SHOWN or column.rpartition("_")[2] in SHOWN]
    rows = [[f"{v:.2e}" if isinstance(v, float) else v for v in row] for row in layers[wanted].itertuples(index=False)]
    print_table(f"{record['scorer']}: {record['seconds']:.1f} s over {record['images']} images, {folder}", wanted, rows)
