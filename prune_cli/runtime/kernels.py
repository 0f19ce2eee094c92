"""The compiled kernels (kernels.c), loaded by ctypes where setuptools could build them."""

from __future__ import annotations

import ctypes
from ctypes import POINTER, Structure, byref, c_int, c_int32, c_int64, c_uint16, c_void_p
from functools import cache
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

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


class _Product(Structure):
    _fields_ = (
        ("pattern", POINTER(_Pattern)),
        ("values", c_void_p),
        ("bias", c_void_p),
        ("x", _Activations),
        ("y", _Activations),
        ("x_gradient", _Activations),
        ("value_gradients", c_void_p),
        ("bias_gradients", c_void_p),
        ("tokens", c_int64),
        ("threads", c_int64),
    )


class Kernels:
    """The functions of the compiled file. Tensors are contiguous or of a Layout, on the CPU, of float32 or float64."""

    def __init__(self, path: Path):
        """Raises OSError for a file that cannot be loaded."""
        self._library = ctypes.CDLL(str(path))
        self.threaded = self._use_threads()
        self.instructions = self.use_set(len(SETS) - 1)

    def use_set(self, most: int) -> str:
        """Use the best instruction set that this machine has, up to number `most` of SETS. Returns its name."""
        return SETS[self._library.use_set(c_int(most))]

    def forward(self, pattern: Pattern, values: Tensor, bias: Tensor | None, x: Tensor, y: Tensor) -> None:
        """y = x Wᵀ + bias. Raises MemoryError."""
        product = self._product(pattern, values, x, y)
        product.bias = _address(bias)
        self._call("forward", values, product)

    def backward(
        self,
        pattern: Pattern,
        values: Tensor,
        x: Tensor,
        y_gradient: Tensor,
        x_gradient: Tensor | None,
        value_gradients: Tensor | None,
        bias_gradients: Tensor | None,
    ) -> None:
        """Write the gradients that are not None. Raises MemoryError."""
        product = self._product(pattern, values, x, y_gradient)
        if x_gradient is not None:
            product.x_gradient = _activations(x_gradient)
        product.value_gradients, product.bias_gradients = _address(value_gradients), _address(bias_gradients)
        self._call("backward", values, product)

    def _call(self, what: str, values: Tensor, product: _Product) -> None:
        kind = "double" if values.dtype == torch.float64 else "float"
        if getattr(self._library, f"{what}_{kind}")(byref(product)):
            raise MemoryError(f"no memory for the {what} pass of a sparse layer")

    @staticmethod
    def _product(pattern: Pattern, values: Tensor, x: Tensor, y: Tensor) -> _Product:
        found = _Product(
            values=_address(values),
            x=_activations(x),
            y=_activations(y),
            tokens=x.shape[:-1].numel(),
            threads=torch.get_num_threads(),
        )
        found.pattern = ctypes.pointer(_pattern(pattern))
        return found

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
    """The kernels, or None where they were not built, cannot be loaded or know no parallel threads and torch has many."""
    for suffix in EXTENSION_SUFFIXES:
        path = FOLDER / f"_kernels{suffix}"
        if path.exists():
            try:
                return Kernels(path)
            except OSError:
                return None
    return None


def _activations(x: Tensor) -> _Activations:
    layout = Layout.of(x)
    assert layout is not None
    strides = (layout.group_stride, layout.token_stride, layout.feature_stride)
    return _Activations(x.data_ptr(), layout.tokens, *strides)


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
