"""Every target: that it is registered with its YAML, what it declares, and which controls and options fit it."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from tiny_lstm import tiny

from prune_cli.common.errors import ConfigError, RequestError
from prune_cli.masks import controls
from prune_cli.scorers import scorers
from prune_cli.targets import Removal, kinds, target_named, target_of, targets
from prune_cli.units.removal import PLACEMENTS

CONFIGS = Path(__file__).parents[2] / "configs"
SCORED = {name for cls in scorers.classes.values() for name in cls.scores}
FOR_ALL = ["none", "inverted", "layerwise_random", "shuffle"]


def test_yaml_files_and_registered_targets_have_the_same_names() -> None:
    assert {path.stem for path in (CONFIGS / "removal").glob("*.yaml")} == set(kinds())
    assert {path.stem for path in (CONFIGS / "control").glob("*.yaml")} == set(controls.names())
    assert set(PLACEMENTS) < set(targets.classes)


@pytest.mark.parametrize("name", targets.classes)
def test_a_target_declares_what_it_is(name: str) -> None:
    target = target_named(name)
    assert (target.name, target.scored in SCORED) == (name, True)
    assert target.title.startswith(target.noun)
    assert target.suffix == ("" if name == "weights" else f" {target.noun}")
    assert target.identity == ({} if name == "weights" else {"removal": name})
    assert target.score_identity == ({"of": "units"} if target.scored == "units" else {})


@pytest.mark.parametrize("name", targets.classes)
def test_controls_and_options_of_single_weights_are_refused_for_everything_else(name: str) -> None:
    target = target_named(name)
    plain = controls.build("none")
    wrong = [(controls.build(kind), None, "global") for kind in ("layerwise_magnitude", "reinit")]
    wrong += [(plain, "2:4", "global"), (plain, None, "row")]
    for given in wrong:
        if name == "weights":
            target.check_options(*given)
            continue
        with pytest.raises(RequestError) as caught:
            target.check_options(*given)
        assert len(caught.value.lines()) == 3
        assert target.noun.removesuffix("s") in caught.value.what
    for kind in FOR_ALL:
        target.check_options(controls.build(kind), None, "global")
    assert controls.names(lambda control: not control.of_single_weights) == FOR_ALL


def test_what_leaves_no_smaller_model_says_why() -> None:
    for name in targets.classes:
        target = target_named(name)
        if target.no_smaller is not None:
            with pytest.raises(NotImplementedError, match=target.no_smaller):
                target.shrink(tiny(), {})
            with pytest.raises(NotImplementedError, match=target.no_smaller):
                target.usage("lstm128", {}, "file")


def test_a_mask_of_weights_is_what_it_was() -> None:
    mask = {"lstm.weight_hh_l0": torch.rand(16, 4) < 0.5}
    assert target_named("weights").weight_mask(tiny(), mask) == mask


def test_a_scorer_of_something_unknown_has_no_target() -> None:
    settings = SimpleNamespace(removal=Removal(), scorer=SimpleNamespace(name="mine", scores=("filters",)))
    with pytest.raises(RequestError, match="nothing that mine scores can be removed: filters"):
        target_of(settings)  # type: ignore[arg-type]


@pytest.mark.parametrize(("kind", "near"), [("recurence", "recurrence"), ("unit", "auto"), ("", "known: auto")])
def test_a_typo_is_answered_with_the_nearest_kind(kind: str, near: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Removal(kind)
    assert caught.value.where == "removal.kind"
    assert near in str(caught.value.hint)
