"""How the scores of each tensor are spread: layers.csv of a scoring run."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

POINTS = {"min": 0.0, "q01": 0.01, "q25": 0.25, "median": 0.5, "q75": 0.75, "q99": 0.99, "max": 1.0}
SAMPLE = 1 << 24  # values that torch.quantile takes at most; larger tensors are read with a stride


def quantile_row(tensor: str, terms: Mapping[str, Tensor]) -> dict[str, object]:
    """One row: the tensor's name and size, and for each term its mean and quantiles under TERM_QUANTILE."""
    row: dict[str, object] = {"tensor": tensor, "size": next(iter(terms.values())).numel()}
    for term, values in terms.items():
        flat = values.detach().flatten().float()
        sample = flat[:: 1 + (flat.numel() - 1) // SAMPLE]
        found = torch.quantile(sample, torch.tensor(list(POINTS.values()), device=flat.device)).tolist()
        row |= {f"{term}_mean": float(flat.mean())}
        row |= {f"{term}_{point}": value for point, value in zip(POINTS, found, strict=True)}
    return row
