"""From a split to batches."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from prune_cli.common.random import generator
from prune_cli.data.loading import Batch, Loader, prepare
from prune_cli.data.registry import Split
from prune_cli.models.registry import ImageInput

RAW = ImageInput(1, 4, 4, mean=(0.0,), std=(1 / 255,))  # pixels as they are


def input_of(channels: int, height: int, width: int) -> ImageInput:
    return ImageInput(channels, height, width, (0.0,) * channels, (1.0,) * channels)


def numbered(images: int) -> Split:
    """Image i is i everywhere but in its first column, which is 255; its label is i."""
    pixels = torch.arange(images, dtype=torch.uint8).view(-1, 1, 1, 1).repeat(1, 1, 4, 4)
    pixels[..., 0] = 255
    return Split(pixels, torch.arange(images))


def loader(images: int = 10, batch_size: int = 4, workers: int = 0) -> Loader:
    return Loader(numbered(images), RAW, batch_size, torch.device("cpu"), workers)


def labels(batches: list[Batch]) -> list[list[int]]:
    return [y.tolist() for _, y in batches]


def test_a_split_comes_in_its_own_order_and_the_last_batch_is_smaller() -> None:
    batches = list(loader().batches())
    assert labels(batches) == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
    for x, y in batches:
        assert x.dtype == torch.float32
        assert x.shape == (len(y), 1, 4, 4)
        torch.testing.assert_close(x[:, 0, 0, 1], y.float())


def test_an_order_may_repeat_and_leave_out() -> None:
    assert labels(list(loader().batches([9, 0, 0, 3, 2]))) == [[9, 0, 0, 3], [2]]
    assert list(loader().batches([])) == []


def test_a_shuffled_order_is_a_permutation_of_its_own_for_each_seed_and_purpose() -> None:
    made = loader(100)
    orders = [made.shuffled(0, "order", 0), made.shuffled(0, "order", 1), made.shuffled(1, "order", 0)]
    assert all(sorted(order) == list(range(100)) for order in orders)
    assert len({tuple(order) for order in orders}) == 3
    assert made.shuffled(0, "order", 0) == orders[0]


def test_workers_give_the_same_batches() -> None:
    order = loader(50).shuffled(0, "order")
    alone, two = (list(loader(50, workers=workers).batches(order, generator(0, "flip"))) for workers in (0, 2))
    assert len(alone) == len(two) == 13
    for (x, y), (x2, y2) in zip(alone, two, strict=True):
        assert torch.equal(x, x2)
        assert torch.equal(y, y2)


def flipped(batches: list[Batch]) -> list[bool]:
    """Which images have their white column on the right."""
    return [bool(image[0, 0, -1] > image[0, 0, 0]) for x, _ in batches for image in x]


def test_flips_mirror_half_of_the_images_as_the_generator_says() -> None:
    draws = generator(3, "flip")
    expected = torch.cat([torch.rand(size, generator=draws) < 0.5 for size in (64, 64, 22)]).tolist()
    made = list(loader(150, 64).batches(flips=generator(3, "flip")))
    assert flipped(made) == expected
    assert 50 < sum(expected) < 100
    plain = list(loader(150, 64).batches())
    assert not any(flipped(plain))
    for (x, y), (x2, y2) in zip(made, plain, strict=True):
        assert torch.equal(y, y2)
        mirrored = torch.tensor(flipped([(x, y)])).view(-1, 1, 1, 1)
        assert torch.equal(torch.where(mirrored, x.flip(-1), x), x2)


def test_flips_differ_with_the_generator_and_draw_from_nothing_else() -> None:
    state = torch.random.get_rng_state()
    torch.manual_seed(1)
    first = flipped(list(loader(150).batches(flips=generator(0, "flip", 0))))
    torch.manual_seed(2)
    again = flipped(list(loader(150).batches(flips=generator(0, "flip", 0))))
    other = flipped(list(loader(150).batches(flips=generator(0, "flip", 1))))
    torch.random.set_rng_state(state)
    assert first == again != other


def test_pixels_are_normalised_a_channel() -> None:
    images = torch.tensor([[0, 255], [51, 102]], dtype=torch.uint8).view(1, 1, 2, 2).repeat(1, 3, 1, 1)
    found = prepare(images, ImageInput(3, 2, 2, mean=(0.0, 0.5, 0.2), std=(1.0, 0.5, 0.4)))
    expected = torch.tensor([[[0, 1], [0.2, 0.4]], [[-1, 1], [-0.6, -0.2]], [[-0.5, 2], [0, 0.5]]]).unsqueeze(0)
    torch.testing.assert_close(found, expected)


def test_images_of_the_right_size_keep_their_pixels() -> None:
    images = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16)
    assert torch.equal(prepare(images, input_of(1, 16, 16)), images.float() / 255)


def test_grey_images_are_repeated_to_the_models_channels() -> None:
    images = torch.arange(16, dtype=torch.uint8).view(1, 1, 4, 4)
    found = prepare(images, input_of(3, 4, 4))
    assert torch.equal(found, (images.float() / 255).repeat(1, 3, 1, 1))


def test_colours_become_grey_by_their_luminance() -> None:
    images = torch.tensor([100, 200, 50], dtype=torch.uint8).view(1, 3, 1, 1)
    found = prepare(images, input_of(1, 1, 1)).item() * 255
    assert found == pytest.approx(0.299 * 100 + 0.587 * 200 + 0.114 * 50, abs=1)


def pil_resized(image: Tensor, height: int, width: int) -> Tensor:
    resized = Image.fromarray(image.numpy()).resize((width, height), Image.Resampling.BILINEAR)
    return torch.from_numpy(np.array(resized)).float()


@pytest.mark.parametrize(
    ("size", "to", "resized"),
    [((28, 28), (56, 56), (56, 56)), ((28, 28), (11, 11), (11, 11)), ((20, 40), (10, 10), (10, 20))],
)
def test_images_are_resized_to_cover_the_input_and_cropped_in_the_middle(
    size: tuple[int, int], to: tuple[int, int], resized: tuple[int, int]
) -> None:
    image = torch.randint(256, size, generator=generator(0, "test"), dtype=torch.uint8)
    found = prepare(image.view(1, 1, *size), input_of(1, *to))[0, 0] * 255
    top, left = (resized[0] - to[0]) // 2, (resized[1] - to[1]) // 2
    expected = pil_resized(image, *resized)[top : top + to[0], left : left + to[1]]
    assert found.shape == to
    assert float((found - expected).abs().max()) < 1.01  # each rounds to whole grey levels


def test_an_image_of_one_grey_stays_so_at_any_size() -> None:
    images = torch.full((2, 1, 28, 28), 77, dtype=torch.uint8)
    found = prepare(images, input_of(3, 224, 160))
    assert found.shape == (2, 3, 224, 160)
    torch.testing.assert_close(found, torch.full_like(found, 77 / 255))
