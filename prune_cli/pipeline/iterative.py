"""From a scorer to a mask: in one scoring, or in rounds that each score the model pruned by the previous round."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial

from prune_cli import masks
from prune_cli.common.lazy import Tensor, nn, torch
from prune_cli.masks.controls import Control
from prune_cli.masks.controls.base import NEVER
from prune_cli.scorers import Batches, Parameters, Scorer, Scores, repeatable
from prune_cli.scorers.base import check_scores
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
    control: changes the scores before the selection. target: the kind of thing that the mask is of, whose scores follow
    from those of `parameters`; by default the parameters themselves. The model is left as it was.
    """
    rounds, target = scorer.rounds, target or WEIGHTS

    def select_mask(scores: Scores, number: int) -> masks.Mask:
        """The mask of round `number` (from 1), selected from the scores of that round."""
        ranked = target.scores(model, scores)
        ranked = ranked if control is None else control.scores(ranked)
        size = sum(score.numel() for score in ranked.values())
        if number == rounds:
            return masks.select(ranked, sparsity, scope, min_kept_per_tensor, pattern)
        removed = int((1 - (1 - sparsity) ** (number / rounds)) * size)  # rounded down, as in the published code
        return masks.select(ranked, removed / size, scope, min_kept_per_tensor)

    if rounds == 1:
        scores = scorer(model, batches, parameters)
        check_scores(scores, parameters)
        return select_mask(scores, 1)
    return _find_in_rounds(
        model, repeatable(batches), parameters, scorer, select_mask, partial(target.weight_mask, model)
    )


def _find_in_rounds(
    model: nn.Module,
    batches: Batches,
    parameters: Parameters,
    scorer: Scorer,
    select_mask: Callable[[Scores, int], masks.Mask],
    weight_mask: Callable[[masks.Mask], masks.Mask],
) -> masks.Mask:
    mask: masks.Mask = {}
    with _original_weights(parameters) as originals:
        for number in range(1, scorer.rounds + 1):
            scores = _score(model, batches, parameters, scorer, originals, weight_mask(mask))
            mask = select_mask(scores, number)
            _reset_weights(parameters, originals, weight_mask(mask))
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
        scores = scorer(model, batches, parameters, originals)  # type: ignore[call-arg]
        check_scores(scores, parameters)
        return scores
    scores = scorer(model, batches, parameters)
    check_scores(scores, parameters)
    for name, keep in mask.items():
        scores[name].masked_fill_(~keep.to(scores[name].device), NEVER)
    return scores


@contextmanager
def _original_weights(parameters: Parameters) -> Iterator[dict[str, Tensor]]:
    """Yield a copy of the weights; restore the weights from it when the context is left."""
    originals = {name: p.detach().clone() for name, p in parameters.items()}
    try:
        yield originals
    finally:
        _reset_weights(parameters, originals, {})


def _reset_weights(parameters: Parameters, originals: Mapping[str, Tensor], mask: Mapping[str, Tensor]) -> None:
    """Reset the weights to their original values, with zeros where the mask removes them."""
    with torch.no_grad():
        for name, original in originals.items():
            parameters[name].copy_(original)
    masks.apply(parameters, mask)
