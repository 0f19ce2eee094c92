"""action_mnist: one handwritten digit that moves over a black frame; the class is the direction."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from prune_cli.common.errors import ConfigError, DataError
from prune_cli.common.lazy import torch
from prune_cli.common.path_checks import expanded
from prune_cli.common.random import generator
from prune_cli.common.registry import NOT_IN_HASH
from prune_cli.common.terminal import note
from prune_cli.data import mnist5k
from prune_cli.data.clip_files import Chunk
from prune_cli.data.clips import Video, add_noise
from prune_cli.data.idx import find_idx, read_idx_array
from prune_cli.data.motion import Schedule, checked_speed, largest_speed, uniform
from prune_cli.data.registry import datasets
from prune_cli.data.splits import Split

SIDE = 28  # pixels of a digit
STEPS = {  # x to the right, y downwards, of a step at speed 1
    "MoveUp": (0, -1),
    "MoveDown": (0, 1),
    "MoveLeft": (-1, 0),
    "MoveRight": (1, 0),
    "MoveUpLeft": (-1, -1),
    "MoveUpRight": (1, -1),
    "MoveDownLeft": (-1, 1),
    "MoveDownRight": (1, 1),
}
STEPS_A2 = np.array(list(STEPS.values()))
STEMS = {"train": "train-images-idx3-ubyte", "test": "t10k-images-idx3-ubyte"}
VALIDATION_SHARE = 1 / 10  # of the train digits of IDX files, where there are validation clips; mnist5k has its own


@datasets.register("action_mnist")
@dataclass(frozen=True)
class ActionMnist(Video):
    """Digits of mnist5k, or of MNIST's IDX files in the folder `digits`; no digit is in two splits.

    Validation clips show the validation digits of mnist5k, or a tenth of the train digits of the IDX files.
    """

    digits: str | None = field(default=None, metadata=NOT_IN_HASH)

    title = "Action MNIST"
    all_classes: ClassVar[tuple[str, ...]] = tuple(STEPS)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.frame_size <= SIDE:
            what = f"a digit of {SIDE} px cannot move in a frame of {self.frame_size} px"
            raise ConfigError(what, "dataset.frame_size", "dataset.frame_size=64")
        _ = self.pixels_a_frame

    @property
    def pixels_a_frame(self) -> float:
        """The speed [px a frame]. Raises ConfigError for a speed that does not fit into the frame."""
        schedule = self.schedule
        steps_PT2 = unit_paths(schedule, schedule.possible_actions())
        room, still = self.frame_size - SIDE, np.zeros(steps_PT2.shape[:2])
        largest = min(largest_speed(steps_PT2[..., axis], still, room) for axis in (0, 1))
        return checked_speed(self.speed, largest, schedule)

    def _sources(self) -> Mapping[str, str]:
        if self.digits is None:
            return {"mnist5k": mnist5k.DIGEST}
        images = _idx_digits(self.digits)
        return {STEMS[split]: hashlib.sha256(pixels.tobytes()).hexdigest() for split, pixels in images.items()}

    def _renderer(self, home: Path) -> MovingDigits:
        speed = self.pixels_a_frame
        if self.speed is None and speed < 1:
            note(f"the frame has no room for 1 px a frame over {self.frames} frames: {speed:.3g} px a frame")
        digits = _mnist5k_digits(home) if self.digits is None else self._split_digits(_idx_digits(self.digits))
        return MovingDigits(digits, self.classes, self.schedule, speed, self.frame_size, self.noise, self.seed)

    def _split_digits(self, images: Mapping[str, np.ndarray]) -> dict[str, Digits]:
        """The digits of the IDX files, by split; with validation clips, a tenth of the train digits is held out for them."""
        train, test = images["train"], images["test"]
        held = round(VALIDATION_SHARE * len(train)) if self.validation_clips_per_class else 0
        if held == 0 < self.validation_clips_per_class:
            what = f"{len(train)} train digits are too few to keep some apart for validation"
            raise ConfigError(what, str(self.digits), "dataset.validation_clips_per_class=0")
        order = torch.randperm(len(train), generator=generator(self.seed, "action_mnist", "validation digits")).numpy()
        parts = {"train": np.sort(order[held:]), "validation": np.sort(order[:held])}
        found = {split: Digits(STEMS["train"], train[indices], indices) for split, indices in parts.items()}
        return found | {"test": Digits(STEMS["test"], test, np.arange(len(test)))}


@dataclass(frozen=True)
class Digits:
    """The digits of one split: images_NHW uint8 (N, 28, 28), and the index of each in the source of this title."""

    title: str
    images_NHW: np.ndarray
    indices_N: np.ndarray


@dataclass(frozen=True)
class MovingDigits:
    """Renders clips: one start and one digit a clip, all frames of a chunk at once."""

    digits: Mapping[str, Digits]  # by split
    classes: tuple[str, ...]
    schedule: Schedule
    speed: float
    frame_size: int
    noise: float
    seed: int

    @property
    def facts(self) -> dict[str, Any]:
        """The speed that was used [px a frame]."""
        return {"speed": self.speed}

    def render(self, split: str, clips: range) -> Chunk:
        """Render the clips with these numbers of the split."""
        draw = generator(self.seed, "action_mnist", split, clips.start)
        chosen_NK = self.schedule.draw_actions(clips, draw)
        digits = self.digits[split]
        which_N = torch.randint(len(digits.images_NHW), (len(clips),), generator=draw).numpy()
        corner_NT2 = self._corners(chosen_NK, draw)
        frames_NTHW = paste_digits(digits.images_NHW[which_N], corner_NT2, self.frame_size)
        sources = digits.indices_N[which_N].tolist()
        rows = [
            (
                " ".join(self.classes[a] for a in actions),
                f"{digits.title} {which}",
                _path_text(path[:1]),
                _path_text(path),
            )
            for actions, which, path in zip(chosen_NK.tolist(), sources, corner_NT2.tolist(), strict=True)
        ]
        return Chunk(add_noise(frames_NTHW, self.noise, draw), self.schedule.labels(chosen_NK), rows)

    def _corners(self, chosen_NK: np.ndarray, draw: torch.Generator) -> np.ndarray:
        """The left and top pixel of the digit in each frame, (N, T, 2); starts are uniform among those that fit."""
        path_NT2 = np.rint(self.speed * unit_paths(self.schedule, chosen_NK)).astype(np.int64)
        low_N2, high_N2 = -path_NT2.min(axis=1), self.frame_size - SIDE - path_NT2.max(axis=1)
        start_N2 = np.stack([uniform(low_N2[:, a], high_N2[:, a] + 1, draw) for a in (0, 1)], axis=1)
        return np.minimum(start_N2.astype(np.int64), high_N2)[:, None] + path_NT2


def unit_paths(schedule: Schedule, chosen_NK: np.ndarray) -> np.ndarray:
    """The displacement (x, y) of a digit from its start at each frame, at speed 1: (N, T, 2)."""
    return np.einsum("nka,kt->nta", STEPS_A2[chosen_NK], schedule.steps_done)


def paste_digits(digits_NHW: np.ndarray, corner_NT2: np.ndarray, size: int) -> np.ndarray:
    """Black square frames (N, T, size, size) with digit n at the left and top pixel corner_NT2 of each, in one assignment."""
    clips, frames, _ = corner_NT2.shape
    canvas = np.zeros((clips, frames, size, size), np.uint8)
    windows = np.lib.stride_tricks.sliding_window_view(canvas, digits_NHW.shape[1:], (2, 3), writeable=True)
    n, t = np.ogrid[:clips, :frames]
    windows[n, t, corner_NT2[..., 1], corner_NT2[..., 0]] = digits_NHW[:, None]
    return canvas


def _path_text(path: list[list[int]]) -> str:
    return "; ".join(f"{x} {y}" for x, y in path)


def _mnist5k_digits(home: Path) -> dict[str, Digits]:
    dataset = mnist5k.Mnist5k()
    dataset.build(home)  # later renderings load it faster
    splits = dataset.load(home)
    found = {}
    for name, split in splits.named().items():
        assert isinstance(split, Split)
        found[name] = Digits(f"mnist5k {name}", split.images_NCHW[:, 0].numpy(), np.arange(len(split)))
    return found


def _idx_digits(folder: str) -> dict[str, np.ndarray]:
    return {split: _idx_images(expanded(folder), stem) for split, stem in STEMS.items()}


def _idx_images(folder: Path, stem: str) -> np.ndarray:
    path = find_idx(folder, stem)
    if path is None:
        raise DataError(f"there is no {stem}.gz", str(folder), "dataset.digits=FOLDER with MNIST's four IDX files")
    images = read_idx_array(path, 3)
    if images.shape[1:] != (SIDE, SIDE) or not len(images):
        raise DataError(
            f"{images.shape[0]} images of {images.shape[1]}×{images.shape[2]}, not {SIDE}×{SIDE}", str(path)
        )
    return images
