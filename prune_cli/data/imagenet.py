"""imagenet1k: 1.3 million photographs of 1,000 classes, a folder of images for each."""

from __future__ import annotations

import hashlib
import io
import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from prune_cli.common.errors import DataError
from prune_cli.common.lazy import torch
from prune_cli.common.path_checks import expanded
from prune_cli.common.registry import NOT_IN_HASH
from prune_cli.common.terminal import note
from prune_cli.data import archives
from prune_cli.data.registry import Splits, datasets
from prune_cli.data.splits import FileSplit
from prune_cli.data.stratified import check_validation, hold_out

ARCHIVE_META = {  # name and MD5, as in torchvision, whose import takes longer than all else that a plan needs
    "train": ("ILSVRC2012_img_train.tar", "1d675b47d978889d74fa0da5fadfb00e"),
    "val": ("ILSVRC2012_img_val.tar", "29b22e2961454d5413ddabcf34fc5622"),
    "devkit": ("ILSVRC2012_devkit_t12.tar.gz", "fa75699e90414af021442c21a62c3abf"),
}
IMG_EXTENSIONS = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp")
ARCHIVES = [file for file, _ in ARCHIVE_META.values()]
LIMITS = archives.Limits(bytes=2**38, members=100_000)  # the largest has 138 GB, or 50,000 members
DEVKIT_FOLDER = "ILSVRC2012_devkit_t12/data"  # the folder of the devkit that says which class each image of val has
HINT = f"put {', '.join(ARCHIVES[:2])} and {ARCHIVES[2]} (image-net.org, with an account) under dataset.root"


@datasets.register("imagenet1k")
@dataclass(frozen=True)
class ImageNet1k:
    """The folders train and val under `root` (None: the data folder), with a folder of images a class; val is the test set.

    Both hold the 1,000 classes of ImageNet-1K, by their WordNet IDs, and no others: what runs on it enters tables as
    ImageNet-1K. Where they are not there yet, the three published archives are unpacked. validation: the share of each class of the
    training images that is kept apart.
    """

    root: str | None = field(default=None, metadata=NOT_IN_HASH)
    download: bool = field(default=False, metadata=NOT_IN_HASH)
    validation: float = 0.0

    title = "ImageNet-1K"

    def __post_init__(self) -> None:
        check_validation(self.validation)

    def load(self, home: Path) -> Splits:
        """List the image files, after unpacking the archives where folders are missing. Raises DataError."""
        self.build(home)
        root = self._root(home)
        (train, classes), (test, _) = _list_images(root, "train"), _list_images(root, "val")
        kept, held = hold_out(train, self.validation, "imagenet1k")
        return Splits(kept, held, test, classes)

    def build(self, home: Path) -> None:
        """Unpack the archives where a folder is missing, after comparing their MD5. Raises DataError."""
        root = self._root(home)
        missing = [split for split in ("train", "val") if not (root / split).is_dir()]
        if not missing:
            return
        needed = [ARCHIVE_META[part][0] for part in (*missing, "devkit")]
        if not all((root / archive).is_file() for archive in needed):
            reason = "cannot be fetched without an account" if self.download else f"is not here: no {missing[0]} folder"
            raise DataError(f"imagenet1k {reason}", str(root), HINT)
        note(f"unpacking ImageNet under {root}: 150 GB, which takes an hour or more")
        for split in missing:
            _unpack(root, split)

    def _root(self, home: Path) -> Path:
        return expanded(self.root) if self.root else home / "imagenet1k"


def _unpack(root: Path, split: str) -> None:
    """Unpack the folder of a split; the folder gets its name last, so it never exists half-written. Raises DataError."""
    try:
        archive = _published(root, split)
        with tempfile.TemporaryDirectory(prefix=f"{split}.tmp-", dir=root) as aside:
            folder = Path(aside) / split
            folder.mkdir()
            archives.unpack(archive, folder, LIMITS, inner=split == "train")
            if split == "val":
                _sort(folder, _classes_of_val(_published(root, "devkit")))
            folder.rename(root / split)
    except (OSError, ValueError, KeyError) as error:
        raise DataError(f"the archives could not be unpacked: {error}", str(root), HINT) from None


def _published(root: Path, part: str) -> Path:
    """The path of an archive, its MD5 compared with the published one. Raises DataError where they differ."""
    name, md5 = ARCHIVE_META[part]
    with (root / name).open("rb") as file:
        found = hashlib.file_digest(file, "md5").hexdigest()
    if found != md5:
        raise DataError("this is not the published archive, or it is corrupted", str(root / name), HINT)
    return root / name


def _classes_of_val(devkit: Path) -> list[str]:
    """The WordNet ID of each validation image, in the order of the images' names."""
    from scipy.io import loadmat

    found = archives.read(devkit, DEVKIT_FOLDER, LIMITS)
    table = loadmat(io.BytesIO(found["meta.mat"]), squeeze_me=True)["synsets"]
    names = dict(zip(table["ILSVRC2012_ID"].tolist(), table["WNID"].tolist(), strict=True))
    return [str(names[int(number)]) for number in found["ILSVRC2012_validation_ground_truth.txt"].split()]


def _sort(folder: Path, classes: list[str]) -> None:
    """Move each image into the folder of its class."""
    for path, name in zip(sorted(folder.iterdir()), classes, strict=True):
        if not name.isalnum():
            raise ValueError(f"{name!r} is no name of a class")
        (folder / name).mkdir(exist_ok=True)
        path.rename(folder / name / path.name)


@cache
def wordnet_ids() -> tuple[str, ...]:
    """The 1,000 classes of ImageNet-1K, sorted: n01440764 to n15075141."""
    from timm.data.imagenet_info import ImageNetInfo

    return tuple(sorted(ImageNetInfo("imagenet-1k").label_names()))


def _check_classes(folder: Path, found: Sequence[str]) -> None:
    """Raise DataError unless the class folders are exactly the 1,000 of ImageNet-1K."""
    classes = wordnet_ids()
    odd = sorted({*classes} ^ {*found})
    if odd:
        which = "is missing" if odd[0] in classes else "is none of them"
        what = f"this is not ImageNet-1K: of its {len(classes):,} classes {len({*classes} & {*found}):,} are here"
        raise DataError(f"{what}; {odd[0]} {which}", str(folder), HINT)


def _list_images(root: Path, split: str) -> tuple[FileSplit, tuple[str, ...]]:
    """The images of a split, sorted by class folder and name, and the names of the class folders."""
    inside = _names(root / split, folders=True)
    loose = [name for name in _names(root / split, folders=False) if name.endswith(".tar") or _is_image(name)]
    if loose or not inside:
        reason = f"{loose[0]} lies outside of the class folders" if loose else "there is no class folder in it"
        hint = "if unpacking was interrupted, delete this folder and start again"
        raise DataError(reason, str(root / split), hint)
    _check_classes(root / split, inside)
    paths, labels = [], []
    for label, name in enumerate(inside):
        images = [image for image in _names(root / split / name, folders=False) if _is_image(image)]
        if not images:
            raise DataError(
                "this class has no images",
                str(root / split / name),
                "delete train and val, and unpack the archives again",
            )
        paths += [f"{split}/{name}/{image}" for image in images]
        labels += [label] * len(images)
    return FileSplit(tuple(paths), torch.tensor(labels), root), tuple(inside)


def _names(folder: Path, folders: bool) -> list[str]:
    """The names of the files, or of the folders, in a folder: sorted, without hidden ones."""
    with os.scandir(folder) as found:
        return sorted(entry.name for entry in found if entry.is_dir() == folders and not entry.name.startswith("."))


def _is_image(name: str) -> bool:
    return name.lower().endswith(IMG_EXTENSIONS)
