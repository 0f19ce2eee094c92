"""The state of training: weights, their moving average, optimiser, learning rate and random generators."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from prune_cli.common.lazy import Tensor, nn, torch
from prune_cli.common.plain import JsonObject
from prune_cli.masks.mask import Mask
from prune_cli.masks.survivors import SurvivorOptimizer
from prune_cli.training.recipe import Recipe

MODEL, AVERAGE, OPTIMIZER, GENERATORS = "model/", "average/", "optimizer/", "generator/"


class State:
    """The model, moving average, optimiser and schedule of a recipe. The weights that `mask` removes must be zero already."""

    def __init__(self, model: nn.Module, mask: Mask, recipe: Recipe):
        from timm.utils import ModelEmaV3

        self.model = model
        self.average = ModelEmaV3(model, decay=recipe.ema_decay) if recipe.ema_decay is not None else None
        self.optimizer = SurvivorOptimizer(
            model, mask, recipe.optimizer, weight_decay=recipe.weight_decay, **recipe.optimizer_options()
        )
        self._schedule = recipe.learning_rates(self.optimizer.inner)

    @property
    def lr(self) -> float:
        """The learning rate."""
        return self.optimizer.inner.param_groups[0]["lr"]

    @property
    def evaluated_model(self) -> nn.Module:
        """The model to evaluate: the moving average where there is one."""
        return self.model if self.average is None else self.average.module

    def begin_epoch(self, epoch: int) -> None:
        """Set the learning rate of an epoch (from 0); that of epoch 0 is set when the schedule is made."""
        if epoch:
            self._schedule.step(epoch)

    def finish(self) -> None:
        """Give the model back to plain autograd; with an average, it ends as that."""
        self.optimizer.close()
        if self.average is not None:
            self.model.load_state_dict(self.average.module.state_dict())

    def tensors(self) -> dict[str, Tensor]:
        """The state but for the generators, by names that `restore` knows."""
        found = {MODEL + name: tensor for name, tensor in self.model.state_dict().items()}
        if self.average is not None:
            found |= {AVERAGE + name: tensor for name, tensor in self.average.module.state_dict().items()}
        return found | {key: value for key, value in self._optimizer_state().items() if isinstance(value, Tensor)}

    def scalars(self) -> JsonObject:
        """What the optimiser keeps beside tensors."""
        return {key: value for key, value in self._optimizer_state().items() if not isinstance(value, Tensor)}

    def restore(self, tensors: Mapping[str, Tensor], scalars: Mapping[str, Any]) -> None:
        """Restore the state from the values of `tensors` and `scalars`."""
        self.model.load_state_dict(_under(MODEL, tensors))
        if self.average is not None:
            self.average.module.load_state_dict(_under(AVERAGE, tensors))
        self.optimizer.gather()
        state: dict[int, dict[str, Any]] = {}
        for key, value in (_under(OPTIMIZER, tensors) | _under(OPTIMIZER, scalars)).items():
            number, _, name = key.partition("/")
            state.setdefault(int(number), {})[name] = value.clone() if isinstance(value, Tensor) else value
        inner = self.optimizer.inner
        inner.load_state_dict({"state": state, "param_groups": inner.state_dict()["param_groups"]})
        for place, parameter in enumerate(self.optimizer.parameters):
            for name, value in state.get(place, {}).items():
                if isinstance(value, Tensor) and inner.state[parameter][name].dtype != value.dtype:
                    inner.state[parameter][name] = value  # torch gives all but `step` the type of the parameter

    def _optimizer_state(self) -> JsonObject:
        state = self.optimizer.inner.state_dict()["state"]
        return {f"{OPTIMIZER}{number}/{name}": v for number, part in state.items() for name, v in part.items()}


def generators(device: torch.device) -> dict[str, Tensor]:
    """The states of torch's global generators of the CPU and of the device, from which dropout draws."""
    found = {f"{GENERATORS}cpu": torch.get_rng_state()}
    if device.type == "cuda":
        found[f"{GENERATORS}cuda"] = torch.cuda.get_rng_state(device)
    if device.type == "mps":
        found[f"{GENERATORS}mps"] = torch.mps.get_rng_state()
    return found


def generators_by_rank(states: Iterable[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """The generator states of all ranks by name: rank 0 keeps its names, the others get /RANK at the end."""
    return {_of_rank(name, rank): state for rank, own in enumerate(states) for name, state in own.items()}


def restore_generators(tensors: Mapping[str, Tensor], device: torch.device, rank: int = 0) -> None:
    """Set the global generators to the states of this rank; a generator without a stored state keeps its own."""
    states = {
        name: state
        for name in ("cpu", "cuda", "mps")
        if (state := tensors.get(_of_rank(GENERATORS + name, rank))) is not None
    }
    if "cpu" in states:
        torch.set_rng_state(states["cpu"])
    if device.type == "cuda" and "cuda" in states:
        torch.cuda.set_rng_state(states["cuda"], device)
    if device.type == "mps" and "mps" in states:
        torch.mps.set_rng_state(states["mps"])


def _of_rank(name: str, rank: int) -> str:
    return f"{name}/{rank}" if rank else name


def _under(prefix: str, values: Mapping[str, Any]) -> JsonObject:
    return {key.removeprefix(prefix): value for key, value in values.items() if key.startswith(prefix)}
