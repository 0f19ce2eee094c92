"""The base class of datasets of rendered clips: their options, identity, load, build and verify."""

from __future__ import annotations

import json
import math
import shlex
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from prune_cli.common.errors import ConfigError, DataError
from prune_cli.common.lazy import torch
from prune_cli.common.registry import NOT_IN_HASH
from prune_cli.common.terminal import note
from prune_cli.data import clip_files
from prune_cli.data.clip_files import SPLITS, Renderer, Sizes
from prune_cli.data.motion import Schedule, checked_speed
from prune_cli.data.splits import ClipSplit, Splits
from prune_cli.runs.artefacts import MANIFEST
from prune_cli.runs.identity import changed_options
from prune_cli.runs.store import RunFolder


@dataclass(frozen=True)
class Video:
    """A dataset that is rendered once into a folder of its own (clip_files.py), named by all that changes its bytes.

    Those are the options, the digests of the source images and `rendering`, which grows when the same options begin to
    mean other bytes. Raises ConfigError for an option that is out of range.
    """

    frame_size: int = 64
    frames: int = 20
    speed: float | None = None
    actions: int = 8
    actions_per_clip: int = 1
    noise: float = 0.0
    train_clips_per_class: int = 1000
    validation_clips_per_class: int = 100
    test_clips_per_class: int = 250
    seed: int = 0
    workers: int = field(default=2, metadata=NOT_IN_HASH)

    name: ClassVar[str]
    rendering: ClassVar[int] = 2
    all_classes: ClassVar[tuple[str, ...]]

    def __post_init__(self) -> None:
        for option, known in (("actions", (4, 8)), ("actions_per_clip", (1, 2))):
            if getattr(self, option) not in known:
                self._refuse(option, f"is {known[0]} or {known[1]}")
        for option in ("frame_size", "train_clips_per_class", "test_clips_per_class", "workers"):
            if getattr(self, option) < 1:
                self._refuse(option, "is 1 or more")
        if self.validation_clips_per_class < 0:
            self._refuse("validation_clips_per_class", "is 0 (no validation split) or more")
        for option, most in (("frames", 10_000), ("frame_size", 4096)):
            if getattr(self, option) > most:
                self._refuse(option, f"is {most:,} or less")
        if not 0 <= self.noise <= 255:
            self._refuse("noise", "lies in 0 … 255 grey levels")
        if self.speed is not None and not 0 < self.speed < math.inf:
            self._refuse("speed", "is more than 0 px a frame")
        checked_speed(self.speed, math.inf, self.schedule)

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the actions, in the order of their labels."""
        return self.all_classes[: self.actions]

    @property
    def schedule(self) -> Schedule:
        """Which action each frame belongs to."""
        return Schedule(self.actions, self.actions_per_clip, self.frames)

    def load(self, home: Path) -> Splits:
        """The splits of the dataset, whether they are built or not: clips are read when a batch needs them.

        Raises DataError where a source is missing, or where a built file is damaged.
        """
        sources = self._sources()
        folder, sizes = self._folder(home, sources), self._sizes(sources)
        clip_files.check(folder, sizes, self._command())
        identity = json.dumps(folder.identity, sort_keys=True)
        hint = self._command()
        found = {split: ClipSplit(folder.path, split, sizes[split], identity, hint) for split in sizes}
        return Splits(found["train"], found.get("validation"), found["test"], self.classes)

    def build(self, home: Path) -> None:
        """Render the clips unless all of their files exist. Raises DataError or ConfigError before anything is written."""
        sources = self._sources()
        folder, sizes = self._folder(home, sources), self._sizes(sources)
        if self._whole(folder, sizes):
            return
        renderer = self._renderer(home)
        with folder.claimed(wait=True):
            if self._whole(folder, sizes):
                return
            (folder.path / MANIFEST).unlink(missing_ok=True)  # first: a folder without it is never believed
            shutil.rmtree(folder.path, ignore_errors=True)
            note(f"rendering {sum(size[0] for size in sizes.values()):,} clips into {folder.path}")
            facts = {"parameters": self._parameters(), "sources": dict(sources), "classes": list(self.classes)}
            clip_files.write(folder, sizes, facts, renderer, self.workers)

    def verify(self, home: Path) -> None:
        """Read every built file again and compare its sha256. Raises DataError that names the damaged file."""
        sources = self._sources()
        clip_files.verify(self._folder(home, sources), self._sizes(sources), self._command())

    def folder(self, home: Path) -> Path:
        """The folder of the rendered files, which need not exist yet."""
        return self._folder(home, self._sources()).path

    def _sources(self) -> Mapping[str, str]:
        """The sha256 of each source image or file, by name. Raises DataError where one is missing."""
        raise NotImplementedError

    def _renderer(self, home: Path) -> Renderer:
        """The renderer of the clips, with all sources read. Raises DataError or ConfigError."""
        raise NotImplementedError

    def _clips_per_class(self, sources: Mapping[str, str]) -> tuple[int, int, int]:  # noqa: ARG002 - may decide it
        """The number of train, validation and test clips of each class."""
        return self.train_clips_per_class, self.validation_clips_per_class, self.test_clips_per_class

    def _sizes(self, sources: Mapping[str, str]) -> Sizes:
        counts = zip(SPLITS, self._clips_per_class(sources), strict=True)
        side = self.frame_size
        return {split: (clips * self.actions, self.frames, side, side) for split, clips in counts if clips}

    def _folder(self, home: Path, sources: Mapping[str, str]) -> RunFolder:
        identity = {"options": changed_options(self), "sources": dict(sources), "version": self.rendering}
        return RunFolder.of(home, self.name, identity)

    def _whole(self, folder: RunFolder, sizes: Sizes) -> bool:
        try:
            return clip_files.check(folder, sizes, self._command()) is not None
        except DataError as error:
            note(f"{error.where} is damaged: all of it is made again")
            return False

    def _parameters(self) -> dict[str, Any]:
        inside = {field.name for field in fields(self) if field.metadata.get("identity", True)}
        return {name: value for name, value in asdict(self).items() if name in inside}

    def _command(self) -> str:
        """The command that builds exactly these clips."""
        changed = {f.name: getattr(self, f.name) for f in fields(self) if getattr(self, f.name) != f.default}
        changed.pop("workers", None)
        words = [f"dataset.{name}={value}" for name, value in changed.items()]
        return shlex.join(["prune-cli", "build-data", f"dataset={self.name}", *words])

    def _refuse(self, option: str, known: str) -> None:
        (default,) = (f.default for f in fields(self) if f.name == option)
        hint = f"dataset.{option}={'null' if default is None else default}"
        raise ConfigError(f"dataset.{option} {known}, not {getattr(self, option)}", f"dataset.{option}", hint)


def add_noise(clips_NTHW: np.ndarray, std: float, draw: torch.Generator) -> np.ndarray:
    """The clips plus Gaussian noise of standard deviation `std` [grey levels] on each pixel, clipped to 0 … 255."""
    if std == 0:
        return clips_NTHW
    noise_NTHW = torch.empty(clips_NTHW.shape).normal_(0, std, generator=draw).numpy()
    return np.rint(clips_NTHW + noise_NTHW).clip(0, 255).astype(np.uint8)
