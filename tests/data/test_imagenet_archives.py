"""The three archives of ImageNet become train and val: whole, or not at all."""

from __future__ import annotations

import hashlib
import io
import tarfile
from pathlib import Path

import numpy as np
import pytest
from hostile_files import OUTWARD, member
from PIL import Image
from scipy.io import savemat

from prune_cli.common.errors import DataError
from prune_cli.data import imagenet
from prune_cli.data.imagenet import ARCHIVES, ImageNet1k

CLASSES = ("n01440764", "n01443537", "n15075141")
OF_VAL = (2, 0, 1, 0, 2)  # the class of each validation image, in the order of their names
TRAIN, VAL, DEVKIT = ARCHIVES


@pytest.fixture(autouse=True)
def three_classes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let three classes be all there are."""
    monkeypatch.setattr(imagenet, "wordnet_ids", lambda: CLASSES)


def picture(number: int) -> bytes:
    raw = io.BytesIO()
    Image.fromarray(np.full((5, 4, 3), number, np.uint8)).save(raw, "JPEG")
    return raw.getvalue()


def packed(*members: tuple[str, bytes]) -> bytes:
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w") as tar:
        for name, content in members:
            member(name, content)(tar)
    return raw.getvalue()


def devkit(names: tuple[str, ...] = CLASSES) -> bytes:
    """A class more than there are images of, as in the real one: its groups of classes come last."""
    kinds = [("ILSVRC2012_ID", "i4"), ("WNID", "O"), ("words", "O"), ("num_children", "i4")]
    rows = [(number, name, "a thing", 0) for number, name in enumerate(names, 1)] + [(9, "n00001740", "things", 3)]
    table = io.BytesIO()
    savemat(table, {"synsets": np.array(rows, kinds).reshape(-1, 1)})
    truth = "".join(f"{number + 1}\n" for number in OF_VAL).encode()
    folder = "ILSVRC2012_devkit_t12/data"
    files = (f"{folder}/meta.mat", table.getvalue()), (f"{folder}/ILSVRC2012_validation_ground_truth.txt", truth)
    return packed(*files, ("ILSVRC2012_devkit_t12/readme.txt", b"read me"))


def put(root: Path, monkeypatch: pytest.MonkeyPatch, **other: bytes) -> None:
    """Archives under the published names, let to be the published ones; `other` stands for one of them."""
    of_class = [(f"{name}.tar", packed((f"{name}_1.JPEG", picture(i)))) for i, name in enumerate(CLASSES)]
    images = [(f"ILSVRC2012_val_{number}.JPEG", picture(10 + number)) for number in range(len(OF_VAL))]
    made = {"train": packed(*of_class), "val": packed(*images[::-1]), "devkit": devkit()} | other
    meta = {}
    for (part, raw), name in zip(made.items(), ARCHIVES, strict=True):
        (root / name).write_bytes(raw)
        meta[part] = (name, hashlib.md5(raw).hexdigest())
    monkeypatch.setattr(imagenet, "ARCHIVE_META", meta)


def refused(root: Path) -> DataError:
    with pytest.raises(DataError) as caught:
        ImageNet1k(str(root)).load(Path("unused"))
    assert len(caught.value.lines()) == 3
    return caught.value


def test_train_and_val_are_unpacked_into_folders_of_classes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(tmp_path, monkeypatch)
    splits = ImageNet1k(str(tmp_path)).load(Path("unused"))
    assert splits.classes == CLASSES
    assert splits.train.paths == tuple(f"train/{name}/{name}_1.JPEG" for name in CLASSES)
    of_val = [(OF_VAL[number], number) for number in range(len(OF_VAL))]
    assert splits.test.paths == tuple(f"val/{CLASSES[c]}/ILSVRC2012_val_{n}.JPEG" for c, n in sorted(of_val))
    assert splits.test.labels_N.tolist() == sorted(OF_VAL)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([*ARCHIVES, "train", "val"])
    for archive in ARCHIVES:
        (tmp_path / archive).unlink()
    assert ImageNet1k(str(tmp_path)).load(Path("unused")).digest() == splits.digest()


@pytest.mark.parametrize("part", ["train", "val", "devkit"])
def test_an_archive_with_another_md5_is_named_before_it_is_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, part: str
) -> None:
    put(tmp_path, monkeypatch)
    name = dict(zip(("train", "val", "devkit"), ARCHIVES, strict=True))[part]
    (tmp_path / name).write_bytes((tmp_path / name).read_bytes() + b"\0")
    error = refused(tmp_path)
    assert error.where == str(tmp_path / name)
    assert "not the published archive" in error.what
    assert {path.name for path in tmp_path.iterdir()} <= {*ARCHIVES, "train"}


@pytest.mark.parametrize("add", OUTWARD.values(), ids=OUTWARD.keys())
@pytest.mark.parametrize("part", ["train", "val"])
def test_what_leads_out_is_refused_and_leaves_no_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, part: str, add: object
) -> None:
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w") as tar:
        member("n01440764.tar" if part == "train" else "a.JPEG", packed(("a.JPEG", picture(0))))(tar)
        add(tar)  # type: ignore[operator]
    root = tmp_path / "in/root"
    root.mkdir(parents=True)
    put(root, monkeypatch, **{part: raw.getvalue()})
    assert ARCHIVES[part == "val"] in str(refused(root).where)
    assert not (root / part).exists()
    assert {path.name for path in root.iterdir()} <= {*ARCHIVES, "train"}
    assert [path.name for path in tmp_path.iterdir()] == ["in"]


@pytest.mark.parametrize("names", [("../x", *CLASSES[1:]), ("/tmp/x", *CLASSES[1:]), ("", *CLASSES[1:]), CLASSES[:2]])
def test_a_devkit_that_names_no_folders_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, names: tuple[str, ...]
) -> None:
    put(tmp_path, monkeypatch, devkit=devkit(names))
    assert "could not be unpacked" in refused(tmp_path).what
    assert not (tmp_path / "val").exists()
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize("raw", [b"", b"none", packed(("other", b"1"))])
def test_a_devkit_that_is_none_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, raw: bytes) -> None:
    put(tmp_path, monkeypatch, devkit=raw)
    refused(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} <= {*ARCHIVES, "train"}
