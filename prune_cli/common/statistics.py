"""What several runs say together."""

from __future__ import annotations

from collections.abc import Sequence
from math import nan

import numpy as np
from scipy import stats


def mean_interval(values: Sequence[float], level: float = 0.95) -> tuple[float, float]:
    """The mean, and half the width of its confidence interval by Student's t; NaN for one value."""
    found = np.asarray(values, dtype=float)
    n = len(found)
    half = stats.t.ppf((1 + level) / 2, n - 1) * found.std(ddof=1) / n**0.5 if n > 1 else nan
    return float(found.mean()), float(half)
