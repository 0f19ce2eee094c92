"""Where the survivors of a weight are: the index arrays of its sparse layer."""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from prune_cli.common.lazy import Tensor, torch

SHORT = 1 << 16  # rows or columns that 16 bits number


@dataclass(frozen=True, eq=False)
class Pattern:
    """The survivors of a weight_OI, by rows (CSR) and by columns (CSC).

    row_starts (O + 1,), column_starts (I + 1,), int32: where a row's or a column's survivors begin. columns_of_rows,
    rows_of_columns (survivors,): uint16, or int32 where O or I is above 65,536. places (survivors,), int32: the survivor
    j of the order of columns is survivor places[j] of the order of rows, which is that of the values.
    """

    rows: int
    columns: int
    row_starts: NDArray[Any]
    columns_of_rows: NDArray[Any]
    column_starts: NDArray[Any]
    rows_of_columns: NDArray[Any]
    places: NDArray[Any]

    @classmethod
    def of(cls, keep: Tensor) -> Pattern:
        """The pattern of a mask, True = keep; a mask of more than two dimensions is read as (O, the rest)."""
        keep_OI = keep.detach().cpu().reshape(len(keep), -1).numpy()
        rows, columns = keep_OI.shape
        index = np.uint16 if max(rows, columns) <= SHORT else np.int32
        row_of, column_of = (numbers.astype(index) for numbers in keep_OI.nonzero())
        places = np.argsort(column_of, kind="stable").astype(np.int32)
        starts = _starts(row_of, rows), _starts(column_of, columns)
        return cls(rows, columns, starts[0], column_of, starts[1], row_of[places], places)

    @property
    def survivors(self) -> int:
        """How many weights are kept."""
        return len(self.places)

    @property
    def density(self) -> float:
        """The share kept."""
        return self.survivors / max(1, self.rows * self.columns)

    @property
    def is_short(self) -> bool:
        """Whether indices have 16 bits."""
        return self.columns_of_rows.dtype == np.uint16

    @cached_property
    def flat(self) -> Tensor:
        """The place of each survivor in the flat weight, (survivors,), int64, in the order of the values."""
        row_of = np.repeat(np.arange(self.rows, dtype=np.int64), np.diff(self.row_starts))
        return torch.from_numpy(row_of * self.columns + self.columns_of_rows)

    def dense(self, values: Tensor) -> Tensor:
        """The weight_OI of these values, zeros elsewhere; gradients reach the values."""
        flat = values.new_zeros(self.rows * self.columns)
        return flat.scatter(0, self.flat, values).view(self.rows, self.columns)

    def __deepcopy__(self, _: dict[int, Any]) -> Pattern:
        return self  # it never changes: a copy of a model shares it

    def __reduce__(self) -> tuple[type[Pattern], tuple[Any, ...]]:
        return type(self), tuple(getattr(self, field.name) for field in fields(self))  # without what was derived


def _starts(numbers: NDArray[Any], count: int) -> NDArray[Any]:
    return np.concatenate([[0], np.bincount(numbers, minlength=count).cumsum()]).astype(np.int32)
