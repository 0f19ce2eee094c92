"""`prune-cli build-data`: make a dataset that needs no download, or check one that is there."""

from __future__ import annotations

from typing import Any

from prune_cli.config.schema import Settings
from prune_cli.runs.places import Places


def build_data(settings: Settings, places: Places) -> dict[str, Any]:
    """Build the dataset under the data folder, read it back and describe it. Raises DataError."""
    dataset = settings.dataset
    dataset.build(places.data)
    splits = dataset.load(places.data)
    return {
        "dataset": dataset.name,
        "classes": list(splits.classes),
        "shape": list(splits.train.shape),  # null: a side that differs from image to image
        "images": {name: len(split) for name, split in splits.named().items()},
        "digest": splits.digest(),
    }
