"""Training steps over sparse layers against our own steps with dense ones: single layers, and whole models with Adam.

Both sides take their steps in turn, in one process, on the same weights and batch: the ratio of a pair of steps is what
counts, printed as the median of all pairs with the lowest and the highest. The dense side is a run with compute.sparse=off:
masked dense layers, and an optimiser over the survivors. Memory is the highest level of a process of its own, libraries
and weights included, during three steps, beside that of torch.nn.utils.prune with Adam. Random weights, magnitude masks of one threshold for the whole model.

python benchmarks/sparse_step.py --only vit_micro layers     (seconds; all of it takes a quarter of an hour)
"""

from __future__ import annotations

import argparse
import copy
import json
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import timm
import torch
from measure import PeakGrowth, in_child
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import prune

from prune_cli import masks
from prune_cli.masks.survivors import SurvivorOptimizer
from prune_cli.models.prunable import prunable
from prune_cli.models.registry import models
from prune_cli.runtime import products, sparsify


@dataclass(frozen=True)
class Case:
    """A model of the config group `model`, its batch, and what is aimed at: the ratio by sparsity [%]."""

    batch: int
    aims: dict[float, float]


CASES = {
    "vit_micro": Case(128, {98: 2.5}),
    "vit_b16": Case(4, {98: 5.0, 95: 3.0, 90: 1.8}),
    "mixer_b16": Case(4, {98: 5.0, 95: 3.0, 90: 1.8}),
    "poolformer_m36": Case(4, {98: 2.5}),
}
LAYERS = [(1576, 768, 3072), (1576, 3072, 768), (1576, 768, 768), (2176, 128, 512)]  # tokens, inputs, outputs
DENSITIES = (0.02, 0.05, 0.1)


def pruned(name: str, percent: float) -> tuple[nn.Module, masks.Mask, Tensor]:
    """The model with zeros, its mask and a batch."""
    torch.manual_seed(0)
    config = models.build(name)
    model = config.build(10)
    weights = prunable(model, config.prunable)
    mask = masks.select({key: p.detach().abs() for key, p in weights.items()}, percent / 100)
    masks.apply(weights, mask)
    shape = config.input
    return model, mask, torch.randn(CASES[name].batch, shape.channels, shape.height, shape.width)


def stepper(model: nn.Module, mask: masks.Mask, x: Tensor) -> Callable[[], float]:
    """A training step that returns its seconds."""
    optimizer, y = SurvivorOptimizer(model, mask, "adam", lr=1e-3), torch.arange(len(x)) % 10

    def step() -> float:
        """Forward, backward and optimiser."""
        start = time.perf_counter()
        optimizer.zero_grad()
        F.cross_entropy(model(x), y).backward()
        optimizer.step()
        return time.perf_counter() - start

    return step


def compare_models(name: str, percent: float, pairs: int) -> dict[str, Any]:
    """Steps of both kinds in turn."""
    dense, mask, x = pruned(name, percent)
    sparse = copy.deepcopy(dense)
    left = sparsify(sparse, mask)
    return in_turn(stepper(dense, mask, x), stepper(sparse, left, x), pairs)


def compare_layers(tokens: int, inputs: int, outputs: int, density: float, pairs: int) -> dict[str, Any]:
    """Forward and backward passes of one layer of both kinds in turn, all gradients."""
    torch.manual_seed(0)
    dense = nn.Sequential(nn.Linear(inputs, outputs))
    mask = {"0.weight": torch.rand(outputs, inputs) < density}
    masks.apply(dict(dense.named_parameters()), mask)
    sparse = copy.deepcopy(dense)
    sparsify(sparse, mask)
    x, gradient = torch.randn(tokens, inputs, requires_grad=True), torch.randn(tokens, outputs)

    def passes(model: nn.Module) -> float:
        """Of one of the two."""
        start = time.perf_counter()
        torch.autograd.grad(model(x), [x, *model.parameters()], gradient)
        return time.perf_counter() - start

    return in_turn(lambda: passes(dense), lambda: passes(sparse), pairs)


def in_turn(dense: Callable[[], float], sparse: Callable[[], float], pairs: int) -> dict[str, Any]:
    """Best seconds of both, and the ratios of the pairs after the first, which allocates."""
    found = [(dense(), sparse()) for _ in range(pairs + 1)][1:]
    ratios = [a / b for a, b in found]
    return {
        "dense": min(a for a, _ in found),
        "sparse": min(b for _, b in found),
        "ratio": statistics.median(ratios),
        "lowest": min(ratios),
        "highest": max(ratios),
    }


def memory_of_sparse(name: str, percent: float) -> dict[str, Any]:
    """Three steps with sparse layers."""
    model, mask, x = pruned(name, percent)
    left = sparsify(model, mask)
    mask.clear()
    step = stepper(model, left, x)
    with PeakGrowth() as memory:
        for _ in range(3):
            step()
    return {"peak": memory.peak}


def memory_of_torch(name: str, percent: float) -> dict[str, Any]:
    """Three steps with torch.nn.utils.prune and Adam over all parameters."""
    model, mask, x = pruned(name, percent)
    for key, keep in mask.items():
        prune.custom_from_mask(model.get_submodule(key.removesuffix(".weight")), "weight", keep)
    mask.clear()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    with PeakGrowth() as memory:
        for _ in range(3):
            optimizer.zero_grad()
            F.cross_entropy(model(x), torch.arange(len(x)) % 10).backward()
            optimizer.step()
    return {"peak": memory.peak}


def with_threads(threads: int, work: Callable[..., dict[str, Any]], *given: Any) -> dict[str, Any]:
    """What `work` gives in this process with so many threads."""
    torch.set_num_threads(threads)
    return work(*given)


def report(what: str, found: dict[str, Any], aim: float | None = None) -> None:
    """A row of the comparison."""
    wanted = f"   aim {aim:g}x" if aim else ""
    print(
        f"{what:34s} {1e3 * found['dense']:9.1f} ms -> {1e3 * found['sparse']:8.1f} ms"
        f"   {found['ratio']:5.2f}x ({found['lowest']:.2f} to {found['highest']:.2f}){wanted}",
        flush=True,
    )


def main() -> None:
    """Measure, print, and write JSON where that is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    known = ["layers", "memory", *CASES]
    parser.add_argument("--only", nargs="+", choices=known, default=known)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--pairs", type=int, default=9, help="pairs of steps after the first")
    parser.add_argument("--json", type=Path, help="where the figures are written")
    options = parser.parse_args()
    print(f"{products.best().title}, {options.threads} threads, torch {torch.__version__}, timm {timm.__version__}")
    results: dict[str, Any] = {}
    for tokens, inputs, outputs in LAYERS if "layers" in options.only else []:
        for density in DENSITIES:
            what = f"{tokens} tokens, {inputs} -> {outputs}, {100 - 100 * density:g} %"
            given = (tokens, inputs, outputs, density, options.pairs)
            results[what] = in_child(with_threads, options.threads, compare_layers, *given)
            report(what, results[what])
    for name in (name for name in CASES if name in options.only):
        for percent, aim in CASES[name].aims.items():
            what = f"{name}, batch {CASES[name].batch}, {percent:g} %"
            results[what] = in_child(with_threads, options.threads, compare_models, name, percent, options.pairs)
            report(what, results[what], aim)
    if "memory" in options.only:
        ours, other = (
            in_child(with_threads, options.threads, work, "vit_b16", 98.0)["peak"]
            for work in (memory_of_sparse, memory_of_torch)
        )
        results["memory of vit_b16, batch 4, 98 %"] = {"sparse": ours, "torch": other, "ratio": ours / other}
        print(
            f"peak memory of vit_b16, batch 4: {ours / 1e9:.2f} GB, torch.nn.utils.prune {other / 1e9:.2f} GB: {ours / other:.2f}x (aim 0.4x)"
        )
    if options.json:
        options.json.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
