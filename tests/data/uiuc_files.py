"""Writes folders in the layout of the UIUC textures, for tests."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

A_CLASS = 40
WIDTH, HEIGHT = 40, 30


def write_folder(root: Path, kinds: int = 2, named: bool = False, a_class: int = A_CLASS) -> dict[str, int]:
    """`kinds` classes of grey JPEGs, each of one grey of its own. Returns the grey level by file name."""
    greys = {}
    for kind in range(1, kinds + 1):
        folder = root / (f"T{kind:02}_bark{kind}" if named else f"T{kind:02}")
        folder.mkdir(parents=True)
        for number in range(1, a_class + 1):
            name = f"T{kind:02}_{number:02}.jpg"
            greys[name] = 3 * len(greys) + 5
            image = np.full((HEIGHT, WIDTH), greys[name], np.uint8)
            Image.fromarray(image).save(folder / name, quality=95)
    return greys
