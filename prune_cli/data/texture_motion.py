"""The paths of a square window that moves, turns or zooms over a still texture, and the frames that it shows.

N clips, K actions of a clip, T frames. x to the right, y downwards, in pixels of the texture; angles in degrees,
counter-clockwise as one sees them. The window moves, so what it shows appears to move the other way.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from prune_cli.common.lazy import F, torch
from prune_cli.data.motion import Schedule

STEPS = {"MoveUp": (0, -1), "MoveDown": (0, 1), "MoveLeft": (-1, 0), "MoveRight": (1, 0)}
TURNS = {"RotateLeft": 180.0, "RotateRight": -180.0}  # degrees in all
ZOOMS = {"ZoomIn": 2.0, "ZoomOut": 0.5}  # factor of the magnification in all
CLASSES = (*STEPS, *TURNS, *ZOOMS)
STEP_A2 = np.array([STEPS.get(name, (0, 0)) for name in CLASSES], dtype=np.float64)
TURN_A = np.array([TURNS.get(name, 0.0) for name in CLASSES])
ZOOM_A = np.log2([ZOOMS.get(name, 1.0) for name in CLASSES])


@dataclass(frozen=True)
class WindowPaths:
    """Paths of windows: moved_NT2 [px] from the start of their centres, angle_NT [degrees], zoom_NT (magnification)."""

    moved_NT2: np.ndarray
    angle_NT: np.ndarray
    zoom_NT: np.ndarray

    def reach(self, side: int) -> np.ndarray:
        """The distance [px] of a window's outermost pixels from its centre along each axis, (N, T)."""
        angle_NT = np.radians(self.angle_NT)
        spread_NT = np.abs(np.cos(angle_NT)) + np.abs(np.sin(angle_NT))
        return (side - 1) / 2 * spread_NT / self.zoom_NT


def paths(schedule: Schedule, chosen_NK: np.ndarray, speed: float) -> WindowPaths:
    """The windows' paths for the actions chosen_NK. They start upright at magnification 1; a second action goes on from
    the end of the first.

    A step goes along the window's own axes and is `speed` of its own pixels long, so that the frames alone show which
    action it is. Turning is even, and zooming multiplies by the same factor at each step.
    """
    share_KT = schedule.steps_done / np.array(schedule.steps)[:, None]
    angle_NT = np.einsum("nk,kt->nt", TURN_A[chosen_NK], share_KT)
    zoom_NT = 2 ** np.einsum("nk,kt->nt", ZOOM_A[chosen_NK], share_KT)
    moved_NT2 = np.zeros((*angle_NT.shape, 2))
    for k, done_T in enumerate(schedule.steps_done):
        earlier = chosen_NK[:, :k]  # what turned or zoomed the window before
        angle_N, zoom_N = TURN_A[earlier].sum(axis=1), 2 ** ZOOM_A[earlier].sum(axis=1)
        step_N2 = rotate_vectors(STEP_A2[chosen_NK[:, k]], angle_N) / zoom_N[:, None]
        moved_NT2 += step_N2[:, None] * done_T[None, :, None] * speed
    return WindowPaths(moved_NT2, angle_NT, zoom_NT)


def rotate_vectors(vectors_N2: np.ndarray, angle_N: np.ndarray) -> np.ndarray:
    """The vectors (x, y) turned counter-clockwise by angle_N [degrees] as seen on a screen, y being downwards."""
    cos_N, sin_N = np.cos(np.radians(angle_N)), np.sin(np.radians(angle_N))
    x_N, y_N = vectors_N2.T
    return np.stack([cos_N * x_N + sin_N * y_N, -sin_N * x_N + cos_N * y_N], axis=1)


def sample_windows(
    texture_HW: np.ndarray, centre_NT2: np.ndarray, angle_NT: np.ndarray, zoom_NT: np.ndarray, side: int
) -> np.ndarray:
    """The frames that windows of side × side pixels show of one uint8 texture: uint8 (N, T, side, side), bilinear.

    The windows' pixels must lie within the centres of the texture's outermost pixels.
    """
    u = np.arange(side) - (side - 1) / 2  # from the centre, in the window's pixels
    cos_NT1 = (np.cos(np.radians(angle_NT)) / zoom_NT)[..., None]
    sin_NT1 = (np.sin(np.radians(angle_NT)) / zoom_NT)[..., None]
    x_NT1, y_NT1 = centre_NT2[..., :1], centre_NT2[..., 1:]
    grid = np.empty((*angle_NT.shape, side, side, 2), np.float32)
    _span(x_NT1 + cos_NT1 * u, sin_NT1 * u, texture_HW.shape[1], grid[..., 0])
    _span(y_NT1 - sin_NT1 * u, cos_NT1 * u, texture_HW.shape[0], grid[..., 1])
    values = torch.from_numpy(texture_HW.astype(np.float32))[None, None]
    flat = torch.from_numpy(grid).view(1, -1, side, 2)  # one image: one call, and one thread of torch
    found = F.grid_sample(values, flat, mode="bilinear", padding_mode="border", align_corners=True)
    return np.rint(found.numpy(), out=found.numpy()).astype(np.uint8).reshape(grid.shape[:-1])


def _span(along_NTu: np.ndarray, down_NTv: np.ndarray, length: int, out_NTvu: np.ndarray) -> None:
    """Texture coordinates as grid_sample counts them: -1 and 1 are the centres of the first and the last pixel."""
    scale = 2 / (length - 1)
    across, down = (along_NTu * scale - 1).astype(np.float32), (down_NTv * scale).astype(np.float32)
    np.add(across[..., None, :], down[..., :, None], out=out_NTvu)
