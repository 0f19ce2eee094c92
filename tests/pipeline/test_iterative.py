"""find_mask in rounds: what is scored in each, who may come back, and that the model stays as it was."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from prune_cli import masks, pipeline, scorers
from prune_cli.common.errors import NumericalError, PruneCliError
from prune_cli.masks import controls


def network() -> tuple[nn.Module, dict[str, nn.Parameter]]:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(8, 20), nn.ReLU(), nn.Linear(20, 10), nn.ReLU(), nn.Linear(10, 3)).double()
    return model, {name: p for name, p in model.named_parameters() if name.endswith("weight")}


def batches() -> list[tuple[Tensor, Tensor]]:
    draw = torch.Generator().manual_seed(1)
    return [(torch.randn(12, 8, generator=draw, dtype=torch.float64), torch.randint(3, (12,), generator=draw))]


def kept(mask: dict[str, Tensor]) -> int:
    return sum(int(keep.sum()) for keep in mask.values())


def _rounded_down(parameters: dict[str, nn.Parameter], sparsity: float) -> float:
    """The sparsity of a round before the last: its count is rounded down."""
    total = sum(p.numel() for p in parameters.values())
    return int(sparsity * total) / total


class Watched:
    """A scorer of weights' sizes that notes how many weights it sees in each round."""

    def __init__(self, rounds: int, allows_regrowth: bool, score: Callable[..., dict[str, Tensor]]):
        self.rounds, self.allows_regrowth, self._score = rounds, allows_regrowth, score
        self.seen: list[int] = []

    def __call__(self, _model: nn.Module, _batches: object, parameters: dict, originals: object = None) -> dict:
        self.seen.append(sum(int((p != 0).sum()) for p in parameters.values()))
        return self._score(parameters, originals)


def sizes(parameters: dict, _: object) -> dict:
    return {name: p.detach().abs() for name, p in parameters.items()}


def test_the_schedule_is_exponential_and_each_round_scores_what_is_left() -> None:
    model, parameters = network()
    total = sum(p.numel() for p in parameters.values())
    scorer = Watched(4, False, sizes)
    mask = pipeline.find_mask(model, batches(), parameters, scorer, sparsity=0.9)
    left = [total - int((1 - 0.1 ** (number / 4)) * total) for number in range(4)]
    assert scorer.seen == left
    assert kept(mask) == total - round(0.9 * total)


def test_one_at_a_time_magnitude_equals_one_round() -> None:
    """Sizes do not change when others go, so rounds end where one does."""
    model, parameters = network()
    many = pipeline.find_mask(model, [], parameters, Watched(7, False, sizes), sparsity=0.8)
    assert masks.digest(many) == masks.digest(masks.select(sizes(parameters, None), 0.8))


def test_a_removed_weight_stays_removed_unless_the_scorer_revives() -> None:
    model, parameters = network()
    flip = {"sign": -1.0}

    def turning(found: dict, originals: dict | None) -> dict:  # ranks the other way round each time
        flip["sign"] *= -1
        return {name: flip["sign"] * p.detach().abs() for name, p in (originals or found).items()}

    first = masks.select(sizes(parameters, None), _rounded_down(parameters, 1 - 0.25**0.5))
    gone = pipeline.find_mask(model, [], parameters, Watched(2, False, turning), sparsity=0.75)
    assert not any(bool((gone[name] & ~first[name]).any()) for name in gone)
    flip["sign"] = -1.0
    back = pipeline.find_mask(model, [], parameters, Watched(2, True, turning), sparsity=0.75)
    assert any(bool((back[name] & ~first[name]).any()) for name in back)
    smallest = masks.select({name: -p.detach().abs() for name, p in parameters.items()}, 0.75)
    assert masks.digest(back) == masks.digest(smallest)


@pytest.mark.parametrize("name", ["synflow", "force"])
def test_the_weights_are_as_they_were_after_rounds_and_after_a_failure(name: str) -> None:
    model, parameters = network()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    pipeline.find_mask(model, batches(), parameters, scorers.build(name, rounds=3), sparsity=0.9)

    def failing(found: dict, _: object) -> dict:
        if any(bool((p == 0).any()) for p in found.values()):
            raise NumericalError("no")
        return sizes(found, None)

    with pytest.raises(NumericalError):
        pipeline.find_mask(model, batches(), parameters, Watched(3, False, failing), sparsity=0.9)
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


def test_force_with_one_round_is_snip() -> None:
    model, parameters = network()
    given = (model, batches(), parameters)
    one = pipeline.find_mask(*given, scorers.build("force", rounds=1), sparsity=0.9)
    snip = pipeline.find_mask(*given, scorers.build("snip"), sparsity=0.9)
    assert masks.digest(one) == masks.digest(snip)
    many = pipeline.find_mask(*given, scorers.build("force", rounds=5), sparsity=0.9)
    assert masks.digest(many) != masks.digest(snip)


def test_force_takes_the_gradient_of_the_pruned_network_and_the_first_weights() -> None:
    """Two rounds written out."""
    model, parameters = network()
    (x, y), sparsity = batches()[0], 0.9
    first = {name: p.detach().clone() for name, p in parameters.items()}
    mask = masks.select(
        scorers.build("snip")(model, batches(), parameters), _rounded_down(parameters, 1 - (1 - sparsity) ** 0.5)
    )
    masks.apply(parameters, mask)
    gradients = torch.autograd.grad(nn.functional.cross_entropy(model(x), y), list(parameters.values()))
    scores = {name: (g * first[name]).abs() for name, g in zip(parameters, gradients, strict=True)}
    fresh, again = network()
    found = pipeline.find_mask(fresh, batches(), again, scorers.build("force", rounds=2), sparsity)
    assert masks.digest(found) == masks.digest(masks.select(scores, sparsity))


def test_inverted_keeps_the_lowest_and_in_rounds_never_a_removed_one() -> None:
    model, parameters = network()
    scorer = scorers.build("magnitude")
    found = pipeline.find_mask(model, [], parameters, scorer, sparsity=0.75, control=controls.build("inverted"))
    smallest = masks.select({name: -p.detach().abs() for name, p in parameters.items()}, 0.75)
    assert masks.digest(found) == masks.digest(smallest)
    rounds = pipeline.find_mask(
        model, [], parameters, Watched(3, False, sizes), sparsity=0.75, control=controls.build("inverted")
    )
    assert masks.digest(rounds) == masks.digest(smallest)


def test_a_pattern_is_asked_of_the_last_round() -> None:
    model = nn.Linear(8, 4).double()
    parameters = {"weight": model.weight}
    mask = pipeline.find_mask(model, batches(), parameters, scorers.build("synflow", rounds=3), 0.5, pattern="2:4")
    assert bool((mask["weight"].view(4, 2, 4).sum(2) == 2).all())


@pytest.mark.parametrize("rounds", [1, 3])
@pytest.mark.parametrize("allows_regrowth", [False, True])
@pytest.mark.parametrize("wrong", ["missing", "short", "more"])
def test_scores_that_are_not_of_the_parameters_are_refused_by_name(
    wrong: str, allows_regrowth: bool, rounds: int
) -> None:
    def score(parameters: dict, originals: object) -> dict:
        found = sizes(parameters, originals)
        last = found.pop("4.weight")
        return found | {"missing": {}, "short": {"4.weight": last[:1]}, "more": {"4.weight": last, "6": last}}[wrong]

    model, parameters = network()
    with pytest.raises(PruneCliError, match="scores of shape") as error:
        pipeline.find_mask(model, batches(), parameters, Watched(rounds, allows_regrowth, score), 0.5)  # type: ignore[arg-type]
    assert error.value.where == ("6" if wrong == "more" else "4.weight")
