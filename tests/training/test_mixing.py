"""CutMix by timm: what is mixed, from which draws, and with which loss."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from timm.data.mixup import Mixup
from timm.loss import SoftTargetCrossEntropy
from torch import Tensor
from torch.nn import functional as F

from prune_cli.training.mixing import Batch, cut_and_mixed


def batches(sizes: tuple[int, ...] = (8, 8, 5)) -> list[Batch]:
    """Images of one value each, so that a pixel says where it comes from."""
    first = 0
    found = []
    for size in sizes:
        values = torch.arange(first, first + size).float()
        found.append((values.view(-1, 1, 1, 1).expand(-1, 2, 10, 12).clone(), torch.arange(size) % 4))
        first += size
    return found


def mixed(seed: int = 0, epoch: int = 0, prob: float = 1.0, given: list[Batch] | None = None) -> list[Batch]:
    return list(cut_and_mixed(given or batches(), alpha=1.0, prob=prob, classes=4, seed=seed, epoch=epoch))


def test_a_target_says_what_share_of_the_image_is_its_own() -> None:
    for (x, y), (mixed_x, targets) in zip(batches((8, 8)), mixed(), strict=False):
        own = (mixed_x == x).float().mean((1, 2, 3))
        assert ((mixed_x == x) | (mixed_x == x.flip(0))).all()
        expected = own.view(-1, 1) * F.one_hot(y, 4) + (1 - own).view(-1, 1) * F.one_hot(y.flip(0), 4)
        torch.testing.assert_close(targets, expected)


def test_some_batches_are_really_mixed_and_the_given_images_stay() -> None:
    given = batches()
    before = [x.clone() for x, _ in given]
    found = mixed(given=given)
    assert any(not torch.equal(x, y[: len(x)]) for (x, _), y in zip(found, before, strict=True))
    assert all(torch.equal(x, y) for (x, _), y in zip(given, before, strict=True))


def test_an_odd_batch_loses_its_last_image() -> None:
    assert [len(y) for _, y in mixed()] == [8, 8, 4]
    assert mixed(given=batches((1,))) == []


def test_draws_depend_on_seed_epoch_and_batch_alone() -> None:
    np.random.seed(7)
    one = mixed()
    state = np.random.get_state()[1]
    two = mixed()
    assert all(torch.equal(a, b) for (a, _), (b, _) in zip(one, two, strict=True))
    assert np.array_equal(np.random.get_state()[1], state)  # type: ignore[arg-type]
    shares = {
        tuple(targets[0].tolist()) for seed, epoch in ((0, 0), (1, 0), (0, 1)) for _, targets in mixed(seed, epoch)
    }
    assert len(shares) > 5


def test_prob_is_the_share_of_batches_that_are_mixed() -> None:
    given = batches((2,) * 400)
    found = mixed(prob=0.25, given=given)
    changed = sum(not torch.equal(x, y) for (x, _), (y, _) in zip(found, given, strict=True))
    assert 0.15 < changed / 400 < 0.3  # a rectangle can be empty, or all of the image


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_the_loss_is_timms(smoothing: float) -> None:
    """timm smooths the targets and takes a soft cross-entropy; ours leaves the smoothing to torch's loss."""
    logits = torch.randn(8, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    x, y = batches((8,))[0]
    np.random.seed(3)
    _, theirs = Mixup(mixup_alpha=0, cutmix_alpha=1.0, label_smoothing=smoothing, num_classes=4)(x.clone(), y)
    np.random.seed(3)
    _, ours = Mixup(mixup_alpha=0, cutmix_alpha=1.0, label_smoothing=0.0, num_classes=4)(x.clone(), y)
    expected: Tensor = SoftTargetCrossEntropy()(logits, theirs.double())
    torch.testing.assert_close(F.cross_entropy(logits, ours.double(), label_smoothing=smoothing), expected)
