"""Lyapunov exponents of any map, finite-time and asymptotic, many trajectories at once; where trajectories end; and the
map of an LSTM's state.

A letter legend: B trajectories, S numbers of a state, K exponents, T times, P times that are one period of the input
apart, U units, G = 4U gates. The state of an LSTM is h and c, one after the other: S = 2U.

gates_BTG = removal.gate_inputs(lstm, x_BTI)
dynamics.finite_time(dynamics.lstm_step(lstm, gates_BTG), state_BS, steps=20)               along the clips
dynamics.lyapunov(dynamics.lstm_step(lstm, gates_BTG[:, -1]), state_BS, 500, warmup=500)    under a frozen input

What is evidence of chaos: an asymptotic exponent (`lyapunov`) with its interval above 0, on a trajectory that stays bounded
and does not repeat itself (`drifts`, `cycles`). A finite-time exponent (`finite_time`) above 0 is none: a product of few
matrices that are not normal stretches some direction for a while even where every difference dies out in the end.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable

import torch
from torch import Tensor, nn

from prune_cli.common.errors import NumericalError, RequestError
from prune_cli.common.random import generator
from prune_cli.units.removal import lstm_cell

Step = Callable[[Tensor, int], Tensor]  # the state at a time (B, S), and the number of that time -> the state after it


@torch.no_grad()
def finite_time(step: Step, state: Tensor, steps: int, exponents: int = 1) -> Tensor:
    """λ_k = 1/steps · ln σ_k(J_steps … J_2 J_1): (B, K) nats a step, the K largest, largest first.

    J_t is the Jacobian of the step at time t, σ_k the k-th singular value of the product: how much the map stretches a
    small difference of the start in the direction that it stretches most (k = 1), in lengths of ‖state‖₂ (finite-time
    Lyapunov exponents: Abarbanel, Brown and Kennel 1991; the Jacobian of the whole sequence: Pascanu et al. 2013). The
    whole product is made, from all S directions, and scaled after each step; a σ_k below about 1e-13 of σ_1 is rounding.

    step: differentiable, and no trajectory meets another in it. state: (B, S), where each starts; its dtype is that of
    the work. exponents: 1 … S. -inf where nothing is left of a direction.
    Raises RequestError for a wrong number of exponents or steps, NumericalError where a trajectory leaves the numbers.
    """
    _check(state, steps, exponents)
    product_BSS = torch.eye(state.shape[1]).to(state).expand(len(state), -1, -1)
    scale_B = state.new_zeros(len(state))
    for time in range(steps):
        state, product_BSS = _push_tangents(step, state, product_BSS, time)
        norm_B = product_BSS.flatten(1).norm(dim=1).clamp_min(torch.finfo(state.dtype).tiny)
        product_BSS, scale_B = product_BSS / norm_B[:, None, None], scale_B + norm_B.log()
    _check_end(state)
    return (torch.linalg.svdvals(product_BSS)[:, :exponents].log() + scale_B[:, None]) / steps


def lyapunov(step: Step, state: Tensor, steps: int, exponents: int = 1, warmup: int = 0) -> Tensor:
    """λ_k = 1/steps · Σ_t ln|R_t[k, k]|, the means of `local_exponents` over time: (B, K) nats a step, largest first.

    They tend to the asymptotic exponents as warm-up and steps grow, and are not the finite-time ones of few steps: a
    tangent drawn at random lies mostly off the directions that are stretched, and without a warm-up λ_1 is too low by
    about ½ ln(S / r) / steps, r = Σ σ_k² / σ_1² of the product being the directions that share the growth, 1 or more.
    For few steps there is `finite_time`.
    """
    return local_exponents(step, state, steps, exponents, warmup).mean(1).sort(dim=1, descending=True).values


@torch.no_grad()
def local_exponents(step: Step, state: Tensor, steps: int, exponents: int = 1, warmup: int = 0) -> Tensor:
    """ln|R_t[k, k]| at each counted step t, with J_t Q_t-1 = Q_t R_t (QR): (B, T, K) nats, T = steps.

    J_t is the Jacobian of the step at time t: K orthonormal tangents are pushed through it exactly, by Jacobian-vector
    products, and made orthonormal again after each step (Benettin et al. 1980; for recurrent networks Vogt et al. 2020,
    and Engelken, Wolf and Abbott 2023). -inf where the map shrinks a direction to nothing.

    step, state, exponents, errors: as of `finite_time`. warmup: first steps, from time 0, that move state and tangents and
    are not counted, so that the tangents turn to where the map stretches most.
    """
    _check(state, steps, exponents, warmup)
    tangents_BSK, growth = _initial_tangents(state, exponents), []
    for time in range(warmup + steps):
        state, tangents_BSK = _push_tangents(step, state, tangents_BSK, time)
        tangents_BSK, growth_BK = _orthonormalise(tangents_BSK)
        growth.append(growth_BK)
    _check_end(state)
    return torch.stack(growth[warmup:], 1)


@torch.no_grad()
def trajectories(step: Step, state: Tensor, steps: int, warmup: int = 0) -> Tensor:
    """The states after each step that follows the warm-up: (B, T, S), T = steps."""
    _check(state, steps, 1, warmup)
    states = []
    for time in range(warmup + steps):
        state = step(state, time)
        states += [state] * (time >= warmup)
    return torch.stack(states, 1)


def cycles(states_BPS: Tensor, tolerance: float = 1e-6) -> Tensor:
    """After how many times each trajectory is where it was: int (B,), 1 for a fixed point, 0 where it never was.

    states_BPS: one period of the input apart, all after a warm-up. The last state is held against all earlier ones; two
    are the same where no number of the state differs by more than the tolerance.
    """
    back_BP = (states_BPS[:, :-1].flip(1) - states_BPS[:, -1:]).abs().amax(2) <= tolerance
    return (back_BP.cumsum(1) == 0).sum(1).add(1) * back_BP.any(1)


def drifts(states_BPS: Tensor) -> Tensor:
    """Whether a trajectory is still on its way, or has no bound: bool (B,).

    True where some number of the state has left, in all of the second half of the times, the range that it had in the
    first: a cell that adds up its input for ever, or a slow transient. No attractor has been reached then.
    """
    first_BPS, second_BPS = states_BPS.tensor_split(2, dim=1)
    above_BS = second_BPS.amin(1) > first_BPS.amax(1)
    return (above_BS | (second_BPS.amax(1) < first_BPS.amin(1))).any(1)


def lstm_step(lstm: nn.LSTM, gates: Tensor, keep_U: Tensor | None = None, loop: bool = False) -> Step:
    """The map (h, c) -> (h', c') of states (B, 2U), equal to torch's own LSTM.

    gates: of `removal.gate_inputs`; (B, T, G) drives step t with time t, (B, G) freezes the input. keep_U: bool, True =
    keep: the h of a removed unit is not fed back, as if its column of weight_hh were zero; its cell goes on. loop: after
    its last time the input starts again, and the state goes on.
    Raises RequestError for an LSTM that is not of one plain layer; the step does at a time that the gates do not have.
    """
    if lstm.num_layers != 1 or lstm.bidirectional or lstm.proj_size:
        raise RequestError("only an LSTM of one layer, one direction and no projection has this step", str(lstm))
    weight_UG = lstm.get_parameter("weight_hh_l0").detach().T
    if keep_U is not None:
        weight_UG = weight_UG * keep_U.to(weight_UG).unsqueeze(1)
    gates = gates.detach()

    def step(state_BS: Tensor, time: int) -> Tensor:
        h_BU, c_BU = state_BS.chunk(2, dim=1)
        gates_BG = _gates_at(gates, time % gates.shape[1] if loop else time)
        return torch.cat(lstm_cell(torch.addmm(gates_BG, h_BU, weight_UG), c_BU), dim=1)

    return step


def _push_tangents(step: Step, state_BS: Tensor, tangents_BSK: Tensor, time: int) -> tuple[Tensor, Tensor]:
    """The state after the step, and J v of each tangent v."""

    def along(tangent_BS: Tensor) -> tuple[Tensor, Tensor]:
        after_BS, pushed_BS, *_ = torch.func.jvp(lambda state: step(state, time), (state_BS,), (tangent_BS,))
        return after_BS, pushed_BS

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "`torch.jit.script` is deprecated")  # torch's own use of it
        return torch.func.vmap(along, in_dims=-1, out_dims=(None, -1))(tangents_BSK)  # type: ignore[arg-type]


def _orthonormalise(tangents_BSK: Tensor) -> tuple[Tensor, Tensor]:
    """Q, and ln of how much each direction has grown, (B, K)."""
    q_BSK, r_BKK = torch.linalg.qr(tangents_BSK)
    return q_BSK, r_BKK.diagonal(dim1=1, dim2=2).abs().log()


def _initial_tangents(state_BS: Tensor, exponents: int) -> Tensor:
    """Orthonormal tangents (B, S, K), by chance and always the same: a trajectory's exponents do not depend on the rest."""
    drawn_SK = torch.randn(state_BS.shape[1], exponents, generator=generator(0, "tangents"), dtype=torch.float64)
    return torch.linalg.qr(drawn_SK).Q.to(state_BS).expand(len(state_BS), -1, -1)


def _gates_at(gates: Tensor, time: int) -> Tensor:
    """The gate inputs (B, G) of one time; gates of shape (B, G) are frozen. Raises RequestError beyond the last time."""
    if gates.ndim == 2:
        return gates
    if time >= gates.shape[1]:
        raise RequestError(f"the input has {gates.shape[1]} times and no more", "lyapunov", "take fewer steps")
    return gates[:, time]


def _check(state: Tensor, steps: int, exponents: int, warmup: int = 0) -> None:
    """Raise RequestError for states that are no float matrix, or exponents, steps or warm-up out of range."""
    if state.ndim != 2 or not state.is_floating_point():
        raise RequestError("states are real numbers, a row a trajectory", f"state {tuple(state.shape)} {state.dtype}")
    if not 1 <= exponents <= state.shape[1]:
        raise RequestError(f"a map of {state.shape[1]} numbers has as many exponents", f"exponents={exponents}")
    if steps < 1 or warmup < 0:
        raise RequestError("steps are 1 or more, warm-up 0 or more", f"steps={steps}, warmup={warmup}")


def _check_end(state: Tensor) -> None:
    """Raise NumericalError where a state is not finite."""
    if not bool(state.isfinite().all()):
        raise NumericalError("a trajectory grew beyond all numbers", "lyapunov", "start it nearer to the attractor")
