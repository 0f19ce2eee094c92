"""What several trained models say together: paired differences, their intervals and Holm's correction, by hand."""

from __future__ import annotations

from math import isnan, nan

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from prune_cli.analysis import claims as claims_file
from prune_cli.analysis.claims import claims
from prune_cli.common.statistics import holm, mean_interval, p_of_zero_mean
from prune_cli.units.removal import PLACEMENTS

RUNS = {  # accuracies of (measure, keep) at one fraction, a column a run
    ("te", "low"): (90.0, 92.0, 97.0),
    ("te", "high"): (80.0, 83.0, 82.0),
    ("mi", "low"): (70.0, 75.0, 71.0),
    ("mi", "high"): (85.0, 80.0, 84.0),
}
RANDOM = (1.0, 3.0, 2.0)  # mean of the draws of each run


def table_of(runs: int = 3, rows: dict[tuple[str, str], tuple[float, ...]] | None = None) -> pd.DataFrame:
    found = [
        {"dataset": "d", "placement": p, "steps": 0, "fraction": f, "run": f"r{n}", "seed": n, "measure": m, "keep": k,
         "draw": 0, "accuracy": values[n] + (0 if p == "recurrence" else 1) * n}
        for (m, k), values in (rows or RUNS).items() for n in range(runs) for p in PLACEMENTS for f in (0.0, 0.5)
    ]  # fmt: skip
    draws = [
        {**row, "measure": "random", "keep": "", "draw": draw, "accuracy": RANDOM[row["seed"]] + shift}
        for row in found
        if (row["measure"], row["keep"]) == ("te", "low")
        for draw, shift in enumerate((-1.0, 0.0, 1.0))
    ]
    return pd.DataFrame(found + draws)


def check_claims(found: pd.DataFrame) -> None:
    """Paired: the differences of te are 10, 9 and 15, whose mean is 34/3. Draws are averaged: n counts runs."""
    own = found[found.placement == "recurrence"].set_index("claim")
    differences = {
        "te: low - high": (10.0, 9.0, 15.0),
        "mi: low - high": (-15.0, -5.0, -13.0),
        "low: te - mi": (20.0, 17.0, 26.0),
        "low: te - random": (89.0, 89.0, 95.0),
        "low: mi - random": (69.0, 72.0, 69.0),
        "high: te - mi": (-5.0, 3.0, -2.0),
        "high: te - random": (79.0, 80.0, 80.0),
        "high: mi - random": (84.0, 77.0, 82.0),
    }
    assert list(own.index) == list(differences)
    for claim, values in differences.items():
        test = stats.ttest_1samp(values, 0)
        expected, row = test.confidence_interval(0.95), own.loc[claim]
        assert (row["mean"], row["n"], row["family"]) == (pytest.approx(sum(values) / 3), 3, 2)
        assert (row["low"], row["high"]) == pytest.approx((expected.low, expected.high))
        assert row["p"] == pytest.approx(test.pvalue)


def test_claims_are_paired_differences_with_students_interval() -> None:
    found = claims(table_of())
    check_claims(found)
    assert len(found) == 16  # of the share 0.5 alone: where nothing is removed nothing is compared
    assert set(found.placement) == set(PLACEMENTS)


def test_unpaired_differences_are_rejected() -> None:
    shuffled = table_of()
    turned = (shuffled.measure == "te") & (shuffled.keep == "low")
    shuffled.loc[turned, "run"] = shuffled.loc[turned, "run"].map({"r0": "r1", "r1": "r2", "r2": "r0"})
    with pytest.raises(AssertionError):
        check_claims(claims(shuffled))


def test_normal_intervals_are_rejected(monkeypatch: pytest.MonkeyPatch) -> None:
    def normal(values: list[float], level: float = 0.95) -> tuple[float, float]:
        series = pd.Series(values)
        return float(series.mean()), float(stats.norm.ppf((1 + level) / 2) * series.std() / len(values) ** 0.5)

    monkeypatch.setattr(claims_file, "mean_interval", normal)
    with pytest.raises(AssertionError):
        check_claims(claims(table_of()))


def test_draws_that_count_as_models_are_rejected() -> None:
    table = table_of()
    table["run"] += table["draw"].astype(str)
    with pytest.raises(AssertionError):
        check_claims(claims(table))


def test_holms_correction_is_over_the_comparisons_of_one_claim_in_one_dataset() -> None:
    found = claims(table_of())
    for _, own in found.groupby("claim"):
        small, large = sorted(own.p)
        assert list(own.p.sort_values()) == [small, large]
        assert list(own.sort_values("p").p_holm) == pytest.approx([min(1, 2 * small), max(min(1, 2 * small), large)])
        first, second = (own.sort_values("p").iloc[place] for place in (0, 1))
        half = stats.t.ppf(1 - 0.05 / 2 / 2, 2) * (first["high"] - first["mean"]) / stats.t.ppf(0.975, 2)
        assert (first["low_holm"], first["high_holm"]) == pytest.approx((first["mean"] - half, first["mean"] + half))
        wider = 1.0 if first["p_holm"] <= 0.05 else stats.t.ppf(1 - 0.05 / 2 / 2, 2) / stats.t.ppf(0.975, 2)
        half = wider * (second["high"] - second["mean"])
        assert (second["low_holm"], second["high_holm"]) == pytest.approx(
            (second["mean"] - half, second["mean"] + half)
        )


def test_only_measures_with_the_same_options_are_set_against_each_other() -> None:
    rows = {(f"{m}{o}", k): v for (m, k), v in RUNS.items() for o in ("", " source=label")}
    found = set(claims(table_of(rows=rows)).claim)
    assert {"low: te - mi", "low: te source=label - mi source=label"} <= found
    assert not [claim for claim in found if claim.count("source=label") == 1 and "te" in claim and "mi" in claim]


def test_baselines_are_what_measures_are_set_against() -> None:
    found = list(claims(table_of(), baselines=["mi"]).claim.unique())
    lows = [claim for claim in found if claim.startswith("low")]
    assert lows == ["low: te - mi", "low: te - random"]
    assert "mi: low - high" in found


def test_one_run_has_neither_interval_nor_p() -> None:
    found = claims(table_of(runs=1))
    assert list(found["mean"][found.claim == "te: low - high"]) == [10.0, 10.0]
    assert found[["low", "high", "p", "low_holm", "high_holm", "p_holm"]].isna().all(axis=None)
    assert set(found.n) == {1}


def test_one_measure_makes_no_claim_against_another() -> None:
    table = table_of()
    assert set(claims(table[table.measure.isin(["te"])]).claim) == {"te: low - high"}


def test_an_interval_of_three_values_by_hand() -> None:
    """Of 1, 2 and 6: mean 3, s² = (4 + 1 + 9) / 2 = 7, t(0.975, 2) = 4.302653, so 3 ± 4.302653 √(7/3)."""
    mean, half = mean_interval([1.0, 2.0, 6.0])
    assert (mean, half) == pytest.approx((3.0, 4.302653 * (7 / 3) ** 0.5), rel=1e-6)


def test_holm_by_hand() -> None:
    """0.01 and 0.04 and 0.03 of three: 3 · 0.01, then 2 · 0.03, then 0.04 itself, which may not be below the one before.
    At 0.05 Holm rejects 0.01 and stops at 0.03, which is tested at 0.025: 0.04 is not tested at 0.05 any more."""
    adjusted, levels = holm([0.01, 0.04, 0.03])
    assert adjusted == pytest.approx([0.03, 0.06, 0.06])
    assert levels == pytest.approx([0.05 / 3, 0.025, 0.025])
    assert holm([0.01, 0.04, 0.02])[1] == pytest.approx([0.05 / 3, 0.05, 0.025])  # all three are rejected
    assert holm([0.5, 0.9])[0] == [1.0, 1.0]
    assert holm([]) == ([], [])


def test_holms_interval_leaves_0_out_where_holms_p_rejects_and_nowhere_else() -> None:
    draw, seen = np.random.default_rng(0), set()
    for _ in range(200):
        samples = draw.normal(draw.choice([0.0, 1.0, 1.5, 2.0], 5), 1, (5, 5)).T
        adjusted, levels = holm([p_of_zero_mean(values) for values in samples.tolist()])
        for values, p, level in zip(samples.tolist(), adjusted, levels, strict=True):
            mean, half = mean_interval(values, 1 - level)
            assert (abs(mean) > half) == (p <= 0.05)
            seen.add((p <= 0.05, level))
    assert {(rejected, level) for rejected in (True, False) for level in (0.01, 0.05)} <= seen


def test_models_that_differ_by_as_much_have_no_spread_of_rounding() -> None:
    """Of 2,000 clips 2 more are 0.09999999999999432 points from 1,938 and 0.10000000000000853 from 1,952, in floats."""
    low, high = (tuple(100 * right / 2000 for right in counts) for counts in ((1940, 1954), (1938, 1952)))
    assert low[0] - high[0] != low[1] - high[1]
    found = claims(table_of(2, {("te", "low"): low, ("te", "high"): high}))
    own = found[(found.claim == "te: low - high") & (found.placement == "recurrence")].iloc[0]
    assert own["mean"] == 0.1 and isnan(own["p"]) and own["low"] == own["high"] == 0.1


def test_p_of_a_mean_of_zero() -> None:
    assert p_of_zero_mean([1.0, 2.0, 6.0]) == pytest.approx(stats.ttest_1samp([1, 2, 6], 0).pvalue)
    assert p_of_zero_mean([0.0, 0.0, 0.0]) == 1
    assert isnan(p_of_zero_mean([2.0, 2.0]))  # no spread, no test
    assert isnan(p_of_zero_mean([2.0]))


def test_what_cannot_be_tested_counts_among_the_comparisons_and_rejects_nothing() -> None:
    adjusted, levels = holm([nan, 0.04, 0.01])
    assert adjusted[1:] == pytest.approx([0.08, 0.03]) and isnan(adjusted[0])
    assert levels == pytest.approx([0.025, 0.025, 0.05 / 3])
