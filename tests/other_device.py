"""A GPU that need not be there: tensors that say they are on `cuda` or `mps`, and refuse what such tensors refuse.

They are kept in the CPU's memory, and the CPU computes with them; a mark on a tensor's storage says that it is elsewhere.
Views share the storage, what is computed from marked tensors is marked, and so are gradients. Refused are

- `.numpy()` and numpy's own reading of a tensor that is elsewhere;
- an operation on tensors of two places, unless one is a number (a tensor without dimensions) of the CPU;
- draws there from a generator of the CPU;
- float64 on mps.

What it does not see: kernels that a GPU lacks, or that give other bits there, and work on several GPUs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor
from torch._C import _functorch as functorch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map_only

KINDS = ("cuda", "mps")
PLACE = {Tensor.is_cpu.__get__: "cpu", Tensor.is_cuda.__get__: "cuda", Tensor.is_mps.__get__: "mps"}  # type: ignore[attr-defined]
TO_NUMPY = (Tensor.numpy, Tensor.__array__)
LIKE_ANOTHER = (Tensor.to, Tensor.type_as)
COPIES = (torch.ops.aten.copy_,)
PARSES = torch._C._nn._parse_to  # type: ignore[attr-defined]  # reads the words of Module.to, and moves nothing
INDEXES = tuple(getattr(torch.ops.aten, name) for name in ("index", "index_put", "index_put_", "_index_put_impl_"))


@contextmanager
def elsewhere(kind: str) -> Iterator[torch.device]:
    """Meanwhile the device `kind` is there; the machine's own where it has one."""
    if _real(kind):
        yield torch.device(kind)
        return
    with (
        patch.object(getattr(torch, kind), "get_rng_state", lambda *_: torch.get_rng_state()),
        patch.object(getattr(torch, kind), "set_rng_state", lambda state, *_: torch.set_rng_state(state)),
        patch.object(torch, "Generator", _generators(torch.Generator, kind)),
        torch.backends.cudnn.flags(enabled=False),
        _Placing(computing := _Computing(kind)),
        computing,
    ):
        yield torch.device(kind)


def _real(kind: str) -> bool:
    return torch.cuda.is_available() if kind == "cuda" else torch.backends.mps.is_available()


def _generators(make: Callable, kind: str) -> type:
    """In place of the class `make`; a class too, because modules imported meanwhile write `torch.Generator | None`."""

    def made(_: type, device: torch.device | str = "cpu") -> torch.Generator:
        return make("cpu" if torch.device(device).type == kind else device)

    return type("Generator", (), {"__new__": made})


def _place(tensor: Tensor) -> str:
    while functorch.is_functorch_wrapped_tensor(tensor):
        tensor = functorch.get_unwrapped(tensor)
    return getattr(tensor.untyped_storage(), "place", tensor.untyped_storage().device.type)


def _mark(tensor: Tensor, place: str) -> None:
    tensor.untyped_storage().place = place  # type: ignore[attr-defined]


def _check_type(found: Any) -> None:
    """What torch computes inside of a function is its own affair; on mps its result is never float64."""
    for tensor in _tensors(found):
        if tensor.dtype == torch.float64 and _place(tensor) == "mps":
            raise TypeError("Cannot convert a MPS Tensor to float64 dtype as the MPS framework doesn't support it")


def _tensors(*values: Any) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(values) if isinstance(leaf, Tensor)]


class _Placing(TorchFunctionMode):
    """What a tensor says of its place, and how it gets to another one."""

    def __init__(self, computing: _Computing):
        super().__init__()
        self.kind, self.computing = computing.kind, computing

    def __torch_function__(
        self, func: Callable, types: Any, args: tuple = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        found = self._called(func, args, kwargs or {})
        _check_type(found)
        return found

    def _called(self, func: Callable, args: tuple, kwargs: dict[str, Any]) -> Any:
        if func == Tensor.device.__get__:  # type: ignore[attr-defined]
            return self._device(args[0], func(*args))
        if func is torch.device:
            return func(*args, **kwargs)
        if func is PARSES:
            device, *others = func(*args, **kwargs)
            return (self._device(args[0], device) if _tensors(args) else device, *others)
        if func in PLACE:
            return _place(args[0]) == PLACE[func]
        if func in TO_NUMPY and _place(args[0]) == self.kind and not kwargs.get("force"):
            raise TypeError(f"can't convert {self.kind}:0 device type tensor to numpy. Use Tensor.cpu() first.")
        target = self._target(func, args, kwargs)
        if target is None:
            with self.computing.within(_tensors(args, kwargs)):
                return func(*args, **kwargs)
        _check_generator(target, kwargs.get("generator"))
        found = func(*map(self._on_cpu, args), **{name: self._on_cpu(value) for name, value in kwargs.items()})
        return tree_map_only(Tensor, partial(_brought, target, _storages(args, kwargs)), found)

    def _target(self, func: Callable, args: tuple, kwargs: dict[str, Any]) -> str | None:
        """The place that a call names for its result; None where it follows from the tensors."""
        if func in (Tensor.cpu, Tensor.cuda):
            return "cpu" if func == Tensor.cpu else "cuda"
        if func in LIKE_ANOTHER and isinstance(other := args[-1], Tensor) and len(args) > 1:
            return _place(other)
        if func == Tensor.__deepcopy__:
            return _place(args[0])
        named = [value for value in (*args, kwargs.get("device")) if isinstance(value, torch.device)]
        words = [value for value in (args[1:2] if func == Tensor.to else ()) if isinstance(value, str)]
        words += [kwargs["device"]] if isinstance(kwargs.get("device"), str) else []
        return torch.device((named + words)[0]).type if named + words else None

    def _device(self, tensor: Tensor, own: torch.device) -> torch.device:
        return torch.device(self.kind, 0) if _place(tensor) == self.kind else own

    def _on_cpu(self, value: Any) -> Any:
        ours = (isinstance(value, torch.device) and value.type == self.kind) or value in (self.kind, f"{self.kind}:0")
        return "cpu" if not isinstance(value, Tensor) and ours else value


def _check_generator(target: str, generator: torch.Generator | None) -> None:
    if generator is not None and generator.device.type != target:
        raise RuntimeError(f"Expected a '{target}' device type for generator but found '{generator.device.type}'")


def _storages(*values: Any) -> set[int]:
    return {tensor.untyped_storage()._cdata for tensor in _tensors(*values)}


def _brought(target: str, given: set[int], tensor: Tensor) -> Tensor:
    """A result at the place that was named for it, which is a copy where that is another one."""
    if _place(tensor) == target or tensor.is_meta:
        return tensor
    moved = tensor.clone() if tensor.untyped_storage()._cdata in given else tensor
    _mark(moved, target)
    return moved


class _Computing(TorchDispatchMode):
    """Where the result of each operation is, a backward pass's among them; mixed places are refused."""

    def __init__(self, kind: str):
        super().__init__()
        self.kind = kind
        self._makes_there = False

    @contextmanager
    def within(self, tensors: list[Tensor]) -> Iterator[None]:
        """A function of torch at work on these: what it makes from nothing is where they are."""
        before, self._makes_there = self._makes_there, self._are_there(tensors)
        try:
            yield
        finally:
            self._makes_there = before

    def _are_there(self, tensors: list[Tensor]) -> bool:
        return any(_place(tensor) == self.kind for tensor in tensors)

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: dict[str, Any] | None = None) -> Any:
        kwargs = kwargs or {}
        with torch._C.DisableTorchFunction():
            tensors = _tensors(args, kwargs)
            there = self._are_there(tensors) if tensors else self._makes_there
            if there:
                self._check(func, args, kwargs)
            given, found = _storages(args, kwargs), func(*args, **kwargs)
            for tensor in _tensors(found) if there else ():
                if tensor.untyped_storage()._cdata not in given:
                    _mark(tensor, self.kind)
            return found

    def _check(self, func: Any, args: tuple, kwargs: dict[str, Any]) -> None:
        """Refuse what torch refuses of tensors on two devices: an index alone may be on the CPU."""
        _check_generator(self.kind, kwargs.get("generator"))
        if func.overloadpacket in COPIES:
            return
        if func.overloadpacket in INDEXES and _place(args[0]) == self.kind:
            args = (args[0], *args[2:])
        for tensor in _tensors(args, kwargs):
            if tensor.ndim and (place := _place(tensor)) != self.kind:
                what = f"Expected all tensors to be on the same device, but found {self.kind}:0 and {place}"
                raise RuntimeError(f"{what}! ({func})")
