"""What the curves of several trained models say together: paired differences, their intervals, and how many were looked at.

n counts trained models and nothing else: random orders of removal are averaged within a model first.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations

import pandas as pd

from prune_cli.analysis.ablation import RANDOM
from prune_cli.common.statistics import holm, mean_interval, p_of_zero_mean

SHOWN = (0.1, 0.3, 0.5, 0.7, 0.9)  # shares removed that are compared and printed
CASE = ["dataset", "placement", "steps", "fraction"]  # what one comparison is made of, over models
LEVEL = 0.95
DIGITS = 9  # of a difference [points]


def claims(table: pd.DataFrame, baselines: Sequence[str] = ()) -> pd.DataFrame:
    """Paired differences of accuracy [points] over trained models: a row a claim, dataset, placement, steps and fraction.

    table: `ablation.curves` of several models, with columns run (a model each) and dataset. The claims: keep-low less
    keep-high of each measure; each way round, one measure less another with the same options; each measure less each
    baseline, and less random orders. baselines: names of measures that are no subject of a claim of their own but the first.

    low, high: the 95 % interval by Student's t. p: of a mean of 0. One claim in one dataset is a family of `family` comparisons
    (placements × steps × shares removed): p_holm is p after Holm (1979), and low_holm, high_holm the interval at the level
    at which Holm's procedure tests this comparison, or at which it has stopped: 0 lies in it where p_holm is above 0.05.
    n: models; one has neither interval nor p (NaN). Differences are rounded to DIGITS, far finer than one clip: models that
    differ by as much then do so exactly, and rounding is no spread.
    """
    wide = table[table.fraction.isin(SHOWN)].pivot_table(
        index=[*CASE, "run"], columns=["measure", "keep"], values="accuracy", sort=False
    )
    rows = [
        {"claim": claim, **dict(zip(CASE, key, strict=True)), "differences": list(values)}  # type: ignore[arg-type]
        for claim, difference in _differences(wide, baselines)
        for key, values in difference.dropna().round(DIGITS).groupby(level=CASE, sort=False)
    ]
    found = pd.DataFrame(rows, columns=["claim", *CASE, "differences"])
    families = [_family(own) for _, own in found.groupby(["claim", "dataset"], sort=False)]
    return pd.concat(families).sort_index().drop(columns="differences") if families else found


def _differences(wide: pd.DataFrame, baselines: Sequence[str]) -> Iterator[tuple[str, pd.Series]]:
    measures = [name for name in dict.fromkeys(wide.columns.get_level_values(0)) if name != RANDOM]
    for measure in measures:
        yield f"{measure}: low - high", wide[measure, "low"] - wide[measure, "high"]
    studied = [measure for measure in measures if measure not in baselines]
    for keep in ("low", "high"):
        for first, second in combinations(studied, 2):
            if _options(first) == _options(second):
                yield f"{keep}: {first} - {second}", wide[first, keep] - wide[second, keep]
        for measure in studied:
            for baseline in (name for name in baselines if name in measures):
                yield f"{keep}: {measure} - {baseline}", wide[measure, keep] - wide[baseline, keep]
            if RANDOM in wide:
                yield f"{keep}: {measure} - {RANDOM}", wide[measure, keep] - wide[RANDOM, ""]


def _options(measure: str) -> str:
    """The options in the name of a measure, after the scorer's name."""
    return measure.partition(" ")[2]


def _family(own: pd.DataFrame) -> pd.DataFrame:
    """The comparisons of one claim in one dataset, with their intervals and p, corrected for how many they are."""
    p = own.differences.map(p_of_zero_mean)
    adjusted, levels = holm(p.to_list(), 1 - LEVEL)
    plain = [_ends(values, LEVEL) for values in own.differences]
    wider = [_ends(values, 1 - level) for values, level in zip(own.differences, levels, strict=True)]
    return own.assign(
        mean=own.differences.map(lambda values: sum(values) / len(values)),
        low=[low for low, _ in plain],
        high=[high for _, high in plain],
        p=p,
        low_holm=[low for low, _ in wider],
        high_holm=[high for _, high in wider],
        p_holm=adjusted,
        family=len(own),
        n=own.differences.map(len),
    )


def _ends(values: Sequence[float], level: float) -> tuple[float, float]:
    mean, half = mean_interval(values, level)
    return mean - half, mean + half
