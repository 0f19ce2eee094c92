"""ImageNet from folders of image files, which are read when a batch asks for them."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from prune_cli.common.errors import ConfigError, DataError
from prune_cli.common.random import generator
from prune_cli.data import imagenet
from prune_cli.data.imagenet import ARCHIVES, ImageNet1k
from prune_cli.data.images import cover, read_rgb
from prune_cli.data.loading import Loader, prepare
from prune_cli.data.registry import Splits
from prune_cli.models.registry import ImageInput

CLASSES = ("n01440764", "n01443537", "n15075141")
SMALL = ImageInput(3, 24, 24, (0.0,) * 3, (1.0,) * 3)
KINDS = {  # file name: mode, width, height
    "a.JPEG": ("RGB", 60, 40),
    "b.JPEG": ("L", 24, 50),
    "c.jpg": ("CMYK", 33, 33),
    "d.png": ("RGBA", 30, 31),
    "e.png": ("P", 5, 3),
    "f.PNG": ("1", 40, 30),
    "g.jpeg": ("RGB", 24, 24),
}


def picture(mode: str, width: int, height: int, seed: int) -> Image.Image:
    pixels = np.random.default_rng(seed).integers(256, size=(height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels).convert(mode)


def write_images(root: Path, classes: tuple[str, ...] = CLASSES) -> Path:
    """train and val with a picture of every kind a class."""
    for split in ("train", "val"):
        for label, name in enumerate(classes):
            (root / split / name).mkdir(parents=True)
            for number, (file, kind) in enumerate(KINDS.items()):
                picture(*kind, seed=100 * label + number).save(root / split / name / file)
    return root


@pytest.fixture
def three_classes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let three classes be all there are: what a folder holds is read in the same way."""
    monkeypatch.setattr(imagenet, "wordnet_ids", lambda: CLASSES)


@pytest.fixture
def root(tmp_path: Path, three_classes: None) -> Path:  # noqa: ARG001
    return write_images(tmp_path / "imagenet")


@pytest.fixture(scope="module")
def thousand(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The 1,000 classes, a tiny image each in train and val."""
    root = tmp_path_factory.mktemp("thousand")
    picture("L", 4, 4, 0).save(root / "image.png")
    content = (root / "image.png").read_bytes()
    for folder in (root / split / name for split in ("train", "val") for name in imagenet.wordnet_ids()):
        folder.mkdir(parents=True)
        (folder / "image.png").write_bytes(content)
    return root


def load(root: Path, validation: float = 0.0, **options: Any) -> Splits:
    return ImageNet1k(str(root), validation=validation, **options).load(Path("unused"))


def refused(root: Path, **options: Any) -> DataError:
    with pytest.raises(DataError) as caught:
        load(root, **options)
    assert len(caught.value.lines()) == 3
    return caught.value


def batches(splits: Splits, workers: int = 0) -> list[tuple[Tensor, Tensor]]:
    loader = Loader(splits.train, SMALL, 4, torch.device("cpu"), workers)
    return list(loader.batches(loader.shuffled(0, "order"), generator(0, "flip")))


def test_the_folders_are_listed_by_class_and_name(root: Path) -> None:
    (root / "train" / CLASSES[0] / "notes.txt").write_text("no image")
    (root / "train" / ".hidden").mkdir()
    (root / "train/readme.txt").touch()
    splits = load(root)
    assert splits.classes == CLASSES
    assert splits.validation is None
    for split, folder in ((splits.train, "train"), (splits.test, "val")):
        assert split.paths == tuple(f"{folder}/{name}/{file}" for name in CLASSES for file in sorted(KINDS))
        assert split.labels_N.tolist() == [0] * 7 + [1] * 7 + [2] * 7
        assert split.shape == (3, None, None)


def test_images_of_every_kind_and_size_come_as_the_model_wants_them(root: Path) -> None:
    split = load(root).train
    images = split.images(range(7), 24, 24)
    assert images.shape == (7, 3, 24, 24)
    assert images.dtype == torch.uint8
    for image, path in zip(images, split.paths, strict=False):
        with Image.open(root / path) as opened:
            theirs = torch.from_numpy(np.array(opened.convert("RGB"))).permute(2, 0, 1)
        assert torch.equal(image, cover(theirs, 24, 24)), path


def test_a_file_is_prepared_as_the_same_image_in_memory(root: Path) -> None:
    split = load(root).train
    image = read_rgb(root / split.paths[0])
    assert torch.equal(prepare(split.images([0], 24, 24), SMALL), prepare(image.unsqueeze(0), SMALL))


def test_the_pixels_are_those_of_the_file(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(256, size=(7, 9, 4), dtype=np.uint8)
    for shown, expected in ((pixels, pixels[..., :3]), (pixels[..., 0], pixels[..., :1].repeat(3, 2))):
        Image.fromarray(shown).save(tmp_path / "a.png")
        assert np.array_equal(read_rgb(tmp_path / "a.png").permute(1, 2, 0), expected)


def test_a_file_is_read_by_its_content_not_by_its_name(tmp_path: Path) -> None:
    picture("RGB", 9, 7, 0).save(tmp_path / "a.png")
    shutil.copy(tmp_path / "a.png", tmp_path / "a.JPEG")
    assert torch.equal(read_rgb(tmp_path / "a.JPEG"), read_rgb(tmp_path / "a.png"))


def test_workers_give_the_same_batches(root: Path) -> None:
    splits = load(root)
    alone, two = batches(splits), batches(splits, workers=2)
    assert [len(y) for _, y in alone] == [4, 4, 4, 4, 4, 1]
    for (x, y), (x2, y2) in zip(alone, two, strict=True):
        assert x.shape == (len(y), 3, 24, 24)
        assert torch.equal(x, x2)
        assert torch.equal(y, y2)


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("damage", [lambda path: path.write_bytes(path.read_bytes()[:30]), lambda path: path.unlink()])
def test_an_image_that_cannot_be_read_is_named(root: Path, workers: int, damage: Any) -> None:
    splits = load(root)
    path = root / "train" / CLASSES[1] / "a.JPEG"
    damage(path)
    with pytest.raises(DataError, match="cannot be read") as caught:
        batches(splits, workers)
    assert caught.value.where == str(path)
    assert "Traceback" not in "".join(caught.value.lines())


def test_the_validation_share_is_stratified_and_taken_from_training_alone(root: Path) -> None:
    splits, whole = load(root, 0.3), load(root)
    assert splits.validation is not None
    assert splits.validation.labels_N.bincount().tolist() == [2, 2, 2]
    assert sorted(splits.train.paths + splits.validation.paths) == sorted(whole.train.paths)
    assert splits.test.paths == whole.test.paths


def test_the_digest_knows_names_sizes_and_labels_and_not_the_folder(root: Path, tmp_path: Path) -> None:
    golden = load(root).digest()
    shutil.copytree(root, tmp_path / "elsewhere")
    assert load(tmp_path / "elsewhere").digest() == golden
    path = root / "val" / CLASSES[0] / "a.JPEG"
    path.write_bytes(path.read_bytes() + b"\0")
    grown = load(root).digest()
    path.rename(path.with_name("z.JPEG"))
    renamed = load(root).digest()
    assert len({golden, grown, renamed, load(tmp_path / "elsewhere", 0.3).digest()}) == 4


def test_an_image_that_is_gone_before_the_digest_is_named(root: Path) -> None:
    splits = load(root)
    path = root / "val" / CLASSES[0] / "a.JPEG"
    path.unlink()
    with pytest.raises(DataError, match="gone") as caught:
        splits.digest()
    assert caught.value.where == str(path)


def test_no_root_is_the_data_folder(root: Path, tmp_path: Path) -> None:
    root.rename(tmp_path / "imagenet1k")
    assert ImageNet1k().load(tmp_path).classes == CLASSES


def test_the_thousand_classes_are_imagenet(thousand: Path) -> None:
    splits = load(thousand)
    assert (len(splits.train), len(splits.test), len(splits.classes)) == (1000, 1000, 1000)
    assert (splits.classes[0], splits.classes[-1]) == ("n01440764", "n15075141")


@pytest.mark.parametrize("split", ["train", "val"])
@pytest.mark.parametrize(
    ("gone", "added", "said"),
    [
        ("n01443537", None, "999 are here; n01443537 is missing"),
        (None, "n00000001", "1,000 are here; n00000001 is none of them"),
        ("n01443537", "goldfish", "999 are here; goldfish is none of them"),
    ],
)
def test_other_classes_are_not_imagenet(
    thousand: Path, tmp_path: Path, split: str, gone: str | None, added: str | None, said: str
) -> None:
    other = "val" if split == "train" else "train"
    (tmp_path / other).symlink_to(thousand / other)
    (tmp_path / split).mkdir()
    for name in {*imagenet.wordnet_ids(), *([added] if added else [])} - {gone}:
        (tmp_path / split / name).symlink_to(thousand / split / imagenet.wordnet_ids()[0])
    error = refused(tmp_path)
    assert "this is not ImageNet-1K" in error.what and said in error.what
    assert error.where == str(tmp_path / split)


def test_three_classes_are_refused_before_their_images_are_looked_at(tmp_path: Path) -> None:
    for split in ("train", "val"):
        for name in CLASSES:
            (tmp_path / split / name).mkdir(parents=True)
    assert "of its 1,000 classes 3 are here" in refused(tmp_path).what


def test_both_splits_need_all_classes(root: Path) -> None:
    shutil.rmtree(root / "val" / CLASSES[1])
    error = refused(root)
    assert CLASSES[1] in error.what
    assert error.where == str(root / "val")


def test_an_empty_class_is_named(root: Path) -> None:
    for file in (root / "val" / CLASSES[1]).iterdir():
        file.unlink()
    assert refused(root).where == str(root / "val" / CLASSES[1])


@pytest.mark.parametrize("loose", ["n01440764.tar", "ILSVRC2012_val_00000001.JPEG"])
def test_what_an_interrupted_unpacking_left_is_not_taken_for_whole(root: Path, loose: str) -> None:
    (root / "val" / loose).touch()
    error = refused(root)
    assert loose in error.what
    assert error.where == str(root / "val")
    assert "interrupted" in str(error.hint)


def test_a_folder_without_classes_is_refused(root: Path) -> None:
    shutil.rmtree(root / "val")
    (root / "val").mkdir()
    assert "no class folder" in refused(root).what


@pytest.mark.parametrize("split", ["train", "val"])
@pytest.mark.parametrize(("download", "said"), [(False, "is not here: no {} folder"), (True, "without an account")])
def test_a_missing_split_is_answered_with_what_to_put_where(root: Path, split: str, download: bool, said: str) -> None:
    shutil.rmtree(root / split)
    error = refused(root, download=download)
    assert said.format(split) in error.what
    assert error.where == str(root)
    assert all(archive in str(error.hint) for archive in ARCHIVES)
    assert "dataset.root" in str(error.hint)


@pytest.mark.usefixtures("three_classes")
def test_missing_folders_are_unpacked_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for archive in ARCHIVES:
        (tmp_path / archive).touch()
    unpacked = []

    def unpack(root: Path, split: str) -> None:
        unpacked.append(split)
        write_images(root / "aside")
        (root / "aside" / split).rename(root / split)
        shutil.rmtree(root / "aside")

    monkeypatch.setattr(imagenet, "_unpack", unpack)
    for _ in range(2):
        assert load(tmp_path).classes == CLASSES
    assert unpacked == ["train", "val"]


def test_archives_that_are_not_the_published_ones_are_refused(tmp_path: Path) -> None:
    for archive in ARCHIVES:
        (tmp_path / archive).touch()
    error = refused(tmp_path)
    assert "corrupted" in error.what
    assert not (tmp_path / "train").exists()


def test_a_share_out_of_range_is_refused() -> None:
    with pytest.raises(ConfigError, match="validation"):
        ImageNet1k(validation=1.0)


def test_names_and_md5s_are_torchvisions() -> None:
    from torchvision.datasets.folder import IMG_EXTENSIONS
    from torchvision.datasets.imagenet import ARCHIVE_META

    from prune_cli.data import imagenet

    assert imagenet.ARCHIVE_META == ARCHIVE_META
    assert imagenet.IMG_EXTENSIONS == IMG_EXTENSIONS
