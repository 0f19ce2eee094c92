"""fisher: θ² · E[(∂ℓ/∂θ)²], the diagonal of the empirical Fisher information (Theis et al. 2018, "Faster gaze prediction
with dense networks and Fisher pruning"; Singh and Alistarh 2020 call it the diagonal baseline)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from prune_cli.common.errors import ConfigError
from prune_cli.common.lazy import F, Tensor, nn, torch
from prune_cli.common.registry import NOT_IN_HASH
from prune_cli.scorers.gradients import (
    check_finite,
    eval_mode_with_grad,
    is_recurrent,
    math_attention,
    names_in,
    numbered,
)
from prune_cli.scorers.registry import Batches, Parameters, Scorer, Scores, scorers


@scorers.register("fisher")
@dataclass(frozen=True)
class Fisher(Scorer):
    """s(θ) = θ² · mean over samples of g², g the gradient of ONE sample's cross-entropy: per sample, then squared.

    chunk_mib: memory [MiB] that the gradients of the samples measured together may take; one sample at least.
    """

    chunk_mib: int = field(default=1024, metadata=NOT_IN_HASH)

    title = "Fisher"

    def __post_init__(self) -> None:
        if self.chunk_mib < 1:
            raise ConfigError(
                f"chunk_mib must be 1 or more, not {self.chunk_mib}", "scorer.chunk_mib", "scorer.chunk_mib=1024"
            )

    def __call__(self, model: nn.Module, batches: Batches, parameters: Parameters) -> Scores:
        """Score the weights; higher = keep."""
        total = {name: torch.zeros_like(p) for name, p in parameters.items()}
        samples = 0
        with eval_mode_with_grad(model, {}), math_attention(), torch.no_grad():
            for number, (x, y) in enumerate(batches):
                for part_x, part_y in self._chunks(x, y, parameters):
                    losses = _add_squares(total, model, part_x, part_y, parameters)
                    with numbered(number):
                        check_finite(losses, "loss")
                samples += len(y)
        if not samples:
            raise ValueError("scores need at least one batch")
        return {name: t.mul_(parameters[name].detach().square()).div_(samples) for name, t in total.items()}

    def _chunks(self, x: Tensor, y: Tensor, parameters: Parameters) -> zip:
        sample = sum(p.numel() * p.element_size() for p in parameters.values())
        size = max(1, self.chunk_mib * 2**20 // sample)
        return zip(x.split(size), y.split(size), strict=True)


def _add_squares(total: Scores, model: nn.Module, x: Tensor, y: Tensor, parameters: Parameters) -> Tensor:
    """Add each sample's squared gradient to `total`, in place. Returns the loss of each sample, (B,)."""
    keys = names_in(model, parameters)

    def loss(weights: dict[str, Tensor], image: Tensor, label: Tensor) -> Tensor:
        logits = torch.func.functional_call(
            model, {keys[name]: w for name, w in weights.items()}, (image.unsqueeze(0),)
        )
        return F.cross_entropy(logits, label.unsqueeze(0))

    weights, measure = {name: p.detach() for name, p in parameters.items()}, torch.func.grad_and_value(loss)
    found: Iterable[tuple[Scores, Tensor]]
    if is_recurrent(model):  # torch's recurrent kernels cannot be mapped over clips
        found = (measure(weights, *one) for one in zip(x, y, strict=True))
    else:
        found = [torch.func.vmap(measure, in_dims=(None, 0, 0))(weights, x, y)]
    losses = []
    for gradients, values in found:
        for name in total:
            total[name] += gradients.pop(name).square_().reshape(-1, *total[name].shape).sum(0)
        losses.append(values.view(-1))
    return torch.cat(losses)
