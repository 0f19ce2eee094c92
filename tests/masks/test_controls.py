"""Controls keep the counts of the method and nothing else of it."""

from __future__ import annotations

import pytest
import torch

from prune_cli import masks, scorers
from prune_cli.common.errors import ConfigError
from prune_cli.masks import controls
from prune_cli.masks.controls import ControlChoice

WEIGHTS = {"a": torch.arange(24.0).view(4, 6) - 12, "b": torch.linspace(-1, 1, 40).view(8, 5)}
PARAMETERS = {name: torch.nn.Parameter(weight) for name, weight in WEIGHTS.items()}
MASK = {"a": torch.arange(24).view(4, 6) < 7, "b": torch.arange(40).view(8, 5) % 4 == 0}


def counts(mask: dict[str, torch.Tensor]) -> dict[str, int]:
    return {name: int(keep.sum()) for name, keep in mask.items()}


@pytest.mark.parametrize("kind", controls.names())
def test_every_tensor_keeps_its_count_and_the_method_its_mask(kind: str) -> None:
    before = {name: keep.clone() for name, keep in MASK.items()}
    found = controls.build(kind).mask(MASK, PARAMETERS, seed=0)
    assert counts(found) == counts(MASK)
    assert all(keep.shape == MASK[name].shape and keep.dtype == torch.bool for name, keep in found.items())
    assert all(torch.equal(MASK[name], before[name]) for name in MASK)


@pytest.mark.parametrize("kind", ["shuffle", "layerwise_random"])
def test_chance_decides_and_the_seed_decides_chance(kind: str) -> None:
    one, same, other = (controls.build(kind).mask(MASK, PARAMETERS, seed) for seed in (0, 0, 1))
    assert masks.digest(one) == masks.digest(same)
    assert len({masks.digest(found) for found in (one, other, MASK)}) == 3


def test_layerwise_random_takes_the_largest_draws_of_the_random_scorer() -> None:
    draws = scorers.build("random", seed=5)(torch.nn.Module(), [], PARAMETERS)
    for name, keep in controls.build("layerwise_random").mask(MASK, PARAMETERS, seed=5).items():
        assert float(draws[name][keep].min()) > float(draws[name][~keep].max())


def test_layerwise_magnitude_takes_the_largest_weights_of_each_tensor() -> None:
    for name, keep in controls.build("layerwise_magnitude").mask(MASK, PARAMETERS, seed=0).items():
        assert float(WEIGHTS[name][keep].abs().min()) >= float(WEIGHTS[name][~keep].abs().max())


@pytest.mark.parametrize("kind", ["none", "reinit", "inverted"])
def test_what_acts_elsewhere_leaves_the_mask(kind: str) -> None:
    assert masks.digest(controls.build(kind).mask(MASK, PARAMETERS, seed=0)) == masks.digest(MASK)


def test_an_unknown_control_is_refused() -> None:
    with pytest.raises(ConfigError, match="shufle"):
        ControlChoice("shufle")
