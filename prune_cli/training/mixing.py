"""CutMix (Yun et al. 2019), by timm: a rectangle of each image comes from another image of the batch, and so do labels."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import numpy as np

from prune_cli.common.lazy import Tensor
from prune_cli.common.random import derive

Batch = tuple[Tensor, Tensor]


def cut_and_mixed(
    batches: Iterable[Batch], alpha: float, prob: float, classes: int, seed: int, epoch: int, first: int = 0
) -> Iterator[Batch]:
    """(inputs_BCHW, targets_BK), targets the shares of the classes in each image; label smoothing is left to the loss.

    One rectangle a batch, of a share drawn from Beta(alpha, alpha), mixes it with probability prob. timm mixes pairs, so
    a batch with an odd number of images loses its last one. The draws depend on (seed, epoch, batch) alone; first: the
    number of the first batch. An empty batch (another process's share, see Ranks.local_indices) stays in its place.
    """
    from timm.data.mixup import Mixup  # with torchvision behind it: only where it is wanted

    mix = Mixup(mixup_alpha=0.0, cutmix_alpha=alpha, prob=prob, mode="batch", label_smoothing=0.0, num_classes=classes)
    for number, (x, y) in enumerate(batches, first):
        even = len(y) - len(y) % 2
        if even:
            with _numpy_seeded(seed, "cutmix", epoch, number):  # timm draws from numpy's global generator
                mixed_x, targets = mix(x[:even].clone(), y[:even])
            yield mixed_x, targets.to(mixed_x.dtype)
        elif not len(y):
            yield x, x.new_zeros(0, classes)


@contextmanager
def _numpy_seeded(seed: int, *purpose: str | int) -> Iterator[None]:
    before = np.random.get_state()
    np.random.seed(derive(seed, *purpose) % 2**32)
    try:
        yield
    finally:
        np.random.set_state(before)
