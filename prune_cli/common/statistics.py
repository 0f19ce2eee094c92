"""Statistics over several runs: confidence intervals, t tests and Holm's correction."""

from __future__ import annotations

from collections.abc import Sequence
from math import isnan, nan

import numpy as np


def mean_interval(values: Sequence[float], level: float = 0.95) -> tuple[float, float]:
    """The mean, and half the width of its confidence interval by Student's t; NaN for one value."""
    found = np.asarray(values, dtype=float)
    n = len(found)
    if n == 1:
        return float(found[0]), nan
    from scipy.special import stdtrit  # scipy.stats has it too, and takes two seconds to import

    return float(found.mean()), float(stdtrit(n - 1, (1 + level) / 2) * found.std(ddof=1) / n**0.5)


def p_of_zero_mean(values: Sequence[float]) -> float:
    """The two-sided p of Student's t test that the mean is 0; 1 where all values are 0.

    NaN for one value, and where several do not differ: without a spread there is no test.
    """
    if len(values) < 2 or (np.ptp(values) == 0 and values[0] != 0):
        return nan
    if np.ptp(values) == 0:
        return 1.0
    from scipy import stats

    return float(stats.ttest_1samp(values, 0).pvalue)


def holm(p_values: Sequence[float], alpha: float = 0.05) -> tuple[list[float], list[float]]:
    """p of several comparisons after Holm's correction (1979), and the level of the interval that agrees with each.

    The k-th smallest of m (k from 1) is tested at alpha / (m - k + 1), and the procedure stops at the first that it does
    not reject: the level of all later ones is that of the stop, so that an interval at it holds what was not rejected. The
    adjusted p is the largest of those up to it, each times m - k + 1, and 1 at most: alpha or less where the procedure
    rejects. A NaN stays one, counts as the largest and stops the procedure.
    """
    m, largest, level = len(p_values), 0.0, alpha
    adjusted, levels = [nan] * m, [alpha] * m
    for rank, index in enumerate(sorted(range(m), key=lambda i: (isnan(p_values[i]), p_values[i]))):
        if largest <= alpha:  # all before it were rejected
            level = alpha / (m - rank)
        largest = max(largest, min(1.0, p_values[index] * (m - rank)))
        adjusted[index] = nan if isnan(p_values[index]) else largest
        levels[index] = level
    return adjusted, levels
