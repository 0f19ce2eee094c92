"""Libraries whose import takes seconds, imported when something of them is first used.

    from prune_cli.common.lazy import F, Tensor, nn, torch

reads and works as torch's own imports do inside functions, in annotations and in isinstance; only what runs when a file is
imported (a base class, a decorator, a default) must not use them. So a wrong option, a plan, a table or a finished run
typed again is answered without torch, and it is imported where the first number is computed.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any


class Lazy:
    """A stand-in for a module, or for the object `name` in it, that imports the module at its first use."""

    def __init__(self, module: str, name: str | None = None):
        self._module, self._name = module, name

    def __getattr__(self, attribute: str) -> Any:
        if attribute.startswith("__"):  # what copying, pickling and inspecting ask for of any object
            raise AttributeError(attribute)
        return getattr(self._loaded(), attribute)

    def __call__(self, *args: Any, **options: Any) -> Any:
        return self._loaded()(*args, **options)

    def __instancecheck__(self, value: Any) -> bool:
        return isinstance(value, self._loaded())

    def _loaded(self) -> Any:
        module = import_module(self._module)
        return module if self._name is None else getattr(module, self._name)


if TYPE_CHECKING:
    import pandas as pd
    import torch
    from safetensors.torch import load_file, save_file
    from torch import Tensor, nn
    from torch.nn import functional as F
else:
    torch, nn, F, Tensor = Lazy("torch"), Lazy("torch.nn"), Lazy("torch.nn.functional"), Lazy("torch", "Tensor")
    pd = Lazy("pandas")
    load_file, save_file = Lazy("safetensors.torch", "load_file"), Lazy("safetensors.torch", "save_file")

__all__ = ["F", "Lazy", "Tensor", "load_file", "nn", "pd", "save_file", "torch"]
