"""The compiled kernels (kernels.c), loaded by ctypes where setuptools could build them."""

from __future__ import annotations

import ctypes
from ctypes import POINTER, Structure, byref, c_double, c_int, c_int32, c_int64, c_uint16, c_void_p
from functools import cache
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path
from typing import NamedTuple

from prune_cli.common.lazy import Tensor, torch
from prune_cli.runtime.layout import Layout
from prune_cli.runtime.pattern import Pattern

SETS = ("plain", "AVX2", "AVX-512")  # instruction sets, by their number in kernels.c
FOLDER = Path(__file__).parent


class _Pattern(Structure):
    _fields_ = (
        ("rows", c_int64),
        ("columns", c_int64),
        ("row_starts", POINTER(c_int32)),
        ("column_starts", POINTER(c_int32)),
        ("places", POINTER(c_int32)),
        ("columns_of_rows", POINTER(c_uint16)),
        ("rows_of_columns", POINTER(c_uint16)),
    )


class _Activations(Structure):
    _fields_ = (
        ("data", c_void_p),
        ("tokens", c_int64),
        ("group_stride", c_int64),
        ("token_stride", c_int64),
        ("feature_stride", c_int64),
    )


class _Layer(Structure):
    _fields_ = (
        ("pattern", POINTER(_Pattern)),
        ("values", c_void_p),
        ("bias", c_void_p),
        ("value_gradients", c_void_p),
        ("bias_gradients", c_void_p),
    )


class _Call(Structure):
    _fields_ = (
        ("first", _Layer),
        ("second", _Layer),
        ("x", _Activations),
        ("y", _Activations),
        ("x_gradient", _Activations),
        ("tokens", c_int64),
        ("threads", c_int64),
    )


class _Attention(Structure):
    _fields_ = (
        ("qkv", c_void_p),
        ("out", c_void_p),
        ("qkv_gradient", c_void_p),
        ("images", c_int64),
        ("tokens", c_int64),
        ("heads", c_int64),
        ("features", c_int64),
        ("threads", c_int64),
        ("scale", c_double),
    )


class Weight(NamedTuple):
    """A layer's survivors and bias, and the tensors that their gradients are written to; None: neither there nor wanted."""

    pattern: Pattern
    values: Tensor
    bias: Tensor | None = None
    value_gradients: Tensor | None = None
    bias_gradients: Tensor | None = None


class Kernels:
    """The functions of the compiled file. Tensors are on the CPU, of float32 or of float64; activations have a Layout."""

    def __init__(self, path: Path):
        """Raises OSError for a file that cannot be loaded."""
        self._library = ctypes.CDLL(str(path))
        self.threaded = self._use_threads()
        self.instructions = self.use_set(len(SETS) - 1)

    def use_set(self, highest: int) -> str:
        """Use the best instruction set that this machine has, up to number `highest` of SETS. Returns its name."""
        return SETS[self._library.use_set(c_int(highest))]

    def forward(self, x: Tensor, y: Tensor, *weights: Weight) -> None:
        """Write y: of one weight x Wᵀ + b, of two GELU(x Wᵀ + b) W'ᵀ + b'. Raises MemoryError."""
        self._call("forward", x, y, None, weights)

    def backward(self, x: Tensor, y_gradient: Tensor, x_gradient: Tensor | None, *weights: Weight) -> None:
        """Write the gradients that there are tensors for; of two weights that of x, of values and of biases that are there
        must all have one. Raises MemoryError."""
        self._call("backward", x, y_gradient, x_gradient, weights)

    def attend(self, qkv: Tensor, out: Tensor, heads: int, scale: float, qkv_gradient: Tensor | None = None) -> None:
        """Write out_BTF, attention of qkv_BTG, G = 3 F; or, where there is a qkv_gradient, that from out's gradient. All
        contiguous; of each token's numbers q, k and v follow each other, head by head. Raises MemoryError."""
        images, tokens, features = out.shape
        tensors = (_address(qkv), _address(out), _address(qkv_gradient))
        call = _Attention(*tensors, images, tokens, heads, features // heads, torch.get_num_threads(), scale)
        if getattr(self._library, f"attend_{_kind(qkv)}")(byref(call)):
            raise MemoryError("no memory for attention")

    def _call(self, what: str, x: Tensor, y: Tensor, x_gradient: Tensor | None, weights: tuple[Weight, ...]) -> None:
        call = _Call(x=_activations(x), y=_activations(y), tokens=x.shape[:-1].numel(), threads=torch.get_num_threads())
        call.first, call.second = _layer(weights[0]), _layer(weights[-1])
        if x_gradient is not None:
            call.x_gradient = _activations(x_gradient)
        function = f"{what}_{_kind(x)}" if len(weights) == 1 else f"mlp_{what}_{_kind(x)}"
        if getattr(self._library, function)(byref(call)):
            raise MemoryError(f"no memory for the {what} pass of a sparse layer")

    def _use_threads(self) -> bool:
        """Hand over torch's own OpenMP: a second one would have threads of its own, which fight for the same cores."""
        try:
            of_torch = ctypes.CDLL(str(next((Path(str(torch.version.__file__)).parent / "lib").glob("libtorch_cpu.*"))))
            function = ctypes.cast(of_torch.GOMP_parallel, c_void_p)  # found in what libtorch_cpu was linked with
        except (OSError, StopIteration, AttributeError):
            return False
        self._library.use_threads(function)
        return True


@cache
def load() -> Kernels | None:
    """The kernels, or None where they were not built or cannot be loaded."""
    for suffix in EXTENSION_SUFFIXES:
        path = FOLDER / f"_kernels{suffix}"
        if path.exists():
            try:
                return Kernels(path)
            except OSError:
                return None
    return None


def _kind(x: Tensor) -> str:
    return "double" if x.dtype == torch.float64 else "float"


def _activations(x: Tensor) -> _Activations:
    layout = Layout.of(x)
    assert layout is not None
    strides = (layout.group_stride, layout.token_stride, layout.feature_stride)
    return _Activations(x.data_ptr(), layout.tokens, *strides)


def _layer(weight: Weight) -> _Layer:
    pattern, *tensors = weight
    return _Layer(ctypes.pointer(_pattern(pattern)), *map(_address, tensors))


def _address(tensor: Tensor | None) -> int | None:
    return None if tensor is None else tensor.data_ptr()


def _pattern(pattern: Pattern) -> _Pattern:
    """The arrays' addresses, kept beside the arrays: they are asked for at every step."""
    found = pattern.__dict__.get("_addresses")
    if found is None:
        found = _Pattern(
            pattern.rows,
            pattern.columns,
            *(a.ctypes.data_as(POINTER(c_int32)) for a in (pattern.row_starts, pattern.column_starts, pattern.places)),
            *(a.ctypes.data_as(POINTER(c_uint16)) for a in (pattern.columns_of_rows, pattern.rows_of_columns)),
        )
        pattern.__dict__["_addresses"] = found
    return found
