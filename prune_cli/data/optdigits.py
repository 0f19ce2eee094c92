"""optdigits: 1,797 real handwritten digits of 8×8 that the package scikit-learn ships."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from prune_cli.common.errors import DataError
from prune_cli.common.lazy import torch
from prune_cli.data.package_files import package_file
from prune_cli.data.registry import Split, Splits, datasets
from prune_cli.data.stratified import check_validation, hold_out

TEST = 0.2  # share of each class
CLASSES = tuple(map(str, range(10)))
DIGITS_FILE = "datasets/data/digits.csv.gz"  # the digits in scikit-learn's package
DIGEST = "cc78b662b4e839c49cd30e6eaefeba811ad5278ec168f967f1364423a27d84cd"  # of the split into train and test


@datasets.register("optdigits")
@dataclass(frozen=True)
class OptDigits:
    """OptDigits: a fixed, stratified fifth is the test set; `validation` is the stratified share of the rest held out."""

    validation: float = 0.1

    title = "OptDigits"

    def __post_init__(self) -> None:
        check_validation(self.validation)

    def load(self, home: Path) -> Splits:  # noqa: ARG002 - they come with a package
        """Split scikit-learn's digits. Raises DataError if their digest is not the known one."""
        train, test = hold_out(_digits(), TEST, "optdigits", "test")
        assert test is not None
        if Splits(train, None, test, CLASSES).digest() != DIGEST:
            what = "scikit-learn's digits are not those that optdigits is made of"
            raise DataError(what, "sklearn.datasets.load_digits", "pip install scikit-learn==1.9.1")
        kept, held = hold_out(train, self.validation, "optdigits")
        return Splits(kept, held, test, CLASSES)

    def sources(self, home: Path) -> list[Path]:  # noqa: ARG002 - they come with a package
        """scikit-learn's file of digits."""
        return [package_file("sklearn", DIGITS_FILE)]

    def build(self, home: Path) -> None:
        """Do nothing: the digits are read quickly from scikit-learn's package."""


def _digits() -> Split:
    """All 1,797 digits, their values 0 … 16 scaled to 0 … 255."""
    from sklearn.datasets import load_digits  # type: ignore[import-untyped]

    pixels, labels = load_digits(return_X_y=True)
    images = (torch.from_numpy(pixels) * 255 / 16).round().to(torch.uint8)
    return Split(images.view(-1, 1, 8, 8), torch.from_numpy(labels).long())
