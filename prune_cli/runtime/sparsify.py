"""A model whose pruned layers hold their survivors alone, and the dense one again."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager

from prune_cli.common.lazy import Tensor, nn
from prune_cli.masks import Mask
from prune_cli.runtime.pattern import Pattern


@contextmanager
def sparse_layers(model: nn.Module, mask: Mapping[str, Tensor], but: Collection[str] = ()) -> Iterator[Mask]:
    """Within the block the model is sparse: see `sparsify`, whose mask it yields; afterwards it is dense again."""
    left = sparsify(model, mask, but)
    try:
        yield left
    finally:
        densify(model)


def sparsify(model: nn.Module, mask: Mapping[str, Tensor], but: Collection[str] = ()) -> Mask:
    """Replace, in place, the layers of the weights that the mask prunes by sparse ones: those of `sparse_able`.

    mask: True = keep, by the names of weights; what it removes must be zero. but: weights whose layers stay dense. The
    parameters of replaced weights stay the same objects, empty until `densify`. Returns the mask of the other weights.
    """
    places = _places(model)
    found = {name: layer for name, layer in sparse_able(model, mask).items() if name not in but}
    for name, layer in found.items():
        sparse = _sparse(layer, Pattern.of(mask[name]))
        layer.weight.data = layer.weight.data.new_empty(0)  # type: ignore[operator]
        layer.weight.grad = None
        for place in places[layer]:
            model.set_submodule(place, sparse)
    _lay_out(model)
    _join(model)
    return {name: keep for name, keep in mask.items() if name not in found}


def densify(model: nn.Module) -> None:
    """Put the dense layers back, in place, with the values that the sparse ones have now."""
    from prune_cli.runtime.attention import SparseAttention
    from prune_cli.runtime.layers import SparseLayer
    from prune_cli.runtime.mlp import SparseMlp

    for module, places in _places(model).items():
        if isinstance(module, SparseMlp | SparseAttention):
            for place in places:
                model.set_submodule(place, module.original[0].train(module.training))
    for layer, places in _places(model).items():
        if isinstance(layer, SparseLayer):
            (dense,) = layer.original
            dense.weight.data = layer.weight.detach()
            dense.train(layer.training)
            for place in places:
                model.set_submodule(place, dense)


def sparse_able(model: nn.Module, mask: Mapping[str, Tensor]) -> dict[str, nn.Module]:
    """The layers that can be sparse, by the name of their weight: each Linear and each Conv2d of 1×1 (without stride,
    padding, groups) on a CPU that has no hooks, and whose weight is its own alone."""
    holders: dict[int, set[nn.Module]] = {}
    for module in model.modules():
        for parameter in module.parameters(recurse=False):
            holders.setdefault(id(parameter), set()).add(module)
    found = {}
    for name in mask:
        path, _, last = name.rpartition(".")
        layer = model.get_submodule(path)
        if last == "weight" and path and _fits(layer) and len(holders[id(layer.weight)]) == 1:
            found[name] = layer
    return found


def _fits(layer: nn.Module) -> bool:
    from prune_cli.runtime.layers import hooked

    return (
        not hooked(layer) and (type(layer) is nn.Linear or _is_pointwise(layer)) and layer.weight.device.type == "cpu"
    )


def _is_pointwise(layer: nn.Module) -> bool:
    if type(layer) is not nn.Conv2d:
        return False
    plain = layer.stride == (1, 1) and layer.padding in ((0, 0), "valid") and layer.groups == 1
    return plain and layer.kernel_size == (1, 1)


def _sparse(layer: nn.Module, pattern: Pattern) -> nn.Module:
    from prune_cli.runtime.layers import SparseConv2d, SparseLinear

    return (SparseLinear if isinstance(layer, nn.Linear) else SparseConv2d)(layer, pattern)


def _places(model: nn.Module) -> dict[nn.Module, list[str]]:
    """Every module with all the names that it has."""
    found: dict[nn.Module, list[str]] = {}
    for name, module in model.named_modules(remove_duplicate=False):
        found.setdefault(module, []).append(name)
    return found


def _lay_out(model: nn.Module) -> None:
    """Keep activations features first between the two layers of an MLP: what is between them works on single numbers. Not
    where some are dropped: the draws would be those of other places."""
    from prune_cli.runtime.layers import SparseLinear

    for module in model.modules():
        first, second = getattr(module, "fc1", None), getattr(module, "fc2", None)
        dropping = any(isinstance(part, nn.Dropout) and part.p > 0 for part in module.children())
        if isinstance(first, SparseLinear) and isinstance(second, SparseLinear) and not dropping:
            first.features_first = True


def _join(model: nn.Module) -> None:
    """Let MLPs of two sparse layers, and attention behind a sparse one, compute at once what is between these."""
    from prune_cli.runtime.attention import SparseAttention
    from prune_cli.runtime.mlp import SparseMlp

    for module, places in _places(model).items():
        kind = next((kind for kind in (SparseMlp, SparseAttention) if kind.stands_for(module)), None)
        if kind is not None:
            joined = kind(module)
            for place in filter(None, places):  # a model that is nothing else stays as it is
                model.set_submodule(place, joined)
