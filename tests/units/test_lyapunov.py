"""Lyapunov exponents, finite-time and asymptotic: known maps, linear algebra, an LSTM beside torch's own, mutants."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from prune_cli.common.errors import NumericalError, RequestError
from prune_cli.units.lyapunov import (
    Step,
    cycles,
    drifts,
    finite_time,
    local_exponents,
    lstm_step,
    lyapunov,
    trajectories,
)
from prune_cli.units.removal import gate_inputs


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def logistic(r: float) -> Step:
    return lambda x, time: r * x * (1 - x)  # noqa: ARG005


def henon(state: Tensor, time: int) -> Tensor:  # noqa: ARG001
    x, y = state.unbind(1)
    return torch.stack([1 - 1.4 * x**2 + y, 0.3 * x], dim=1)


def linear(*matrices: Tensor) -> Step:
    """The matrices in turn."""
    return lambda state, time: state @ matrices[time % len(matrices)].t()


def with_eigenvalues(*values: float) -> Tensor:
    """A matrix whose eigenvectors are far from orthogonal."""
    basis = drawn(len(values), len(values))
    return basis @ torch.diag(torch.tensor(values, dtype=torch.float64)) @ basis.inverse()


def close(found: Tensor, expected: object, within: float) -> None:
    torch.testing.assert_close(found, torch.as_tensor(expected, dtype=found.dtype), rtol=0, atol=within)


def check_henon() -> None:
    start = 0.1 * drawn(200, 2).clamp(-2, 2)
    found = lyapunov(henon, start, 200, exponents=2, warmup=40)
    close(found.sum(1), [math.log(0.3)] * 200, 1e-12)  # the area shrinks so at every point
    close(found.mean(0), [0.419, math.log(0.3) - 0.419], 0.005)


def test_the_logistic_map() -> None:
    start = torch.rand(200, 1, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    close(lyapunov(logistic(4), start, 200).mean(), math.log(2), 0.005)
    period_2 = lyapunov(logistic(3.2), start[:5], 100, warmup=100)
    close(period_2, [[math.log(abs(4 + 2 * 3.2 - 3.2**2)) / 2]] * 5, 1e-9)  # f'(a) f'(b) of its two points; negative


def test_the_henon_map() -> None:
    check_henon()


def test_no_second_direction_and_bits_are_rejected(monkeypatch: pytest.MonkeyPatch) -> None:
    def normalised(tangents: Tensor) -> tuple[Tensor, Tensor]:
        length = tangents.norm(dim=1, keepdim=True)
        return tangents / length, length.squeeze(1).log()

    def bits(tangents: Tensor) -> tuple[Tensor, Tensor]:
        q, r = torch.linalg.qr(tangents)
        return q, r.diagonal(dim1=1, dim2=2).abs().log2()

    for mutant in (normalised, bits):
        monkeypatch.setattr("prune_cli.units.lyapunov._orthonormalise", mutant)
        with pytest.raises(AssertionError):
            check_henon()


def test_a_linear_map_grows_as_its_eigenvalues_say() -> None:
    found = lyapunov(linear(with_eigenvalues(0.5, -2, 0.1)), drawn(2, 3), 20, exponents=3, warmup=60)
    close(found, [[math.log(2), math.log(0.5), math.log(0.1)]] * 2, 1e-9)


def test_a_pair_of_complex_eigenvalues_counts_by_its_modulus() -> None:
    turn = torch.tensor([[0.6, -3.2], [0.2, 0.6]], dtype=torch.float64)  # 0.6 ± 0.8i: modulus 1
    close(lyapunov(linear(turn), drawn(1, 2), 400, exponents=2), [[0.0, 0.0]], 0.01)


def test_few_steps_of_a_random_stable_map_are_measured_exactly() -> None:
    """256 numbers, 20 steps: σ_max is exact, and one tangent drawn at random is far too low, by as much as is said."""
    maps_BSS = 0.9 * drawn(20, 256, 256) / 16
    assert float(torch.linalg.eigvals(maps_BSS).abs().max()) < 1
    values_BS = torch.linalg.svdvals(torch.linalg.matrix_power(maps_BSS, 20))
    exact = values_BS[:, :4].log() / 20
    steps = [linear(map_SS) for map_SS in maps_BSS]  # one by one: batched, torch copies the maps
    starts = drawn(20, 1, 256)
    found = [finite_time(step, start, 20, exponents=4) for step, start in zip(steps, starts, strict=True)]
    close(torch.cat(found), exact, 1e-9)
    random = [lyapunov(step, start, 20) for step, start in zip(steps, starts, strict=True)]
    bias = torch.cat(random)[:, 0] - exact[:, 0]
    share = values_BS.square().sum(1) / values_BS[:, 0].square()  # directions that share the growth
    close(bias.mean(), -0.5 * (256 / share).log().mean() / 20, 0.02)
    assert float(bias.max()) < -0.05


def test_growth_for_a_while_is_no_growth_in_the_long_run() -> None:
    """A product that is not normal: 10 stretches for some steps, 0.5 decides in the end."""
    sheared = linear(torch.tensor([[0.5, 10.0], [0.0, 0.5]], dtype=torch.float64))
    assert float(finite_time(sheared, drawn(1, 2), 4)) > 0.4
    close(lyapunov(sheared, drawn(1, 2), 400, warmup=400), [[math.log(0.5)]], 5e-3)


def test_a_rotation_neither_stretches_nor_shrinks() -> None:
    turn = linear(torch.linalg.qr(drawn(5, 5)).Q)
    close(finite_time(turn, drawn(3, 5), 20, exponents=5), [[0.0] * 5] * 3, 1e-12)
    close(lyapunov(turn, drawn(3, 5), 20, exponents=5), [[0.0] * 5] * 3, 1e-12)


@pytest.mark.parametrize("factor", [1e-3, 1e3])
def test_a_product_beyond_all_numbers_is_measured(factor: float) -> None:
    scaled, start = linear(factor * torch.eye(2, dtype=torch.float64)), torch.zeros(1, 2, dtype=torch.float64)
    close(finite_time(scaled, start, 200, exponents=2), [[math.log(factor)] * 2], 1e-9)


def test_the_finite_time_exponents_of_the_henon_map_sum_to_its_contraction() -> None:
    found = finite_time(henon, 0.1 * drawn(50, 2).clamp(-2, 2), 8, exponents=2)
    close(found.sum(1), [math.log(0.3)] * 50, 1e-6)


def test_nothing_left_of_a_product_is_minus_infinity() -> None:
    nothing = linear(torch.zeros(2, 2, dtype=torch.float64))
    assert finite_time(nothing, drawn(1, 2), 3, exponents=2).tolist() == [[-math.inf, -math.inf]]


def test_exponents_of_each_step_have_the_exponents_as_means() -> None:
    start = 0.1 * drawn(6, 2).clamp(-2, 2)
    local = local_exponents(henon, start, 30, exponents=2, warmup=5)
    assert local.shape == (6, 30, 2)
    close(local.mean(1), lyapunov(henon, start, 30, exponents=2, warmup=5), 1e-12)
    longer = local_exponents(henon, start, 35, exponents=2)
    close(local, longer[:, 5:], 1e-12)


@pytest.mark.parametrize(("r", "after"), [(2.8, 1), (3.2, 2), (3.5, 4), (4, 0)])
def test_where_the_logistic_map_ends(r: float, after: int) -> None:
    start = torch.rand(20, 1, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    states = trajectories(logistic(r), start, 200, warmup=800)
    assert states.shape == (20, 200, 1)
    assert cycles(states).tolist() == [after] * 20
    assert not bool(drifts(states).any())


def test_a_trajectory_on_its_way_drifts() -> None:
    """One number of three adds up for ever, or creeps to its end, up or down; a turn with it does not."""
    turn = torch.tensor([[0.6, -0.8], [0.8, 0.6]], dtype=torch.float64)

    def with_third(step: Callable[[Tensor], Tensor]) -> Step:
        return lambda state, time: torch.cat([state[:, :2] @ turn.t(), step(state[:, 2:])], 1)  # noqa: ARG005

    start = torch.tensor([[1.0, 0.0, 1.0]], dtype=torch.float64)
    moves = {lambda x: x + 1: True, lambda x: 0.999 * x: True, lambda x: x: False, lambda x: -x: False}
    for move, expected in moves.items():
        states = trajectories(with_third(move), start, 200)
        assert drifts(states).tolist() == [expected]
        assert cycles(states).tolist() == [0]


def test_each_step_has_its_time_and_warm_up_is_not_counted() -> None:
    two, three = 2 * torch.eye(1, dtype=torch.float64), 3 * torch.eye(1, dtype=torch.float64)
    start = drawn(1, 1)
    close(lyapunov(linear(two, three), start, 4), [[math.log(6) / 2]], 1e-12)
    close(lyapunov(linear(two, three), start, 1), [[math.log(2)]], 1e-12)
    close(lyapunov(linear(two, three), start, 1, warmup=1), [[math.log(3)]], 1e-12)


def test_a_batch_gives_what_each_trajectory_gives_alone() -> None:
    lstm, inputs, state = net(3, 4), drawn(5, 8, 3), drawn(5, 8, seed=1)
    gates = gate_inputs(lstm, inputs)
    together = lyapunov(lstm_step(lstm, gates), state, 8, exponents=3)
    alone = [lyapunov(lstm_step(lstm, gates[[b]]), state[[b]], 8, exponents=3) for b in range(5)]
    assert together.shape == (5, 3)
    assert bool((together.diff(dim=1) <= 0).all())
    close(together, torch.cat(alone), 1e-12)


def test_the_finite_time_exponents_of_an_lstm_are_those_of_torchs_own() -> None:
    """From the Jacobian of the last (h, c) by the first one, of all frames at once; each clip as if alone."""
    lstm, inputs, state = net(3, 4), drawn(5, 7, 3), drawn(5, 8, seed=1)

    def last(state: Tensor, clip: int) -> Tensor:
        _, (h, c) = lstm(inputs[[clip]], tuple(part[None, None].contiguous() for part in state.chunk(2)))
        return torch.cat([h, c], 2).flatten()

    whole = [torch.autograd.functional.jacobian(lambda s, clip=clip: last(s, clip), state[clip]) for clip in range(5)]
    found = finite_time(lstm_step(lstm, gate_inputs(lstm, inputs)), state, 7, exponents=4)
    close(found, torch.linalg.svdvals(torch.stack(whole))[:, :4].log() / 7, 1e-9)


def test_a_looped_input_starts_again_and_the_state_goes_on() -> None:
    lstm, inputs, state = net(3, 4), drawn(2, 5, 3), drawn(2, 8, seed=1)
    looped = lstm_step(lstm, gate_inputs(lstm, inputs), loop=True)
    thrice = lstm_step(lstm, gate_inputs(lstm, inputs.repeat(1, 3, 1)))
    close(trajectories(looped, state, 15), trajectories(thrice, state, 15), 1e-12)


def test_a_direction_that_the_map_forgets_is_minus_infinity() -> None:
    found = lyapunov(linear(torch.diag(torch.tensor([2.0, 0], dtype=torch.float64))), drawn(1, 2), 3, exponents=2)
    assert float(found[0, 1]) == -math.inf
    assert math.isfinite(float(found[0, 0]))


def net(inputs: int, units: int, scale: float = 1.5) -> nn.LSTM:
    lstm = nn.LSTM(inputs, units, batch_first=True, dtype=torch.float64)
    for place, weight in enumerate(lstm.parameters()):
        weight.data = scale * drawn(*weight.shape, seed=place) / units**0.5
    return lstm


@pytest.mark.parametrize("masked", [False, True])
def test_the_step_is_that_of_torch(masked: bool) -> None:
    lstm, inputs = net(3, 5), drawn(4, 7, 3)
    keep = torch.tensor([True, False, True, True, False]) if masked else None
    step, state = lstm_step(lstm, gate_inputs(lstm, inputs), keep), drawn(4, 10, seed=1)
    found, start = [], state
    for time in range(7):
        state = step(state, time)
        found.append(state[:, :5])
    if keep is not None:
        lstm.get_parameter("weight_hh_l0").data[:, ~keep] = 0
    expected, (_, cell) = lstm(inputs, tuple(part.contiguous()[None] for part in start.chunk(2, 1)))
    close(torch.stack(found, 1), expected.detach(), 1e-12)
    close(state[:, 5:], cell[0].detach(), 1e-12)


def at_rest(step: Step, units: int) -> Tensor:
    """The fixed point that a frozen input leads to."""
    state = torch.zeros(1, 2 * units, dtype=torch.float64)
    for _ in range(2000):
        state = step(state, 0)
    close(step(state, 0), state, 1e-13)
    return state


@pytest.mark.parametrize("removed", [[], [0, 2]])
def test_at_a_fixed_point_it_is_the_spectral_radius(removed: list[int]) -> None:
    lstm, units = net(3, 6, scale=0.8), 6
    keep = torch.ones(units, dtype=torch.bool)
    keep[removed] = False
    step = lstm_step(lstm, gate_inputs(lstm, drawn(1, 1, 3))[:, 0], keep)
    state = at_rest(step, units)
    jacobian = torch.func.jacrev(lambda state: step(state, 0))(state)[0, :, 0]
    radius = float(torch.linalg.eigvals(jacobian).abs().max())
    close(lyapunov(step, state, 500, warmup=200), [[math.log(radius)]], 2e-3)


def test_with_nothing_fed_back_only_the_forget_gates_are_left() -> None:
    gates = gate_inputs(net(3, 4), drawn(1, 1, 3))[:, 0]
    step = lstm_step(net(3, 4), gates, torch.zeros(4, dtype=torch.bool))
    forget = gates[:, 4:8].sigmoid().log().sort(descending=True).values
    close(lyapunov(step, torch.zeros(1, 8, dtype=torch.float64), 20, exponents=4, warmup=200), forget.detach(), 1e-6)


@pytest.mark.parametrize(
    "work",
    [
        lambda: lyapunov(henon, drawn(2, 2), 5, exponents=3),
        lambda: lyapunov(henon, drawn(2, 2), 5, exponents=0),
        lambda: finite_time(henon, drawn(2, 2), 5, exponents=3),
        lambda: finite_time(henon, drawn(2, 2), 0),
        lambda: finite_time(lstm_step(net(3, 4), drawn(2, 5, 16)), drawn(2, 8), 6),
        lambda: trajectories(henon, drawn(2, 2), 0),
        lambda: lyapunov(henon, drawn(2, 2), 0),
        lambda: lyapunov(henon, drawn(2, 2), 5, warmup=-1),
        lambda: lyapunov(henon, drawn(2), 5),
        lambda: lyapunov(henon, drawn(2, 2).long(), 5),
        lambda: lyapunov(lstm_step(net(3, 4), drawn(2, 5, 16)), drawn(2, 8), 6),
        lambda: lstm_step(nn.LSTM(3, 4, num_layers=2), drawn(2, 5, 16)),
        lambda: lstm_step(nn.LSTM(3, 4, bidirectional=True), drawn(2, 5, 16)),
    ],
)
def test_what_cannot_be_measured_is_refused(work: Callable[[], object]) -> None:
    with pytest.raises(RequestError) as error:
        work()
    assert len(error.value.lines()) <= 3


@pytest.mark.parametrize("measure", [lyapunov, finite_time])
def test_a_trajectory_that_escapes_is_an_error(measure: Callable[..., Tensor]) -> None:
    with pytest.raises(NumericalError, match="beyond all numbers"):
        measure(logistic(4), torch.full((1, 1), 2.0, dtype=torch.float64), 50)
