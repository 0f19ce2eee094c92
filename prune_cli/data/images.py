"""Read image files, and resize and crop images to the size that a model takes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from prune_cli.common.errors import DataError
from prune_cli.common.lazy import Tensor, torch

FORMATS = ("JPEG", "PNG", "BMP", "PPM", "TIFF", "WEBP", "GIF")  # Pillow reads others by running a program: EPS


def cover(images: Tensor, height: int, width: int) -> Tensor:
    """uint8 images (…, H, W) resized (bilinear) to cover height × width and centre-cropped; unchanged at the right size."""
    if tuple(images.shape[-2:]) == (height, width):
        return images
    from torchvision.transforms.v2 import functional as image_ops

    scale = max(height / images.shape[-2], width / images.shape[-1])
    size = [max(low, round(side * scale)) for low, side in zip((height, width), images.shape[-2:], strict=True)]
    bilinear = image_ops.InterpolationMode.BILINEAR  # torchvision's default for Resize; the report names no other
    return image_ops.center_crop(image_ops.resize(images, size, bilinear, antialias=True), [height, width])


def read_rgb(path: Path) -> Tensor:
    """The image in a file as uint8 RGB (3, H, W); its format is read from the content, not the name. Raises DataError."""
    return torch.from_numpy(_decoded(path, "RGB")).permute(2, 0, 1)


def read_grey(path: Path) -> np.ndarray:
    """The image in a file as uint8 grey levels (H, W), the luminance of its colours. Raises DataError."""
    return _decoded(path, "L")


def _decoded(path: Path, mode: str) -> np.ndarray:
    try:
        with Image.open(path, formats=FORMATS) as opened:
            return np.array(opened.convert(mode))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise DataError(f"this image cannot be read: {error}", str(path), "fetch the file again") from None
