"""Writes CIFAR files in their real format, Python 2's pickles, for tests."""

from __future__ import annotations

import io
import pickle
import struct
import tarfile
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np

NAMES = {
    10: ("cifar-10-batches-py", [f"data_batch_{number}" for number in range(1, 6)], "test_batch", "batches.meta"),
    100: ("cifar-100-python", ["train"], "test", "meta"),
}
TEN = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]


class Written(NamedTuple):
    """What was written: images (N, 3, 32, 32) and labels."""

    images: np.ndarray
    labels: np.ndarray


class _Python2(pickle._Pickler):  # type: ignore[misc,name-defined]
    """As Python 2's cPickle wrote the CIFAR files: protocol 2, byte strings, numpy under its old name."""

    dispatch: ClassVar = dict(pickle._Pickler.dispatch)  # type: ignore[attr-defined]

    def save_bytes(self, value: bytes) -> None:
        """BINSTRING."""
        self.write(pickle.BINSTRING + struct.pack("<i", len(value)) + value)
        self.memoize(value)

    def save_str(self, value: str) -> None:
        """The same: Python 2 knows no other string."""
        self.save_bytes(value.encode("latin1"))

    def save_global(self, value: Any, name: str | None = None) -> None:
        """numpy._core is younger than the files."""
        module = value.__module__.replace("numpy._core", "numpy.core")
        self.write(pickle.GLOBAL + f"{module}\n{name or value.__qualname__}\n".encode())
        self.memoize(value)

    dispatch[bytes], dispatch[str], dispatch[type] = save_bytes, save_str, save_global
    dispatch[type(np.zeros(0).__reduce__()[0])] = save_global


def python2_pickle(value: Any) -> bytes:
    """The bytes of one file."""
    raw = io.BytesIO()
    _Python2(raw, 2).dump(value)
    return raw.getvalue()


def write_cifar(folder: Path, classes: int, train: int = 40, test: int = 20) -> tuple[Written, Written]:
    """The files of cifar10 or cifar100 under `folder`, with so many images of each class; returns train and test."""
    name, batches, test_batch, meta = NAMES[classes]
    place = folder / name
    place.mkdir(parents=True)
    made = _images(classes * train, classes, 0), _images(classes * test, classes, 1)
    parts = zip(np.array_split(made[0].images, len(batches)), np.array_split(made[0].labels, len(batches)), strict=True)
    for number, (batch, part) in enumerate(zip(batches, parts, strict=True), 1):
        (place / batch).write_bytes(_batch(Written(*part), classes, f"training batch {number} of {len(batches)}"))
    (place / test_batch).write_bytes(_batch(made[1], classes, "testing batch 1 of 1"))
    (place / meta).write_bytes(_meta(classes))
    return made


def write_archive(folder: Path, classes: int, **images: int) -> tuple[Written, Written]:
    """The same as one .tar.gz; nothing is left unpacked."""
    name = NAMES[classes][0]
    made = write_cifar(folder / "aside", classes, **images)
    with tarfile.open(folder / f"cifar-{classes}-python.tar.gz", "w:gz") as archive:
        archive.add(folder / "aside" / name, name)
    for path in (folder / "aside" / name).iterdir():
        path.unlink()
    (folder / "aside" / name).rmdir()
    (folder / "aside").rmdir()
    return made


def _images(count: int, classes: int, seed: int) -> Written:
    pixels = np.random.default_rng(seed).integers(256, size=(count, 3, 32, 32), dtype=np.uint8)
    return Written(pixels, np.arange(count) * 7 % classes)


def _batch(part: Written, classes: int, label: str) -> bytes:
    labels = [int(label) for label in part.labels]
    by_key = {"labels": labels} if classes == 10 else {"fine_labels": labels, "coarse_labels": [y // 5 for y in labels]}
    names = [f"image_s_{number:06}.png" for number in range(len(labels))]
    data = part.images.reshape(len(labels), 3072)
    return python2_pickle({"batch_label": label, **by_key, "data": data, "filenames": names})


def _meta(classes: int) -> bytes:
    if classes == 10:
        return python2_pickle({"num_cases_per_batch": 10000, "label_names": TEN, "num_vis": 3072})
    fine, coarse = [f"fine {number}" for number in range(100)], [f"coarse {number}" for number in range(20)]
    return python2_pickle({"fine_label_names": fine, "coarse_label_names": coarse})
