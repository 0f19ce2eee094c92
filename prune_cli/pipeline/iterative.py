"""From a scorer to a mask: once, or in rounds that each score what the round before left."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial

from prune_cli import masks
from prune_cli.common.lazy import Tensor, nn, torch
from prune_cli.masks.controls import Control
from prune_cli.masks.controls.base import NEVER
from prune_cli.scorers import Batches, Parameters, Scorer, Scores, repeatable
from prune_cli.targets import Target
from prune_cli.targets.weights import WeightTarget

WEIGHTS = WeightTarget()


def find_mask(
    model: nn.Module,
    batches: Batches,
    parameters: Parameters,
    scorer: Scorer,
    sparsity: float,
    scope: str = "global",
    min_kept_per_tensor: int = 0,
    pattern: str | None = None,
    control: Control | None = None,
    target: Target | None = None,
) -> masks.Mask:
    """Score and select: True = keep. sparsity: the share removed, in [0, 1). See masks.select for the other options.

    A scorer with rounds > 1 scores the masked model again and again; round r of R leaves density**(r / R) of the
    weights, density = 1 - sparsity (Tanaka et al. 2020; de Jorge et al. 2021). What a round removed ranks last in the
    next ones, unless the scorer `allows_regrowth`: then all weights compete in every round. A pattern is asked of the last round
    alone. The number removed before the last round is rounded down; to the nearest would change 8 % of a SynFlow mask.
    control: changes the scores before they are selected from. target: what the mask is of, where a scorer of these
    parameters serves it; by default the parameters themselves. The model is left as it was.
    """
    rounds, of = scorer.rounds, target or WEIGHTS

    def choose(scores: Scores, number: int) -> masks.Mask:
        by = of.scores(model, scores)
        by = by if control is None else control.scores(by)
        size = sum(score.numel() for score in by.values())
        if number == rounds:
            return masks.select(by, sparsity, scope, min_kept_per_tensor, pattern)
        removed = int((1 - (1 - sparsity) ** (number / rounds)) * size)  # rounded down, as in the published code
        return masks.select(by, removed / size, scope, min_kept_per_tensor)

    if rounds == 1:
        return choose(scorer(model, batches, parameters), 1)
    return _in_rounds(model, repeatable(batches), parameters, scorer, choose, partial(of.weight_mask, model))


def _in_rounds(
    model: nn.Module,
    batches: Batches,
    parameters: Parameters,
    scorer: Scorer,
    choose: Callable[[Scores, int], masks.Mask],
    weight_mask: Callable[[masks.Mask], masks.Mask],
) -> masks.Mask:
    mask: masks.Mask = {}
    with _restored(parameters) as originals:
        for number in range(1, scorer.rounds + 1):
            scores = _score(model, batches, parameters, scorer, originals, weight_mask(mask))
            mask = choose(scores, number)
            _leave(parameters, originals, weight_mask(mask))
    return mask


def _score(
    model: nn.Module,
    batches: Batches,
    parameters: Parameters,
    scorer: Scorer,
    originals: Mapping[str, Tensor],
    mask: Mapping[str, Tensor],
) -> Scores:
    if scorer.allows_regrowth:
        return scorer(model, batches, parameters, originals)  # type: ignore[call-arg]
    scores = scorer(model, batches, parameters)
    for name, keep in mask.items():
        scores[name].masked_fill_(~keep.to(scores[name].device), NEVER)
    return scores


@contextmanager
def _restored(parameters: Parameters) -> Iterator[dict[str, Tensor]]:
    """A copy of the weights; they have these values again afterwards."""
    originals = {name: p.detach().clone() for name, p in parameters.items()}
    try:
        yield originals
    finally:
        _leave(parameters, originals, {})


def _leave(parameters: Parameters, originals: Mapping[str, Tensor], mask: Mapping[str, Tensor]) -> None:
    """Give the weights their first values, but for those that the mask removes."""
    with torch.no_grad():
        for name, original in originals.items():
            parameters[name].copy_(original)
    masks.apply(parameters, mask)
