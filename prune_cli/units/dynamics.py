"""Lyapunov exponents of any map, many trajectories at once, and the map of an LSTM's state.

A letter legend: B trajectories, S numbers of a state, K exponents, T times, U units, G = 4U gates. The state of an LSTM
is h and c, one after the other: S = 2U.

gates_BTG = removal.gate_inputs(lstm, x_BTI)
dynamics.lyapunov(dynamics.lstm_step(lstm, gates_BTG), state_BS, steps=20)                  along the clips
dynamics.lyapunov(dynamics.lstm_step(lstm, gates_BTG[:, -1]), state_BS, 500, warmup=100)    under a frozen input
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
def lyapunov(step: Step, state: Tensor, steps: int, exponents: int = 1, warmup: int = 0) -> Tensor:
    """λ_k = 1/steps · Σ_t ln|R_t[k, k]|, with J_t Q_t-1 = Q_t R_t (QR): (B, K) nats a step, largest first.

    J_t is the Jacobian of the step at time t: K orthonormal tangents are pushed through it exactly, by Jacobian-vector
    products, and made orthonormal again after each step (Benettin et al. 1980; for recurrent networks Vogt et al. 2020,
    and Engelken, Wolf and Abbott 2023). -inf where the map shrinks a direction to nothing.

    step: differentiable, and no trajectory meets another in it. state: (B, S), where each starts; its dtype is that of
    the work. exponents: 1 … S. warmup: first steps, from time 0, that move state and tangents and are not counted, so
    that the tangents turn to where the map stretches most.
    Raises RequestError for a wrong number of exponents or steps, NumericalError where a trajectory leaves the numbers.
    """
    _check(state, steps, exponents, warmup)
    tangents_BSK = _directions(state, exponents)
    total_BK = state.new_zeros(len(state), exponents)
    for time in range(warmup + steps):
        state, tangents_BSK = _push(step, state, tangents_BSK, time)
        tangents_BSK, growth_BK = _orthonormal(tangents_BSK)
        if time >= warmup:
            total_BK += growth_BK
    if not bool(state.isfinite().all()):
        raise NumericalError("a trajectory grew beyond all numbers", "lyapunov", "start it nearer to the attractor")
    return (total_BK / steps).sort(dim=1, descending=True).values


def lstm_step(lstm: nn.LSTM, gates: Tensor, keep_U: Tensor | None = None) -> Step:
    """The map (h, c) -> (h', c') of states (B, 2U), equal to torch's own LSTM.

    gates: of `removal.gate_inputs`; (B, T, G) drives step t with time t, (B, G) freezes the input. keep_U: bool, True =
    keep: the h of a removed unit is not fed back, as if its column of weight_hh were zero; its cell goes on.
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
        return torch.cat(lstm_cell(torch.addmm(_at(gates, time), h_BU, weight_UG), c_BU), dim=1)

    return step


def _push(step: Step, state_BS: Tensor, tangents_BSK: Tensor, time: int) -> tuple[Tensor, Tensor]:
    """The state after the step, and J v of each tangent v."""

    def along(tangent_BS: Tensor) -> tuple[Tensor, Tensor]:
        after_BS, pushed_BS, *_ = torch.func.jvp(lambda state: step(state, time), (state_BS,), (tangent_BS,))
        return after_BS, pushed_BS

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "`torch.jit.script` is deprecated")  # torch's own use of it
        return torch.func.vmap(along, in_dims=-1, out_dims=(None, -1))(tangents_BSK)  # type: ignore[arg-type]


def _orthonormal(tangents_BSK: Tensor) -> tuple[Tensor, Tensor]:
    """Q, and ln of how much each direction has grown, (B, K)."""
    q_BSK, r_BKK = torch.linalg.qr(tangents_BSK)
    return q_BSK, r_BKK.diagonal(dim1=1, dim2=2).abs().log()


def _directions(state_BS: Tensor, exponents: int) -> Tensor:
    """Orthonormal tangents (B, S, K), by chance and always the same: a trajectory's exponents do not depend on the rest."""
    drawn_SK = torch.randn(state_BS.shape[1], exponents, generator=generator(0, "tangents"), dtype=torch.float64)
    return torch.linalg.qr(drawn_SK).Q.to(state_BS).expand(len(state_BS), -1, -1)


def _at(gates: Tensor, time: int) -> Tensor:
    """The gate inputs of one time; frozen ones are the same at all."""
    if gates.ndim == 2:
        return gates
    if time >= gates.shape[1]:
        raise RequestError(f"the input has {gates.shape[1]} times and no more", "lyapunov", "take fewer steps")
    return gates[:, time]


def _check(state: Tensor, steps: int, exponents: int, warmup: int) -> None:
    """Raise RequestError for what cannot be measured."""
    if state.ndim != 2 or not state.is_floating_point():
        raise RequestError("states are real numbers, a row a trajectory", f"state {tuple(state.shape)} {state.dtype}")
    if not 1 <= exponents <= state.shape[1]:
        raise RequestError(f"a map of {state.shape[1]} numbers has as many exponents", f"exponents={exponents}")
    if steps < 1 or warmup < 0:
        raise RequestError("steps are 1 or more, warm-up 0 or more", f"steps={steps}, warmup={warmup}")
