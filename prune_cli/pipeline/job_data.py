"""The data of a job: its outline for planning, and its images or clips when the work begins."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from prune_cli.common.registry import is_packaged
from prune_cli.data.registry import Dataset, FromFiles, Splits, as_data_errors
from prune_cli.runs import facts

KIND = "data"


@dataclass(frozen=True)
class DataOutline:
    """A dataset without its images. digest: sha256 over every split, in hex (see Splits.digest); classes: their names."""

    digest: str
    classes: tuple[str, ...]

    @classmethod
    def of(cls, splits: Splits) -> DataOutline:
        """The outline of splits; reads all of their data."""
        return cls(splits.digest(), tuple(splits.classes))


class JobData:
    """A dataset with a cached outline (runs/facts.py), so that a plan reads no image as long as the files are unchanged.

    The splits are read in this process and must have the outline's digest. `outline` and `splits` raise DataError where
    the dataset is missing or damaged, and `splits` raises PruneCliError where its digest is not that of the outline.
    """

    def __init__(self, dataset: Dataset, home: Path):
        self._dataset, self._home = dataset, home

    @cached_property
    def outline(self) -> DataOutline:
        """The digest and the classes of the dataset, from the cache or from its data."""
        key = self._cache_key()
        kept = None if key is None else facts.recall(KIND, key)
        if kept is not None:
            return DataOutline(kept["digest"], tuple(kept["classes"]))
        self._keep(key)
        return self._read[1]

    @cached_property
    def splits(self) -> Splits:
        """The images or clips of the dataset."""
        splits, found = self._read
        if found != self.outline:
            if (key := self._cache_key()) is not None:
                facts.forget(KIND, key)
            raise facts.outdated(f"dataset={self._dataset.name}")
        return splits

    def build(self) -> None:
        """Write a dataset that is built here into the data folder. Raises DataError, OSError.

        New files are read once, so that their outline is cached for the next command.
        """
        before = self._cache_key()
        self._dataset.build(self._home)
        if self._cache_key() != before:
            _ = JobData(self._dataset, self._home).outline

    def _keep(self, key: Any) -> None:
        """Read the dataset, and cache its outline under `key` unless its files have changed while they were read."""
        outline = self._read[1]
        if key is not None and key == self._cache_key():
            facts.remember(KIND, key, asdict(outline))

    @cached_property
    def _read(self) -> tuple[Splits, DataOutline]:
        with as_data_errors(self._dataset):
            splits = self._dataset.load(self._home)
            return splits, DataOutline.of(splits)

    def _cache_key(self) -> dict[str, Any] | None:
        """The key of the outline in the cache: dataset, options and file stamps; None where files do not determine it."""
        if not isinstance(self._dataset, FromFiles) or not is_packaged(self._dataset):
            return None
        with as_data_errors(self._dataset):
            stamps = facts.stamps(self._dataset.sources(self._home))
        options = asdict(self._dataset)
        return {"name": self._dataset.name, "options": options, "files": stamps} if stamps else None
