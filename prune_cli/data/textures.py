"""Still textures that clips are cut from: the photographs of scikit-image, or a folder in the layout of the UIUC textures."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from itertools import pairwise
from pathlib import Path

import numpy as np

from prune_cli.common.errors import DataError
from prune_cli.common.lazy import torch
from prune_cli.common.path_checks import expanded
from prune_cli.common.random import generator
from prune_cli.data.images import read_grey
from prune_cli.runs.files import sha256

PHOTOGRAPHS = ("brick.png", "grass.png", "gravel.png")  # CC0, 512×512
TRAIN_SHARE = 5 / 8  # of a photograph's width, from the left; the rest is for test clips
VALIDATION_SHARE = 1 / 5  # of the height of that left part, at its bottom, where there are validation clips
PATTERN = "T??*/T??_??.jpg"  # T01/T01_01.jpg and T01_bark1/T01_01.jpg
TRAIN_IMAGES, TEST_IMAGES = 32, 8  # of each class of textures in a folder
VALIDATION_IMAGES = 4  # of those 32, where there are validation clips


@dataclass(frozen=True)
class Texture:
    """A grey image, or the part of one that starts at column `left` and row `top`; values_HW uint8."""

    name: str
    values_HW: np.ndarray
    left: int = 0
    top: int = 0


def photographs() -> dict[str, Path]:
    """The files of scikit-image's photographs by name. Raises DataError where one is missing from the package."""
    found = {name: Path(str(files("skimage").joinpath("data", name))) for name in PHOTOGRAPHS}
    for path in found.values():
        if not path.is_file():
            raise DataError("scikit-image is without this photograph", str(path), "pip install scikit-image==0.26.0")
    return found


def folder_images(folder: str) -> dict[str, Path]:
    """The images of a folder of textures by file name, sorted. Raises DataError where there are none or too few."""
    root = expanded(folder)
    paths = sorted(root.glob(PATTERN), key=lambda path: path.name)
    found = {path.name: path for path in paths}
    if not found:
        raise DataError("there are no textures here", str(root), f"dataset.textures=FOLDER with {PATTERN}")
    for first, second in pairwise(paths):
        if first.name == second.name:
            raise DataError(f"this texture is also in {first.parent}", str(second), "keep one of the two")
    for name, images in Counter(map(class_of, found)).items():
        if images < TRAIN_IMAGES + TEST_IMAGES:
            what = f"{images} images of texture {name}: {TRAIN_IMAGES} to train and {TEST_IMAGES} to test are needed"
            raise DataError(what, str(root), "fetch the rest, or take this class away")
    return found


def digests(paths: Mapping[str, Path]) -> dict[str, str]:
    """The sha256 of each file, by name. A file is hashed once in a process, and again where its size or time has changed."""
    stats = {name: path.stat() for name, path in paths.items()}
    return {name: _digest(path, stats[name].st_size, stats[name].st_mtime_ns) for name, path in paths.items()}


def class_of(name: str) -> str:
    """The class of a texture in a folder: T01 of T01_01.jpg."""
    return name[:3]


def read_all(paths: Mapping[str, Path], skip: bool, workers: int) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """The decoded images by name, and the errors of those that cannot be read by name. Raises DataError unless `skip`."""
    with ThreadPoolExecutor(workers) as pool:
        found = dict(zip(paths, pool.map(_read, paths.values()), strict=True))
    broken = {name: error for name, error in found.items() if isinstance(error, DataError)}
    for error in broken.values():
        if not skip:
            error.hint = "fetch it again, or dataset.skip_corrupt=true"
            raise error
    images = {name: image for name, image in found.items() if isinstance(image, np.ndarray)}
    return images, {name: error.what for name, error in broken.items()}


def split_photographs(images: Mapping[str, np.ndarray], validation: bool) -> dict[str, list[Texture]]:
    """The textures of each split: the left part of each photograph to train, the right part to test.

    validation: the bottom fifth of the left part is for validation instead. No pixel is in two splits.
    """
    found: dict[str, list[Texture]] = {
        split: [] for split in ("train", "validation", "test") if validation or split != "validation"
    }
    for name, image in images.items():
        column = round(TRAIN_SHARE * image.shape[1])
        row = round((1 - VALIDATION_SHARE * validation) * image.shape[0])
        found["train"].append(Texture(name, image[:row, :column]))
        found["test"].append(Texture(name, image[:, column:], column))
        if validation:
            found["validation"].append(Texture(name, image[row:, :column], top=row))
    return found


def split_folder(images: Mapping[str, np.ndarray], seed: int, validation: bool) -> dict[str, list[Texture]]:
    """The textures of each split: 8 images of each class to test and 32 to train (fewer where some were skipped), shuffled.

    validation: 4 of the 32 are for validation instead. Raises DataError where nothing is left to train on.
    """
    held = VALIDATION_IMAGES if validation else 0
    chosen: dict[str, list[str]] = {"train": [], "validation": [], "test": []}
    for kind in sorted({class_of(name) for name in images}):
        names = _shuffled([name for name in images if class_of(name) == kind], seed, "images", kind)
        if len(names) <= TEST_IMAGES + held:
            raise DataError(f"{len(names)} images of texture {kind} can be read", kind, "fetch the folder again")
        chosen["test"] += names[:TEST_IMAGES]
        chosen["validation"] += names[TEST_IMAGES : TEST_IMAGES + held]
        chosen["train"] += names[TEST_IMAGES + held : TEST_IMAGES + TRAIN_IMAGES]
    mixed = {split: _shuffled(names, seed, "order", split) for split, names in chosen.items() if names}
    return {split: [Texture(name, images[name]) for name in names] for split, names in mixed.items()}


def _shuffled(names: list[str], seed: int, *purpose: str) -> list[str]:
    order = torch.randperm(len(names), generator=generator(seed, "uiuc_video", *purpose))
    return [names[place] for place in order.tolist()]


@cache
def _digest(path: Path, size: int, changed_ns: int) -> str:  # noqa: ARG001 - they tell a changed file from an old one
    return sha256(path)


def _read(path: Path) -> np.ndarray | DataError:
    try:
        return read_grey(path)
    except DataError as error:
        return error
