"""Mean and quantiles of the scores of each tensor: layers.csv of a scoring run."""

from __future__ import annotations

from collections.abc import Mapping

from prune_cli.common.device import at_least_float32
from prune_cli.common.lazy import Tensor, torch

POINTS = {"min": 0.0, "q01": 0.01, "q25": 0.25, "median": 0.5, "q75": 0.75, "q99": 0.99, "max": 1.0}
SAMPLE = 1 << 24  # values that torch.quantile takes at most; larger tensors are read with a stride


def quantile_row(tensor: str, terms: Mapping[str, Tensor]) -> dict[str, object]:
    """One row: the tensor's name and size, and for each term its mean and quantiles under TERM_QUANTILE.

    Mean, min and max are of all values; the quantiles between them of every k-th value where there are more than SAMPLE.
    """
    row: dict[str, object] = {"tensor": tensor, "size": next(iter(terms.values())).numel()}
    for term, values in terms.items():
        flat = at_least_float32(values.detach().flatten())  # SynFlow's are float64, and may be beyond float32
        sample = flat[:: 1 + (flat.numel() - 1) // SAMPLE]
        points = torch.tensor(list(POINTS.values()), dtype=flat.dtype, device=flat.device)
        found = dict(zip(POINTS, torch.quantile(sample, points).tolist(), strict=True))
        found |= {"min": float(flat.min()), "max": float(flat.max())}
        row |= {f"{term}_mean": float(flat.mean())}
        row |= {f"{term}_{point}": value for point, value in found.items()}
    return row
