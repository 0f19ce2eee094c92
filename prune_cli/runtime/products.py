"""The products of a sparse layer with its activations: compiled kernels, else torch's CSR matrices, else dense ones.

All three compute in the type of the values (float32 or float64) on the CPU: Y = X Wᵀ + b; from the gradient of Y those of
X (G W), of the survivors (Gᵀ X, at their places alone) and of b (Σ G over tokens).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from functools import cache
from typing import NamedTuple

from prune_cli.common.lazy import Tensor, torch
from prune_cli.runtime.kernels import Kernels, Weight, load
from prune_cli.runtime.layout import Layout, empty, grouped
from prune_cli.runtime.pattern import Pattern


class Wanted(NamedTuple):
    """Which gradients a backward pass has to find."""

    x: bool
    values: bool
    bias: bool


class Gradients(NamedTuple):
    """What a backward pass has found; None for what is not wanted."""

    x: Tensor | None
    values: Tensor | None
    bias: Tensor | None


class Products(ABC):
    """One way to compute the products. Activations are (groups, tokens, features), tokens at least one."""

    title: str  # as notes and records write it

    @abstractmethod
    def forward(self, pattern: Pattern, values: Tensor, bias: Tensor | None, x: Tensor, features_first: bool) -> Tensor:
        """Y, features first in memory where that is wanted and can be had."""

    @abstractmethod
    def backward(self, pattern: Pattern, values: Tensor, x: Tensor, y_gradient: Tensor, wanted: Wanted) -> Gradients:
        """The gradients that are wanted, None for the others; that of x lies in memory as x does."""


class KernelProducts(Products):
    """By the compiled kernels, which also compute two layers around a GELU at once, and attention over few tokens."""

    def __init__(self, loaded: Kernels):
        self._kernels = loaded
        self.title = f"compiled kernels, {loaded.instructions}"

    def forward(self, pattern: Pattern, values: Tensor, bias: Tensor | None, x: Tensor, features_first: bool) -> Tensor:
        """As Products.forward."""
        y = empty(x, pattern.rows, features_first)
        self._kernels.forward(x, y, Weight(pattern, values, bias))
        return y

    def backward(self, pattern: Pattern, values: Tensor, x: Tensor, y_gradient: Tensor, wanted: Wanted) -> Gradients:
        """As Products.backward."""
        of_x = empty(x, pattern.columns, _features_first(x)) if wanted.x else None
        of_values = torch.empty_like(values) if wanted.values else None
        of_bias = values.new_empty(pattern.rows) if wanted.bias else None
        self._kernels.backward(x, grouped(y_gradient), of_x, Weight(pattern, values, None, of_values, of_bias))
        return Gradients(of_x, of_values, of_bias)

    def mlp(self, x: Tensor, one: Weight, two: Weight, features_first: bool) -> Tensor:
        """GELU(x Wᵀ + b) W'ᵀ + b', without the hidden activations in memory."""
        y = empty(x, two.pattern.rows, features_first)
        self._kernels.forward(x, y, one, two)
        return y

    def mlp_backward(self, x: Tensor, y_gradient: Tensor, one: Weight, two: Weight) -> tuple[Tensor | None, ...]:
        """The gradients of x, of both weights' values and of their biases, None where there is none, in the order x, W,
        b, W', b'. Hidden activations are computed again."""
        of_x = empty(x, one.pattern.columns, _features_first(x))
        found = [_with_gradients(weight) for weight in (one, two)]
        self._kernels.backward(x, grouped(y_gradient), of_x, *found)
        return of_x, *(gradient for weight in found for gradient in (weight.value_gradients, weight.bias_gradients))

    def attention(self, qkv: Tensor, heads: int, scale: float) -> Tensor:
        """softmax(q kᵀ · scale) v, (images, tokens, features), of a contiguous qkv (images, tokens, 3 × features)."""
        images, tokens, features = qkv.shape
        out = qkv.new_empty(images, tokens, features // 3)
        self._kernels.attend(qkv, out, heads, scale)
        return out

    def attention_backward(self, qkv: Tensor, gradient: Tensor, heads: int, scale: float) -> Tensor:
        """The gradient of qkv, from that of attention."""
        found = torch.empty_like(qkv)
        self._kernels.attend(qkv, gradient.contiguous(), heads, scale, found)
        return found


def _features_first(x: Tensor) -> bool:
    layout = Layout.of(x)
    return layout is not None and layout.features_first


def _with_gradients(weight: Weight) -> Weight:
    of_bias = None if weight.bias is None else torch.empty_like(weight.bias)
    return weight._replace(value_gradients=torch.empty_like(weight.values), bias_gradients=of_bias)


class MatrixProducts(Products):
    """By torch: the products with W are those of a CSR matrix where `sparse`, else of a dense one made for the moment."""

    def __init__(self, sparse: bool):
        self._sparse = sparse
        self.title = "torch's CSR matrices" if sparse else "dense matrices"

    def forward(self, pattern: Pattern, values: Tensor, bias: Tensor | None, x: Tensor, features_first: bool) -> Tensor:  # noqa: ARG002
        """As Products.forward; tokens first always."""
        y_TO = _product(_matrix(pattern, values, self._sparse), x.reshape(-1, pattern.columns))
        y_TO = y_TO if bias is None else y_TO + bias
        return y_TO.reshape(*x.shape[:-1], pattern.rows)

    def backward(self, pattern: Pattern, values: Tensor, x: Tensor, y_gradient: Tensor, wanted: Wanted) -> Gradients:
        """As Products.backward."""
        g_TO, x_TI = y_gradient.reshape(-1, pattern.rows), x.reshape(-1, pattern.columns)
        of_x = None
        if wanted.x:
            of_x = _product(_transposed(pattern, values, self._sparse), g_TO).reshape(x.shape)
        of_values = self._at_survivors(pattern, values, g_TO, x_TI) if wanted.values else None
        return Gradients(of_x, of_values, g_TO.sum(0) if wanted.bias else None)

    def _at_survivors(self, pattern: Pattern, values: Tensor, g_TO: Tensor, x_TI: Tensor) -> Tensor:
        if not self._sparse:
            return (g_TO.t() @ x_TI).reshape(-1)[pattern.flat]
        places = _matrix(pattern, torch.zeros_like(values), sparse=True)
        return torch.sparse.sampled_addmm(places, g_TO.t().contiguous(), x_TI.contiguous(), beta=0.0).values()


def _product(matrix: Tensor, x_TF: Tensor) -> Tensor:
    """X Mᵀ."""
    return (matrix @ x_TF.t()).t()


def _matrix(pattern: Pattern, values: Tensor, sparse: bool) -> Tensor:
    if not sparse:
        return pattern.dense(values)
    return _csr(pattern.row_starts, pattern.columns_of_rows, values, (pattern.rows, pattern.columns))


def _transposed(pattern: Pattern, values: Tensor, sparse: bool) -> Tensor:
    if not sparse:
        return pattern.dense(values).t()
    by_columns = values[torch.from_numpy(pattern.places)]
    return _csr(pattern.column_starts, pattern.rows_of_columns, by_columns, (pattern.columns, pattern.rows))


def _csr(starts, numbers, values: Tensor, shape: tuple[int, int]) -> Tensor:  # type: ignore[no-untyped-def]
    index = torch.from_numpy(numbers.astype("int32"))
    return torch.sparse_csr_tensor(torch.from_numpy(starts), index, values, shape, check_invariants=False)


@cache
def by_torch() -> Products:
    """The best that torch alone has here: CSR where its CPU build multiplies and samples such matrices."""
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # CSR is in beta, says torch
        try:
            _try(MatrixProducts(sparse=True))
        except (RuntimeError, NotImplementedError):  # e.g. built without MKL
            return MatrixProducts(sparse=False)
    return MatrixProducts(sparse=True)


def _try(products: Products) -> None:
    pattern, x = Pattern.of(torch.eye(2, dtype=torch.bool)), torch.ones(1, 1, 2)
    y = products.forward(pattern, torch.ones(2), None, x, False)
    products.backward(pattern, torch.ones(2), x, y, Wanted(True, True, False))


def kernel_products() -> KernelProducts | None:
    """The compiled kernels, where they are the best."""
    found = best()
    return found if isinstance(found, KernelProducts) else None


def compiled() -> KernelProducts:
    """The compiled kernels, for what is computed only where `kernel_products` gives them."""
    kernels = kernel_products()
    assert kernels is not None
    return kernels


@cache
def best() -> Products:
    """The fastest way that this machine has; a note of sparsify says which."""
    loaded = load()
    return by_torch() if loaded is None else KernelProducts(loaded)


def products_for(pattern: Pattern) -> Products:
    """The fastest way for this weight: the kernels number rows and columns with 16 bits."""
    return best() if pattern.is_short else by_torch()
