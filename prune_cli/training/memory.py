"""The memory and file sizes of a training run without its activations, computed from shapes alone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from prune_cli.common.lazy import Tensor, nn, torch
from prune_cli.common.shaped import Shaped
from prune_cli.masks.survivors import elementwise
from prune_cli.runs import facts
from prune_cli.runs.places import expected_bytes
from prune_cli.training.recipe import Recipe

PLACE = 8  # bytes of a survivor's place in its tensor: int64


@dataclass(frozen=True)
class ModelBytes:
    """Bytes of all parameters, and of all buffers, of a model."""

    parameters: int
    buffers: int

    @classmethod
    def of(cls, model: nn.Module) -> ModelBytes:
        """The bytes of a model, which may be on the meta device."""
        return cls(_bytes(model.parameters()), _bytes(model.buffers()))


def footprint(model: ModelBytes, parameters: Mapping[str, Shaped], kept: int, recipe: Recipe) -> dict[str, int]:
    """Bytes by name. weights: parameters and buffers.

    gradients, optimizer: of a dense run. survivor_gradients: those of the survivors and of all that is not prunable,
    and the largest pruned tensor's own, which are dense for a moment. survivor_optimizer: its state, its copy of the
    survivors and their indices. model_file, mask_file, score_file: what is written, the scores once for all sparsities;
    where something is pruned (`kept` of `parameters`) about so much, as if the survivors were spread at random.
    """
    everything = model.parameters
    prunable, size = _bytes(parameters.values()), sum(p.numel() for p in parameters.values())
    left = prunable * kept // size
    copies = _state_copies(elementwise(recipe.optimizer), recipe.optimizer_options())
    largest = max(_bytes([p]) for p in parameters.values()) if kept < size else 0
    average = everything if recipe.ema_decay is not None else 0
    weights = everything + model.buffers
    places = mask_bytes(parameters.values(), kept / size)
    return {
        "weights": weights,
        "gradients": everything,
        "survivor_gradients": everything - prunable + left + largest,
        "optimizer": copies * everything + average,
        "survivor_optimizer": copies * (everything - prunable + left) + left + PLACE * kept + average,
        "model_file": weights - prunable + left + places,
        "mask_file": places,
        "score_file": prunable,
    }


def mask_bytes(tensors: Iterable[Shaped], density: float) -> int:
    """About the bytes of a mask that keeps this share of each tensor, at random places; none where it keeps all."""
    kept = [(tensor.numel(), round(tensor.numel() * density)) for tensor in tensors if density < 1]
    return sum(expected_bytes(size, survivors) for size, survivors in kept)


def _bytes(tensors: Iterable[Shaped]) -> int:
    return sum(t.numel() * t.element_size() for t in tensors)


def _state_copies(optimizer: str, options: Mapping[str, float]) -> int:
    """The number of values that a torch optimiser keeps for each weight."""
    about = {"name": optimizer, "options": dict(options)}
    return facts.known("optimizer", about, lambda: _counted_copies(optimizer, options))


def _counted_copies(name: str, options: Mapping[str, float]) -> int:
    """The number of values that a torch optimiser keeps for each weight, counted after one step."""
    probe = nn.Parameter(torch.zeros(7))
    probe.grad = torch.ones(7)
    optimizer = getattr(torch.optim, name)([probe], **options)
    optimizer.step()
    return sum(isinstance(t, Tensor) and t.shape == probe.shape for t in optimizer.state[probe].values())
