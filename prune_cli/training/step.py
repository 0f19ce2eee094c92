"""The gradients of one batch: computed in parts, and by several processes together.

There is no DistributedDataParallel around the model: it would reduce the dense gradient of every pruned tensor, which
the survivors' optimiser frees as soon as it is there. Only what the optimiser holds travels, the gradients of survivors
and of all that is not prunable: at 98 % of a ViT-B/16 that is 3 % of a dense run's traffic.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from prune_cli.common.device import at_least_float32, autocast
from prune_cli.common.lazy import F, Tensor, nn, torch
from prune_cli.common.ranks import Ranks
from prune_cli.training.recipe import Recipe

BUCKET = 25 * 2**20  # bytes of gradients that travel at once, DDP's own choice


def backward(model: nn.Module, x: Tensor, y: Tensor, recipe: Recipe, precision: str) -> float:
    """Gradients of the mean loss over the batch, computed in recipe.accumulation parts. Returns that loss.

    y: labels_B, or targets_BK, the shares of the classes. An empty batch has no gradients, and a loss of 0.
    """
    if not len(y):
        return 0.0
    loss, size = 0.0, -(-len(y) // recipe.accumulation)
    for part_x, part_y in zip(x.split(size), y.split(size), strict=True):
        with autocast(x.device, precision):
            logits = at_least_float32(model(part_x))
        part = F.cross_entropy(logits, part_y, label_smoothing=recipe.label_smoothing) * (len(part_y) / len(y))
        part.backward()
        loss += part.item()
    return loss


def reduce_gradients(ranks: Ranks, parameters: Iterable[nn.Parameter], loss: float, samples: int) -> tuple[float, int]:
    """Replace the mean gradients over this process's share of a batch by those over the whole batch.

    loss: the mean over the `samples` of the share. Returns those of the whole batch. A gradient that is missing in some
    processes counts as zeros there; one that none has stays missing. Alone, nothing is done.
    """
    if ranks.world_size == 1:
        return loss, samples
    parameters = list(parameters)
    total, count, *have = ranks.all_reduce(loss * samples, samples, *(p.grad is not None for p in parameters))
    gradients = [_gradient(p) for p, having in zip(parameters, have, strict=True) if having]
    for bucket in _buckets(gradients):
        flat = ranks.sum(torch.cat([g.reshape(-1) for g in bucket]).mul_(samples / count))
        for gradient, part in zip(bucket, flat.split([g.numel() for g in bucket]), strict=True):
            gradient.copy_(part.view_as(gradient))
    return total / count, int(count)


def _gradient(parameter: nn.Parameter) -> Tensor:
    if parameter.grad is None:
        parameter.grad = torch.zeros_like(parameter)
    return parameter.grad


def _buckets(gradients: Sequence[Tensor]) -> Iterator[list[Tensor]]:
    """Gradients of one type, up to BUCKET bytes together, in an order that all processes share."""
    for dtype in dict.fromkeys(g.dtype for g in gradients):
        bucket: list[Tensor] = []
        for gradient in (g for g in gradients if g.dtype == dtype):
            if bucket and sum(map(_bytes, (*bucket, gradient))) > BUCKET:
                yield bucket
                bucket = []
            bucket.append(gradient)
        yield bucket


def _bytes(tensor: Tensor) -> int:
    return tensor.numel() * tensor.element_size()
