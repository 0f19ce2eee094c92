"""fashion_mnist: 70,000 images of clothes (Zalando Research, MIT) in MNIST's own file format."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import torch

from prune_cli.common.device import OUTSIDE
from prune_cli.common.errors import ConfigError, DataError
from prune_cli.common.random import generator
from prune_cli.data.idx import find_idx, read_idx
from prune_cli.data.registry import Split, Splits, datasets

CLASSES = ("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot")


@datasets.register("fashion_mnist")
@dataclass(frozen=True)
class FashionMnist:
    """The IDX files under `root`; a `validation` share of the training images, stratified, is kept apart."""

    root: str = field(default="/usr/share/datasets/fashion-mnist", metadata=OUTSIDE)
    validation: float = 0.1

    title = "Fashion-MNIST"

    def __post_init__(self) -> None:
        if not 0 <= self.validation < 1:
            raise ConfigError(
                f"the validation share lies in [0, 1), not {self.validation}",
                "dataset.validation",
                "dataset.validation=0.1",
            )

    def load(self, home: Path) -> Splits:  # noqa: ARG002 - these files are not ours to build
        """Read the four files. Raises DataError where one is missing or damaged."""
        train, test = self._read("train"), self._read("t10k")
        kept, held = _hold_out(train, self.validation)
        return Splits(kept, held, test, CLASSES)

    def build(self, home: Path) -> None:
        """Nothing to make: the files are installed, or given."""

    def _read(self, prefix: str) -> Split:
        images = read_idx(self._file(f"{prefix}-images-idx3-ubyte"), 3)
        labels = read_idx(self._file(f"{prefix}-labels-idx1-ubyte"), 1)
        highest = max(labels.tolist(), default=-1)
        if len(images) != len(labels) or not 0 <= highest < len(CLASSES):
            raise DataError(
                f"{len(images)} images and {len(labels)} labels up to {highest} do not fit",
                self.root,
                "fetch or install the files again",
            )
        return Split(images.unsqueeze(1), labels.long())

    def _file(self, stem: str) -> Path:
        found = find_idx(Path(self.root).expanduser(), stem)
        if found is None:
            raise DataError(
                f"fashion_mnist is not here: no {stem}.gz",
                self.root,
                "make fashion-mnist (Debian), or dataset.root=FOLDER",
            )
        return found


def _hold_out(split: Split, share: float) -> tuple[Split, Split | None]:
    """Keep `share` of each class apart; the order within both parts stays."""
    if share == 0:
        return split, None
    held = torch.zeros(len(split), dtype=torch.bool)
    for label in split.labels_N.unique().tolist():
        places = (split.labels_N == label).nonzero().squeeze(1)
        order = torch.randperm(len(places), generator=generator(0, "fashion_mnist", "validation", label))
        held[places[order[: round(share * len(places))]]] = True
    if held.all() or not held.any():
        raise ConfigError(
            f"a validation share of {share:g} leaves a part of the {len(split)} training images empty",
            "dataset.validation",
            "dataset.validation=0.1",
        )
    return _take(split, ~held), _take(split, held)


def _take(split: Split, which: torch.Tensor) -> Split:
    return Split(split.images_NCHW[which], split.labels_N[which])
