"""Stratified subsets of a split: drawn class by class with fixed seeds, so every run draws equal ones."""

from __future__ import annotations

from prune_cli.common.errors import ConfigError
from prune_cli.common.lazy import Tensor, torch
from prune_cli.common.random import generator
from prune_cli.data.splits import AnySplit, S
from prune_cli.masks.allocate import largest_remainder


def check_validation(share: float) -> None:
    """Raise ConfigError unless the validation share lies in [0, 1)."""
    if not 0 <= share < 1:
        raise ConfigError(
            f"the validation share lies in [0, 1), not {share}", "dataset.validation", "dataset.validation=0.1"
        )


def hold_out(split: S, share: float, name: str, purpose: str = "validation") -> tuple[S, S | None]:
    """Divide a split of dataset `name` into (kept, held out), with `share` of each class held out; None for a share of 0.

    Both parts keep the order of the split. Raises ConfigError where one would be empty.
    """
    if share == 0:
        return split, None
    counts = {label: round(share * images) for label, images in _by_class(split).items()}
    held = _stratified_mask(split, counts, name, purpose)
    if held.all() or not held.any():
        raise ConfigError(
            f"a {purpose} share of {share:g} leaves a part of the {len(split)} training images empty",
            f"dataset.{purpose}",
            f"dataset.{purpose}=0, or more images",
        )
    return split.take(~held), split.take(held)


def check_train_images(images: int | None, at_most: int | None = None) -> None:
    """Raise ConfigError unless the number of training images lies in 1 … at_most; None is all of them."""
    if images is not None and (images < 1 or (at_most is not None and images > at_most)):
        known = "1 or more" if at_most is None else f"1 … {at_most:,}"
        what, hint = (
            f"the number of training images is {known}, not {images:,}",
            "dataset.train_images=null: all of them",
        )
        raise ConfigError(what, "dataset.train_images", hint)


def take_subset(split: S, images: int | None, name: str) -> S:
    """A subset of `images` images of dataset `name`, in proportion to its classes (largest remainder); None: the split itself.

    A smaller subset is contained in a larger one. Raises ConfigError for a number out of range.
    """
    check_train_images(images, len(split))
    if images is None:
        return split
    sizes = _by_class(split)
    shares = largest_remainder({str(label): size for label, size in sizes.items()}, images)
    return split.take(_stratified_mask(split, {label: shares[str(label)] for label in sizes}, name, "train_images"))


def _by_class(split: AnySplit) -> dict[int, int]:
    labels, counts = split.labels_N.unique(return_counts=True)
    return dict(zip(labels.tolist(), counts.tolist(), strict=True))


def _stratified_mask(split: AnySplit, counts: dict[int, int], name: str, purpose: str) -> Tensor:
    """A bool mask over the split that is True at counts[label] random images of each class."""
    drawn = torch.zeros(len(split), dtype=torch.bool)
    for label, count in counts.items():
        indices = (split.labels_N == label).nonzero().squeeze(1)
        order = torch.randperm(len(indices), generator=generator(0, name, purpose, label))
        drawn[indices[order[:count]]] = True
    return drawn
