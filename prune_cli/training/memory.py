"""What a training run holds and writes beside its activations, from shapes alone: the model may be on the meta device."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from prune_cli.common.lazy import Tensor, nn, torch
from prune_cli.masks.survivors import elementwise
from prune_cli.training.recipe import Recipe

PLACE = 8  # bytes of a survivor's place in its tensor: int64
BOOL = 1


def footprint(model: nn.Module, parameters: Mapping[str, Tensor], kept: int, recipe: Recipe) -> dict[str, int]:
    """Bytes by name. weights: parameters and buffers.

    gradients, optimizer: of a dense run. survivor_gradients: those of the survivors and of all that is not prunable,
    and the largest pruned tensor's own, which are dense for a moment. survivor_optimizer: its state, its copy of the
    survivors and their indices. model_file, mask_file, score_file: what is written, the scores once for all sparsities.
    """
    everything = _bytes(model.parameters())
    prunable, size = _bytes(parameters.values()), sum(p.numel() for p in parameters.values())
    left = prunable * kept // size
    copies = _state_copies(recipe)
    largest = max(_bytes([p]) for p in parameters.values()) if kept < size else 0
    average = everything if recipe.ema_decay is not None else 0
    weights = everything + _bytes(model.buffers())
    return {
        "weights": weights,
        "gradients": everything,
        "survivor_gradients": everything - prunable + left + largest,
        "optimizer": copies * everything + average,
        "survivor_optimizer": copies * (everything - prunable + left) + left + PLACE * kept + average,
        "model_file": weights,
        "mask_file": BOOL * size,
        "score_file": prunable,
    }


def _bytes(tensors: Iterable[Tensor]) -> int:
    return sum(t.numel() * t.element_size() for t in tensors)


def _state_copies(recipe: Recipe) -> int:
    """How many numbers the recipe's optimiser keeps for each weight: asked of one that has taken a step."""
    probe = nn.Parameter(torch.zeros(7))
    probe.grad = torch.ones(7)
    optimizer = getattr(torch.optim, elementwise(recipe.optimizer))([probe], **recipe.optimizer_options())
    optimizer.step()
    return sum(isinstance(t, Tensor) and t.shape == probe.shape for t in optimizer.state[probe].values())
