"""`prune-cli build-data`: make a dataset that needs no download, or check one that is there."""

from __future__ import annotations

from typing import Any

from prune_cli.config.schema import Settings
from prune_cli.data.registry import Rendered, reachable
from prune_cli.runs.paths import Paths


def build_data(settings: Settings, paths: Paths, verify: bool = False) -> dict[str, Any]:
    """Build the dataset under the data folder, read it back and describe it. Raises DataError.

    verify: build nothing, and compare the sha256 of every file of a rendered dataset (any other is checked on reading).
    """
    dataset = settings.dataset
    with reachable(dataset):
        if not verify:
            dataset.build(paths.data)
        elif isinstance(dataset, Rendered):
            dataset.verify(paths.data)
        splits = dataset.load(paths.data)
    return {
        "dataset": dataset.name,
        "classes": list(splits.classes),
        "shape": list(splits.train.shape),  # null: a side that differs from image to image
        "images": {name: len(split) for name, split in splits.named().items()},
        "digest": splits.digest(),
        "folder": str(dataset.folder(paths.data)) if isinstance(dataset, Rendered) else None,
        "verified": verify,
    }
