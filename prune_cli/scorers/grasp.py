"""grasp: θ · Hg (Wang, Zhang and Grosse, "Picking winning tickets before training by preserving gradient flow", 2020)."""

from __future__ import annotations

from dataclasses import dataclass, field

from prune_cli.common.errors import ConfigError
from prune_cli.common.lazy import nn
from prune_cli.common.registry import NOT_IN_HASH
from prune_cli.scorers.gradients import hessian_vector_products, in_parts, mean_gradients
from prune_cli.scorers.registry import Batches, Parameters, Scorer, Scores, repeatable, scorers


@scorers.register("grasp")
@dataclass(frozen=True)
class Grasp(Scorer):
    """s(θ) = θ · (H g), g and H the gradient and Hessian of the mean cross-entropy of logits / temperature.

    The LARGEST are kept: the method's paper scores -θ·Hg and removes the largest. temperature > 0: 200 in the
    method's own code; the report, which compares with GraSP, does not say. The second derivative, which keeps several times the activations of the
    first, is taken in parts of chunk_mib MiB of them; their sum is that of the whole batch.
    """

    temperature: float = 1.0
    chunk_mib: int = field(default=384, metadata=NOT_IN_HASH)

    title = "GraSP"

    def __post_init__(self) -> None:
        if not 0 < self.temperature < float("inf"):
            raise ConfigError(
                f"temperature must be above 0, not {self.temperature}", "scorer.temperature", "scorer.temperature=1"
            )
        if self.chunk_mib < 1:
            what = f"chunk_mib must be 1 or more, not {self.chunk_mib}"
            raise ConfigError(what, "scorer.chunk_mib", "scorer.chunk_mib=384")

    def __call__(self, model: nn.Module, batches: Batches, parameters: Parameters) -> Scores:
        """Score the weights; higher = keep."""
        batches = repeatable(batches)  # both passes see them
        g = mean_gradients(model, batches, parameters, self.temperature)
        parts = in_parts(model, batches, self.chunk_mib)
        products = hessian_vector_products(model, parts, parameters, g, self.temperature)
        return {name: product.mul_(parameters[name].detach()) for name, product in products.items()}
