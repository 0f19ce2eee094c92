"""Two pictures of a video dataset: a PNG as Figure 2 of the report (a row a class, frames side by side), and a moving GIF."""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

COLUMNS = 20  # frames in a row at most, evenly spread over the clip
SIDE, GAP, TEXT = 64, 4, 14  # pixels: a frame is drawn at least so large; between frames; height of letters
MILLISECONDS = 100  # a frame of the moving picture
PAPER, INK = 255, 0


def draw_png(clips_NTHW: np.ndarray, titles: Sequence[str]) -> bytes:
    """A PNG with a row a clip: its title at the left, then its frames, with their numbers above."""
    times = np.unique(np.linspace(0, clips_NTHW.shape[1] - 1, COLUMNS).round().astype(int)).tolist()
    frames = _enlarged(clips_NTHW[:, times])
    side, left = frames.shape[-1] + GAP, _width(titles)
    page = Image.new("L", (left + side * len(times), TEXT + 2 * GAP + side * len(titles)), PAPER)
    pen = ImageDraw.Draw(page)
    for column, time in enumerate(times):
        pen.text((left + side * column, GAP), str(time), INK, _font())
    for row, (title, shown) in enumerate(zip(titles, frames, strict=True)):
        top = TEXT + 2 * GAP + side * row
        pen.text((GAP, top + (side - TEXT) // 2), title, INK, _font())
        for column, frame in enumerate(shown):
            page.paste(Image.fromarray(frame), (left + side * column, top))
    return _saved(page, "PNG")


def draw_gif(clips_NTHW: np.ndarray, titles: Sequence[str]) -> bytes:
    """A GIF that plays all clips at once, four in a row, each under its title."""
    frames = _enlarged(clips_NTHW)
    pages = [_page(frames[:, time], titles) for time in range(frames.shape[1])]
    return _saved(pages[0], "GIF", save_all=True, append_images=pages[1:], duration=MILLISECONDS, loop=0)


def _page(frames_NHW: np.ndarray, titles: Sequence[str]) -> Image.Image:
    side = frames_NHW.shape[-1]
    width, height = max(side, _width(titles)) + GAP, side + TEXT + 2 * GAP
    page = Image.new("L", (4 * width, -(-len(titles) // 4) * height), PAPER)
    pen = ImageDraw.Draw(page)
    for place, (title, frame) in enumerate(zip(titles, frames_NHW, strict=True)):
        top, left = place // 4 * height, place % 4 * width
        pen.text((left + GAP, top), title, INK, _font())
        page.paste(Image.fromarray(frame), (left + GAP, top + TEXT + GAP))
    return page


def _enlarged(clips_NTHW: np.ndarray) -> np.ndarray:
    """The clips with each pixel repeated, so that a frame has SIDE pixels or more along each side."""
    times = -(-SIDE // clips_NTHW.shape[-1])
    return np.ascontiguousarray(clips_NTHW.repeat(times, axis=-1).repeat(times, axis=-2))


def _font() -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(TEXT)


def _width(titles: Sequence[str]) -> int:
    """The width in pixels of the widest title, with a gap on both sides."""
    return 2 * GAP + int(max(_font().getlength(title) for title in titles)) + 1


def _saved(page: Image.Image, kind: str, **options: object) -> bytes:
    found = io.BytesIO()
    page.save(found, kind, **options)
    return found.getvalue()
