"""What units of an LSTM are worth: accuracy without one of them, and without more and more of them (the report, Figure 4).

A letter legend: N clips, T frames, U units, G = 4U gates, K classes, A answers that count (see training.evaluate.judged).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import pandas as pd
import torch
from torch import Tensor, nn

from prune_cli import masks
from prune_cli.common.random import generator
from prune_cli.common.statistics import mean_interval
from prune_cli.training.evaluate import judged
from prune_cli.units.removal import PLACEMENTS, classifier_of, gate_inputs, hidden_states, lstm_of

FRACTIONS = tuple(tenth / 10 for tenth in range(10))
DRAWS = 20  # random orders of removal
RANDOM = "random"
CASE = ["dataset", "placement", "fraction"]  # what a claim is made of, over runs
AT_ONCE = 500  # clips whose states stay in cache
Batches = Iterable[tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class Probe:
    """A trained model and clips, ready to be measured with any units removed.

    What the gates get from the frames does not depend on the units that stay: gates_NTG is computed once for all removals.
    """

    lstm: nn.LSTM
    head: nn.Linear
    gates_NTG: Tensor
    labels_A: Tensor
    asked_NT: Tensor

    @classmethod
    @torch.no_grad()
    def of(cls, model: nn.Module, batches: Batches) -> Probe:
        """From a model with `features` and these (clips, labels)."""
        model.eval()
        lstm, gates, labels = lstm_of(model), [], []
        for x, y in batches:
            gates.append(gate_inputs(lstm, model.features(x)))  # type: ignore[operator]
            labels.append(y)
        y_NT = torch.cat(labels)
        asked_NT = judged(y_NT)
        return cls(lstm, classifier_of(model), torch.cat(gates), y_NT[asked_NT], asked_NT)

    @torch.no_grad()
    def accuracy(self, keep_U: Tensor, placement: str) -> float:
        """Accuracy [%] where only these units stay, bool (U,)."""
        if placement == "readout":
            logits_AK = self._read(self._dense_AU * keep_U, self.head.weight)
        else:
            logits_AK = self._read(self._hidden(keep_U), self.head.weight[:, keep_U])
        return 100 * int((logits_AK.argmax(1) == self.labels_A).sum()) / len(self.labels_A)

    @property
    def units(self) -> int:
        """U."""
        return self.lstm.hidden_size

    @cached_property
    def _dense_AU(self) -> Tensor:
        return self._run(torch.ones(self.units, dtype=torch.bool, device=self.gates_NTG.device))

    def _hidden(self, keep_U: Tensor) -> Tensor:
        """Every order of removal begins with all units: what they answer is kept."""
        return self._dense_AU if bool(keep_U.all()) else self._run(keep_U)

    def _run(self, keep_U: Tensor) -> Tensor:
        parts = zip(self.gates_NTG.split(AT_ONCE), self.asked_NT.split(AT_ONCE), strict=True)
        return torch.cat([hidden_states(self.lstm, gates, keep_U)[asked] for gates, asked in parts])

    def _read(self, hidden_AU: Tensor, weight_KU: Tensor) -> Tensor:
        return torch.addmm(self.head.bias, hidden_AU, weight_KU.T)


def single(probe: Probe, measured: Mapping[str, Tensor]) -> pd.DataFrame:
    """A row a unit: each measure of it, and the accuracy [%] without it, by placement (accuracy_PLACEMENT)."""
    table = pd.DataFrame({"unit": range(probe.units)} | {name: values.tolist() for name, values in measured.items()})
    alone = ~torch.eye(probe.units, dtype=torch.bool, device=probe.gates_NTG.device)
    for placement in PLACEMENTS:
        table[f"accuracy_{placement}"] = [probe.accuracy(keep, placement) for keep in alone]
    return table


def curves(probe: Probe, measured: Mapping[str, Tensor], seed: int, draws: int = DRAWS) -> pd.DataFrame:
    """Accuracy against the share of units removed: measure, keep, placement, fraction, removed, accuracy [%], draw.

    keep low removes the units with the highest values first (the report's "Low"), high those with the lowest ("High").
    `random` has `draws` orders, drawn from `seed`.
    """
    rows = [
        {"measure": measure, "keep": keep, "draw": draw, **row}
        for measure, keep, draw, scores in orders(measured, probe.units, seed, draws)
        for row in _curve(probe, scores)
    ]
    return pd.DataFrame(rows)


def orders(measured: Mapping[str, Tensor], units: int, seed: int, draws: int) -> Iterator[tuple[str, str, int, Tensor]]:
    """Each measure both ways, then the random ones, as scores: higher = keep."""
    for name, values in measured.items():
        yield name, "low", 0, -values
        yield name, "high", 0, values
    for draw in range(draws):
        yield RANDOM, "", draw, torch.rand(units, generator=generator(seed, "ablation", draw))


def _curve(probe: Probe, scores: Tensor) -> Iterator[dict[str, Any]]:
    for fraction in FRACTIONS:
        keep = masks.select({"": scores}, fraction)[""].to(probe.gates_NTG.device)
        for placement in PLACEMENTS:
            accuracy = probe.accuracy(keep, placement)
            removed = probe.units - int(keep.sum())
            yield {"placement": placement, "fraction": fraction, "removed": removed, "accuracy": accuracy}


def claims(table: pd.DataFrame) -> pd.DataFrame:
    """Paired differences of accuracy [points] over runs, one a training seed, with their 95 % interval (Student's t), of each comparison.

    table: `curves` of several seeds, with columns run and dataset. A row a claim, dataset, placement and fraction: keep-low
    less keep-high of each measure, and for each way the first measure less the second. n is the number of runs; one run
    has no interval (NaN).
    """
    wide = table[table.measure != RANDOM].pivot_table(
        index=[*CASE, "run"], columns=["measure", "keep"], values="accuracy", sort=False
    )
    rows = []
    for claim, difference in _differences(wide):
        for key, values in difference.groupby(level=CASE, sort=False):
            rows.append({"claim": claim, **dict(zip(CASE, key, strict=True)), **interval(values)})  # type: ignore[arg-type]
    return pd.DataFrame(rows)


def _differences(wide: pd.DataFrame) -> Iterator[tuple[str, pd.Series]]:
    measures = list(dict.fromkeys(wide.columns.get_level_values(0)))
    for measure in measures:
        yield f"{measure}: low - high", wide[measure]["low"] - wide[measure]["high"]
    if len(measures) > 1:
        first, second = measures[:2]
        for keep in ("low", "high"):
            yield f"{keep}: {first} - {second}", wide[first][keep] - wide[second][keep]


def interval(values: pd.Series) -> dict[str, float]:
    """The mean, the ends of its 95 % interval (NaN for one value), and n."""
    mean, half = mean_interval(values.to_list())
    return {"mean": mean, "low": mean - half, "high": mean + half, "n": len(values)}
