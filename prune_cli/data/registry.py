"""The registry of datasets, and the protocols that datasets follow."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import Field
from pathlib import Path
from typing import Any, ClassVar, Protocol, runtime_checkable

from prune_cli.common.errors import DataError
from prune_cli.common.registry import Registry
from prune_cli.data.splits import Split, Splits

__all__ = ["Dataset", "FromFiles", "Rendered", "Split", "Splits", "as_data_errors", "datasets"]


class Dataset(Protocol):
    """A dataset. The fields of its dataclass are its options."""

    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]
    name: str
    title: str  # how tables write it

    def load(self, home: Path) -> Splits:
        """The splits, from files under `home` or elsewhere, or made in memory. Raises DataError, with how to get the data."""
        ...

    def build(self, home: Path) -> None:
        """Write the files that can be made under `home`, unless they exist and are intact. Raises DataError."""
        ...


@runtime_checkable
class Rendered(Protocol):
    """A dataset that is rendered into a folder of its own, which can be verified."""

    def folder(self, home: Path) -> Path:
        """The folder of the rendered files, which need not exist yet."""
        ...

    def verify(self, home: Path) -> None:
        """Compare the sha256 of every rendered file. Raises DataError that names the damaged file."""
        ...


@runtime_checkable
class FromFiles(Protocol):
    """A dataset whose outline may be kept: these files, the options and the code decide everything that `load` gives."""

    def sources(self, home: Path) -> Sequence[Path]:
        """The existing files that `load` would read; empty where they do not determine the splits. Raises DataError."""
        ...


@contextmanager
def as_data_errors(dataset: Dataset) -> Iterator[None]:
    """Inside this context an OSError about a file or folder of the dataset is raised as DataError."""
    try:
        yield
    except OSError as error:
        where, hint = str(error.filename or dataset.name), "another --data-dir or dataset.root"
        raise DataError(f"the dataset is out of reach: {error.strerror}", where, hint) from None


datasets: Registry[Dataset] = Registry("dataset", "prune_cli.data")
