"""Whether an LSTM's hidden state stretches small differences, with and without some units: three kinds of exponents.

Along clips, from rest: the finite-time exponents, what the few frames of a clip make of a small difference. In the long run:
the largest Lyapunov exponent under a frozen input (the last frame of a clip for ever) and under a looped one (the clip again
and again, the state carried over), after a warm-up. What these are, and what is evidence of chaos: units/lyapunov.py.

A letter legend: B trajectories, K exponents, T counted frames, P times that are one period of the input apart, I inputs of
the LSTM, G gates.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from prune_cli.common.device import device_for_float64
from prune_cli.common.statistics import mean_interval
from prune_cli.units.lyapunov import cycles, drifts, finite_time, local_exponents, lstm_step, trajectories
from prune_cli.units.removal import gate_inputs, lstm_of, shrink

CLIPS, LONG_CLIPS = 200, 24  # trajectories along clips; in the long run, under each of two inputs
SPECTRUM = 4  # finite-time exponents of a clip
WARM_UP, STEPS = 500, 1000  # frames in the long run; STEPS is cut to whole loops of the clip
BLOCKS = 10  # of counted frames: a trajectory's interval is over their means
AT_ONCE = 8  # clips whose Jacobians are in memory


@dataclass(frozen=True)
class LongRun:
    """Trajectories under an input that repeats itself, after the warm-up.

    local_BT: growth of the tangent at each counted frame [nats]; its mean over T is a trajectory's exponent. states_BPS:
    one period of the input apart.
    """

    local_BT: Tensor
    states_BPS: Tensor

    def row(self, name: str) -> dict[str, float]:
        """The exponent over the trajectories, over each half of the frames, and the share [0, 1] of each fate.

        fixed: the state returns after each period of the input; periodic: after several. drifting: it has reached no
        attractor. chaotic: none of these, and the 95 % interval of the trajectory's exponent is above 0.
        """
        cycle_B, drifting_B = cycles(self.states_BPS), drifts(self.states_BPS)
        first_BT, second_BT = self.local_BT.tensor_split(2, dim=1)
        free_B = (cycle_B == 0) & ~drifting_B
        fates = {
            "fixed": cycle_B == 1,
            "periodic": cycle_B > 1,
            "drifting": drifting_B & (cycle_B == 0),
            "chaotic": free_B & self._positive(),
        }
        exponent = f"lyapunov_{name}"
        halves = {f"{exponent}_first": float(first_BT.mean()), f"{exponent}_second": float(second_BT.mean())}
        shares = {f"{name}_{fate}": float(found_B.double().mean()) for fate, found_B in fates.items()}
        return _over(exponent, self.local_BT.mean(1)) | halves | shares

    def _positive(self) -> Tensor:
        """Whether the 95 % interval over blocks of frames is above 0 (Student's t), (B,)."""
        blocks_BN = torch.stack([block.mean(1) for block in self.local_BT.chunk(BLOCKS, dim=1)], 1)
        intervals = [mean_interval(values) for values in blocks_BN.tolist()]
        return torch.tensor([mean - half > 0 for mean, half in intervals], device=blocks_BN.device)


@dataclass(frozen=True)
class Exponents:
    """Exponents [nats a frame] of each trajectory: finite-time ones along clips, (B, K), and in the long run."""

    finite_BK: Tensor
    frozen: LongRun
    looped: LongRun

    def row(self) -> dict[str, float]:
        """The largest finite-time exponent over the clips, the means of the next ones, and each long run."""
        row = {"clips": len(self.finite_BK)} | _over("ftle", self.finite_BK[:, 0])
        means = dict(enumerate(self.finite_BK.mean(0).tolist(), 1))
        row |= {
            f"ftle_{k}": means.get(k, float("nan")) for k in range(2, SPECTRUM + 1)
        }  # NaN: so few numbers has a state
        row |= {"long_clips": len(self.frozen.local_BT)}
        return row | self.frozen.row("frozen") | self.looped.row("looped")


@contextmanager
def one_thread() -> Iterator[None]:
    """Set torch to one thread inside this context: for the QR of many small matrices threads wait more than they work."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


@torch.no_grad()
def features(model: nn.Module, clips_BTHW: Tensor) -> Tensor:
    """The LSTM's input for the first CLIPS clips, float64 (B, T, I), which does not depend on the units that are kept."""
    device = device_for_float64(clips_BTHW.device)
    double = copy.deepcopy(model).eval().to(device).double()
    return double.features(clips_BTHW[:CLIPS].to(device).double())  # type: ignore[operator]


@torch.no_grad()
def exponents(model: nn.Module, x_BTI: Tensor, keep: dict[str, Tensor]) -> Exponents:
    """Of the LSTM with only the units of `keep` ({layer: bool (U,)}), removed inside the recurrence; in float64, from rest.

    x_BTI: of `features`.
    """
    lstm = lstm_of(shrink(model, keep).to(x_BTI.device).double())
    gates_BTG = gate_inputs(lstm, x_BTI)
    along = torch.cat([_along(lstm, part) for part in gates_BTG.split(AT_ONCE)])
    return Exponents(along, *_long_runs(lstm, gates_BTG[:LONG_CLIPS]))


def _along(lstm: nn.LSTM, gates_BTG: Tensor) -> Tensor:
    """The finite-time exponents over all frames, (B, K)."""
    exponents = min(SPECTRUM, 2 * lstm.hidden_size)
    return finite_time(lstm_step(lstm, gates_BTG), _rest(lstm, gates_BTG), gates_BTG.shape[1], exponents)


def _long_runs(lstm: nn.LSTM, gates_BTG: Tensor) -> Iterator[LongRun]:
    """Under the frozen input, then under the looped one; measured together, which takes half the time."""
    frames = gates_BTG.shape[1]
    inputs_BTG = torch.cat([gates_BTG[:, -1:].expand_as(gates_BTG), gates_BTG])
    step, rest = lstm_step(lstm, inputs_BTG, loop=True), _rest(lstm, inputs_BTG)
    steps = frames * max(1, STEPS // frames)
    local = local_exponents(step, rest, steps, warmup=WARM_UP)[..., 0].chunk(2)
    states = trajectories(step, rest, steps, warmup=WARM_UP).chunk(2)
    for local_BT, states_BTS, period in zip(local, states, (1, frames), strict=True):
        yield LongRun(local_BT, states_BTS[:, period - 1 :: period])


def _rest(lstm: nn.LSTM, gates_BTG: Tensor) -> Tensor:
    """The initial state h = c = 0 of each clip, (B, 2U)."""
    return gates_BTG.new_zeros(len(gates_BTG), 2 * lstm.hidden_size)


def _over(name: str, values_B: Tensor) -> dict[str, float]:
    """Mean, standard deviation and 95 % interval over trajectories, which says nothing of other models."""
    mean, half = mean_interval(values_B.tolist())
    return {name: mean, f"{name}_std": float(values_B.std()), f"{name}_low": mean - half, f"{name}_high": mean + half}
