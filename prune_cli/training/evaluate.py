"""Loss and accuracy of a model."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from prune_cli.common.device import at_least_float32, autocast
from prune_cli.common.lazy import F, Tensor, nn, torch
from prune_cli.common.ranks import ALONE, Ranks


@dataclass(frozen=True)
class Evaluation:
    """Mean cross-entropy (nats) over all labels and accuracy (percent) over the counted ones, of `images` images or clips."""

    loss: float
    accuracy: float
    images: int


def evaluate(
    model: nn.Module, batches: Iterable[tuple[Tensor, Tensor]], precision: str = "fp32", ranks: Ranks = ALONE
) -> Evaluation:
    """Evaluate in eval mode on (inputs, labels) batches; the mode is left as it was. precision: fp32, bf16 or fp64.

    ranks: the processes that share the batches. Each has counted its own images; the sums are taken over all of them.
    """
    training = model.training
    model.eval()
    loss, right, labels, answers, images = 0.0, 0, 0, 0, 0
    for x, y in batches:
        if not len(y):  # all of the batch is other processes' share
            continue
        with torch.no_grad(), autocast(x.device, precision):
            logits = model(x)
        loss += F.cross_entropy(at_least_float32(logits), y, reduction="sum").item()
        counted = counted_frames(y)
        right += int(((logits.argmax(1) == y) & counted).sum())
        labels, answers, images = labels + y.numel(), answers + int(counted.sum()), images + len(y)
    model.train(training)
    total_loss, all_right, all_labels, all_answers, all_images = ranks.all_reduce(loss, right, labels, answers, images)
    return Evaluation(total_loss / all_labels, 100 * all_right / all_answers, int(all_images))


def counted_frames(y: Tensor) -> Tensor:
    """A bool mask of the labels that count for accuracy: all of images; of clips (labels_BT) each action's last frame."""
    if y.ndim == 1:
        return torch.ones_like(y, dtype=torch.bool)
    last = torch.ones_like(y[:, :1], dtype=torch.bool)
    return torch.cat([y[:, 1:] != y[:, :-1], last], 1)
