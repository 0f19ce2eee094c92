"""Removed units: the recurrence written as a plain loop, zeros in weights, a smaller LSTM, mutants."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_lstm import TinyClassifier, clips, tiny
from torch import Tensor, nn

from prune_cli import masks
from prune_cli.common.errors import ConfigError
from prune_cli.models.networks.clip_classifier import ClipClassifier
from prune_cli.models.vit_micro import ViTMicro
from prune_cli.units.removal import (
    gate_inputs,
    has_units,
    hidden_states,
    lstm_of,
    readers_of,
    shrink,
    units,
    weight_mask,
)

KEEP = torch.tensor([True, False, True, True, False])
U = len(KEEP)
Forward = Callable[[TinyClassifier, Tensor], Tensor]


def model(seed: int = 0) -> TinyClassifier:
    return tiny(units=U, seed=seed).eval()


@torch.no_grad()
def plainly(net: TinyClassifier, x_BTI: Tensor, m: Tensor, read: Tensor, cell: Tensor) -> tuple[Tensor, Tensor]:
    """Frame by frame: h·m is fed back, h·read is read, and c·cell goes on. Logits (B, K, T), and the last cell (B, U)."""
    lstm, logits = net.lstm, []
    h = c = torch.zeros(len(x_BTI), U, dtype=x_BTI.dtype)
    for x in x_BTI.unbind(1):
        gates = x @ lstm.weight_ih_l0.T + lstm.bias_ih_l0 + h @ lstm.weight_hh_l0.T + lstm.bias_hh_l0
        i, f, g, o = gates.chunk(4, 1)
        c = (f.sigmoid() * c + i.sigmoid() * g.tanh()) * cell
        out = o.sigmoid() * c.tanh()
        h = out * m
        logits.append((out * read) @ net.head.weight.T + net.head.bias)
    return torch.stack(logits, 2), c


def plain_logits(net: TinyClassifier, x_BTI: Tensor, m: Tensor, read: Tensor) -> Tensor:
    return plainly(net, x_BTI, m, read, torch.ones_like(m))[0]


def removed(net: TinyClassifier, keep: Tensor, placement: str) -> TinyClassifier:
    """The model with these units removed, as the pipeline does it."""
    masked = copy.deepcopy(net)
    zeroed = weight_mask(masked, {"lstm": keep}, placement)
    masks.apply({name: masked.get_parameter(name) for name in zeroed}, zeroed)
    return masked


def close(one: Tensor, other: Tensor, within: float = 1e-12) -> None:
    torch.testing.assert_close(one, other, rtol=0, atol=within)


def check_recurrence(forward: Forward) -> None:
    net, (x, _) = model(), clips(6, frames=7)
    m = KEEP.double()
    close(forward(net, x), plain_logits(net, x, m, m))


@torch.no_grad()
def test_inside_the_recurrence_a_removed_unit_is_silent_at_every_step_and_its_cell_untouched() -> None:
    check_recurrence(lambda net, x: removed(net, KEEP, "recurrence")(x))


@torch.no_grad()
def test_wrong_removals_are_rejected() -> None:
    m, one = KEEP.double(), torch.ones(U, dtype=torch.float64)

    def gates_silenced(net: TinyClassifier, x: Tensor) -> Tensor:
        """Rows instead of columns: the others still hear the unit."""
        other = copy.deepcopy(net)
        other.lstm.weight_hh_l0.mul_(m.repeat(4)[:, None])
        other.head.weight.mul_(m)
        return other(x)

    mutants: list[Forward] = [
        lambda net, x: plain_logits(net, x, one, m),  # the readout alone
        lambda net, x: plain_logits(net, x, m, one),  # read all the same
        lambda net, x: plain_logits(net, x, 1 - m, 1 - m),  # the mask turned round
        gates_silenced,
    ]
    for mutant in mutants:
        with pytest.raises(AssertionError):
            check_recurrence(mutant)


def check_cell(last_cell: Forward) -> None:
    net, (x, _) = model(), clips(6, frames=7)
    m = KEEP.double()
    close(last_cell(net, x), plainly(net, x, m, m, torch.ones_like(m))[1])


@torch.no_grad()
def test_the_cell_of_a_removed_unit_goes_on() -> None:
    check_cell(lambda net, x: removed(net, KEEP, "recurrence").lstm(x)[1][1][0])


@torch.no_grad()
def test_masking_the_cell_too_is_rejected_by_the_cell_though_no_answer_tells() -> None:
    """A cell reaches nobody but its own h, so the answers are the same."""
    net, (x, _) = model(), clips(6, frames=7)
    m = KEEP.double()
    close(plainly(net, x, m, m, cell=m)[0], plain_logits(net, x, m, m))
    with pytest.raises(AssertionError):
        check_cell(lambda net, x: plainly(net, x, m, m, cell=m)[1])


@torch.no_grad()
def test_at_the_readout_the_recurrence_still_hears_the_unit() -> None:
    net, (x, _) = model(), clips(6, frames=7)
    m, one = KEEP.double(), torch.ones(U, dtype=torch.float64)
    masked = removed(net, KEEP, "readout")
    close(masked(x), plain_logits(net, x, one, m))
    close(masked.lstm(x)[0], net.lstm(x)[0])
    assert not torch.allclose(masked(x), removed(net, KEEP, "recurrence")(x))


def test_the_mask_of_weights_is_zero_in_the_columns_of_a_removed_unit() -> None:
    net = model()
    inside = weight_mask(net, {"lstm": KEEP}, "recurrence")
    assert {name: tuple(keep.shape) for name, keep in inside.items()} == {
        "lstm.weight_hh_l0": (4 * U, U),
        "head.weight": (3, U),
    }
    outside = weight_mask(net, {"lstm": KEEP}, "readout")
    assert list(outside) == ["head.weight"]
    for keep in (*inside.values(), *outside.values()):
        assert all(torch.equal(row, KEEP) for row in keep)
    assert list(readers_of(net, "recurrence")) == list(inside)


def test_units_are_one_mask_of_ones_by_the_name_of_the_lstm() -> None:
    found = units(model())
    assert list(found) == ["lstm"]
    assert torch.equal(found["lstm"].detach(), torch.ones(U, dtype=torch.float64))
    assert not found["lstm"].requires_grad
    with torch.device("meta"):
        assert units(TinyClassifier(units=7))["lstm"].shape == (7,)


# -- A smaller LSTM ------------------------------------------------------------------------------------------------


def check_shrink(smaller: Callable[[nn.Module, dict[str, Tensor]], nn.Module]) -> None:
    net, (x, _) = model(), clips(6, frames=7)
    small = smaller(net, {"lstm": KEEP})
    close(small(x), removed(net, KEEP, "recurrence")(x))
    assert small.lstm.hidden_size == small.head.in_features == 3  # type: ignore[union-attr]


@torch.no_grad()
def test_a_shrunk_lstm_answers_as_the_masked_one() -> None:
    check_shrink(shrink)


@torch.no_grad()
def test_wrong_smaller_lstms_are_rejected() -> None:
    def readout_alone(net: nn.Module, mask: dict[str, Tensor]) -> nn.Module:
        small = copy.deepcopy(net)
        small.head.weight.mul_(mask["lstm"])  # type: ignore[union-attr,operator]
        return small

    def by_units(net: nn.Module, mask: dict[str, Tensor]) -> nn.Module:
        """Rows as if the four gates of a unit stood together."""
        small, keep = shrink(net, mask), mask["lstm"]
        rows = keep.repeat_interleave(4)
        for name, value in net.lstm.state_dict().items():  # type: ignore[union-attr]
            kept = value[rows][:, keep] if name == "weight_hh_l0" else value[rows]
            small.lstm.get_parameter(name).copy_(kept)  # type: ignore[union-attr]
        return small

    def the_others(net: nn.Module, _: dict[str, Tensor]) -> nn.Module:
        return shrink(net, {"lstm": torch.tensor([True, True, True, False, False])})

    for mutant in (readout_alone, by_units, the_others):
        with pytest.raises(AssertionError):
            check_shrink(mutant)


@settings(max_examples=25)
@given(st.lists(st.booleans(), min_size=U, max_size=U).filter(any), st.integers(0, 9))
@torch.no_grad()
def test_any_units_may_stay(keep: list[bool], seed: int) -> None:
    net, (x, _) = model(seed), clips(3)
    mask = {"lstm": torch.tensor(keep)}
    small = shrink(net, mask)
    close(small(x), removed(net, mask["lstm"], "recurrence")(x))
    close(small.lstm(x)[0], hidden_states(net.lstm, gate_inputs(net.lstm, x), mask["lstm"]))  # type: ignore[operator]


@torch.no_grad()
def test_the_real_model_in_float32_agrees_to_1e5_and_has_fewer_parameters() -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = ClipClassifier(4, 16).eval()
    keep = torch.rand(16, generator=torch.Generator().manual_seed(0)) < 0.5
    x = torch.rand(2, 6, 32, 32, generator=torch.Generator().manual_seed(1))
    small, kept = shrink(net, {"lstm": keep}), int(keep.sum())
    assert {p.dtype for p in small.parameters()} == {torch.float32}
    close(small(x), removed(net, keep, "recurrence")(x), 1e-5)  # type: ignore[arg-type]
    saved = (16 - kept) * (4 * 4096 + 2 * 4 + 4) + 4 * (16**2 - kept**2)
    counts = [sum(p.numel() for p in m.parameters()) for m in (net, small)]
    assert counts[0] - counts[1] == saved > 0
    fresh = ClipClassifier(4, kept)
    fresh.load_state_dict(small.state_dict())  # it is a model with fewer units, and can be loaded as one


def test_shrinking_leaves_the_model_as_it_was_and_keeps_modes() -> None:
    net = model().train()
    net.head.eval()
    before = {name: t.clone() for name, t in net.state_dict().items()}
    small = shrink(net, {"lstm": KEEP})
    assert all(torch.equal(t, before[name]) for name, t in net.state_dict().items())
    assert (net.lstm.hidden_size, net.head.in_features) == (U, U)
    assert [part.training for part in small.modules()] == [part.training for part in net.modules()]
    assert all(p.requires_grad for p in small.parameters())
    small(clips(2)[0]).sum().backward()  # it can be trained on


def test_an_lstm_without_a_unit_is_refused() -> None:
    with pytest.raises(ConfigError, match="without units") as caught:
        shrink(model(), {"lstm": torch.zeros(U, dtype=torch.bool)})
    assert caught.value.where == "lstm"


# -- Hidden states ---------------------------------------------------------------------------------------------------


@torch.no_grad()
def test_hidden_states_from_gate_inputs_are_those_of_torchs_own_lstm() -> None:
    net, (x, _) = model(), clips(6, frames=7)
    gates = gate_inputs(net.lstm, x)
    assert gates.shape == (6, 7, 4 * U)
    expected = net.lstm(x)[0]
    close(hidden_states(net.lstm, gates), expected)
    close(hidden_states(net.lstm, gates, torch.ones(U, dtype=torch.bool)), expected)
    inside = removed(net, KEEP, "recurrence").lstm(x)[0]
    close(hidden_states(net.lstm, gates, KEEP), inside[..., KEEP])
    assert hidden_states(net.lstm, gates, torch.zeros(U, dtype=torch.bool)).shape == (6, 7, 0)


# -- What has no such units ------------------------------------------------------------------------------------------


class Two(TinyClassifier):
    """With a second recurrent layer."""

    def __init__(self) -> None:
        super().__init__()
        self.more = nn.LSTM(4, 4)


class Other(TinyClassifier):
    """With another recurrent layer in place of the plain LSTM."""

    def __init__(self, layer: nn.Module):
        super().__init__()
        self.lstm = layer  # type: ignore[assignment]


OTHERS = {
    "a GRU": lambda: Other(nn.GRU(3, 4)),
    "two layers": lambda: Other(nn.LSTM(3, 4, num_layers=2)),
    "both directions": lambda: Other(nn.LSTM(3, 4, bidirectional=True)),
    "a projection": lambda: Other(nn.LSTM(3, 8, proj_size=4)),
    "no bias": lambda: Other(nn.LSTM(3, 4, bias=False)),
    "a classifier of something else": lambda: Other(nn.LSTM(3, 5)),
    "two LSTMs": Two,
    "none": lambda: ViTMicro().build(3),
}


@pytest.mark.parametrize("made", OTHERS.values(), ids=OTHERS.keys())
def test_a_model_without_such_an_lstm_is_refused(made: Callable[[], nn.Module]) -> None:
    net = made()
    assert not has_units(net)
    for ask in (units, lstm_of, lambda n: readers_of(n, "recurrence")):
        with pytest.raises(ConfigError, match="no units") as caught:
            ask(net)
        assert (caught.value.where, caught.value.hint) == (type(net).__name__, "model=lstm128")


def test_a_model_with_such_an_lstm_has_units() -> None:
    assert has_units(model())
    assert lstm_of(net := model()) is not None and has_units(net)
