"""Which pruned layers are faster sparse on this machine: measured once for a shape, and remembered in the user's cache.

What is timed is the forward and the backward pass of a layer, or of an MLP whose two layers are pruned, sparse and dense
in turn, with as many tokens as in training (TOKENS at most: the time of a token is the same beyond). Densities are timed
in steps of a factor √2, rounded up, with a random mask; where a density is faster sparse, the lower ones are not timed.
"""

from __future__ import annotations

import copy
import math
import platform
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from prune_cli.common.lazy import Tensor, nn, torch
from prune_cli.common.random import generator
from prune_cli.runs import facts
from prune_cli.runtime import products
from prune_cli.runtime.sparsify import sparsify

TOKENS = 4096  # in all that is timed at once
ROUNDS, ENOUGH = 7, 0.6  # both sides are timed so often, or twice and until so many seconds have gone
STEPS = 2  # densities timed to a factor 2

Autocast = Callable[[], AbstractContextManager[Any]]


@dataclass(frozen=True)
class Unit:
    """What is sparse or dense as one: a layer, or an MLP. weights: the names in the mask. x: its input for one image."""

    module: nn.Module
    weights: tuple[str, ...]
    x: Tensor
    density: float

    @property
    def features(self) -> int:
        """How many a token has."""
        return next(p.shape[1] for p in self.module.parameters() if p.ndim > 1)

    @property
    def step(self) -> int:
        """The density in steps of √2 from 1 down, rounded up."""
        return math.ceil(STEPS * math.log2(max(self.density, 1e-6)))

    @property
    def kind(self) -> tuple[Any, ...]:
        """What decides its times, but for the density."""
        order = sorted(range(1, self.x.ndim), key=self.x.stride, reverse=True)
        return repr(self.module), tuple(self.x.shape[1:]), tuple(order), str(self.x.dtype)


def faster_sparse(
    model: nn.Module, mask: Mapping[str, Tensor], names: Iterable[str], image: Tensor, batch: int, autocast: Autocast
) -> list[str]:
    """Those of the weights `names`, which can be sparse, whose layers are faster so.

    image: a batch of one. batch: of how many there will be. autocast: the context of forward passes in training.
    """
    by_kind: dict[tuple[Any, ...], list[Unit]] = {}
    for unit in _units(model, mask, names, image, autocast):
        by_kind.setdefault(unit.kind, []).append(unit)
    found: set[str] = set()
    for units in by_kind.values():
        won = False
        for unit in sorted(units, key=lambda unit: -unit.density):
            won = won or _wins(unit, batch, autocast)
            found |= set(unit.weights) if won else set()
    return [name for name in mask if name in found]


def _units(
    model: nn.Module, mask: Mapping[str, Tensor], names: Iterable[str], image: Tensor, autocast: Autocast
) -> list[Unit]:
    """The layers and MLPs that one image reaches, with their inputs."""
    names = list(names)
    parts: dict[str, list[str]] = {}
    for name in names:
        layer = name.removesuffix(".weight")
        parent, _, last = layer.rpartition(".")
        both = {f"{parent}.fc1.weight", f"{parent}.fc2.weight"} <= set(names)
        parts.setdefault(parent if parent and last in ("fc1", "fc2") and both else layer, []).append(name)
    inputs = _inputs(model, parts, image, autocast)
    kept = {path: [mask[name] for name in weights] for path, weights in parts.items()}
    density = {path: sum(int(m.sum()) for m in all_) / sum(m.numel() for m in all_) for path, all_ in kept.items()}
    return [
        Unit(model.get_submodule(path), tuple(parts[path]), x, density[path]) for path, x in inputs.items() if x.numel()
    ]


def _inputs(model: nn.Module, paths: Iterable[str], image: Tensor, autocast: Autocast) -> dict[str, Tensor]:
    """What goes into each module; the model is as before."""
    found: dict[str, Tensor] = {}
    hooks = [
        model.get_submodule(path).register_forward_pre_hook(lambda _, given, path=path: found.update({path: given[0]}))
        for path in paths
    ]
    training = model.training
    try:
        with torch.no_grad(), autocast():
            model.eval()(image)
    finally:
        model.train(training)
        for hook in hooks:
            hook.remove()
    return found


def _wins(unit: Unit, batch: int, autocast: Autocast) -> bool:
    """Whether the unit is faster sparse, from what is remembered or by measuring."""
    tokens = max(1, unit.x.numel() // unit.features)
    images = max(1, min(batch, TOKENS // tokens))
    about = [*unit.kind, unit.step, images, products.best().title, torch.get_num_threads(), _processor()]
    about.append(str(type(autocast()).__name__))
    return bool(facts.known("sparse-layer", about, lambda: _measured(unit, images, autocast)))


def _measured(unit: Unit, images: int, autocast: Autocast) -> bool:
    dense = nn.Sequential(copy.deepcopy(unit.module))
    share, draw = min(1.0, 2 ** (unit.step / STEPS)), generator(0, "timing of layers")
    names = [name for name, p in dense.named_parameters() if p.ndim > 1]
    mask = {name: torch.rand(dense.get_parameter(name).shape, generator=draw) < share for name in names}
    sparse = copy.deepcopy(dense)
    sparsify(sparse, mask)
    x = _enlarged(unit.x, images)
    times: dict[nn.Module, list[float]] = {dense: [], sparse: []}
    start = time.perf_counter()
    for turn in range(ROUNDS + 1):
        for module, seconds in times.items():
            seconds.append(_seconds(module, x, autocast))
        if turn > 1 and time.perf_counter() - start > ENOUGH:
            break
    return min(times[sparse][1:]) <= min(times[dense][1:])  # the first of each warms up


def _seconds(module: nn.Module, x: Tensor, autocast: Autocast) -> float:
    """Of a forward and a backward pass."""
    module.zero_grad()
    x = x.detach().requires_grad_()
    start = time.perf_counter()
    with autocast():
        y = module(x)
    y.backward(torch.ones_like(y))
    return time.perf_counter() - start


def _enlarged(x: Tensor, images: int) -> Tensor:
    """The input of as many images, laid out as that of one."""
    order = [0, *sorted(range(1, x.ndim), key=x.stride, reverse=True)]
    shape = (x.shape[0] * images, *x.shape[1:])
    made = torch.randn([shape[d] for d in order], generator=generator(0, "timing of layers")).to(x.dtype)
    return made.permute([order.index(d) for d in range(x.ndim)])


@cache
def _processor() -> str:
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor()
