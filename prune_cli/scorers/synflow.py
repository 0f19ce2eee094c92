"""synflow: |θ · ∂R/∂θ|, R the synaptic flow (Tanaka et al., "Pruning neural networks without any data by iteratively
conserving synaptic flow", 2020)."""

from __future__ import annotations

from dataclasses import dataclass

from prune_cli.common.device import device_for_float64
from prune_cli.common.errors import ConfigError, NumericalError
from prune_cli.common.lazy import Tensor, nn, torch
from prune_cli.scorers.gradients import check_finite, eval_mode, math_attention, names_in
from prune_cli.scorers.registry import Batches, Parameters, Scorer, Scores, scorers


@scorers.register("synflow")
@dataclass(frozen=True)
class SynFlow(Scorer):
    """s(θ) = |θ · ∂R/∂θ|, R the sum of the outputs for an input of ones once every entry of the state is made absolute.

    No data: of the batches only the shape of an image is read. Computed in float64, because R grows with the depth and
    float32 overflows. rounds: the mask is found in so many of them, each at density**(round / rounds) of the model that
    the round before left (see pipeline.find_mask); a call scores once.
    """

    rounds: int = 100

    title = "SynFlow"
    sees_data = False

    def __post_init__(self) -> None:
        if self.rounds < 1:
            raise ConfigError(f"rounds must be 1 or more, not {self.rounds}", "scorer.rounds", "scorer.rounds=100")

    def __call__(self, model: nn.Module, batches: Batches, parameters: Parameters) -> Scores:
        """Score the weights; higher = keep."""
        image, _ = next(iter(batches))
        device = device_for_float64(image.device)
        state = {name: _absolute(t, device) for name, t in _state(model).items()}
        chosen = {name: state[own].requires_grad_() for name, own in names_in(model, parameters).items()}
        ones = torch.ones(1, *image.shape[1:], dtype=torch.float64, device=device)
        with eval_mode(model), math_attention():
            flow = torch.func.functional_call(model, state, (ones,)).sum()
        check_finite(flow, "synaptic flow")
        slopes = torch.autograd.grad(flow, list(chosen.values()), materialize_grads=True)
        if not any(bool(slope.any()) for slope in slopes):  # the gates of an LSTM are all saturated by such an input
            raise NumericalError("the synaptic flow feels none of the weights", "scorer=synflow", "another scorer")
        return {name: slope.mul_(chosen[name].detach()).abs_() for name, slope in zip(chosen, slopes, strict=True)}


def _state(model: nn.Module) -> dict[str, Tensor]:
    return dict(model.named_parameters()) | dict(model.named_buffers())


def _absolute(tensor: Tensor, device: torch.device) -> Tensor:
    tensor = tensor.detach().to(device)
    return tensor.double().abs() if tensor.is_floating_point() else tensor
