"""cifar10 and cifar100: 60,000 photographs of 32×32 each, in the "python version" of their own page."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np

from prune_cli.common.errors import DataError
from prune_cli.common.lazy import Tensor, torch
from prune_cli.common.path_checks import expanded
from prune_cli.common.registry import NOT_IN_HASH
from prune_cli.common.terminal import note
from prune_cli.data import archives
from prune_cli.data.pickles import read_arrays
from prune_cli.data.registry import Split, Splits, datasets
from prune_cli.data.stratified import check_validation, hold_out
from prune_cli.runs.files import whole

SHAPE = (3, 32, 32)
LIMITS = archives.Limits(bytes=2**30, members=1000)  # the published archives unpack to 186 MB in nine members


class _File(NamedTuple):
    where: str
    raw: bytes


@dataclass(frozen=True)
class _Cifar:
    """CIFAR's batch files under `root` (None: the data folder), unpacked or in their archive; the MD5 of each is checked.

    verify: False for your own files in CIFAR's format. validation: the share of each class of the training images that
    becomes the validation split.
    """

    root: str | None = field(default=None, metadata=NOT_IN_HASH)
    download: bool = field(default=False, metadata=NOT_IN_HASH)
    verify: bool = field(default=True, metadata=NOT_IN_HASH)
    validation: float = 0.0

    name: ClassVar[str]
    torchvision: ClassVar[str]  # the name of torchvision's class, which has the names and the MD5 of the files
    labels: ClassVar[str]  # the key of the labels in a batch
    files: ClassVar[tuple[str, ...]]  # all files that are read; copied here so that a plan need not import torchvision
    base_folder: ClassVar[str]  # the folder of the files in the archive
    archive_name: ClassVar[str]

    def __post_init__(self) -> None:
        check_validation(self.validation)

    def load(self, home: Path) -> Splits:
        """Read every batch file, after a download if `download` is set. Raises DataError that names the file."""
        self.build(home)
        files = self._files(self._root(home))
        classes = _classes(files[self.torchvision_class.meta["filename"]], self.torchvision_class.meta["key"])
        train, test = (
            _joined(_batch(files[name], self.labels, len(classes)) for name, _ in listed)
            for listed in (self.torchvision_class.train_list, self.torchvision_class.test_list)
        )
        kept, held = hold_out(train, self.validation, self.name)
        return Splits(kept, held, test, classes)

    def build(self, home: Path) -> None:
        """Download and unpack the archive, if `download` is set and neither files nor archive exist. Raises DataError."""
        root = self._root(home)
        if not self.download or self._folder(root) or self._archive(root):
            return
        place = self._folder_path(root).parent
        note(f"fetching {self.torchvision_class.url} (about 170 MB) to {place}")
        try:
            self._fetch(place)
        except (OSError, RuntimeError, EOFError) as error:
            hint = f"fetch {self.archive_name} by other means and put it there"
            raise DataError(f"{self.name} could not be fetched: {error}", str(place), hint) from None

    def sources(self, home: Path) -> list[Path]:
        """The files of the unpacked folder, else the archive; empty where neither exists."""
        root = self._root(home)
        folder, archive = self._folder(root), self._archive(root)
        return [folder / name for name in self.files] if folder else [archive] if archive else []

    def _fetch(self, place: Path) -> None:
        """Download the archive, whose MD5 torchvision checks, and unpack it; each file is written atomically."""
        archive, folder = place / self.archive_name, self.base_folder
        with whole(archive) as temporary:
            from torchvision.datasets.utils import download_url

            download_url(self.torchvision_class.url, temporary.parent, temporary.name, self.torchvision_class.tgz_md5)
        with tempfile.TemporaryDirectory(dir=place) as aside:
            archives.unpack(archive, Path(aside), LIMITS)
            (place / folder).mkdir(exist_ok=True)
            for path in (Path(aside) / folder).iterdir():
                path.replace(place / folder / path.name)

    @property
    def torchvision_class(self) -> Any:
        """torchvision's dataset class. Its import takes longer than a whole plan, so a plan does not use this property."""
        import torchvision.datasets

        return getattr(torchvision.datasets, self.torchvision)

    def _root(self, home: Path) -> Path:
        return expanded(self.root) if self.root else home / self.name

    def _md5s(self) -> dict[str, str]:
        """The published MD5 of every file that is read, by file name."""
        listed = dict(map(tuple, [*self.torchvision_class.train_list, *self.torchvision_class.test_list]))
        return listed | {self.torchvision_class.meta["filename"]: self.torchvision_class.meta["md5"]}

    def _folder(self, root: Path) -> Path | None:
        """The unpacked folder with all its files, or None."""
        folders = (root, root / self.base_folder)
        return next((place for place in folders if all((place / name).is_file() for name in self.files)), None)

    def _archive(self, root: Path) -> Path | None:
        return next((path for path in (root, root / self.archive_name) if path.is_file()), None)

    def _files(self, root: Path) -> dict[str, _File]:
        """Every file by its name, its MD5 checked. Raises DataError for a missing or different one."""
        files = self._read(root)
        for name, md5 in self._md5s().items():
            if name not in files:
                raise self._missing(root, name)
            self._check(files[name], md5)
        return files

    def _read(self, root: Path) -> dict[str, _File]:
        """The files that exist, by name; a complete folder is preferred to the archive."""
        folder, archive = self._folder(root), self._archive(root)
        if folder is None and archive is not None:
            self._check(_File(str(archive), archive.read_bytes()), self.torchvision_class.tgz_md5)
            found = archives.read(archive, self.base_folder, LIMITS)
            return {name: _File(f"{archive}: {name}", raw) for name, raw in found.items()}
        paths = {name: (folder or self._folder_path(root)) / name for name in self.files}
        return {name: _File(str(path), path.read_bytes()) for name, path in paths.items() if path.is_file()}

    def _folder_path(self, root: Path) -> Path:
        """The path of the unpacked folder, which need not exist."""
        return root if root.name == self.base_folder else root / self.base_folder

    def _missing(self, root: Path, name: str) -> DataError:
        return DataError(
            f"{self.name} is not here: no {name}",
            str(self._archive(root) or self._folder_path(root)),
            f"dataset.download=true, or dataset.root=FOLDER with {self.base_folder}",
        )

    def _check(self, file: _File, md5: str) -> None:
        found = hashlib.md5(file.raw, usedforsecurity=False).hexdigest() if self.verify else md5
        if found != md5:
            raise DataError(
                f"this is not the published file: its MD5 is {found}, not {md5}",
                file.where,
                "dataset.root=FOLDER with the published files; dataset.verify=false for files of your own",
            )


@datasets.register("cifar10")
@dataclass(frozen=True)
class Cifar10(_Cifar):
    """Ten classes; 50,000 training and 10,000 test images."""

    title, torchvision, labels = "CIFAR-10", "CIFAR10", "labels"
    files = (*(f"data_batch_{number}" for number in range(1, 6)), "test_batch", "batches.meta")
    base_folder, archive_name = "cifar-10-batches-py", "cifar-10-python.tar.gz"


@datasets.register("cifar100")
@dataclass(frozen=True)
class Cifar100(_Cifar):
    """A hundred classes (the fine ones); 50,000 training and 10,000 test images."""

    title, torchvision, labels = "CIFAR-100", "CIFAR100", "fine_labels"
    files = ("train", "test", "meta")
    base_folder, archive_name = "cifar-100-python", "cifar-100-python.tar.gz"


def _classes(file: _File, key: str) -> tuple[str, ...]:
    names = _contents(file).get(key)
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise _damaged(file.where, f"no list of names under {key}")
    return tuple(names)


def _batch(file: _File, key: str, classes: int) -> tuple[Tensor, Tensor]:
    """images_NCHW uint8 and labels_N of one batch: a row is an image, channel by channel, each row by row."""
    found = _contents(file)
    data, labels = found.get("data"), found.get(key)
    if not isinstance(data, np.ndarray) or data.dtype != np.uint8 or data.shape[1:] != (np.prod(SHAPE),):
        raise _damaged(file.where, "its data are not rows of 3,072 bytes")
    if not isinstance(labels, list) or len(labels) != len(data):
        raise _damaged(file.where, f"no list of {len(data):,} {key}")
    if not all(isinstance(label, int) and 0 <= label < classes for label in labels):
        raise _damaged(file.where, f"its {key} do not lie in 0 … {classes - 1}")
    return torch.from_numpy(data.reshape(-1, *SHAPE).copy()), torch.tensor(labels, dtype=torch.int64)


def _joined(batches: Iterable[tuple[Tensor, Tensor]]) -> Split:
    images, labels = zip(*batches, strict=True)
    return Split(torch.cat(images), torch.cat(labels))


def _contents(file: _File) -> dict[str, Any]:
    try:
        found = read_arrays(file.raw)
    except ValueError as error:
        raise _damaged(file.where, str(error)) from None
    if not isinstance(found, dict):
        raise _damaged(file.where, "no dictionary in it")
    return found


def _damaged(where: str, reason: str) -> DataError:
    return DataError(f"this file is damaged: {reason}", where, "fetch it again: dataset.download=true")
