"""The data of a job: what a plan needs to know of it at once, the images or clips when the work begins."""

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
        """What is found by reading all of it."""
        return cls(splits.digest(), tuple(splits.classes))


class JobData:
    """A dataset. Its outline is the one that is kept (runs/facts.py) where its files are as they were when it was found,
    so that a plan reads no image; the splits that are computed on are read in this process, and must have that digest.

    Both raise DataError where the dataset is missing or damaged, and `splits` raises PruneCliError where it is another
    than the outline says.
    """

    def __init__(self, dataset: Dataset, home: Path):
        self._dataset, self._home = dataset, home

    @cached_property
    def outline(self) -> DataOutline:
        """The digest and the classes."""
        about = self._about()
        kept = None if about is None else facts.recall(KIND, about)
        if kept is not None:
            return DataOutline(kept["digest"], tuple(kept["classes"]))
        self._keep(about)
        return self._read[1]

    @cached_property
    def splits(self) -> Splits:
        """The images or clips."""
        splits, found = self._read
        if found != self.outline:
            if (about := self._about()) is not None:
                facts.forget(KIND, about)
            raise facts.outdated(f"dataset={self._dataset.name}")
        return splits

    def build(self) -> None:
        """Write the dataset where later runs find it sooner, if it is one that is made here. Raises DataError, OSError.

        What was made is read once more, so that its outline is known to the next command.
        """
        before = self._about()
        self._dataset.build(self._home)
        if self._about() != before:
            _ = JobData(self._dataset, self._home).outline

    def _keep(self, about: Any) -> None:
        """Read the dataset, and keep its outline where its files have stayed as they are in `about` meanwhile."""
        outline = self._read[1]
        if about is not None and about == self._about():
            facts.remember(KIND, about, asdict(outline))

    @cached_property
    def _read(self) -> tuple[Splits, DataOutline]:
        with as_data_errors(self._dataset):
            splits = self._dataset.load(self._home)
            return splits, DataOutline.of(splits)

    def _about(self) -> dict[str, Any] | None:
        """All that decides the outline, but for what decides every fact; None where files do not tell."""
        if not isinstance(self._dataset, FromFiles) or not is_packaged(self._dataset):
            return None
        with as_data_errors(self._dataset):
            stamps = facts.stamps(self._dataset.sources(self._home))
        options = asdict(self._dataset)
        return {"name": self._dataset.name, "options": options, "files": stamps} if stamps else None
