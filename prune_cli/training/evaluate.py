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
    """Mean cross-entropy (nats) and accuracy (percent) over `images` images."""

    loss: float
    accuracy: float
    images: int


@torch.no_grad()
def evaluate(model: nn.Module, batches: Iterable[tuple[Tensor, Tensor]], precision: str = "fp32") -> Evaluation:
    """Evaluate in eval mode on (inputs, labels) batches; the mode is left as it was. precision: fp32 or bf16."""
    training = model.training
    model.eval()
    loss, right, images = 0.0, 0, 0
    for x, y in batches:
        with autocast(x.device, precision):
            logits = model(x)
        loss += F.cross_entropy(logits.float(), y, reduction="sum").item()
        right += int((logits.argmax(1) == y).sum())
        images += len(y)
    model.train(training)
    return Evaluation(loss / images, 100 * right / images, images)
