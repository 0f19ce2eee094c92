"""Counts of the kept weights of each tensor: layers.csv of a pruned run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from prune_cli.common.lazy import Tensor, pd


def layer_table(mask: Mapping[str, Tensor]) -> pd.DataFrame:
    """A row a tensor: size, kept, density, and the output rows and input columns with no weight left.

    The rows of a fused qkv weight are reported as q, k and v apart: a method can starve one of them.
    """
    return pd.DataFrame([_row(name, part, keep) for name, whole in mask.items() for part, keep in parts(name, whole)])


def parts(name: str, tensor: Tensor) -> Iterator[tuple[str, Tensor]]:
    """Yield (part, tensor): the whole tensor as part "", or a fused qkv weight as its thirds q, k and v."""
    if name.endswith("qkv.weight") and len(tensor) % 3 == 0:
        yield from zip("qkv", tensor.chunk(3), strict=True)
    else:
        yield "", tensor


def _row(name: str, part: str, keep: Tensor) -> dict[str, object]:
    matrix_OI = keep.flatten(1)
    return {
        "tensor": name,
        "part": part,
        "size": keep.numel(),
        "kept": int(keep.sum()),
        "density": float(keep.float().mean()),
        "rows": matrix_OI.shape[0],
        "dead_rows": int((~matrix_OI.any(1)).sum()),
        "columns": matrix_OI.shape[1],
        "dead_columns": int((~matrix_OI.any(0)).sum()),
    }
