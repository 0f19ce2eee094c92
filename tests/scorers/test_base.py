"""What a scorer declares beyond its call: defaults, also for a class that does not inherit from Scorer."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
from torch import nn

from prune_cli import pipeline
from prune_cli.common.registry import Registry
from prune_cli.scorers.base import Scorer, with_defaults
from prune_cli.scorers.registry import Batches, Parameters, ScorerRegistry, Scores, scorers

DECLARED = {
    "scores": ("weights",),
    "sees_data": True,
    "scoring_batches": 1,
    "rounds": 1,
    "allows_regrowth": False,
    "measures_units": False,
    "keep": "high",
    "version": 1,
    "frames": 1,
    "label_must_change": False,
    "idle": {},
}


@dataclass(frozen=True)
class Plain:
    """Inherits from nothing, with an option that Scorer has a default for and one that it does not know."""

    rounds: int
    sign: float = 1.0

    title = "Plain"
    sees_data = False

    def __call__(self, model: nn.Module, batches: Batches, parameters: Parameters) -> Scores:  # noqa: ARG002
        """Score the weights; higher = keep."""
        return {name: self.sign * p.detach() for name, p in parameters.items()}


def test_a_second_registry_of_one_kind_is_refused() -> None:
    with pytest.raises(ValueError, match="two registries of the kind 'scorer'"):
        ScorerRegistry("scorer", "prune_cli.scorers")


def test_a_plain_class_is_given_every_attribute_that_it_lacks_and_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Registry, "all", {})  # or plug-ins would be looked for in this registry, by every later test
    registry = ScorerRegistry("scorer", "prune_cli.scorers")
    assert registry.register("plain")(Plain) is Plain
    scorer = registry.build("plain", rounds=2)
    assert {name: getattr(scorer, name) for name in DECLARED} == DECLARED | {"sees_data": False, "rounds": 2}
    model = nn.Linear(2, 2)
    ((name, terms),) = scorer.terms(model, [], {"w": model.weight})
    assert (name, list(terms)) == ("w", ["score"])
    assert torch.equal(terms["score"], model.weight)
    mask = pipeline.find_mask(model, [], {"w": model.weight}, scorer, sparsity=0.5)
    assert int(mask["w"].sum()) == 2
    with pytest.raises(NotImplementedError, match="plain measures no units"):
        scorer.measures(model, [], {})


def test_every_public_attribute_of_a_scorer_is_known_here() -> None:
    public = {name for name in vars(Scorer) if not name.startswith("_")}
    assert public == set(DECLARED) | {"terms", "measures"}


@pytest.mark.parametrize("name", scorers.classes)
def test_the_scorers_of_the_package_inherit(name: str) -> None:
    cls = scorers.classes[name]
    assert issubclass(cls, Scorer)
    assert with_defaults(cls) is cls
    assert cls().measures_units is ("units" in cls.scores and name != "random")
