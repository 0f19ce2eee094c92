"""Which weights may be pruned: those of Linear, Conv2d and LSTM layers whose parameter name matches a pattern."""

from __future__ import annotations

from collections.abc import Iterable
from fnmatch import fnmatchcase

from prune_cli.common.errors import ConfigError
from prune_cli.common.lazy import nn


def prunable(module: nn.Module, patterns: Iterable[str]) -> dict[str, nn.Parameter]:
    """The prunable weights by name, in the module's order. `*` in a pattern matches dots too.

    Biases, norms, embeddings, layer scale and the classifier never qualify. Raises ConfigError if nothing matches.
    """
    patterns, head = list(patterns), classifier_names(module)
    layers = [
        (name, layer) for name, layer in module.named_modules() if isinstance(layer, (nn.Linear, nn.Conv2d, nn.LSTM))
    ]
    found = {
        f"{name}.{of}": p
        for name, layer in layers
        for of, p in layer.named_parameters(recurse=False)
        if p.ndim > 1 and name not in head and _matches(f"{name}.{of}", patterns)
    }
    if not found:
        some = [name for name, _ in layers]
        raise ConfigError(
            f"no weight of this model matches {patterns}",
            "model.prunable",
            f"its layers: {', '.join(some[:4])}, … for example model.prunable=['{some[0].split('.')[0]}.*']",
        )
    return found


def classifier_names(module: nn.Module) -> set[str]:
    """The names of the module's classification head and of all inside it (timm's get_classifier)."""
    found = module.get_classifier()  # type: ignore[operator]
    parts = found if isinstance(found, tuple) else (found,)  # models made for distillation have two
    heads = [name for name, layer in module.named_modules() if any(layer is part for part in parts)]
    return {name for name, _ in module.named_modules() for top in heads if name == top or name.startswith(f"{top}.")}


def _matches(name: str, patterns: list[str]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)
