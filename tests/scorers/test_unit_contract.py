"""What every scorer of units promises, over all that are registered."""

from __future__ import annotations

import pytest
import torch
from tiny_lstm import TinyClassifier, clips, tiny
from torch import nn

from prune_cli import scorers
from prune_cli.common.errors import ConfigError, NumericalError
from prune_cli.scorers import scorers as registry
from prune_cli.units.removal import units

NAMES = [name for name, cls in registry.classes.items() if "units" in cls.scores]
OF_UNITS_ALONE = [name for name, cls in registry.classes.items() if cls.scores == ("units",)]
WITH_DATA = [name for name in OF_UNITS_ALONE if name != "weight_norm"]
UNITS = 4


def network() -> TinyClassifier:
    """In train mode, with its classifier frozen in eval mode."""
    model = tiny(units=UNITS).train()
    model.head.eval()
    return model


def test_what_each_scorer_scores_is_known() -> None:
    assert set(OF_UNITS_ALONE) == {"transfer_entropy", "mutual_information", "activation_variance", "weight_norm"}
    assert set(NAMES) - set(OF_UNITS_ALONE) == {"random"}


@pytest.mark.parametrize("name", NAMES)
def test_a_score_a_unit_by_the_name_of_its_layer(name: str) -> None:
    model = network()
    scores = scorers.build(name)(model, [clips(10)], units(model))
    assert list(scores) == ["lstm"]
    assert scores["lstm"].shape == (UNITS,)
    assert bool(scores["lstm"].isfinite().all())
    assert not scores["lstm"].requires_grad


@pytest.mark.parametrize("name", OF_UNITS_ALONE)
def test_high_scores_are_kept_and_keep_turns_the_order_round(name: str) -> None:
    """The score is what was measured, or its negative where low values are kept."""
    model = network()
    given = ([clips(10)], units(model))
    low, high = (scorers.build(name, keep=keep)(model, *given)["lstm"] for keep in ("low", "high"))
    value = registry.classes[name]().measures(model, *given)["lstm"]["value"]  # type: ignore[attr-defined]
    assert torch.equal(high, value)
    assert torch.equal(low, -value)
    assert bool((value >= 0).all()) and bool((value > 0).any())


@pytest.mark.parametrize("name", NAMES)
def test_scoring_leaves_the_model_as_it_was(name: str) -> None:
    model = network()
    model.head.bias.requires_grad_(False)
    model.lstm.weight_hh_l0.grad = torch.ones_like(model.lstm.weight_hh_l0)
    state = {key: value.clone() for key, value in model.state_dict().items()}
    modes, flags = ([m.training for m in model.modules()], [p.requires_grad for p in model.parameters()])
    scorers.build(name)(model, [clips(10)], units(model))
    assert all(torch.equal(value, state[key]) for key, value in model.state_dict().items())
    assert [module.training for module in model.modules()] == modes
    assert [p.requires_grad for p in model.parameters()] == flags
    assert torch.equal(model.lstm.weight_hh_l0.grad, torch.ones_like(model.lstm.weight_hh_l0))
    assert model.head.weight.grad is None
    assert not any(module._forward_hooks for module in model.modules())


@pytest.mark.parametrize("name", WITH_DATA)
def test_a_loss_that_is_not_finite_names_its_batch_and_leaves_no_hook(name: str) -> None:
    model = network()
    x, y = clips(4)
    with pytest.raises(NumericalError, match="loss") as caught:
        scorers.build(name)(model, [clips(4), (x * float("nan"), y)], units(model))
    assert caught.value.where == "scoring batch 2"
    assert [module.training for module in model.modules()] == [True, True, True, False]
    assert not any(module._forward_hooks for module in model.modules())


@pytest.mark.parametrize("name", NAMES)
def test_scores_depend_on_the_clips_unless_the_scorer_says_that_it_sees_none(name: str) -> None:
    model, scorer = network(), scorers.build(name)
    one, two = (scorer(model, [clips(samples)], units(model))["lstm"] for samples in (10, 11))
    assert torch.equal(one, two) is not scorer.sees_data
    assert scorer.sees_data is (name in WITH_DATA)


def check_uneven_batches(name: str, scorer: object) -> None:
    """Batches of 7 and 3 clips are one of 10."""
    model, (x, y) = network(), clips(10)
    whole = scorers.build(name)(model, [(x, y)], units(model))["lstm"]
    parts = scorer(model, iter([(x[:7], y[:7]), (x[7:], y[7:])]), units(model))["lstm"]  # type: ignore[operator]
    torch.testing.assert_close(parts, whole, rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize("name", NAMES)
def test_batches_are_pooled(name: str) -> None:
    check_uneven_batches(name, scorers.build(name))


@pytest.mark.parametrize("name", WITH_DATA)
def test_a_mean_over_batches_is_rejected(name: str) -> None:
    def averaged(model: nn.Module, batches: object, layers: dict) -> dict:
        found = [scorers.build(name)(model, [one], layers)["lstm"] for one in batches]  # type: ignore[attr-defined]
        return {"lstm": sum(found) / len(found)}

    with pytest.raises(AssertionError):
        check_uneven_batches(name, averaged)


@pytest.mark.parametrize("name", WITH_DATA)
def test_the_model_is_measured_in_eval_mode(name: str) -> None:
    """Dropout on the way into the LSTM would change what is measured."""
    model, plain = tiny(units=UNITS), tiny(units=UNITS).eval()
    model.features = nn.Dropout(0.5)  # type: ignore[assignment,method-assign]
    for source in ("label", "output") if name in ("transfer_entropy", "mutual_information") else (None,):
        scorer = scorers.build(name, **({} if source is None else {"source": source}))
        found, expected = (scorer(m, [clips(10)], units(m))["lstm"] for m in (model.train(), plain))
        assert torch.equal(found, expected)


@pytest.mark.parametrize("name", WITH_DATA)
def test_no_batch_is_no_score(name: str) -> None:
    model = network()
    with pytest.raises(ValueError, match="at least one batch"):
        scorers.build(name)(model, [], units(model))


@pytest.mark.parametrize("name", OF_UNITS_ALONE)
def test_a_name_of_no_recurrent_layer_is_refused_with_those_there_are(name: str) -> None:
    model = network()
    for wrong in ("head", "nowhere"):
        with pytest.raises(ConfigError) as caught:
            scorers.build(name)(model, [clips(4)], {wrong: model.head.weight})
        assert (caught.value.where, caught.value.hint) == (wrong, "there are: lstm")
    assert not any(module._forward_hooks for module in model.modules())


def test_random_serves_weights_and_units_and_each_draws_for_itself() -> None:
    model = network()
    scorer = scorers.build("random", seed=3)
    of_units = scorer(model, [], units(model))["lstm"]
    of_weights = scorer(model, [], {"lstm.weight_hh_l0": model.lstm.weight_hh_l0})["lstm.weight_hh_l0"]
    assert (of_units.shape, of_weights.shape) == ((UNITS,), (4 * UNITS, UNITS))
    assert torch.equal(of_units, scorers.build("random", seed=3)(model, [], units(model))["lstm"])
    assert not torch.equal(of_units, scorers.build("random", seed=4)(model, [], units(model))["lstm"])
    assert not torch.equal(of_units, of_weights[0])


@pytest.mark.parametrize("name", OF_UNITS_ALONE)
@pytest.mark.parametrize("keep", ["lo", "", "High"])
def test_a_typo_in_keep_is_refused_by_name(name: str, keep: str) -> None:
    with pytest.raises(ConfigError) as caught:
        scorers.build(name, keep=keep)
    assert caught.value.where == "scorer.keep"
    assert repr(keep) in caught.value.what
