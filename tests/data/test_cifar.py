"""CIFAR-10 and CIFAR-100 from files in their own format."""

from __future__ import annotations

import gzip
import hashlib
import os
import pickle
import shutil
from pathlib import Path
from typing import Any
from urllib.error import URLError

import numpy as np
import pytest
import torch
from cifar_files import NAMES, TEN, Written, python2_pickle, write_archive, write_cifar
from torchvision.datasets import CIFAR10, CIFAR100

from prune_cli.common.errors import ConfigError, DataError
from prune_cli.data.cifar import Cifar10, Cifar100
from prune_cli.data.registry import Split, Splits

MADE = {10: Cifar10, 100: Cifar100}
COUNTS = {10: {"train": 20, "test": 4}, 100: {"train": 4, "test": 2}}


def load(root: Path | None, classes: int = 10, home: Path = Path("unused"), **options: Any) -> Splits:
    return MADE[classes](root=str(root) if root else None, **{"verify": False, **options}).load(home)


def same(split: Split, written: Written) -> bool:
    return np.array_equal(split.images_NCHW, written.images) and np.array_equal(split.labels_N, written.labels)


def refused(root: Path, **options: Any) -> DataError:
    with pytest.raises(DataError) as caught:
        load(root, **options)
    assert len(caught.value.lines()) == 3
    return caught.value


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The batches of cifar10."""
    write_cifar(tmp_path, 10, **COUNTS[10])
    return tmp_path / "cifar-10-batches-py"


@pytest.mark.parametrize("classes", [10, 100])
@pytest.mark.parametrize("write", [write_cifar, write_archive])
def test_the_files_are_read_unpacked_or_in_their_archive(tmp_path: Path, classes: int, write: Any) -> None:
    train, test = write(tmp_path / "files", classes, **COUNTS[classes])
    for root in (tmp_path / "files", *(tmp_path / "files").iterdir()):
        splits = load(root, classes)
        assert same(splits.train, train)
        assert same(splits.test, test)
        assert splits.validation is None
        assert splits.train.images_NCHW.dtype == torch.uint8
        assert splits.train.labels_N.dtype == torch.int64
        assert splits.train.shape == (3, 32, 32)
    names = tuple(TEN) if classes == 10 else tuple(f"fine {number}" for number in range(100))
    assert splits.classes == names
    assert len(list((tmp_path / "files").iterdir())) == 1  # nothing was unpacked


def test_the_same_images_as_torchvision_reads(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    published(monkeypatch, folder)
    theirs, ours = CIFAR10(folder.parent), load(folder, verify=True)
    assert np.array_equal(ours.train.images_NCHW.permute(0, 2, 3, 1), theirs.data)
    assert ours.train.labels_N.tolist() == theirs.targets
    assert list(ours.classes) == theirs.classes


def test_no_root_is_the_data_folder(tmp_path: Path) -> None:
    write_cifar(tmp_path / "cifar10", 10, **COUNTS[10])
    assert load(None, home=tmp_path).digest() == load(tmp_path / "cifar10").digest()


def test_the_digest_is_always_the_same_and_sees_where_a_share_is_kept_apart(folder: Path) -> None:
    assert load(folder).digest() == load(folder.parent, verify=False, download=True).digest()
    assert load(folder, validation=0.25).digest() == load(folder, validation=0.25).digest() != load(folder).digest()


@pytest.mark.parametrize("classes", [10, 100])
def test_the_validation_share_is_stratified(tmp_path: Path, classes: int) -> None:
    write_cifar(tmp_path, classes, **COUNTS[classes])
    splits = load(tmp_path, classes, validation=0.25)
    a_class = COUNTS[classes]["train"]
    assert splits.validation is not None
    assert splits.validation.labels_N.bincount().tolist() == [a_class // 4] * classes
    assert splits.train.labels_N.bincount().tolist() == [a_class - a_class // 4] * classes


@pytest.mark.parametrize("share", [-0.1, 1.0, float("nan")])
def test_a_share_out_of_range_is_refused(share: float) -> None:
    with pytest.raises(ConfigError, match="validation"):
        Cifar100(validation=share)


def published(monkeypatch: pytest.MonkeyPatch, folder: Path, archive: Path | None = None) -> None:
    """Let these files be the published ones."""

    def md5(name: str) -> str:
        return hashlib.md5((folder / name).read_bytes()).hexdigest()

    for listed in ("train_list", "test_list"):
        monkeypatch.setattr(CIFAR10, listed, [[name, md5(name)] for name, _ in getattr(CIFAR10, listed)])
    monkeypatch.setattr(CIFAR10, "meta", {**CIFAR10.meta, "md5": md5("batches.meta")})
    if archive:
        monkeypatch.setattr(CIFAR10, "tgz_md5", hashlib.md5(archive.read_bytes()).hexdigest())


def test_the_names_are_those_of_the_published_files() -> None:
    for published_as, classes in ((CIFAR10, 10), (CIFAR100, 100)):
        folder, train, test, meta = NAMES[classes]
        assert published_as.base_folder == folder
        assert [name for name, _ in published_as.train_list] == train
        assert [name for name, _ in published_as.test_list] == [test]
        assert published_as.meta["filename"] == meta
        ours = Cifar10 if classes == 10 else Cifar100
        assert (ours.files, ours.base_folder, ours.archive_name) == (
            (*train, test, meta),
            folder,
            published_as.filename,
        )


@pytest.mark.parametrize("name", ["data_batch_1", "data_batch_4", "test_batch", "batches.meta"])
def test_a_file_with_another_md5_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    published(monkeypatch, folder)
    assert load(folder, verify=True).digest() == load(folder).digest()
    raw = bytearray((folder / name).read_bytes())
    raw[len(raw) // 2] ^= 1
    (folder / name).write_bytes(raw)
    error = refused(folder, verify=True)
    assert "MD5" in error.what
    assert error.where == str(folder / name)
    assert "dataset.verify=false" in str(error.hint)


def test_an_archive_with_another_md5_is_named_before_it_is_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_cifar(tmp_path / "same", 10, **COUNTS[10])
    write_archive(tmp_path, 10, **COUNTS[10])
    archive = tmp_path / "cifar-10-python.tar.gz"
    published(monkeypatch, tmp_path / "same/cifar-10-batches-py", archive)
    assert len(load(tmp_path, verify=True).train) == 200
    archive.write_bytes(archive.read_bytes() + b"\0")
    assert refused(tmp_path, verify=True).where == str(archive)


@pytest.mark.parametrize("classes", [10, 100])
def test_the_published_md5s_are_asked_for_unless_told_otherwise(tmp_path: Path, classes: int) -> None:
    write_cifar(tmp_path, classes, **COUNTS[classes])
    folder, train, *_ = NAMES[classes]
    with pytest.raises(DataError, match="MD5") as caught:
        MADE[classes](root=str(tmp_path)).load(Path("unused"))
    assert caught.value.where == str(tmp_path / folder / train[0])


class Hostile:
    """Makes a folder when it is unpickled."""

    def __init__(self, canary: Path):
        self._canary = canary

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self._canary),)


@pytest.mark.parametrize("name", ["data_batch_2", "batches.meta"])
def test_a_hostile_file_runs_nothing(folder: Path, tmp_path: Path, name: str) -> None:
    (folder / name).write_bytes(pickle.dumps({"data": Hostile(tmp_path / "canary")}))
    error = refused(folder)
    assert "mkdir" in error.what
    assert error.where == str(folder / name)
    assert not (tmp_path / "canary").exists()


PIXELS = np.zeros((2, 3072), np.uint8)
DAMAGED = {
    "a list": ([], "no dictionary"),
    "no data": ({"labels": [0, 1]}, "rows of 3,072 bytes"),
    "floats": ({"data": PIXELS.astype(np.float32), "labels": [0, 1]}, "rows of 3,072 bytes"),
    "short rows": ({"data": PIXELS[:, :-1], "labels": [0, 1]}, "rows of 3,072 bytes"),
    "no labels": ({"data": PIXELS}, "no list of 2 labels"),
    "the labels of cifar100": ({"data": PIXELS, "fine_labels": [0, 1]}, "no list of 2 labels"),
    "a label too few": ({"data": PIXELS, "labels": [0]}, "no list of 2 labels"),
    "a label too high": ({"data": PIXELS, "labels": [0, 10]}, "0 … 9"),
    "a label below 0": ({"data": PIXELS, "labels": [0, -1]}, "0 … 9"),
    "a label in words": ({"data": PIXELS, "labels": [0, "cat"]}, "0 … 9"),
}


@pytest.mark.parametrize(("content", "said"), DAMAGED.values(), ids=DAMAGED.keys())
def test_a_batch_that_is_none_is_named_with_what_is_wrong(folder: Path, content: Any, said: str) -> None:
    (folder / "test_batch").write_bytes(python2_pickle(content))
    error = refused(folder)
    assert "damaged" in error.what
    assert said in error.what
    assert error.where == str(folder / "test_batch")


@pytest.mark.parametrize("content", [[], {"label_names": "cat"}, {"label_names": [1, 2]}, {}])
def test_class_names_that_are_none_are_refused(folder: Path, content: Any) -> None:
    (folder / "batches.meta").write_bytes(python2_pickle(content))
    assert refused(folder).where == str(folder / "batches.meta")


@pytest.mark.parametrize("left", [0, 1, 1000])
def test_a_truncated_file_is_named(folder: Path, left: int) -> None:
    (folder / "data_batch_3").write_bytes((folder / "data_batch_3").read_bytes()[:left])
    error = refused(folder)
    assert "damaged" in error.what
    assert error.where == str(folder / "data_batch_3")


@pytest.mark.parametrize(
    "damage", [lambda raw: raw[: len(raw) // 2], lambda _: b"none", lambda _: gzip.compress(b"none")]
)
def test_a_damaged_archive_is_named(tmp_path: Path, damage: Any) -> None:
    write_archive(tmp_path, 10, **COUNTS[10])
    archive = tmp_path / "cifar-10-python.tar.gz"
    archive.write_bytes(damage(archive.read_bytes()))
    assert str(archive) in str(refused(tmp_path).where)


@pytest.mark.parametrize("name", ["data_batch_3", "test_batch", "batches.meta"])
def test_a_missing_file_is_answered_with_how_to_get_it(folder: Path, name: str) -> None:
    (folder / name).unlink()
    for root in (folder, folder.parent):
        error = refused(root)
        assert error.what == f"cifar10 is not here: no {name}"
        assert error.where == str(folder)
        assert error.hint == "dataset.download=true, or dataset.root=FOLDER with cifar-10-batches-py"


def test_a_missing_folder_is_answered_in_the_same_way(tmp_path: Path) -> None:
    error = refused(tmp_path / "nowhere", classes=100)
    assert error.what == "cifar100 is not here: no train"
    assert error.hint == "dataset.download=true, or dataset.root=FOLDER with cifar-100-python"


def test_a_missing_dataset_is_fetched_and_unpacked_where_that_is_wanted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_cifar(tmp_path / "same", 10, **COUNTS[10])
    write_archive(tmp_path / "theirs", 10, **COUNTS[10])
    archive = tmp_path / "theirs/cifar-10-python.tar.gz"
    published(monkeypatch, tmp_path / "same/cifar-10-batches-py", archive)
    fetched = []

    def fetch(url: str, root: Path, filename: str, md5: str) -> None:
        fetched.append((url, md5))
        shutil.copy(archive, root / filename)

    monkeypatch.setattr("torchvision.datasets.utils.download_url", fetch)
    home = tmp_path / "home/cifar10"
    for _ in range(2):
        assert len(load(None, home=tmp_path / "home", download=True, verify=True).train) == 200
    assert fetched == [(CIFAR10.url, CIFAR10.tgz_md5)]
    assert sorted(path.name for path in home.iterdir()) == ["cifar-10-batches-py", "cifar-10-python.tar.gz"]
    (home / "cifar-10-python.tar.gz").unlink()
    assert len(load(None, home=tmp_path / "home", verify=True).train) == 200


@pytest.mark.parametrize("failure", [URLError("no network"), RuntimeError("File not found or corrupted.")])
def test_a_download_that_fails_is_answered_in_three_lines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failure: Exception
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise failure

    monkeypatch.setattr("torchvision.datasets.utils.download_url", fail)
    error = refused(tmp_path / "new/cifar-10-batches-py", download=True)
    assert "could not be fetched" in error.what
    assert error.where == str(tmp_path / "new")
    assert "cifar-10-python.tar.gz" in str(error.hint)
