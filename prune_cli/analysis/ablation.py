"""Ablation of LSTM units: accuracy without one unit, and against the share of units removed (the report, Figure 4)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import pandas as pd
import torch
from torch import Tensor

from prune_cli import masks
from prune_cli.analysis.probe import STEPS, Probe, fine_tuned
from prune_cli.common.plain import Row
from prune_cli.common.random import generator
from prune_cli.units.removal import PLACEMENTS

FRACTIONS = tuple(tenth / 10 for tenth in range(10))
DRAWS = 20  # random orders of removal
TUNED_FRACTIONS = (0.1, 0.3, 0.5, 0.7, 0.9)  # shares removed before the fine-tuning steps
TUNED_DRAWS = 3  # random orders that are fine-tuned
RANDOM = "random"


def single(probe: Probe, measured: Mapping[str, Tensor]) -> pd.DataFrame:
    """A row a unit: each measure of it, and the accuracy [%] without it, by placement (accuracy_PLACEMENT)."""
    table = pd.DataFrame({"unit": range(probe.units)} | {name: values.tolist() for name, values in measured.items()})
    alone = ~torch.eye(probe.units, dtype=torch.bool, device=probe.gates_NTG.device)
    for placement in PLACEMENTS:
        table[f"accuracy_{placement}"] = [probe.accuracy(keep, placement) for keep in alone]
    return table


def curves(
    probe: Probe, measured: Mapping[str, Tensor], seed: int, draws: int | None = None, training: Probe | None = None
) -> pd.DataFrame:
    """Accuracy against the share of units removed: measure, keep, placement, steps, fraction, removed, accuracy [%], draw.

    keep low removes the units with the highest values first (the report's "Low"), high those with the lowest ("High").
    `random` has `draws` orders (DRAWS), drawn from `seed`. steps: of fine-tuning after removal; 0, and with a probe of training
    clips (see `fine_tuned`) also its number of steps, at fewer shares removed and of fewer random orders.
    """
    rows = [
        {"measure": measure, "keep": keep, "draw": draw, **row}
        for measure, keep, draw, scores in orders(measured, probe.units, seed, DRAWS if draws is None else draws)
        for row in _curve(probe, scores, training if draw < TUNED_DRAWS else None)
    ]
    return pd.DataFrame(rows)


def orders(measured: Mapping[str, Tensor], units: int, seed: int, draws: int) -> Iterator[tuple[str, str, int, Tensor]]:
    """Yield the orders of removal as (measure, keep, draw, scores), higher = keep: each measure both ways, then random ones."""
    for name, values in measured.items():
        yield name, "low", 0, -values
        yield name, "high", 0, values
    for draw in range(draws):
        yield RANDOM, "", draw, torch.rand(units, generator=generator(seed, "ablation", draw))


def _curve(probe: Probe, scores: Tensor, training: Probe | None) -> Iterator[Row]:
    for fraction in FRACTIONS:
        keep = masks.select({"": scores}, fraction)[""].to(probe.gates_NTG.device)
        row = {"fraction": fraction, "removed": probe.units - int(keep.sum())}
        for placement in PLACEMENTS:
            yield {"placement": placement, "steps": 0, **row, "accuracy": probe.accuracy(keep, placement)}
            if training is not None and fraction in TUNED_FRACTIONS:
                accuracy = fine_tuned(probe, training, keep, placement).accuracy(keep, placement)
                yield {"placement": placement, "steps": STEPS, **row, "accuracy": accuracy}
