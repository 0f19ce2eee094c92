"""What units are worth: the probe against the masked model, fine-tuning against a plain loop, curves worked out by hand."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pandas as pd
import pytest
import torch
from tiny_lstm import Batch, TinyClassifier, clips, tiny
from torch import Tensor

from prune_cli import masks
from prune_cli.analysis import probe as probes
from prune_cli.analysis.ablation import DRAWS, FRACTIONS, TUNED_DRAWS, TUNED_FRACTIONS, curves, single
from prune_cli.analysis.probe import LEARNING_RATE, STEPS, Probe, fine_tuned
from prune_cli.training.evaluate import evaluate
from prune_cli.units.removal import PLACEMENTS, weight_mask

UNITS = 5


def model() -> TinyClassifier:
    return tiny(units=UNITS).train()


def held() -> list[Batch]:
    """Of one action and of two, in uneven batches."""
    x, y = clips(30, frames=6)
    y[:15] = y[:15, :1]
    y[15:] = torch.cat([y[15:, :1].expand(-1, 3), y[15:, -1:].expand(-1, 3)], 1)
    return [(x[:13], y[:13]), (x[13:], y[13:])]


def masked_accuracy(keep: Tensor, placement: str) -> float:
    """Of the model with zeros in its weights, evaluated as any model is."""
    net = copy.deepcopy(model())
    zeroed = weight_mask(net, {"lstm": keep}, placement)
    masks.apply({name: net.get_parameter(name) for name in zeroed}, zeroed)
    return evaluate(net, held()).accuracy


def check_probe(accuracy: Callable[[Tensor, str], float]) -> None:
    for bits in range(2**UNITS):
        keep = torch.tensor([bool(bits >> u & 1) for u in range(UNITS)])
        for placement in PLACEMENTS:
            assert accuracy(keep, placement) == pytest.approx(masked_accuracy(keep, placement), abs=1e-9)


def test_the_accuracy_without_any_units_is_that_of_the_masked_model() -> None:
    """All 32 masks, for both placements."""
    check_probe(Probe.of(model(), held()).accuracy)


def test_a_probe_that_swaps_placements_or_turns_the_mask_is_rejected() -> None:
    probe, other = Probe.of(model(), held()), {"recurrence": "readout", "readout": "recurrence"}
    mutants: list[Callable[[Tensor, str], float]] = [
        lambda keep, placement: probe.accuracy(keep, other[placement]),
        lambda keep, placement: probe.accuracy(~keep, placement),
    ]
    for mutant in mutants:
        with pytest.raises(AssertionError):
            check_probe(mutant)


def test_the_parts_that_stay_in_cache_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probes, "AT_ONCE", 7)
    check_probe(Probe.of(model(), held()).accuracy)


def test_a_row_a_unit_with_its_measures_and_the_accuracy_without_it() -> None:
    probe = Probe.of(model(), held())
    measured = {"te": torch.arange(UNITS).double(), "mi": -torch.arange(UNITS).double()}
    table = single(probe, measured)
    assert list(table.columns) == ["unit", "te", "mi", "accuracy_recurrence", "accuracy_readout"]
    assert list(table.unit) == list(table.te) == list(range(UNITS))
    for unit in range(UNITS):
        keep = torch.arange(UNITS) != unit
        for placement in PLACEMENTS:
            assert table[f"accuracy_{placement}"][unit] == pytest.approx(masked_accuracy(keep, placement), abs=1e-9)


class Counting:
    """In place of a probe: the accuracy is the sum of the numbers of the units that stay, readout counts double."""

    units, gates_NTG = 10, torch.zeros(1)

    def accuracy(self, keep_U: Tensor, placement: str) -> float:
        total = float((torch.arange(10)[keep_U]).sum())
        return total if placement == "recurrence" else 2 * total


VALUES = torch.tensor([3.0, 9, 1, 0, 5, 7, 2, 8, 6, 4])


def by(table: pd.DataFrame, measure: str, keep: str, placement: str = "recurrence") -> list[float]:
    own = table[(table.measure == measure) & (table.keep == keep) & (table.placement == placement)]
    return list(own.accuracy)


def sums(order: list[int]) -> list[float]:
    """What is left of 0 + 1 + … + 9 as the units of the order go, one after another."""
    return [45.0 - sum(order[:gone]) for gone in range(10)]


def check_orders(table: pd.DataFrame) -> None:
    highest_first = [1, 7, 5, 8, 4, 9, 0, 6, 2, 3]  # of VALUES
    assert by(table, "te", "low") == sums(highest_first)
    assert by(table, "te", "high") == sums(highest_first[::-1])


def test_keep_low_removes_the_highest_first_and_keep_high_the_lowest() -> None:
    table = curves(Counting(), {"te": VALUES, "mi": -VALUES}, seed=0)  # type: ignore[arg-type]
    check_orders(table)
    assert by(table, "mi", "high") == by(table, "te", "low")
    assert by(table, "te", "low", "readout") == [2 * value for value in by(table, "te", "low")]
    own = table[(table.measure == "te") & (table.keep == "low") & (table.placement == "readout")]
    assert list(own.fraction) == list(FRACTIONS) == [n / 10 for n in range(10)]
    assert list(own.removed) == list(range(10))


def test_the_two_ways_round_exchanged_are_rejected() -> None:
    with pytest.raises(AssertionError):
        check_orders(curves(Counting(), {"te": -VALUES}, seed=0))  # type: ignore[arg-type]


def test_random_orders_are_twenty_drawn_from_the_seed() -> None:
    one, same, other = (curves(Counting(), {"te": VALUES}, seed=seed) for seed in (0, 0, 1))  # type: ignore[arg-type]
    random = one[one.measure == "random"]
    assert list(dict.fromkeys(random.draw)) == list(range(20)) == list(range(DRAWS))
    assert set(random.keep) == {""}
    assert by(one, "random", "") == by(same, "random", "") != by(other, "random", "")
    half = random[(random.fraction == 0.5) & (random.placement == "recurrence")]
    assert half.accuracy.nunique() > 5
    assert (random[random.fraction == 0].accuracy >= 45).all()


def test_a_share_of_units_that_is_no_whole_number_is_rounded() -> None:
    probe = Probe.of(model(), held())
    table = curves(probe, {"te": torch.arange(UNITS).double()}, seed=0, draws=1)
    own = table[(table.measure == "te") & (table.keep == "low") & (table.placement == "recurrence")]
    assert own.removed.is_monotonic_increasing
    assert ((own.removed - UNITS * own.fraction).abs() <= 0.5).all()
    assert own.accuracy.iloc[0] == pytest.approx(evaluate(model(), held()).accuracy)


def test_where_nothing_is_removed_the_recurrence_runs_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every order of removal begins there, and the readout is that of all units throughout."""
    stayed, original = [], probes.hidden_states

    def watched(lstm: torch.nn.LSTM, gates_BTG: Tensor, keep_U: Tensor) -> Tensor:
        stayed.append(int(keep_U.sum()))
        return original(lstm, gates_BTG, keep_U)

    monkeypatch.setattr(probes, "hidden_states", watched)
    table = curves(Probe.of(model(), held()), {"te": torch.arange(UNITS).double()}, seed=0, draws=2)
    assert stayed.count(UNITS) == 1
    removing = (table.removed > 0) & (table.placement == "recurrence")
    assert len(stayed) == 1 + removing.sum()


# -- Fine-tuning after removal ---------------------------------------------------------------------------------------


def plainly_tuned(keep: Tensor, placement: str, batches: list[Batch]) -> TinyClassifier:
    """The masked model after a step of Adam a batch over recurrent weights, one bias of the gates and the classifier."""
    net = model().eval()
    zeroed = weight_mask(net, {"lstm": keep}, placement)
    weights = {name: net.get_parameter(name) for name in zeroed}
    masks.apply(weights, zeroed)
    trained = ["lstm.weight_hh_l0", "lstm.bias_hh_l0", "head.weight", "head.bias"]
    for name, parameter in net.named_parameters():
        parameter.requires_grad_(name in trained)
    optimizer = torch.optim.Adam([net.get_parameter(name) for name in trained], LEARNING_RATE)
    for x, y in batches:
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(net(x), y).backward()
        optimizer.step()
        masks.apply(weights, zeroed)
    return net


def check_tuning(keep: Tensor, placement: str, batches: list[Batch]) -> None:
    """The hidden states that are read, and their accuracy, are those of the plainly tuned model."""
    tuned = fine_tuned(Probe.of(model(), held()), Probe.of(model(), batches), keep, placement)
    plain = plainly_tuned(keep, placement, batches)
    assert tuned.accuracy(keep, placement) == pytest.approx(evaluate(plain, held()).accuracy, abs=1e-9)
    torch.testing.assert_close(tuned.head.weight[:, keep], plain.head.weight[:, keep])
    recurrent = tuned.lstm.get_parameter("weight_hh_l0"), plain.lstm.get_parameter("weight_hh_l0")
    rows = keep.repeat(4) if placement == "recurrence" else torch.ones(4 * UNITS, dtype=torch.bool)
    columns = keep if placement == "recurrence" else torch.ones_like(keep)
    torch.testing.assert_close(*(weight[rows][:, columns] for weight in recurrent))


def training_clips(number: int = 40) -> list[Batch]:
    x, y = clips(number, frames=6, seed=5)
    return [(x, y)]


@pytest.mark.parametrize("placement", PLACEMENTS)
@pytest.mark.parametrize("kept", ["11111", "01101", "00010"])
def test_a_few_steps_are_those_of_a_plain_loop(placement: str, kept: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probes, "STEP_CLIPS", 16)
    (x, y), keep = training_clips()[0], torch.tensor([bit == "1" for bit in kept])
    parts = [(x[:16], y[:16]), (x[16:32], y[16:32]), (x[32:], y[32:])]
    check_tuning(keep, placement, parts)
    assert not torch.equal(
        fine_tuned(Probe.of(model(), held()), Probe.of(model(), parts), keep, placement).head.bias, model().head.bias
    )


def test_tuning_that_lets_removed_units_speak_is_rejected(monkeypatch: pytest.MonkeyPatch) -> None:
    original = probes.hidden_states
    monkeypatch.setattr(
        probes,
        "hidden_states",
        lambda lstm, gates, keep: original(lstm, gates, torch.ones(UNITS, dtype=torch.bool))[..., keep],
    )
    keep = torch.tensor([True, False, True, False, False])
    with pytest.raises(AssertionError):
        check_tuning(keep, "recurrence", training_clips())


def test_tuning_leaves_the_probe_as_it_was_and_makes_the_loss_smaller() -> None:
    probe, training = Probe.of(model(), held()), Probe.of(model(), training_clips(1280))
    keep = torch.tensor([True, True, False, True, True])

    @torch.no_grad()
    def loss(of: Probe) -> float:
        hidden_NTU = probes.hidden_states(of.lstm, of.gates_NTG, keep)
        logits_NTK = hidden_NTU @ of.head.weight[:, keep].T + of.head.bias
        return float(torch.nn.functional.cross_entropy(logits_NTK.transpose(1, 2), of.labels_NT))

    before = {name: p.clone() for name, p in [*probe.lstm.named_parameters(), *probe.head.named_parameters()]}
    tuned = fine_tuned(training, training, keep, "recurrence")
    assert loss(tuned) < loss(training)
    for name, p in [*probe.lstm.named_parameters(), *probe.head.named_parameters()]:
        assert torch.equal(p, before[name])


def test_curves_after_fine_tuning_stand_beside_those_without() -> None:
    probe, training = Probe.of(model(), held()), Probe.of(model(), training_clips())
    values = {"te": torch.arange(UNITS).double()}
    table = curves(probe, values, seed=0, draws=TUNED_DRAWS + 1, training=training)
    assert set(table.steps) == {0, STEPS}
    pd.testing.assert_frame_equal(
        table[table.steps == 0].reset_index(drop=True), curves(probe, values, seed=0, draws=TUNED_DRAWS + 1)
    )
    tuned = table[table.steps == STEPS]
    assert {key: len(rows) for key, rows in tuned.groupby(["measure", "keep"])} == {
        ("te", "low"): 2 * len(TUNED_FRACTIONS),
        ("te", "high"): 2 * len(TUNED_FRACTIONS),
        ("random", ""): 2 * len(TUNED_FRACTIONS) * TUNED_DRAWS,
    }
    assert sorted(set(tuned.fraction)) == list(TUNED_FRACTIONS)
