"""What units are worth: the probe against the masked model, curves and claims worked out by hand."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pandas as pd
import pytest
import torch
from scipy import stats
from tiny_lstm import Batch, TinyClassifier, clips, tiny
from torch import Tensor

from prune_cli import masks
from prune_cli.analysis import ablation
from prune_cli.analysis.ablation import DRAWS, FRACTIONS, Probe, claims, curves, interval, single
from prune_cli.training.evaluate import evaluate
from prune_cli.units.removal import PLACEMENTS, weight_mask

pytestmark = pytest.mark.usefixtures("one_thread")
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
    monkeypatch.setattr(ablation, "AT_ONCE", 7)
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
    stayed, original = [], ablation.hidden_states

    def watched(lstm: torch.nn.LSTM, gates_BTG: Tensor, keep_U: Tensor) -> Tensor:
        stayed.append(int(keep_U.sum()))
        return original(lstm, gates_BTG, keep_U)

    monkeypatch.setattr(ablation, "hidden_states", watched)
    table = curves(Probe.of(model(), held()), {"te": torch.arange(UNITS).double()}, seed=0, draws=2)
    assert stayed.count(UNITS) == 1
    removing = (table.removed > 0) & (table.placement == "recurrence")
    assert len(stayed) == 1 + removing.sum()


# -- Claims ----------------------------------------------------------------------------------------------------------

RUNS = {  # accuracies of (measure, keep) at one fraction, a column a run
    ("te", "low"): (90.0, 92.0, 97.0),
    ("te", "high"): (80.0, 83.0, 82.0),
    ("mi", "low"): (70.0, 75.0, 71.0),
    ("mi", "high"): (85.0, 80.0, 84.0),
}


def table_of(runs: int = 3) -> pd.DataFrame:
    rows = [
        {"dataset": "d", "placement": p, "fraction": 0.5, "run": f"r{n}", "seed": n, "measure": m, "keep": k,
         "accuracy": values[n] + (0 if p == "recurrence" else 1) * n}
        for (m, k), values in RUNS.items() for n in range(runs) for p in PLACEMENTS
    ]  # fmt: skip
    noise = [{**row, "measure": "random", "keep": "", "accuracy": 1.0} for row in rows]
    return pd.DataFrame(rows + noise)


def check_claims(found: pd.DataFrame) -> None:
    """Paired: the differences of te are 10, 9 and 15, whose mean is 34/3."""
    own = found[found.placement == "recurrence"].set_index("claim")
    differences = {
        "te: low - high": (10.0, 9.0, 15.0),
        "mi: low - high": (-15.0, -5.0, -13.0),
        "low: te - mi": (20.0, 17.0, 26.0),
        "high: te - mi": (-5.0, 3.0, -2.0),
    }
    assert list(own.index) == list(differences)
    for claim, values in differences.items():
        expected = stats.ttest_1samp(values, 0).confidence_interval(0.95)
        row = own.loc[claim]
        assert (row["mean"], row["n"]) == (pytest.approx(sum(values) / 3), 3)
        assert (row["low"], row["high"]) == pytest.approx((expected.low, expected.high))


def test_claims_are_paired_differences_with_students_interval() -> None:
    found = claims(table_of())
    check_claims(found)
    assert len(found) == 8
    assert set(found.placement) == set(PLACEMENTS)


def test_claims_of_unpaired_or_normal_intervals_are_rejected(monkeypatch: pytest.MonkeyPatch) -> None:
    shuffled = table_of()
    turned = (shuffled.measure == "te") & (shuffled.keep == "low")
    shuffled.loc[turned, "run"] = shuffled.loc[turned, "run"].map({"r0": "r1", "r1": "r2", "r2": "r0"})
    with pytest.raises(AssertionError):
        check_claims(claims(shuffled))

    def normal(values: pd.Series, level: float = 0.95) -> dict[str, float]:
        half = float(stats.norm.ppf((1 + level) / 2) * values.std() / len(values) ** 0.5)
        mean = float(values.mean())
        return {"mean": mean, "low": mean - half, "high": mean + half, "n": len(values)}

    monkeypatch.setattr(ablation, "interval", normal)
    with pytest.raises(AssertionError):
        check_claims(claims(table_of()))


def test_one_run_has_no_interval() -> None:
    found = claims(table_of(runs=1))
    assert list(found["mean"][found.claim == "te: low - high"]) == [10.0, 10.0]
    assert found[["low", "high"]].isna().all(axis=None)
    assert set(found.n) == {1}


def test_one_measure_makes_one_claim() -> None:
    table = table_of()
    assert set(claims(table[table.measure != "mi"]).claim) == {"te: low - high"}


def test_an_interval_of_three_values_by_hand() -> None:
    """Of 1, 2 and 6: mean 3, s² = (4 + 1 + 9) / 2 = 7, t(0.975, 2) = 4.302653, so 3 ± 4.302653 √(7/3)."""
    found = interval(pd.Series([1.0, 2.0, 6.0]))
    half = 4.302653 * (7 / 3) ** 0.5
    assert (found["mean"], found["n"]) == (3.0, 3)
    assert (found["low"], found["high"]) == pytest.approx((3 - half, 3 + half), rel=1e-6)
