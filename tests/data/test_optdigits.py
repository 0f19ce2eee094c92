"""optdigits: real digits, always the same split."""

from __future__ import annotations

from pathlib import Path

import pytest
import sklearn.datasets
import torch

from prune_cli.common.errors import ConfigError, DataError
from prune_cli.data.optdigits import OptDigits
from prune_cli.data.registry import Splits

GOLDEN = {
    0.0: "cc78b662b4e839c49cd30e6eaefeba811ad5278ec168f967f1364423a27d84cd",
    0.1: "288cf700467162c6cd7cf3314cb54d1978a062d5985fe57fd60869748be109e3",
}


def load(validation: float = 0.1) -> Splits:
    return OptDigits(validation).load(Path("unused"))


@pytest.mark.parametrize("share", GOLDEN)
def test_the_split_is_the_golden_one(share: float) -> None:
    assert load(share).digest() == GOLDEN[share]


def test_the_split_has_its_counts_and_is_stratified() -> None:
    splits = load()
    assert {name: len(split) for name, split in splits.named().items()} == {
        "train": 1295,
        "validation": 143,
        "test": 359,
    }
    for split in splits.named().values():
        assert split.shape == (1, 8, 8)
        counts = split.labels_N.bincount()
        assert len(counts) == 10
        assert float(counts.max() / counts.min()) < 1.1
    assert splits.classes == tuple("0123456789")


def test_the_pixels_are_those_of_the_package_over_a_whole_byte() -> None:
    splits = load()
    found = torch.cat([split.images_NCHW for split in splits.named().values()]).flatten(1)
    theirs = torch.from_numpy(sklearn.datasets.load_digits().data)
    assert (int(found.min()), int(found.max())) == (0, 255)
    ours = sorted((found.float() * 16 / 255).round().int().tolist())
    assert ours == sorted(theirs.int().tolist())


def test_a_share_out_of_range_is_refused() -> None:
    with pytest.raises(ConfigError, match="validation"):
        OptDigits(1.0)


def test_other_digits_are_not_taken_for_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    pixels, labels = sklearn.datasets.load_digits(return_X_y=True)
    pixels[0, 0] += 1
    monkeypatch.setattr(sklearn.datasets, "load_digits", lambda **_: (pixels, labels))
    with pytest.raises(DataError, match="scikit-learn's digits"):
        load()
