"""Fashion-MNIST from a folder of IDX files."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest
import torch
from idx_files import TEST_A_CLASS, TRAIN_A_CLASS, idx_bytes, write_folder, write_idx
from torch import Tensor

from prune_cli.common.errors import ConfigError, DataError
from prune_cli.data.fashion_mnist import FashionMnist
from prune_cli.data.registry import Split, Splits

DEBIAN = Path("/usr/share/datasets/fashion-mnist")
TRAIN_IMAGES, TRAIN_LABELS = "train-images-idx3-ubyte", "train-labels-idx1-ubyte"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write_folder(tmp_path / "files")
    return tmp_path / "files"


def load(root: Path, validation: float = 0.1) -> Splits:
    return FashionMnist(str(root), validation).load(Path("unused"))


def rows(split: Split) -> set[bytes]:
    return {image.numpy().tobytes() for image in split.images_NCHW}


def a_class(split: Split) -> list[int]:
    return split.labels_N.bincount(minlength=10).tolist()


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_the_four_files_are_read(tmp_path: Path, suffix: str) -> None:
    made = write_folder(tmp_path, suffix)
    splits = load(tmp_path, validation=0)
    for split, prefix in ((splits.train, "train"), (splits.test, "t10k")):
        assert torch.equal(split.images_NCHW.squeeze(1), made[f"{prefix}-images-idx3-ubyte"])
        assert torch.equal(split.labels_N, made[f"{prefix}-labels-idx1-ubyte"].long())
        assert split.images_NCHW.dtype == torch.uint8
    assert len(splits.classes) == 10
    assert splits.classes[9] == "Ankle boot"


@pytest.mark.parametrize("share", [0.1, 0.25, 0.9])
def test_the_validation_share_is_stratified_and_taken_from_training_alone(root: Path, share: float) -> None:
    whole, splits = load(root, 0), load(root, share)
    assert splits.validation is not None
    assert a_class(splits.validation) == [round(share * TRAIN_A_CLASS)] * 10
    assert a_class(splits.train) == [TRAIN_A_CLASS - round(share * TRAIN_A_CLASS)] * 10
    assert a_class(splits.test) == [TEST_A_CLASS] * 10
    assert rows(splits.train).isdisjoint(rows(splits.validation))
    assert rows(splits.train) | rows(splits.validation) == rows(whole.train)
    assert len(rows(whole.train)) == 10 * TRAIN_A_CLASS  # so that the lines above mean something


def test_the_validation_share_is_always_the_same_and_not_the_first_images(root: Path) -> None:
    first, second, whole = load(root), load(root), load(root, 0)
    assert first.digest() == second.digest() != whole.digest()
    assert first.validation is not None
    of_class = whole.train.images_NCHW[whole.train.labels_N == 0]
    held = first.validation.images_NCHW[first.validation.labels_N == 0]
    assert not torch.equal(held, of_class[: len(held)])


def test_no_share_is_no_validation(root: Path) -> None:
    assert load(root, 0).validation is None
    assert list(load(root, 0).named()) == ["train", "test"]


@pytest.mark.parametrize("share", [0.001, 0.999])
def test_a_share_that_leaves_a_part_empty_is_refused(root: Path, share: float) -> None:
    with pytest.raises(ConfigError, match="empty"):
        load(root, share)


@pytest.mark.parametrize(
    ("images", "train", "validation"),
    [(200, [15] * 10, [5] * 10), (40, [3] * 10, [1] * 10), (None, [15] * 10, [5] * 10)],
)
def test_so_many_training_images_are_drawn_before_the_share_is_kept_apart(
    root: Path, images: int | None, train: list[int], validation: list[int]
) -> None:
    splits = FashionMnist(str(root), 0.25, images).load(Path("unused"))
    assert splits.validation is not None
    assert (a_class(splits.train), a_class(splits.validation)) == (train, validation)
    assert a_class(splits.test) == [TEST_A_CLASS] * 10
    assert splits.digest() == FashionMnist(str(root), 0.25, images).load(Path("unused")).digest()


@pytest.mark.parametrize("images", [0, -1, 201])
def test_a_number_of_training_images_out_of_range_is_refused(root: Path, images: int) -> None:
    with pytest.raises(ConfigError, match="number of training images") as caught:
        FashionMnist(str(root), 0, images).load(Path("unused"))
    assert caught.value.where == "dataset.train_images"


@pytest.mark.parametrize("stem", [TRAIN_IMAGES, TRAIN_LABELS, "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"])
def test_a_missing_file_is_answered_with_how_to_get_it(root: Path, stem: str) -> None:
    (root / f"{stem}.gz").unlink()
    with pytest.raises(DataError, match=stem) as caught:
        load(root)
    assert caught.value.where == str(root)
    assert "make fashion-mnist" in str(caught.value.hint)
    assert "dataset.root=" in str(caught.value.hint)


def test_a_missing_folder_is_answered_in_the_same_way(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="fashion_mnist is not here"):
        load(tmp_path / "nowhere")


def labels_of(values: list[int]) -> Tensor:
    return torch.tensor(values, dtype=torch.uint8)


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        (labels_of([0] * (10 * TRAIN_A_CLASS - 1)), "200 images and 199 labels"),
        (labels_of([0] * (10 * TRAIN_A_CLASS - 1) + [10]), "labels up to 10"),
        (labels_of([]), "200 images and 0 labels"),
    ],
)
def test_labels_that_do_not_fit_the_images_are_refused(root: Path, labels: Tensor, said: str) -> None:
    write_idx(root / f"{TRAIN_LABELS}.gz", labels)
    with pytest.raises(DataError, match=said):
        load(root)


def test_files_without_images_are_refused(root: Path) -> None:
    (root / f"{TRAIN_IMAGES}.gz").write_bytes(gzip.compress(idx_bytes((0, 28, 28), b"")))
    write_idx(root / f"{TRAIN_LABELS}.gz", labels_of([]))
    with pytest.raises(DataError, match="0 images"):
        load(root)


@pytest.mark.parametrize("damage", [lambda raw: raw[: len(raw) // 2], lambda raw: raw[:-1], lambda _: b"not gzip"])
def test_a_damaged_file_is_named(root: Path, damage: object) -> None:
    path = root / f"{TRAIN_IMAGES}.gz"
    path.write_bytes(damage(path.read_bytes()))  # type: ignore[operator]
    with pytest.raises(DataError, match="this file is damaged") as caught:
        load(root)
    assert caught.value.where == str(path)


@pytest.mark.skipif(not DEBIAN.is_dir(), reason="Debian's dataset-fashion-mnist is not installed")
def test_the_real_files_of_debian_are_read() -> None:
    splits = load(DEBIAN)
    assert splits.validation is not None
    assert [a_class(split) for split in (splits.train, splits.validation, splits.test)] == [
        [5400] * 10,
        [600] * 10,
        [1000] * 10,
    ]
    assert splits.train.images_NCHW.shape[1:] == (1, 28, 28)
    assert splits.digest() == "6eb905f867c5d15c1742b9b679ca5502f4c3e70dbabb85decb85b6a867b2f5b7"
    pixels = torch.cat([splits.train.images_NCHW, splits.validation.images_NCHW]).float() / 255
    assert float(pixels.mean()) == pytest.approx(0.2860, abs=1e-4)
    assert float(pixels.std()) == pytest.approx(0.3530, abs=1e-4)
