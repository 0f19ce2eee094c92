"""Loss and accuracy of a model."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from prune_cli.common.device import autocast


@dataclass(frozen=True)
class Evaluation:
    """Mean cross-entropy (nats) over all labels and accuracy (percent) over the judged ones, of `images` images or clips."""

    loss: float
    accuracy: float
    images: int


@torch.no_grad()
def evaluate(model: nn.Module, batches: Iterable[tuple[Tensor, Tensor]], precision: str = "fp32") -> Evaluation:
    """Evaluate in eval mode on (inputs, labels) batches; the mode is left as it was. precision: fp32 or bf16."""
    training = model.training
    model.eval()
    loss, right, labels, answers, images = 0.0, 0, 0, 0, 0
    for x, y in batches:
        with autocast(x.device, precision):
            logits = model(x)
        loss += F.cross_entropy(logits.float(), y, reduction="sum").item()
        asked = judged(y)
        right += int(((logits.argmax(1) == y) & asked).sum())
        labels, answers, images = labels + y.numel(), answers + int(asked.sum()), images + len(y)
    model.train(training)
    return Evaluation(loss / labels, 100 * right / answers, images)


def judged(y: Tensor) -> Tensor:
    """Where an answer counts, bool: at every label of images; at the last frame of each action of clips, labels_BT."""
    if y.ndim == 1:
        return torch.ones_like(y, dtype=torch.bool)
    last = torch.ones_like(y[:, :1], dtype=torch.bool)
    return torch.cat([y[:, 1:] != y[:, :-1], last], 1)
