"""uiuc_video: a window that moves, turns or zooms over a still texture; the class is what the window does."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from prune_cli.common.errors import DataError
from prune_cli.common.lazy import torch
from prune_cli.common.random import generator
from prune_cli.common.registry import NOT_IN_HASH
from prune_cli.common.terminal import note
from prune_cli.data import texture_motion, textures
from prune_cli.data.clip_files import Chunk
from prune_cli.data.clips import Video, add_noise
from prune_cli.data.motion import Schedule, checked_speed, largest_speed, uniform
from prune_cli.data.registry import datasets
from prune_cli.data.textures import TEST_IMAGES, TRAIN_IMAGES, VALIDATION_IMAGES, Texture


@datasets.register("uiuc_video")
@dataclass(frozen=True)
class UiucVideo(Video):
    """Windows over scikit-image's photographs, or over the UIUC textures in the folder `textures`.

    With a folder there are clips_per_image clips of each of its images and each action; without one, the clips of each
    class are those of the options. validation_clips_per_class=0 means no validation split, of a folder too.
    """

    frame_size: int = 32
    frames: int = 10
    textures: str | None = field(default=None, metadata=NOT_IN_HASH)
    clips_per_image: int = 4
    skip_corrupt: bool = False

    title = "UIUC Video"
    all_classes: ClassVar[tuple[str, ...]] = texture_motion.CLASSES

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.frame_size < 2:
            self._refuse("frame_size", "is 2 or more")
        if self.clips_per_image < 1:
            self._refuse("clips_per_image", "is 1 or more")
        if self.actions == 8 and min(self.schedule.steps) < 2:
            self._refuse("frames", "is 3 or more an action where windows turn by 180°")
        without_use = ("train_clips_per_class", "validation_clips_per_class", "test_clips_per_class")
        for option in without_use if self.textures is not None else ("clips_per_image", "skip_corrupt"):
            no_validation = option == "validation_clips_per_class" and self.validation_clips_per_class == 0
            if getattr(self, option) != getattr(UiucVideo, option) and not no_validation:
                self._refuse(option, f"is for {'the photographs that come with it' if self.textures else 'a folder'}")

    def _sources(self) -> Mapping[str, str]:
        return textures.digests(self._paths())

    def _paths(self) -> dict[str, Path]:
        return textures.photographs() if self.textures is None else textures.folder_images(self.textures)

    def _clips_per_class(self, sources: Mapping[str, str]) -> tuple[int, int, int]:
        if self.textures is None:
            return super()._clips_per_class(sources)
        held = VALIDATION_IMAGES if self.validation_clips_per_class else 0
        each = len(set(map(textures.class_of, sources))) * self.clips_per_image
        return (TRAIN_IMAGES - held) * each, held * each, TEST_IMAGES * each

    def _renderer(self, home: Path) -> MovingWindows:  # noqa: ARG002 - the sources lie elsewhere
        images, skipped = textures.read_all(self._paths(), self.skip_corrupt, self.workers)
        for name, reason in skipped.items():
            note(f"skipped {name}: {reason}")
        validation = self.validation_clips_per_class > 0
        parts = (
            textures.split_photographs(images, validation)
            if self.textures is None
            else textures.split_folder(images, self.seed, validation)
        )
        speed = self._speed([texture for part in parts.values() for texture in part])
        return MovingWindows(parts, skipped, self.classes, self.schedule, speed, self.frame_size, self.noise, self.seed)

    def _speed(self, used: Sequence[Texture]) -> float:
        """The speed [px a frame] at which every path fits into every texture. Raises DataError or ConfigError."""
        speed = checked_speed(self.speed, min(self._largest_speed(used, axis) for axis in (0, 1)), self.schedule)
        if self.speed is None and speed < 1:
            note(f"the textures have no room for 1 px a frame over {self.frames} frames: {speed:.3g} px a frame")
        return speed

    def _largest_speed(self, used: Sequence[Texture], axis: int) -> float:
        unit = texture_motion.paths(self.schedule, self.schedule.possible_actions(), 1.0)
        reach_PT = unit.reach(self.frame_size)
        length, name = min((texture.values_HW.shape[1 - axis], texture.name) for texture in used)
        largest = largest_speed(unit.moved_NT2[..., axis], reach_PT, length - 1)
        if largest < 0:
            need = math.ceil(2 * reach_PT.max()) + 1
            what = f"a window of {self.frame_size} px needs {need} px for its paths, and {name} gives {length}"
            raise DataError(what, self.textures or name, f"a smaller dataset.frame_size, or {self._more_room()}")
        return largest

    def _more_room(self) -> str:
        if self.textures is None and self.validation_clips_per_class:
            return "dataset.validation_clips_per_class=0, which leaves the textures whole"
        return "larger textures"


@dataclass(frozen=True)
class MovingWindows:
    """Renders clips: clip i uses texture (i // actions) mod textures, and the start is drawn."""

    textures: Mapping[str, Sequence[Texture]]  # split -> its textures
    skipped: Mapping[str, str]
    classes: tuple[str, ...]
    schedule: Schedule
    speed: float
    side: int
    noise: float
    seed: int

    @property
    def facts(self) -> dict[str, Any]:
        """The speed that was used [px a frame], how many textures each split has, and which files were skipped."""
        used = {split: len(parts) for split, parts in self.textures.items()}
        return {"speed": self.speed, "textures": used, "skipped": dict(self.skipped)}

    def render(self, split: str, clips: range) -> Chunk:
        """Render the clips with these numbers of the split, with one call of the sampler a texture."""
        draw = generator(self.seed, "uiuc_video", split, clips.start)
        chosen_NK = self.schedule.draw_actions(clips, draw)
        paths = texture_motion.paths(self.schedule, chosen_NK, self.speed)
        which_N = np.arange(clips.start, clips.stop) // len(self.classes) % len(self.textures[split])
        centre_NT2 = self._starts(split, paths, which_N, draw)[:, None] + paths.moved_NT2
        frames_NTHW = np.empty((*paths.angle_NT.shape, self.side, self.side), np.uint8)
        for which in np.unique(which_N):
            mine = which_N == which
            values_HW = self.textures[split][which].values_HW
            given = centre_NT2[mine], paths.angle_NT[mine], paths.zoom_NT[mine]
            frames_NTHW[mine] = texture_motion.sample_windows(values_HW, *given, self.side)
        rows = self._rows(split, chosen_NK, which_N, centre_NT2, paths)
        return Chunk(add_noise(frames_NTHW, self.noise, draw), self.schedule.labels(chosen_NK), rows)

    def _starts(
        self, split: str, paths: texture_motion.WindowPaths, which_N: np.ndarray, draw: torch.Generator
    ) -> np.ndarray:
        """The starts of the centres (N, 2), uniform among those that keep the whole path inside the texture."""
        size_N2 = np.array([texture.values_HW.shape[::-1] for texture in self.textures[split]])[which_N]
        reach_NT1 = paths.reach(self.side)[..., None]
        low_N2 = (reach_NT1 - paths.moved_NT2).max(axis=1)
        high_N2 = size_N2 - 1 - (reach_NT1 + paths.moved_NT2).max(axis=1)
        return np.stack([uniform(low_N2[:, axis], high_N2[:, axis], draw) for axis in (0, 1)], axis=1)

    def _rows(
        self,
        split: str,
        chosen_NK: np.ndarray,
        which_N: np.ndarray,
        centre_NT2: np.ndarray,
        paths: texture_motion.WindowPaths,
    ) -> list[tuple[str, ...]]:
        """Class, texture, start and path of each clip; centres are in pixels of the whole photograph."""
        used = self.textures[split]
        corner_N2 = np.array([(texture.left, texture.top) for texture in used])[which_N]
        centre_NT2 = centre_NT2 + corner_N2[:, None]
        at_NT4 = np.concatenate([centre_NT2, paths.angle_NT[..., None], paths.zoom_NT[..., None]], axis=-1)
        return [
            (" ".join(self.classes[a] for a in actions), used[which].name, _path_text(at[:1], 2), _path_text(at, 4))
            for actions, which, at in zip(chosen_NK.tolist(), which_N.tolist(), at_NT4.tolist(), strict=True)
        ]


def _path_text(at_T4: list[list[float]], numbers: int) -> str:
    return "; ".join(" ".join([f"{value:.3f}" for value in at[:numbers]]) for at in at_T4)
