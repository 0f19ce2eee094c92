"""The spread of scores in layers.csv."""

from __future__ import annotations

import pytest
import torch

from prune_cli.scorers import quantiles
from prune_cli.scorers.quantiles import quantile_row


def test_mean_min_and_max_are_of_all_values_where_quantiles_are_of_some(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quantiles, "SAMPLE", 5)
    row = quantile_row("w", {"score": torch.tensor([5.0, -9.0, 6.0, 5.0, 7.0, 5.0, 6.0, 99.0, 5.0, 6.0])})
    assert (row["score_min"], row["score_max"], row["score_mean"]) == (-9.0, 99.0, 13.5)
    assert (row["score_median"], row["size"]) == (6.0, 10)  # of 5, 6, 7, 6 and 5


def test_scores_beyond_float32_are_finite() -> None:
    row = quantile_row("w", {"score": torch.tensor([1e200, 3e200], dtype=torch.float64)})
    assert (row["score_min"], row["score_median"], row["score_max"]) == (1e200, 2e200, 3e200)
