"""The figures of drift against numbers worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from prune_cli.analysis import drift
from prune_cli.analysis.drift import ALL, PRUNABLE, Sums, measure, moving
from prune_cli.models.vit_micro import ViTMicro

BEFORE = torch.tensor([[1.0, -1.0], [3.0, -3.0]])  # mean 0, variance (1 + 1 + 9 + 9) / 4 = 5, 1 % of std = 0.02236
AFTER = torch.tensor([[1.02, -1.02], [3.03, -2.9]])  # |Δ| = 0.02, 0.02, 0.03, 0.1
SPREAD = torch.tensor([[1.02, -1.02], [3.03, -9.0]])  # std 4.61: 1 % of it is 0.0461, which 0.03 is below too


def test_the_figures_of_four_weights_worked_out_by_hand() -> None:
    row = measure([("w", BEFORE, AFTER)], ["w"]).iloc[-1]
    assert (row.tensor, row["count"]) == ("w", 4)
    assert row.share_within_1pct == 0.5
    assert row.mean_abs_change == pytest.approx((0.02 + 0.02 + 0.03 + 0.1) / 4, rel=1e-6)
    assert row.relative_l2 == pytest.approx(math.sqrt((0.0004 + 0.0004 + 0.0009 + 0.01) / 20), rel=1e-6)
    assert row.correlation == pytest.approx(np.corrcoef(BEFORE.flatten(), AFTER.flatten())[0, 1], rel=1e-6)


def test_near_is_measured_by_the_std_before_and_not_after() -> None:
    def mutant(before: Tensor, after: Tensor) -> float:
        return float(((after - before).abs() < 0.01 * after.std(correction=0)).double().mean())

    assert measure([("w", BEFORE, SPREAD)], ["w"]).share_within_1pct.iloc[-1] == 0.5
    assert mutant(BEFORE, SPREAD) == 0.75  # so the numbers above tell the two apart


def test_near_is_measured_in_each_tensor_by_its_own_std() -> None:
    pairs = [("small", BEFORE, BEFORE + 0.03), ("large", 100 * BEFORE, 100 * BEFORE + 0.03)]
    shares = measure(pairs, []).set_index("tensor").share_within_1pct
    assert dict(shares) == {ALL: 0.5, "small": 0.0, "large": 1.0}


def test_overall_rows_are_those_of_the_tensors_joined() -> None:
    torch.manual_seed(0)
    pairs = [(name, x := 3 + torch.randn(7, n), x + 0.1 * torch.randn(7, n)) for name, n in (("a", 2), ("b", 30))]
    table = measure(pairs, ["b"]).set_index("tensor")
    assert list(table.index) == [ALL, PRUNABLE, "a", "b"]
    assert table.loc[PRUNABLE].equals(table.loc["b"])
    x, y = (torch.cat([pair[k].flatten() for pair in pairs]).double() for k in (1, 2))
    row = table.loc[ALL]
    assert row["count"] == len(x)
    assert row.correlation == pytest.approx(np.corrcoef(x, y)[0, 1], rel=1e-12)
    assert row.relative_l2 == pytest.approx(float((y - x).norm() / x.norm()), rel=1e-12)
    assert row.mean_abs_change == pytest.approx(float((y - x).abs().mean()), rel=1e-12)


def test_an_unmoved_tensor_stays_whole() -> None:
    row = measure([("w", BEFORE, BEFORE)], []).iloc[-1]
    assert (row.share_within_1pct, row.relative_l2, row.mean_abs_change) == (1.0, 0.0, 0.0)
    assert row.correlation == pytest.approx(1.0, rel=1e-12)


@pytest.mark.parametrize("value", [0.0, 1.0, 0.1, -1e-5])
def test_a_constant_tensor_has_no_correlation_and_no_std(value: float) -> None:
    before = torch.full((1001,), value)
    row = measure([("b", before, before + torch.linspace(0, 1, 1001))], []).iloc[-1]
    assert math.isnan(row.correlation)
    assert row.share_within_1pct == 0.0
    assert math.isnan(row.relative_l2) == (value == 0)


def test_sums_of_half_precision_are_taken_in_double() -> None:
    before = torch.full((100_000,), 0.1, dtype=torch.float16)
    assert Sums.of(before, before).x == pytest.approx(100_000 * float(before[0]), rel=1e-12)


def test_a_tensor_is_read_only_when_its_turn_comes() -> None:
    alive: list[int] = []

    def pairs() -> object:
        for name in "abc":
            alive.append(len(alive))
            yield name, BEFORE, AFTER

    assert drift.measure(pairs(), "abc")["count"].iloc[0] == 12  # type: ignore[arg-type]
    assert alive == [0, 1, 2]


def test_the_head_does_not_count() -> None:
    model = ViTMicro().build(10)
    names = moving(model).keys()
    assert {name for name, _ in model.named_parameters()} - names == {"head.weight", "head.bias"}
    assert sum(t.numel() for t in moving(model).values()) == 803_338 - 1_290
