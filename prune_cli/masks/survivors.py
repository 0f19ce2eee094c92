"""An optimiser that cannot revive a pruned weight, because it never holds one.

For each pruned tensor the optimiser holds one flat parameter: its surviving weights. Their gradient is gathered as soon
as the tensor's own gradient is complete (and that is freed at once, so the dense gradients never stand in memory
together); after the step the new values are scattered back. Momentum, weight decay and Adam's moments therefore exist
for survivors alone, and zeros stay zero whatever the optimiser does.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from prune_cli.common.errors import ConfigError
from prune_cli.common.lazy import Tensor, nn, torch

# torch's optimisers that step each weight by itself, and which of a recipe's options each of them has
ELEMENTWISE = {
    **dict.fromkeys(("ASGD", "Adadelta", "Adagrad", "Adam", "AdamW", "Adamax", "NAdam", "RAdam"), ("weight_decay",)),
    **dict.fromkeys(("RMSprop", "SGD"), ("momentum", "weight_decay")),
    "Rprop": (),
}


def elementwise(name: str) -> str:
    """torch's name of an elementwise optimiser typed in any case. Raises ConfigError for an unknown or non-elementwise one."""
    by_name = {known.lower(): known for known in sorted(ELEMENTWISE)}
    if name.lower() in by_name:
        return by_name[name.lower()]
    if any(name.lower() == known.lower() for known in dir(torch.optim)):
        what = f"{name} does not step each weight by itself, so it cannot hold the surviving weights alone"
    else:
        what = f"there is no optimiser {name!r}"
    raise ConfigError(what, f"recipe.optimizer={name}", f"known: {', '.join(by_name)}")


class SurvivorOptimizer:
    """A torch optimiser over the surviving weights of the pruned tensors and over all other parameters.

    model: its removed weights must be zero already. mask: True = keep. optimizer: a name (see `elementwise`).
    weight_decay acts on the weights of matrices and kernels (two or more dimensions), as in timm, also where a layer holds
    them flat and names them in its `flat_weights`; the other options go to the optimiser as they are. Raises ConfigError for a mask of a frozen or unknown parameter.
    """

    def __init__(
        self, model: nn.Module, mask: Mapping[str, Tensor], optimizer: str, weight_decay: float = 0.0, **options: Any
    ):
        named = {name: p for name, p in model.named_parameters() if p.requires_grad}
        for name in mask.keys() - named.keys():
            raise ConfigError(
                "a mask of this name fits no parameter that is trained", name, "unfreeze it, or leave it out"
            )
        self._pruned = [_Survivors(named[name], keep) for name, keep in mask.items()]
        dense = [p for name, p in named.items() if name not in mask]
        flat = _flat_weights(model)
        decayed = [part.values for part in self._pruned] + [p for p in dense if p.ndim > 1 or p in flat]
        groups = [
            {"params": decayed, "weight_decay": weight_decay},
            {"params": [p for p in dense if p.ndim <= 1 and p not in flat], "weight_decay": 0.0},
        ]
        self.inner = getattr(torch.optim, elementwise(optimizer))(
            [group for group in groups if group["params"]], **options
        )

    @property
    def parameters(self) -> Iterable[nn.Parameter]:
        """The parameters that the optimiser holds, for gradient clipping; they have gradients after a backward pass."""
        return [p for group in self.inner.param_groups for p in group["params"]]

    def step(self) -> None:
        """Step the survivors and the other parameters; write the survivors back into the model."""
        self.inner.step()
        for part in self._pruned:
            part.scatter()

    def gather(self) -> None:
        """Copy the survivors' values from the model, after its weights were overwritten."""
        for part in self._pruned:
            part.gather()

    def zero_grad(self) -> None:
        """Set all gradients to None."""
        self.inner.zero_grad(set_to_none=True)

    def close(self) -> None:
        """Remove the gradient hooks from the model's parameters."""
        for part in self._pruned:
            part.hook.remove()


def _flat_weights(model: nn.Module) -> set[nn.Parameter]:
    """The parameters of one dimension that are the weights of matrices or kernels."""
    layers = ((layer, getattr(layer, "flat_weights", ())) for layer in model.modules())
    return {layer.get_parameter(name) for layer, names in layers for name in names}


class _Survivors:
    """The surviving weights of one tensor, as one flat parameter."""

    def __init__(self, parameter: nn.Parameter, keep: Tensor):
        self._parameter = parameter
        self._indices = keep.to(parameter.device).reshape(-1).nonzero().squeeze(1)
        self.values = nn.Parameter(parameter.detach().reshape(-1)[self._indices])
        parameter.grad = None  # one from before would join the first to be gathered
        self.hook = parameter.register_post_accumulate_grad_hook(self._gather)

    def _gather(self, parameter: Tensor) -> None:
        assert parameter.grad is not None
        gradient = parameter.grad.take(self._indices)
        parameter.grad = None
        self.values.grad = gradient if self.values.grad is None else self.values.grad.add_(gradient)

    def gather(self) -> None:
        """Copy the surviving values from the tensor."""
        with torch.no_grad():
            self.values.copy_(self._parameter.detach().reshape(-1)[self._indices])

    def scatter(self) -> None:
        """Write the surviving values back into the tensor; removed weights stay zero."""
        with torch.no_grad():
            flat = self._parameter.data.reshape(-1)  # a view, or a copy where the layout is not contiguous
            flat.scatter_(0, self._indices, self.values)
            if flat.data_ptr() != self._parameter.data_ptr():
                self._parameter.copy_(flat.view_as(self._parameter))
