"""Pruned models and masks as small files: of each pruned tensor its survivors and their places (docs/format.md).

A compressed file is a safetensors file. Under the key METADATA its header has one JSON object that says which tensors
were pruned, and their shapes. A pruned tensor NAME is stored as NAME.places (see places.py) and, but for a mask, as
NAME.values; any other tensor is stored as it is. The sha256 in the metadata covers every byte of the file.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from prune_cli.common.errors import PruneCliError, RequestError
from prune_cli.common.lazy import Lazy, Tensor, torch
from prune_cli.runs.files import DamagedError, whole
from prune_cli.runs.places import decode, encode

FORMAT = 1
METADATA = "prune-cli"  # the key of the header's metadata
DIGEST, BLANK = "sha256", "0" * 64  # the digest is that of the file with zeros in its place
VALUES, PLACES = ".values", ".places"
DTYPES = {  # of values, as torch and as safetensors write them
    "torch.float16": "F16",
    "torch.bfloat16": "BF16",
    "torch.float32": "F32",
    "torch.float64": "F64",
}
MOST = 2**48  # weights of a tensor, more than any machine holds
AGAIN = "take the file from where it was written, or make it again"
LOAD, SAVE = Lazy("safetensors.torch", "load"), Lazy("safetensors.torch", "save")


@dataclass(frozen=True)
class PrunedTensor:
    """The survivors of a tensor of this shape. K of its N weights are left.

    places_K: their places in the flat tensor, ascending, int64. values_K: what they are; None in a mask.
    """

    shape: tuple[int, ...]
    places_K: Tensor
    values_K: Tensor | None = None

    @classmethod
    def of(cls, keep: Tensor, tensor: Tensor | None = None) -> PrunedTensor:
        """What `keep` (True = keep) leaves of a tensor, or of none. Raises ValueError where the rest of it is not zero."""
        keep_N = keep.cpu().reshape(-1)
        places_K, shape = keep_N.nonzero().flatten(), tuple(keep.shape)
        if tensor is None:
            return cls(shape, places_K)
        if tensor.shape != keep.shape:
            raise ValueError(f"it is of shape {tuple(tensor.shape)}, and its mask of {shape}")
        flat_N = tensor.detach().cpu().reshape(-1)
        if bool((flat_N[~keep_N] != 0).any()):
            raise ValueError("a weight that the mask removed is not zero")
        return cls(shape, places_K, flat_N[keep_N])

    def dense(self) -> Tensor:
        """The tensor with zeros where nothing survived. Raises ValueError for a mask."""
        if self.values_K is None:
            raise ValueError("a mask has no values")
        return self._scattered(self.values_K)

    def mask(self) -> Tensor:
        """True where a weight survived."""
        return self._scattered(torch.ones(len(self.places_K), dtype=torch.bool))

    def _scattered(self, values_K: Tensor) -> Tensor:
        try:
            flat_N = torch.zeros(math.prod(self.shape), dtype=values_K.dtype)
        except RuntimeError:  # of a file that was made to harm, or for a larger machine
            what = f"a tensor of shape {self.shape} takes more memory than there is"
            raise PruneCliError(what, hint="a machine with more memory") from None
        flat_N[self.places_K] = values_K
        return flat_N.view(self.shape)


@dataclass(frozen=True)
class Compressed:
    """What a compressed file holds: the pruned tensors, the others, and what its writer said of the model."""

    pruned: Mapping[str, PrunedTensor]
    others: Mapping[str, Tensor] = field(default_factory=dict)
    model: Mapping[str, Any] = field(default_factory=dict)

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The shape of every tensor, dense."""
        dense = {name: tuple(tensor.shape) for name, tensor in self.others.items()}
        return dense | {name: tensor.shape for name, tensor in self.pruned.items()}

    def state_dict(self) -> dict[str, Tensor]:
        """Every tensor, dense. Raises ValueError for a mask."""
        return {**self.others, **{name: tensor.dense() for name, tensor in self.pruned.items()}}

    def mask(self) -> dict[str, Tensor]:
        """The mask of each pruned tensor, True = kept."""
        return {name: tensor.mask() for name, tensor in self.pruned.items()}


def write_model(
    path: Path,
    tensors: Mapping[str, Tensor],
    mask: Mapping[str, Tensor],
    model: Mapping[str, Any] | None = None,
    dtype: torch.dtype | None = None,
) -> None:
    """Write a state_dict, of the tensors in `mask` the survivors alone; whole or not at all.

    mask: by names of `tensors`, True = keep; what it removes must be zero. model: what is said of the model, for JSON.
    dtype: of all floating-point values; None: as they are. Raises PruneCliError for a tensor that does not fit its mask,
    RequestError for a value that is too large for `dtype`.
    """
    cast = {name: _cast(name, tensor, dtype) for name, tensor in tensors.items()}
    pruned = {name: _survivors(name, cast, keep) for name, keep in mask.items()}
    others = {name: tensor.detach().cpu().contiguous() for name, tensor in cast.items() if name not in mask}
    _write(path, Compressed(pruned, others, model or {}))


def write_mask(path: Path, mask: Mapping[str, Tensor]) -> None:
    """Write the places that a mask keeps, True = keep; whole or not at all."""
    _write(path, Compressed({name: PrunedTensor.of(keep) for name, keep in mask.items()}))


def is_compressed(path: Path) -> bool:
    """Whether this is a safetensors file with our metadata, be it damaged further on; False where it cannot be read."""
    try:
        with safe_open(path, framework="np") as file:
            return METADATA in (file.metadata() or {})
    except (OSError, SafetensorError):
        return False


def read(path: Path) -> Compressed:
    """What a compressed file holds. Raises DamagedError for one that is not, to the last byte, what was written."""
    try:
        return _parsed(path.read_bytes())
    except (OSError, SafetensorError, ValueError) as error:
        reason = str(error)
    except (KeyError, TypeError, AttributeError, RecursionError):  # JSON of another make
        reason = "it is not made as docs/format.md says"
    raise DamagedError(f"this file cannot be read: {reason}", str(path), AGAIN)


def _cast(name: str, tensor: Tensor, dtype: torch.dtype | None) -> Tensor:
    if dtype is None or not tensor.is_floating_point():
        return tensor
    cast = tensor.to(dtype)
    if bool((cast.isinf() & tensor.isfinite()).any()):
        what = f"a value of {name} is too large for {str(dtype).removeprefix('torch.')}"
        raise RequestError(what, name, "float32 holds it")
    return cast


def _survivors(name: str, tensors: Mapping[str, Tensor], keep: Tensor) -> PrunedTensor:
    if name not in tensors:
        raise PruneCliError("the model has no tensor of this name, and the mask has", name)
    if str(tensors[name].dtype) not in DTYPES:
        raise PruneCliError(f"a pruned tensor of {tensors[name].dtype} cannot be stored", name)
    try:
        return PrunedTensor.of(keep, tensors[name])
    except ValueError as error:
        raise PruneCliError(f"this tensor cannot be stored: {error}", name) from None


def _write(path: Path, content: Compressed) -> None:
    stored, entries = dict(content.others), {}
    for name, tensor in sorted(content.pruned.items()):
        encoding, code = encode(tensor.places_K.numpy(), math.prod(tensor.shape))
        parts = {name + PLACES: torch.from_numpy(code)}
        entries[name] = {"shape": list(tensor.shape), "places": encoding}
        if tensor.values_K is not None:
            parts[name + VALUES] = tensor.values_K
            entries[name]["dtype"] = DTYPES[str(tensor.values_K.dtype)]
        for part in parts.keys() & (stored.keys() | content.pruned.keys()):
            raise PruneCliError("a tensor has the name that a part of another would have", part)
        stored |= parts
    about = {DIGEST: BLANK, "format": FORMAT, "pruned": entries, "model": dict(content.model)}
    raw = SAVE(stored, {METADATA: json.dumps(about, ensure_ascii=False)})
    at = raw.index(BLANK.encode())
    with whole(path, len(raw)) as temporary, temporary.open("wb") as file:
        file.write(raw[:at] + hashlib.sha256(raw).hexdigest().encode())
        file.write(memoryview(raw)[at + len(BLANK) :])


def _parsed(raw: bytes) -> Compressed:
    stored = LOAD(raw)  # which checks the header
    header = json.loads(raw[8 : 8 + int.from_bytes(raw[:8], "little")])
    about = json.loads(header["__metadata__"][METADATA])
    if about["format"] != FORMAT:
        raise ValueError(f"it is of format {about['format']}, and this prune-cli reads format {FORMAT}")
    if hashlib.sha256(raw.replace(about[DIGEST].encode(), BLANK.encode(), 1)).hexdigest() != about[DIGEST]:
        raise ValueError("it does not fit its own sha256")
    pruned = {name: _pruned(name, entry, stored) for name, entry in about["pruned"].items()}
    if both := stored.keys() & pruned.keys():
        raise ValueError(f"{min(both)} is there twice")
    return Compressed(pruned, stored, {**about["model"]})


def _pruned(name: str, entry: Mapping[str, Any], stored: dict[str, Tensor]) -> PrunedTensor:
    """A pruned tensor, its parts taken out of `stored`. Raises ValueError that names it and says what is wrong."""
    shape, dtype = tuple(entry["shape"]), entry.get("dtype")
    if not all(type(length) is int and length >= 0 for length in shape) or math.prod(shape) > MOST:
        raise ValueError(f"{name} cannot be of shape {list(shape)}")
    missing = [part for part in (PLACES, *([VALUES] if dtype else [])) if name + part not in stored]
    if missing:
        raise ValueError(f"{name}{missing[0]} is missing")
    code, values_K = stored.pop(name + PLACES), stored.pop(name + VALUES, None) if dtype else None
    try:
        places_K = torch.from_numpy(decode(entry["places"], code.numpy(), math.prod(shape)))
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None
    if values_K is not None and (DTYPES.get(str(values_K.dtype)) != dtype or values_K.shape != places_K.shape):
        found = f"{values_K.dtype} of shape {tuple(values_K.shape)}"
        raise ValueError(f"the values of {name} are {found}, and should be {len(places_K):,} of {dtype}")
    return PrunedTensor(shape, places_K, values_K)
