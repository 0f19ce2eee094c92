"""How far training moves each parameter (the report, section 4 and Figure 5), tensor by tensor, in float64."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable
from dataclasses import astuple, dataclass
from operator import add

import pandas as pd
from torch import Tensor, nn

from prune_cli.models.prunable import classifier_names

Pairs = Iterable[tuple[str, Tensor, Tensor]]  # name, the tensor before training, the same tensor after it
ALL, PRUNABLE = "all parameters", "prunable"  # the rows over several tensors
NEAR = 0.01  # of the standard deviation of its tensor before: a weight that moved less has stayed where it was
ROUNDING = 1e-14  # of the mean square: a std below 1e-7, float32's own step, and the tensor counts as constant


@dataclass(frozen=True)
class Sums:
    """What adds up over tensors: sums over the values before (x), after (y) and their differences (d = y - x).

    within: how many |d| are below NEAR times the standard deviation of x in their own tensor.
    """

    count: int = 0
    within: int = 0
    x: float = 0.0
    y: float = 0.0
    xx: float = 0.0
    yy: float = 0.0
    xy: float = 0.0
    dd: float = 0.0
    abs_d: float = 0.0

    @classmethod
    def of(cls, before: Tensor, after: Tensor) -> Sums:
        """The sums over the values of one tensor of any shape, before and after."""
        x, y = before.detach().double().flatten(), after.detach().double().flatten()
        d, n = y - x, x.numel()
        sums = [part.sum().item() for part in (x, y, x * x, y * y, x * y, d * d, d.abs())]
        near = NEAR * math.sqrt(_variance(n, sums[0], sums[2]))
        return cls(n, int((d.abs() < near).sum()), *sums)

    def __add__(self, other: Sums) -> Sums:
        return Sums(*map(add, astuple(self), astuple(other)))

    def figures(self) -> dict[str, float]:
        """The columns of `measure`."""
        return {
            "count": self.count,
            "share_within_1pct": self.within / self.count,
            "correlation": self._correlation(),
            "relative_l2": math.sqrt(self.dd / self.xx) if self.xx else math.nan,
            "mean_abs_change": self.abs_d / self.count,
        }

    def _correlation(self) -> float:
        spread = _variance(self.count, self.x, self.xx) * _variance(self.count, self.y, self.yy)
        covariance = self.xy / self.count - self.x / self.count * self.y / self.count
        return covariance / math.sqrt(spread) if spread else math.nan


def measure(pairs: Pairs, prunable: Collection[str]) -> pd.DataFrame:
    """How far each tensor moved: a row over all parameters, one over the prunable ones, then one a tensor.

    With x a value before training, y the same value after it, d = y - x (the report, section 4, Figure 5: x across, y
    up), the columns are
        tensor             its name, or ALL, or PRUNABLE
        count              how many values
        share_within_1pct  the share of values with |d| < 0.01 · std(x), std over the value's own tensor, in [0, 1];
                           0 in a tensor that was constant (a fresh bias or norm), whose std is 0
        correlation        Pearson's, of x and y, in [-1, 1]; NaN where either is constant
        relative_l2        ‖y - x‖ / ‖x‖; NaN where all x are 0
        mean_abs_change    mean |d|, in the unit of the parameters
    Tensors are read one at a time, and sums are taken in float64. There must be one value or more.
    """
    rows, everything, within_reach = [], Sums(), Sums()
    for name, before, after in pairs:
        sums = Sums.of(before, after)
        everything += sums
        within_reach += sums if name in prunable else Sums()
        rows.append({"tensor": name, **sums.figures()})
    overall = [(ALL, everything), (PRUNABLE, within_reach)]
    return pd.DataFrame([{"tensor": name, **s.figures()} for name, s in overall if s.count] + rows)


def moving(model: nn.Module) -> dict[str, Tensor]:
    """Every parameter by name but those of the classifier head, which is fresh whatever the weights."""
    head = classifier_names(model)
    return {name: p.detach() for name, p in model.named_parameters() if name.rpartition(".")[0] not in head}


def _variance(count: int, total: float, squares: float) -> float:
    """The population variance from a sum and a sum of squares; 0 where the result is only rounding."""
    variance = squares / count - (total / count) ** 2
    return variance if variance > ROUNDING * squares / count else 0.0
