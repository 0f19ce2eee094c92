"""A mask: one bool tensor a prunable weight, True = keep."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from safetensors import SafetensorError

from prune_cli.common.errors import PruneCliError, RequestError
from prune_cli.common.lazy import Tensor, load_file, nn, torch
from prune_cli.common.shaped import Shaped
from prune_cli.runs import compressed
from prune_cli.runs.artefacts import MASK
from prune_cli.runs.store import check_typed

Mask = dict[str, Tensor]


def apply(parameters: Mapping[str, nn.Parameter], mask: Mapping[str, Tensor]) -> None:
    """Set every removed weight to zero, in place."""
    with torch.no_grad():
        for name, keep in mask.items():
            parameters[name].masked_fill_(~keep.to(parameters[name].device), 0.0)


def digest(mask: Mapping[str, Tensor]) -> str:
    """sha256 over names, shapes and packed bits, in hex: two runs with this digest removed the same weights."""
    found = hashlib.sha256()
    for name in sorted(mask):
        found.update(f"{name}{tuple(mask[name].shape)}".encode())
        found.update(np.packbits(mask[name].cpu().numpy().reshape(-1)).tobytes())
    return found.hexdigest()


def kept(mask: Mapping[str, Tensor]) -> int:
    """The number of weights that the mask keeps."""
    return sum(int(keep.sum()) for keep in mask.values())


def read(path: Path) -> Mask:
    """The mask in a compressed file (docs/format.md), or in a safetensors file of bool tensors, as older runs have it.

    Raises RequestError where the file cannot be read or is no mask.
    """
    hint = f"mask=runs/prune/HASH/{MASK}"
    check_typed(path)
    try:
        mask = compressed.read(path).mask() if compressed.is_compressed(path) else load_file(path)
    except PruneCliError as error:
        raise RequestError(error.what, error.where or str(path), hint) from None
    except (OSError, SafetensorError) as error:
        raise RequestError(f"this mask cannot be read: {error}", str(path), hint) from None
    for name, keep in mask.items():
        if keep.dtype != torch.bool:
            raise RequestError(f"this is no mask: {name} is {keep.dtype}, not bool", str(path), hint)
    return mask


def load(path: Path, parameters: Mapping[str, Shaped]) -> Mask:
    """Read a mask that fits these parameters, in their order. Raises RequestError that names what does not fit."""
    mask = read(path)
    for name in sorted(mask.keys() ^ parameters.keys()):
        owner = "the mask" if name in mask else "the model"
        hint = "a mask fits the model, model.prunable and removal that it was made for: of units removal=recurrence"
        raise RequestError(f"only {owner} has something to prune called {name}", str(path), hint)
    for name, keep in mask.items():
        if keep.shape != parameters[name].shape:
            wanted = tuple(parameters[name].shape)
            raise RequestError(f"{name} is of shape {tuple(keep.shape)}, not {wanted}", str(path))
    return {name: mask[name] for name in parameters}
