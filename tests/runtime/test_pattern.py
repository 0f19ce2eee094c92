"""The index arrays of a mask, against torch's own, and by hand."""

from __future__ import annotations

import copy

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from prune_cli.runtime.pattern import Pattern


def test_by_hand() -> None:
    """
    . x .
    x . x
    """
    pattern = Pattern.of(torch.tensor([[False, True, False], [True, False, True]]))
    assert (pattern.rows, pattern.columns, pattern.survivors, pattern.density) == (2, 3, 3, 0.5)
    assert pattern.row_starts.tolist() == [0, 1, 3] and pattern.columns_of_rows.tolist() == [1, 0, 2]
    assert pattern.column_starts.tolist() == [0, 1, 2, 3] and pattern.rows_of_columns.tolist() == [1, 0, 1]
    assert pattern.places.tolist() == [1, 0, 2] and pattern.flat.tolist() == [1, 3, 5]


@given(st.integers(1, 9), st.integers(1, 9), st.floats(0, 1), st.integers(0, 2**31))
def test_any_mask(rows: int, columns: int, density: float, seed: int) -> None:
    """Both orders are torch's own; places leads from one to the other."""
    keep = torch.rand(rows, columns, generator=torch.Generator().manual_seed(seed)) < density
    pattern, weight = Pattern.of(keep), torch.arange(1.0, 1 + rows * columns).view(rows, columns) * keep
    values = weight[keep]
    by_rows, by_columns = weight.to_sparse_csr(), weight.t().contiguous().to_sparse_csr()
    same(pattern.row_starts, by_rows.crow_indices())
    same(pattern.columns_of_rows, by_rows.col_indices())
    same(pattern.column_starts, by_columns.crow_indices())
    same(pattern.rows_of_columns, by_columns.col_indices())
    assert torch.equal(values[torch.from_numpy(pattern.places).long()], by_columns.values())
    assert torch.equal(weight.flatten()[pattern.flat], values) and torch.equal(pattern.dense(values), weight)


def same(found: np.ndarray, expected: Tensor) -> None:
    """Equal numbers, whatever their types."""
    assert found.tolist() == expected.tolist()


def test_indices_are_as_short_as_they_can_be_and_never_copied() -> None:
    keep = torch.zeros(1, 70_000, dtype=torch.bool)
    keep[0, -1] = True
    long, short = Pattern.of(keep), Pattern.of(keep[:, : 1 << 16])
    assert short.is_short and not long.is_short
    assert long.columns_of_rows.tolist() == [69_999]
    assert copy.deepcopy({"layer": long})["layer"] is long
