"""Transfer entropy and mutual information: published values, exact values of Markov chains, properties, mutants."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import mutual_info_score
from torch import Tensor

from prune_cli.common.errors import RequestError
from prune_cli.units import information
from prune_cli.units.information import mutual_information, transfer_entropy

PEER = dict(np.load(Path(__file__).parents[1] / "data/information.npz"))
BIT = math.log(2)
Measure = Callable[..., Tensor]


def drawn(*shape: int, bins: int = 4, seed: int = 0) -> Tensor:
    return torch.randint(bins, shape, generator=torch.Generator().manual_seed(seed))


def check_published(case: str, measure: Measure) -> None:
    unit, label = (torch.from_numpy(PEER[f"{case}/{name}"]) for name in ("unit", "label"))
    for source, target, name in ((label, unit, "te_label_to_unit"), (unit, label, "te_unit_to_label")):
        assert float(measure(source, target)) == pytest.approx(BIT * float(PEER[f"{case}/{name}_bits"]), abs=1e-10)


@pytest.mark.parametrize("case", ["0", "1", "2"])
def test_the_published_values(case: str) -> None:
    check_published(case, transfer_entropy)
    unit, label = (torch.from_numpy(PEER[f"{case}/{name}"]) for name in ("unit", "label"))
    bits = float(PEER[f"{case}/mutual_information_bits"])
    assert float(mutual_information(unit, label)) == pytest.approx(BIT * bits, abs=1e-10)


def test_numpy_arrays_are_series_too() -> None:
    source, target = drawn(3, 9), drawn(3, 9, 2, seed=1)
    for measure in (transfer_entropy, mutual_information):
        torch.testing.assert_close(measure(source.numpy(), target.numpy()), measure(source, target))  # type: ignore[arg-type]


def test_the_other_direction_the_present_and_no_history_are_rejected() -> None:
    def backwards(source: Tensor, target: Tensor) -> Tensor:
        return transfer_entropy(target, source)

    def unconditioned(source: Tensor, target: Tensor) -> Tensor:
        return mutual_information(source[:, :-1], target[:, 1:])

    def later(source: Tensor, target: Tensor) -> Tensor:
        return transfer_entropy(source, target, lag=2)

    for mutant in (backwards, unconditioned, later):
        with pytest.raises(AssertionError):
            check_published("0", mutant)


def by_enumeration(source: Tensor, target: Tensor, lag: int, k: int, l: int) -> float:  # noqa: E741 - the field's letter
    """The definition written out, one sample at a time."""
    samples = []
    for x, y in zip(target.tolist(), source.tolist(), strict=True):
        for t in range(max(k, lag + l - 1), len(x)):
            samples.append((x[t], tuple(x[t - k : t]), tuple(y[t - lag - l + 1 : t - lag + 1])))
    total, n = 0.0, len(samples)
    for now, own, other in set(samples):
        joint = sum(s == (now, own, other) for s in samples)
        with_other = joint / sum(s[1:] == (own, other) for s in samples)
        alone = sum(s[:2] == (now, own) for s in samples) / sum(s[1] == own for s in samples)
        total += joint / n * math.log(with_other / alone)
    return total


@pytest.mark.parametrize(("lag", "k", "l"), [(1, 1, 1), (2, 1, 1), (1, 2, 1), (1, 1, 3), (3, 2, 2)])
def test_lags_and_histories_are_those_of_the_definition(lag: int, k: int, l: int) -> None:  # noqa: E741
    source, target = drawn(3, 12, bins=2), drawn(3, 12, bins=3, seed=1)
    found = transfer_entropy(source, target, lag, k, l)
    assert float(found) == pytest.approx(by_enumeration(source, target, lag, k, l), abs=1e-12)


def exact(flip: float, follow: float) -> float:
    """TE of a chain in nats: y flips with probability `flip`, x' = y with probability `follow`, else x' = x."""
    total = 0.0
    joint = stationary(flip, follow)
    for x, y, new in itertools.product((0, 1), repeat=3):
        given_both = follow * (new == y) + (1 - follow) * (new == x)
        of_x = {v: joint[x, v] / (joint[x, 0] + joint[x, 1]) for v in (0, 1)}
        given_own = sum(of_x[v] * (follow * (new == v) + (1 - follow) * (new == x)) for v in (0, 1))
        if given_both:
            total += joint[x, y] * given_both * math.log(given_both / given_own)
    return total


def stationary(flip: float, follow: float) -> dict[tuple[int, int], float]:
    """The stationary law of (x, y) by iterating the chain."""
    law = dict.fromkeys(itertools.product((0, 1), repeat=2), 0.25)
    for _ in range(2000):
        after = dict.fromkeys(law, 0.0)
        for (x, y), p in law.items():
            for new_x, new_y in law:
                step = follow * (new_x == y) + (1 - follow) * (new_x == x)
                after[new_x, new_y] += p * step * (flip if new_y != y else 1 - flip)
        law = after
    return law


@pytest.mark.parametrize(("flip", "follow"), [(0.3, 0.5), (0.1, 0.9), (0.5, 0.2)])
def test_long_draws_of_a_markov_chain_come_to_its_exact_value(flip: float, follow: float) -> None:
    """200 clips of 500 steps: the standard error of the estimate is below 0.003 nats; four of them are allowed."""
    draw = torch.Generator().manual_seed(0)
    clips, times = 200, 500
    x, y = (torch.randint(2, (clips,), generator=draw) for _ in range(2))
    series: list[tuple[Tensor, Tensor]] = []
    for _ in range(times + 50):
        follows = torch.rand(clips, generator=draw) < follow
        x, y = torch.where(follows, y, x), torch.where(torch.rand(clips, generator=draw) < flip, 1 - y, y)
        series.append((x, y))
    target, source = (torch.stack(column, 1)[:, 50:] for column in zip(*series, strict=True))
    assert float(transfer_entropy(source, target)) == pytest.approx(exact(flip, follow), abs=0.012)
    assert float(transfer_entropy(target, source)) == pytest.approx(0, abs=1e-3)  # nothing flows back


@settings(max_examples=40)
@given(st.integers(1, 4), st.integers(3, 9), st.integers(1, 4), st.integers(1, 4), st.integers(0, 99))
def test_measures_of_many_units_are_those_of_each_alone(c: int, t: int, u: int, bins: int, seed: int) -> None:
    source, target = drawn(c, t, bins=bins, seed=seed), drawn(c, t, u, bins=bins, seed=seed + 1)
    for measure in (transfer_entropy, mutual_information):
        alone = torch.cat([measure(source, target[..., unit]) for unit in range(u)])
        torch.testing.assert_close(measure(source, target), alone, rtol=0, atol=1e-12)
        assert bool((alone > -1e-12).all())
    scores = [mutual_info_score(source.flatten(), target[..., unit].flatten()) for unit in range(u)]
    torch.testing.assert_close(
        mutual_information(source, target), torch.tensor(scores, dtype=torch.float64), rtol=0, atol=1e-12
    )


def test_what_many_combinations_need_is_counted_sparsely(monkeypatch: pytest.MonkeyPatch) -> None:
    source, target = drawn(5, 20, bins=6), drawn(5, 20, 3, bins=6, seed=1)
    dense = transfer_entropy(source, target, 1, 2, 2)
    monkeypatch.setattr(information, "DENSE", 1)
    torch.testing.assert_close(transfer_entropy(source, target, 1, 2, 2), dense, rtol=0, atol=1e-12)
    monkeypatch.setattr(information, "SPARSE", 10)
    torch.testing.assert_close(transfer_entropy(source, target, 1, 2, 2), dense, rtol=0, atol=1e-12)
    assert transfer_entropy(source, target, 1, 7, 7).shape == (3,)


def test_a_copy_one_step_late_tells_everything() -> None:
    source = drawn(50, 40, bins=2)
    target = torch.cat([torch.zeros(50, 1, dtype=torch.long), source[:, :-1]], 1)
    assert float(transfer_entropy(source, target)) == pytest.approx(BIT, abs=2e-3)
    assert float(transfer_entropy(source, target, lag=2)) < 0.01


def test_miller_madow_by_hand() -> None:
    """One clip, x = 0 0 1 1, y = 0 1 0 1: independent, every cell seen once; (2-1) + (2-1) - (4-1) over 8."""
    x, y = torch.tensor([[0, 0, 1, 1]]), torch.tensor([[0, 1, 0, 1]])
    assert float(mutual_information(x, y)) == pytest.approx(0, abs=1e-15)
    assert float(mutual_information(x, y, miller_madow=True)) == pytest.approx(-1 / 8)


def test_shuffled_sources_take_the_bias_away_and_give_a_p_value() -> None:
    source, noise = drawn(40, 20, bins=8), drawn(40, 20, 6, bins=8, seed=1)
    echo = torch.cat([torch.zeros(40, 1, dtype=torch.long), source[:, :-1]], 1).unsqueeze(-1)
    found = information.against_surrogates(transfer_entropy, source, torch.cat([noise, echo], -1), surrogates=50)
    assert bool((found.value[:6] > 0.2).all())  # all of it bias
    assert float(found.corrected[:6].abs().max()) < 0.05
    assert float(found.p[6]) == pytest.approx(1 / 51)
    assert float(found.corrected[6]) > 1
    assert float(found.p[:6].min()) > 0.02
    again = information.against_surrogates(transfer_entropy, source, noise, surrogates=50)
    torch.testing.assert_close(again.p, found.p[:6])


@pytest.mark.parametrize("backwards", [False, True])
def test_a_series_that_is_kept_counts_as_a_fresh_one_whatever_it_met_before(backwards: bool) -> None:
    source, target = drawn(6, 9), drawn(6, 9, 2, bins=3, seed=1)
    kept = information.Series(target)
    for lag, k, l in [(1, 1, 1), (2, 1, 1), (1, 2, 1), (1, 1, 2), (1, 1, 1)]:  # noqa: E741
        for other in (source, source.flip(0) % 2, drawn(6, 9, 2)):
            ends, fresh = ((kept, other), (target, other)) if backwards else ((other, kept), (other, target))
            torch.testing.assert_close(
                transfer_entropy(*ends, lag, k, l), transfer_entropy(*fresh, lag, k, l), rtol=0, atol=0
            )
            torch.testing.assert_close(mutual_information(*ends), mutual_information(*fresh), rtol=0, atol=0)
    of_itself = transfer_entropy(kept, kept)  # nothing that its own past did not tell
    torch.testing.assert_close(of_itself, torch.zeros(2, dtype=torch.float64), rtol=0, atol=1e-12)


def test_a_class_is_measured_within_its_own_clips() -> None:
    source, target, classes = drawn(6, 9), drawn(6, 9, 2, seed=1), torch.tensor([0, 1, 0, 1, 1, 0])
    found = information.by_class(partial(transfer_entropy, lag=2), source, target, classes)
    torch.testing.assert_close(found[1], transfer_entropy(source[[1, 3, 4]], target[[1, 3, 4]], lag=2))
    assert set(found) == {0, 1}


def test_bins_of_equal_width_and_of_equal_content() -> None:
    values = torch.tensor([-2.0, -1.0, -0.75, -0.01, 0.0, 0.99, 1.0, 3.0])
    assert information.equal_bins(values, 8, -1, 1).tolist() == [0, 0, 1, 3, 4, 7, 7, 7]
    skewed = torch.rand(50, 16, 3, generator=torch.Generator().manual_seed(0)) ** 5
    found = information.quantile_bins(skewed, 8)
    assert found.shape == skewed.shape
    assert all(torch.bincount(found[..., unit].flatten(), minlength=8).tolist() == [100] * 8 for unit in range(3))
    assert bool((found.flatten(0, 1)[skewed.flatten(0, 1).argmax(0), torch.arange(3)] == 7).all())


@pytest.mark.parametrize(
    ("source", "target", "options"),
    [
        (drawn(3, 5), drawn(3, 6, 2), {}),
        (drawn(3, 5, 4), drawn(3, 5, 2), {}),
        (drawn(3, 5).float(), drawn(3, 5), {}),
        (drawn(3, 5) - 3, drawn(3, 5), {}),
        (drawn(3, 5), drawn(3, 5), {"lag": 5}),
        (drawn(3, 5), drawn(3, 5), {"lag": 0}),
        (drawn(3, 5), drawn(3, 5), {"target_history": 5}),
        (drawn(3, 5), drawn(3, 5), {"lag": 3, "source_history": 3}),
    ],
)
def test_what_does_not_fit_is_refused(source: Tensor, target: Tensor, options: dict) -> None:
    with pytest.raises(RequestError) as error:
        transfer_entropy(source, target, **options)
    assert len(error.value.lines()) <= 3


def test_one_clip_cannot_be_shuffled() -> None:
    with pytest.raises(RequestError, match="two clips"):
        information.against_surrogates(transfer_entropy, drawn(1, 9), drawn(1, 9))


def test_clips_of_a_constant_target_measure_exactly_0() -> None:
    """H(x'|x) is 0 whatever the source is: what is left of the four entropies is rounding."""
    target = drawn(50, 1, bins=3).expand(50, 9)
    for seed in range(5):
        assert not bool(transfer_entropy(drawn(50, 9, 6, seed=seed), target).any())
    assert not bool(mutual_information(drawn(50, 9, 6), torch.zeros(50, 9, dtype=torch.long)).any())


def with_a_course(clips: int, times: int, units: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """A source and units that are drawn apart, but grow over the frames of every clip."""
    draw = torch.Generator().manual_seed(seed)
    course = torch.linspace(0, 1, times).view(1, times, 1)
    values = torch.rand(clips, times, 1 + units, generator=draw) * 0.5 + course * 1.5
    series = information.equal_bins(values, 4, 0, 2)
    return series[..., 0], series[..., 1:]


def test_a_common_course_over_time_stays_in_surrogates_of_other_clips_and_leaves_shifted_ones() -> None:
    source, target = with_a_course(300, 8, 5)
    clips, shift = (
        information.against_surrogates(transfer_entropy, source, target, 50, kind=kind) for kind in ("clips", "shift")
    )
    torch.testing.assert_close(clips.value, shift.value, rtol=0, atol=0)
    assert bool((clips.surrogate_mean > 0.8 * clips.value).all())
    assert bool((shift.surrogate_mean < 0.2 * shift.value).all())
    assert float(clips.p.min()) > 0.02
    assert float(shift.p.max()) == pytest.approx(1 / 51)
    assert bool((shift.corrected > 4 * clips.corrected).all())


def test_what_a_clip_keeps_throughout_stays_in_shifted_surrogates_and_leaves_those_of_other_clips() -> None:
    level = drawn(200, 1, 1, bins=2)
    noise = drawn(200, 8, 4, bins=2, seed=1)
    source, target = (level * 2 + noise[..., :1])[..., 0], level * 2 + noise[..., 1:]
    clips, shift = (
        information.against_surrogates(mutual_information, source, target, 50, kind=kind) for kind in ("clips", "shift")
    )
    assert bool((clips.surrogate_mean < 0.1 * clips.value).all())
    assert bool((shift.surrogate_mean > 0.9 * shift.value).all())


def check_chance(kind: str, measure: Measure, units: int = 400) -> None:
    """Of independent series about 5 % of the units have p ≤ 0.05: 20 of 400, give or take four standard deviations."""
    source, target = drawn(30, 10, bins=3), drawn(30, 10, units, bins=3, seed=1)
    found = information.against_surrogates(measure, source, target, 99, kind=kind)
    expected, spread = 0.05 * units, math.sqrt(0.05 * 0.95 * units)
    assert abs(int((found.p <= 0.05).sum()) - expected) < 4 * spread
    assert float(found.p.mean()) == pytest.approx(0.5, abs=0.06)
    assert float(found.p_adjusted.min()) > 0.05
    assert bool((found.p_adjusted >= found.p).all())


@pytest.mark.parametrize("kind", information.SURROGATE_KINDS)
def test_of_independent_series_one_in_twenty_is_below_p_5_percent_and_none_after_correction(kind: str) -> None:
    check_chance(kind, transfer_entropy)


@pytest.mark.parametrize("kind", information.SURROGATE_KINDS)
def test_a_driven_unit_is_found_among_many_independent_ones(kind: str) -> None:
    source, target = drawn(40, 12, bins=2), drawn(40, 12, 30, bins=2, seed=1)
    follows = torch.rand(40, 11, generator=torch.Generator().manual_seed(2)) < 0.5
    target[:, 1:, 17] = torch.where(follows, source[:, :-1], target[:, 1:, 17])
    found = information.against_surrogates(transfer_entropy, source, target, 999, kind=kind)
    assert (found.p_adjusted <= 0.05).nonzero().flatten().tolist() == [17]
    assert int(found.corrected.argmax()) == 17


def test_p_of_many_units_is_adjusted_as_benjamini_and_hochberg_do() -> None:
    """min over k ≥ rank of p(k) · U / k, by hand."""
    p = torch.tensor([0.01, 0.5, 0.02, 0.04], dtype=torch.float64)
    found = information.AgainstSurrogates(p, p, p)
    assert found.p_adjusted.tolist() == pytest.approx([0.04, 0.5, 0.04, 0.04 * 4 / 3])


def test_surrogates_that_equal_the_value_reach_it_and_leave_0() -> None:
    """Every clip is the same, so permuting them changes nothing: no rounding may make a rank."""
    source, target = drawn(1, 9).expand(7, 9), drawn(1, 9, 4, seed=1).expand(7, 9, 4)
    found = information.against_surrogates(transfer_entropy, source, target, 20)
    assert found.p.tolist() == [1.0] * 4
    assert not bool(found.corrected.any())


def test_a_series_that_stays_the_same_throughout_each_clip_cannot_be_shifted() -> None:
    source, target = drawn(9, 1).expand(9, 6), drawn(9, 6, 2, seed=1)
    with pytest.raises(RequestError, match="stays the same") as error:
        information.against_surrogates(mutual_information, source, target, kind="shift")
    assert len(error.value.lines()) <= 3
    with pytest.raises(RequestError, match="kind of surrogates"):
        information.against_surrogates(mutual_information, source, target, kind="shifts")
