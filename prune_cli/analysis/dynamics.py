"""How an LSTM's hidden state stretches small differences: its largest Lyapunov exponent, with and without some units.

Two questions of the same map (units/dynamics.py). Along clips: what do the frames make of a small difference in the state?
Under a frozen input, the last frame of a clip for ever: is the network itself chaotic (above 0), or does it settle (below)?
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from prune_cli.common.device import device_for_float64
from prune_cli.units.dynamics import lstm_step, lyapunov
from prune_cli.units.removal import gate_inputs, lstm_of, shrink

CLIPS, FROZEN_CLIPS = 200, 50  # trajectories
WARM_UP, STEPS = 100, 400  # under a frozen input


@dataclass(frozen=True)
class Exponents:
    """The largest exponent [nats a frame] of each trajectory, (B,): along the clips, and under a frozen input."""

    clips: Tensor
    frozen: Tensor

    def row(self) -> dict[str, float]:
        """Mean and standard deviation of each over the trajectories, and the share of frozen ones above 0."""
        found = {"lyapunov_clips": self.clips, "lyapunov_frozen": self.frozen}
        row: dict[str, float] = {}
        for name, values in found.items():
            row |= {name: float(values.mean()), f"{name}_std": float(values.std())}
        return row | {"chaotic_frozen": float((self.frozen > 0).double().mean())}


@contextmanager
def one_thread() -> Iterator[None]:
    """QR of many small matrices: torch's threads wait for each other more than they work."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


@torch.no_grad()
def exponents(model: nn.Module, clips_BTHW: Tensor, keep: dict[str, Tensor]) -> Exponents:
    """Of the LSTM with only the units of `keep` ({layer: bool (U,)}), removed inside the recurrence; in float64.

    Both start from the state of rest. Along the clips every frame counts, under a frozen input those after the warm-up.
    """
    device = device_for_float64(clips_BTHW.device)
    small = shrink(model.eval(), keep).to(device).double()
    lstm = lstm_of(small)
    gates_BTG = gate_inputs(lstm, small.features(clips_BTHW[:CLIPS].to(device).double()))  # type: ignore[operator]
    rest = gates_BTG.new_zeros(len(gates_BTG), 2 * lstm.hidden_size)
    frames = gates_BTG.shape[1]
    along = lyapunov(lstm_step(lstm, gates_BTG), rest, frames)[:, 0]
    frozen = lstm_step(lstm, gates_BTG[:FROZEN_CLIPS, -1])
    return Exponents(along, lyapunov(frozen, rest[:FROZEN_CLIPS], STEPS, warmup=WARM_UP)[:, 0])
