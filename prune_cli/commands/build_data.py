"""`prune-cli build-data`: make a dataset that needs no download, or check one that is there."""

from __future__ import annotations

from dataclasses import dataclass

from prune_cli.config.schema import Settings
from prune_cli.data.registry import Rendered, as_data_errors
from prune_cli.runs.paths import Paths


@dataclass(frozen=True)
class BuiltData:
    """A dataset that was made or checked.

    shape: of an image or a clip; None for a side that differs from one to the next. images: how many, by split. folder: of
    one that is rendered. verified: whether the sha256 of its files was compared.
    """

    dataset: str
    classes: list[str]
    shape: list[int | None]
    images: dict[str, int]
    digest: str
    folder: str | None
    verified: bool


def build_data(settings: Settings, paths: Paths, verify: bool = False) -> BuiltData:
    """Build the dataset under the data folder, read it back and describe it. Raises DataError.

    verify: build nothing, and compare the sha256 of every file of a rendered dataset (any other is checked on reading).
    """
    dataset = settings.dataset
    with as_data_errors(dataset):
        if not verify:
            dataset.build(paths.data)
        elif isinstance(dataset, Rendered):
            dataset.verify(paths.data)
        splits = dataset.load(paths.data)
    return BuiltData(
        dataset=dataset.name,
        classes=list(splits.classes),
        shape=list(splits.train.shape),
        images={name: len(split) for name, split in splits.named().items()},
        digest=splits.digest(),
        folder=str(dataset.folder(paths.data)) if isinstance(dataset, Rendered) else None,
        verified=verify,
    )
