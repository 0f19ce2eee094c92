"""Parts of a split are drawn class by class, and always the same ones."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from prune_cli.common.errors import ConfigError
from prune_cli.data.splits import AnySplit, FileSplit, Split
from prune_cli.data.stratified import check_validation, hold_out, take_subset

COUNTS = [50, 30, 20]
GOLDEN = [0, 10, 15, 38, 41, 43, 67, 73, 77, 78]  # of the first release


def in_memory() -> Split:
    """Image i is i; the classes are mixed and of different sizes."""
    labels = torch.arange(3).repeat_interleave(torch.tensor(COUNTS))[torch.arange(100) * 37 % 100]
    return Split(torch.arange(100, dtype=torch.uint8).view(-1, 1, 1, 1), labels)


def in_files() -> FileSplit:
    return FileSplit(tuple(map(str, range(100))), in_memory().labels_N, Path("unused"))


BOTH = pytest.mark.parametrize("split", [in_memory(), in_files()], ids=["in memory", "in files"])


def indices(split: AnySplit | None) -> list[int]:
    """Which of the hundred are in it."""
    assert split is not None
    return [int(path) for path in split.paths] if isinstance(split, FileSplit) else split.images_NCHW.flatten().tolist()


def a_class(split: AnySplit | None) -> list[int]:
    assert split is not None
    return split.labels_N.bincount(minlength=3).tolist()


@BOTH
def test_a_share_is_stratified_and_both_parts_keep_their_order(split: AnySplit) -> None:
    kept, held = hold_out(split, 0.1, "name")
    assert (a_class(kept), a_class(held)) == ([45, 27, 18], [5, 3, 2])
    assert indices(kept) == sorted(indices(kept))
    assert sorted(indices(kept) + indices(held)) == list(range(100))
    for part in (kept, held):
        assert part is not None
        assert part.labels_N.tolist() == [split.labels_N[index] for index in indices(part)]


def test_both_kinds_of_split_draw_the_same_and_each_dataset_and_purpose_its_own() -> None:
    draws = [hold_out(in_memory(), 0.1, *to)[1] for to in (["a"], ["b"], ["a", "test"])]
    assert len({tuple(indices(held)) for held in draws}) == 3
    assert indices(hold_out(in_files(), 0.1, "a")[1]) == indices(draws[0])


def test_the_golden_draw() -> None:
    assert indices(hold_out(in_memory(), 0.1, "fashion_mnist")[1]) == GOLDEN


@BOTH
def test_no_share_keeps_nothing_apart(split: AnySplit) -> None:
    assert hold_out(split, 0, "name") == (split, None)


@pytest.mark.parametrize("share", [0.001, 0.999])
def test_a_share_that_leaves_a_part_empty_is_refused(share: float) -> None:
    with pytest.raises(ConfigError, match="empty"):
        hold_out(in_memory(), share, "name")


@pytest.mark.parametrize("share", [-0.01, 1, 1.5, float("nan")])
def test_a_share_lies_in_0_to_1(share: float) -> None:
    with pytest.raises(ConfigError, match="validation share"):
        check_validation(share)


@BOTH
@pytest.mark.parametrize(
    ("images", "counts"),  # 5.5, 3.3, 2.2: the largest remainder is the first one's
    [(10, [5, 3, 2]), (11, [6, 3, 2]), (1, [1, 0, 0]), (99, [49, 30, 20]), (100, COUNTS), (None, COUNTS)],
)
def test_so_many_images_are_drawn_in_proportion_to_the_classes(
    split: AnySplit, images: int | None, counts: list[int]
) -> None:
    drawn = take_subset(split, images, "name")
    assert a_class(drawn) == counts
    assert indices(drawn) == sorted(indices(drawn))
    assert indices(drawn) == indices(take_subset(split, images, "name"))


def test_fewer_images_are_among_more_and_are_not_the_first_ones() -> None:
    ten, forty = indices(take_subset(in_memory(), 10, "name")), indices(take_subset(in_memory(), 40, "name"))
    assert set(ten) < set(forty)
    assert forty != indices(take_subset(in_memory(), 40, "other"))


@pytest.mark.parametrize("images", [0, -5, 101])
def test_a_number_of_images_out_of_range_is_refused(images: int) -> None:
    with pytest.raises(ConfigError, match="1 … 100"):
        take_subset(in_memory(), images, "name")


def test_the_place_of_an_image_may_be_a_number_or_a_mask() -> None:
    for split in (in_memory(), in_files()):
        mask = torch.zeros(100, dtype=torch.bool)
        mask[[3, 90]] = True
        assert indices(split.take(mask)) == indices(split.take(torch.tensor([3, 90]))) == [3, 90]
