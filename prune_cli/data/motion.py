"""Actions in time: which action a frame belongs to, how far it has gone by then, and how fast it may go.

N clips, P possible clips, K actions of a clip (1 or 2), T frames, A actions in all. Positions have x to the right and
y downwards.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from prune_cli.common.errors import ConfigError
from prune_cli.common.lazy import torch


@dataclass(frozen=True)
class Schedule:
    """One or two actions in so many frames. With two, frame frames // 2 is the first of the second action.

    The step that leads into a frame belongs to that frame's action, so the second action goes on from where the first
    ended. Raises ConfigError where an action would have fewer than two frames.
    """

    actions: int
    per_clip: int
    frames: int

    def __post_init__(self) -> None:
        if self.frames < 2 * self.per_clip:
            what = f"{self.per_clip} actions in {self.frames} frames: each needs two frames or more"
            raise ConfigError(what, f"dataset.frames={self.frames}", f"dataset.frames={2 * self.per_clip} or more")

    @property
    def half(self) -> int:
        """The number of frames of the first action."""
        return self.frames if self.per_clip == 1 else self.frames // 2

    @property
    def steps(self) -> tuple[int, ...]:
        """The number of steps of each action."""
        return (self.half - 1, self.frames - self.half)[: self.per_clip]

    @property
    def steps_done(self) -> np.ndarray:
        """The number of steps of each action that are done at each frame, (K, T)."""
        t = np.arange(self.frames)
        return np.stack([np.minimum(t, self.half - 1), np.maximum(t - self.half + 1, 0)])[: self.per_clip]

    def possible_actions(self) -> np.ndarray:
        """Every choice of actions of a clip, (P, K); two actions of a clip always differ."""
        if self.per_clip == 1:
            return np.arange(self.actions)[:, None]
        first, second = np.divmod(np.arange(self.actions**2), self.actions)
        return np.stack([first, second], axis=1)[first != second]

    def draw_actions(self, clips: range, draw: torch.Generator) -> np.ndarray:
        """The actions of these clips, (N, K): clip i starts with action i mod A; a second action is drawn."""
        first = np.arange(clips.start, clips.stop) % self.actions
        if self.per_clip == 1:
            return first[:, None]
        further = torch.randint(1, self.actions, (len(clips),), generator=draw).numpy()
        return np.stack([first, (first + further) % self.actions], axis=1)

    def labels(self, chosen_NK: np.ndarray) -> np.ndarray:
        """The label of each frame: the index of its action, (N, T) uint8."""
        of_T = (np.arange(self.frames) >= self.half).astype(np.intp)
        return chosen_NK[:, of_T].astype(np.uint8)


def largest_speed(moves_PT: np.ndarray, reach_PT: np.ndarray, room: float) -> float:
    """The largest speed at which every path keeps within `room` along one axis; infinite where nothing moves.

    At frame t a path covers speed · moves[t] ± reach[t]. So for every two frames t, s of it
    speed · (moves[t] - moves[s]) + reach[t] + reach[s] ≤ room must hold. Negative where even standing still has no room.
    """
    found = math.inf
    for moves_T, reach_T in zip(moves_PT, reach_PT, strict=True):
        apart_TT = moves_T[:, None] - moves_T
        left_TT = room - reach_T[:, None] - reach_T
        if left_TT.min() < 0:
            return -1.0
        moving = apart_TT > 1e-9
        found = min(found, float((left_TT[moving] / apart_TT[moving]).min(initial=math.inf)))
    return found


def checked_speed(typed: float | None, largest: float, schedule: Schedule) -> float:
    """The speed to use [px a frame]: `typed`, else 1, or `largest` where that is less.

    Raises ConfigError for a speed above `largest`, or one that moves a whole action by less than one pixel.
    """
    speed = min(1.0, largest) if typed is None else typed
    if speed > largest:
        most = math.floor(1000 * largest) / 1000
        what = f"there is no room for {speed:g} px a frame over {schedule.frames} frames"
        raise ConfigError(what, "dataset.speed", f"dataset.speed={most:g} or less")
    if speed * min(schedule.steps) < 1:
        what = f"an action of {min(schedule.steps)} steps at {speed:.3g} px a frame moves less than one pixel"
        raise ConfigError(what, "dataset.frames, dataset.speed", "more frames, or more room: dataset.frame_size")
    return speed


def uniform(low_N: np.ndarray, high_N: np.ndarray, draw: torch.Generator) -> np.ndarray:
    """A uniform float64 between low and high for each clip, (N,)."""
    share_N = torch.rand(len(low_N), dtype=torch.float64, generator=draw).numpy()
    return low_N + share_N * np.maximum(high_N - low_N, 0)
