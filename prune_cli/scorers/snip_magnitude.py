"""snip_magnitude: the report's score, |∂L/∂θ · θ| + α θ² (research project 21K17772, final report, section 4 (3))."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from prune_cli.common.errors import ConfigError
from prune_cli.common.lazy import Tensor, nn
from prune_cli.scorers.gradients import mean_gradients
from prune_cli.scorers.registry import Batches, Parameters, Scorer, Scores, scorers


@scorers.register("snip_magnitude")
@dataclass(frozen=True)
class SnipMagnitude(Scorer):
    """s(θ) = |∂L/∂θ · θ| + α θ², neither term normalised.

    alpha ≥ 0: 0 is SNIP, and a large one ranks as magnitude does. The report gives no value; 1e-3 is that of public code
    for this score.
    """

    alpha: float = 1e-3

    title = "Ours"

    def __post_init__(self) -> None:
        if not 0 <= self.alpha < float("inf"):
            raise ConfigError(f"alpha must be 0 or more, not {self.alpha}", "scorer.alpha", "scorer.alpha=0.001")

    def __call__(self, model: nn.Module, batches: Batches, parameters: Parameters) -> Scores:
        """Score the weights; higher = keep."""
        return {name: sum_terms(terms) for name, terms in self.terms(model, batches, parameters)}

    def terms(
        self, model: nn.Module, batches: Batches, parameters: Parameters
    ) -> Iterator[tuple[str, dict[str, Tensor]]]:
        """The two terms of the sum, a tensor at a time: `sensitivity` and `magnitude`."""
        gradients = mean_gradients(model, batches, parameters)
        for name in parameters:
            weight = parameters[name].detach()
            yield (
                name,
                {
                    "sensitivity": gradients.pop(name).mul_(weight).abs_(),
                    "magnitude": weight.square().mul_(self.alpha),
                },
            )


def sum_terms(terms: dict[str, Tensor]) -> Tensor:
    """The sum of the terms of a score, computed in place in the first term."""
    first, *others = terms.values()
    for other in others:
        first.add_(other)
    return first
