"""Scorers of units by numbers: hidden states set by hand, entropies counted in plain loops, norms and variances on paper."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
import torch
from tiny_lstm import Batch, Shown, tiny
from torch import Tensor, nn

from prune_cli import scorers
from prune_cli.common.errors import ConfigError
from prune_cli.common.random import generator
from prune_cli.scorers import unit_scorer
from prune_cli.units import information
from prune_cli.units.removal import units

CLIPS, FRAMES, UNITS, CLASSES, BINS = 40, 6, 3, 3, 4


def given(seed: int = 0) -> Batch:
    """Hidden states (C, T, U): unit 0 follows the label two frames later, unit 1 its own past, unit 2 nothing."""
    draw = torch.Generator().manual_seed(seed)
    labels = torch.randint(CLASSES, (CLIPS, FRAMES), generator=draw)
    h = torch.rand(CLIPS, FRAMES, UNITS, generator=draw, dtype=torch.float64) * 2 - 1
    h[:, 2:, 0] = labels[:, :-2] / 2 - 0.5 + 0.1 * h[:, 2:, 0]
    h[:, 1:, 1] = 0.7 * h[:, :-1, 1] + 0.3 * h[:, 1:, 1]
    return h, labels


def found(name: str, batch: Batch | None = None, model: nn.Module | None = None, **options: Any) -> Tensor:
    """What the scorer measures of a model whose hidden states are the inputs, in two batches; of the label unless said."""
    h, labels = batch or given()
    model = model or Shown(UNITS, CLASSES).double()
    batches = [(h[:25], labels[:25]), (h[25:], labels[25:])]
    return scorers.build(name, keep="high", **{"source": "label", **options})(model, batches, units(model))["lstm"]


def bins_of(values: Tensor, low: float = -1.0, bins: int = BINS) -> Tensor:
    """By hand: equal widths on (low, 1)."""
    return ((values - low) / (1 - low) * bins).floor().long().clamp(0, bins - 1)


def entropy(rows: list[tuple[int, ...]]) -> float:
    return -sum(n / len(rows) * math.log(n / len(rows)) for n in Counter(rows).values())


def counted(source: Tensor, target: Tensor, lag: int = 1, own_lag: int = 1) -> float:
    """TE with one frame of each past: H(x', x) - H(x) - H(x', x, y) + H(x, y), counted frame by frame."""
    rows = [
        (int(x[t]), int(x[t - own_lag]), int(y[t - lag]))
        for x, y in zip(target, source, strict=True)
        for t in range(max(lag, own_lag), len(x))
    ]
    parts = [[tuple(row[i] for i in indices) for row in rows] for indices in ((0, 1), (1,), (0, 1, 2), (1, 2))]
    now_past, past, everything, pasts = map(entropy, parts)
    return now_past - past - everything + pasts


def each(measure: Callable[[Tensor], float], series: Tensor) -> Tensor:
    return torch.tensor([measure(series[..., u]) for u in range(series.shape[-1])], dtype=torch.float64)


def close(one: Tensor, other: Tensor) -> None:
    torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-12)


def test_transfer_entropy_from_the_label_is_the_one_counted_by_hand() -> None:
    h, labels = given()
    close(found("transfer_entropy", bins=BINS), each(lambda x: counted(labels, x), bins_of(h)))


def test_transfer_entropy_to_the_label_is_the_other_direction() -> None:
    h, labels = given()
    close(found("transfer_entropy", bins=BINS, direction="from_unit"), each(lambda x: counted(x, labels), bins_of(h)))


def check_lag(measured: Callable[[int], Tensor]) -> None:
    h, labels = given()
    series = bins_of(h)
    for lag in (1, 2, 3):
        close(measured(lag), each(lambda x, lag=lag: counted(labels, x, lag), series))
    assert int(measured(2).argmax()) == 0  # the unit that follows the label two frames later
    assert measured(2)[0] > 3 * measured(1)[0]


def test_a_lag_moves_the_source_alone() -> None:
    check_lag(lambda lag: found("transfer_entropy", bins=BINS, lag=lag))


def test_a_lag_that_moves_both_or_none_is_rejected() -> None:
    h, labels = given()
    series = bins_of(h)
    both = lambda lag: each(lambda x: counted(labels, x, lag, lag), series)  # noqa: E731
    none = lambda lag: found("transfer_entropy", bins=BINS)  # noqa: E731, ARG005
    for mutant in (both, none):
        with pytest.raises(AssertionError):
            check_lag(mutant)


def test_mutual_information_is_the_one_counted_by_hand() -> None:
    h, labels = given()

    def by_hand(x: Tensor) -> float:
        pairs = list(zip(x.flatten().tolist(), labels.flatten().tolist(), strict=True))
        return entropy([(a,) for a, _ in pairs]) + entropy([(b,) for _, b in pairs]) - entropy(pairs)

    close(found("mutual_information", bins=BINS), each(by_hand, bins_of(h)))


def check_output(measured: Callable[[nn.Module], Tensor]) -> None:
    """The source is the bin of the probability that the model gives to the label of the frame, on (0, 1)."""
    h, labels = given()
    model = Shown(UNITS, CLASSES).double()
    nn.init.normal_(model.head.weight, std=3.0, generator=torch.Generator().manual_seed(0))
    p_CTK = (h @ model.head.weight.T + model.head.bias).softmax(-1)
    p_CT = torch.stack([torch.stack([p[t, y[t]] for t in range(FRAMES)]) for p, y in zip(p_CTK, labels, strict=True)])
    source, series = bins_of(p_CT.detach(), low=0.0), bins_of(h)
    assert len(source.unique()) == BINS
    close(measured(model), each(lambda x: counted(source, x), series))


def test_the_source_may_be_the_probability_of_the_label() -> None:
    check_output(lambda model: found("transfer_entropy", model=model, bins=BINS, source="output"))
    h, labels = given()
    model = Shown(UNITS, CLASSES).double()
    seen = unit_scorer.record_hidden_states(model, [(h, labels)], units(model))
    source = unit_scorer.source_series(seen, "output", BINS)
    expected = information.mutual_information(source, bins_of(h))
    close(found("mutual_information", model=model, bins=BINS, source="output"), expected)


@pytest.mark.parametrize("name", ["transfer_entropy", "mutual_information"])
def test_the_probability_of_the_label_is_the_source_unless_another_is_asked_for(name: str) -> None:
    h, labels = given()
    model = Shown(UNITS, CLASSES).double()
    default, label, output = (
        scorers.build(name, **options)(model, [(h, labels)], units(model))["lstm"]
        for options in ({}, {"source": "label"}, {"source": "output"})
    )
    assert torch.equal(default, output)
    assert not torch.allclose(default, label)


def test_the_label_or_the_largest_probability_in_its_place_is_rejected(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(AssertionError):
        check_output(lambda model: found("transfer_entropy", model=model, bins=BINS))

    def largest(self: Tensor, *_: object) -> Tensor:
        return self.max(1, keepdim=True).values

    monkeypatch.setattr(Tensor, "gather", largest)
    with pytest.raises(AssertionError):
        check_output(lambda model: found("transfer_entropy", model=model, bins=BINS, source="output"))


@pytest.mark.parametrize(
    "options",
    [
        {"miller_madow": True},
        {"target_history": 2},
        {"source_history": 2, "lag": 2},
        {"target_history": 3, "source_history": 2},
    ],
    ids=str,
)
def test_every_option_of_transfer_entropy_reaches_the_measure(options: dict[str, Any]) -> None:
    h, labels = given()
    plain, changed = (information.transfer_entropy(labels, bins_of(h), **more) for more in ({}, options))
    close(found("transfer_entropy", bins=BINS, **options), changed)
    assert not torch.allclose(plain, changed)


@pytest.mark.parametrize("name", ["transfer_entropy", "mutual_information"])
def test_quantile_bins_are_equally_full_for_each_unit(name: str) -> None:
    h, labels = given()
    ranks = h.flatten(0, 1).argsort(0).argsort(0)  # no two values are equal
    series = (ranks * BINS // (CLIPS * FRAMES)).view(CLIPS, FRAMES, UNITS)
    assert torch.equal(series.flatten(0, 1)[:, 0].bincount(), torch.full((BINS,), CLIPS * FRAMES // BINS))
    close(found(name, bins=BINS, binning="quantile"), getattr(information, name)(labels, series))


@pytest.mark.parametrize("name", ["transfer_entropy", "mutual_information"])
def test_surrogates_take_their_mean_away_and_stand_beside_it(name: str) -> None:
    h, labels = given()
    model = Shown(UNITS, CLASSES).double()
    scorer = scorers.build(name, source="label", bins=BINS, surrogates=20)
    out = scorer.measures(model, [(h, labels)], units(model))["lstm"]  # type: ignore[attr-defined]
    measure, draw = getattr(information, name), generator(0, "surrogates")
    shuffled = torch.stack([measure(labels[torch.randperm(CLIPS, generator=draw)], bins_of(h)) for _ in range(20)])
    value = measure(labels, bins_of(h))
    close(out["uncorrected"], value)
    close(out["surrogate_mean"], shuffled.mean(0))
    close(out["value"], value - shuffled.mean(0))
    close(out["p"], (1 + (shuffled >= value).double().sum(0)) / 21)
    close(scorer(model, [(h, labels)], units(model))["lstm"], shuffled.mean(0) - value)  # keep: low
    plain = scorers.build(name, bins=BINS).measures(model, [(h, labels)], units(model))["lstm"]  # type: ignore[attr-defined]
    assert list(plain) == ["value"]


def test_the_variance_of_four_values_by_hand() -> None:
    """Of 1, 2, 3 and 4 about 2.5: (2.25 + 0.25 + 0.25 + 2.25) / 3; of a still unit 0."""
    h = torch.tensor([[[1.0, 7.0], [2.0, 7.0]], [[3.0, 7.0], [4.0, 7.0]]])
    model = Shown(2, CLASSES)
    score = scorers.build("activation_variance")(model, [(h, torch.zeros(2, 2).long())], units(model))["lstm"]
    assert score.dtype == torch.float64
    assert score.tolist() == pytest.approx([5 / 3, 0.0], abs=1e-15)


def check_weight_norm(scorer: Any) -> None:
    """2 units, 1 input: rows 0, 2, 4, 6 of the gates lead into unit 0, the others into unit 1. Biases do not count."""
    model = tiny(inputs=1, units=2)
    with torch.no_grad():
        model.lstm.weight_ih_l0.copy_(torch.arange(1.0, 9.0)[:, None])
        model.lstm.weight_hh_l0.zero_()
        model.lstm.weight_hh_l0[2] = torch.tensor([3.0, 4.0])  # the forget gate of unit 0
        model.lstm.bias_ih_l0.fill_(100.0)
    expected = [math.sqrt(1 + 9 + 25 + 49 + 9 + 16), math.sqrt(4 + 16 + 36 + 64)]
    assert scorer(model, [], units(model))["lstm"].tolist() == pytest.approx(expected, rel=1e-12)


def test_the_norm_of_the_weights_that_lead_into_a_unit_by_hand() -> None:
    check_weight_norm(scorers.build("weight_norm"))


def test_norms_of_columns_and_of_blocks_are_rejected() -> None:
    def columns(model: nn.Module, *_: object) -> dict[str, Tensor]:
        return {"lstm": model.lstm.weight_hh_l0.detach().norm(dim=0)}  # type: ignore[union-attr,operator]

    def blocks(model: nn.Module, *_: object) -> dict[str, Tensor]:
        both = torch.cat([model.lstm.weight_ih_l0, model.lstm.weight_hh_l0], 1).detach()  # type: ignore[union-attr,list-item]
        return {"lstm": both.view(2, 4, -1).flatten(1).norm(dim=1)}

    for mutant in (columns, blocks):
        with pytest.raises(AssertionError):
            check_weight_norm(mutant)


@pytest.mark.parametrize(
    ("name", "options", "where"),
    [
        *((name, {"bins": 1}, "bins") for name in ("transfer_entropy", "mutual_information")),
        *((name, {"surrogates": -1}, "surrogates") for name in ("transfer_entropy", "mutual_information")),
        *((name, {"source": "lable"}, "source") for name in ("transfer_entropy", "mutual_information")),
        *((name, {"binning": "equl"}, "binning") for name in ("transfer_entropy", "mutual_information")),
        ("transfer_entropy", {"lag": 0}, "lag"),
        ("transfer_entropy", {"target_history": 0}, "target_history"),
        ("transfer_entropy", {"source_history": 0}, "source_history"),
        ("transfer_entropy", {"direction": "to_units"}, "direction"),
    ],
)
def test_an_option_out_of_range_is_refused_by_name(name: str, options: dict[str, Any], where: str) -> None:
    with pytest.raises(ConfigError) as caught:
        scorers.build(name, **options)
    assert caught.value.where == f"scorer.{where}"
    assert str(options[where]) in caught.value.what
    assert len(caught.value.lines()) <= 3


@pytest.mark.parametrize(
    ("options", "frames"),
    [
        ({}, 2),
        ({"lag": 4}, 5),
        ({"target_history": 3}, 4),
        ({"source_history": 3}, 4),
        ({"lag": 2, "source_history": 3, "target_history": 2}, 5),
    ],
    ids=str,
)
def test_the_frames_that_a_clip_must_have(options: dict[str, Any], frames: int) -> None:
    """The fewest with which one value has all of its history; one fewer cannot be measured."""
    scorer: Any = scorers.build("transfer_entropy", **options)
    assert scorer.frames == frames
    h, labels = given()
    found("transfer_entropy", (h[:, :frames], labels[:, :frames]), **options)
    with pytest.raises(Exception, match="too short"):
        found("transfer_entropy", (h[:, : frames - 1], labels[:, : frames - 1]), **options)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("transfer_entropy", {"direction": "from_unit"}),
        ("transfer_entropy", {"direction": "from_unit", "surrogates": 5}),
        ("transfer_entropy", {"direction": "from_unit", "miller_madow": True}),
        ("mutual_information", {"constant": True}),
        ("mutual_information", {"constant": True, "miller_madow": True}),
        ("transfer_entropy", {"constant": True}),
    ],
    ids=str,
)
def test_units_that_all_measure_0_are_refused_rather_than_ranked_by_rounding(name: str, options: dict) -> None:
    """A label that stays throughout a clip tells its own next value; one label altogether tells nothing."""
    h, labels = given()
    labels = labels[:, :1].expand_as(labels) * (not options.pop("constant", False))
    with pytest.raises(ConfigError, match="every unit measures 0") as caught:
        found(name, (h, labels), bins=BINS, **options)
    assert caught.value.where == "scorer.source=label"


@pytest.mark.parametrize("name", ["transfer_entropy", "mutual_information"])
def test_shifted_surrogates_are_another_choice(name: str) -> None:
    h, labels = given()
    model = Shown(UNITS, CLASSES).double()
    out = scorers.build(name, source="label", bins=BINS, surrogates=20, surrogate_kind="shift")
    measured = out.measures(model, [(h, labels)], units(model))["lstm"]  # type: ignore[attr-defined]
    expected = information.against_surrogates(getattr(information, name), labels, bins_of(h), 20, kind="shift")
    assert list(measured) == ["value", "uncorrected", "surrogate_mean", "p", "p_adjusted"]
    close(measured["value"], expected.corrected)
    close(measured["p_adjusted"], expected.p_adjusted)
    other = information.against_surrogates(getattr(information, name), labels, bins_of(h), 20)
    assert not torch.allclose(expected.surrogate_mean, other.surrogate_mean)


@pytest.mark.parametrize("bins", [4, 300])
def test_states_of_equal_bins_are_kept_as_bytes_where_that_is_enough(bins: int) -> None:
    h, labels = given()
    model = Shown(UNITS, CLASSES).double()
    seen = unit_scorer.record_hidden_states(
        model, [(h, labels)], units(model), lambda states: unit_scorer.small_bins(states, bins)
    )
    assert seen.hidden["lstm"].dtype == (torch.uint8 if bins == 4 else torch.int32)
    assert torch.equal(seen.hidden["lstm"].long(), bins_of(h, bins=bins))
