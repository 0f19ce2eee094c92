"""One training step of ViT-B/16 at batch 4 and 98 % sparsity: survivors against torch.nn.utils.prune with Adam.

Prints the seconds of a whole step and of its optimiser part (the best of several; for the survivors the gathering of
gradients, which happens in the backward pass, is timed apart and counted in), the peak memory of the process, and the
ratios. Each candidate runs in a process of its own.
"""

from __future__ import annotations

import argparse
import time
from typing import Any

import timm
import torch
from measure import in_child, peak_of_process
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import prune

from prune_cli import masks
from prune_cli.masks import survivors
from prune_cli.models.prunable import prunable

ARCH, SPARSITY, BATCH = "vit_base_patch16_224", 0.98, 4


def network() -> tuple[nn.Module, dict[str, Tensor]]:
    """ViT-B/16 with random weights and its magnitude mask."""
    torch.manual_seed(0)
    model = timm.create_model(ARCH, num_classes=10)
    weights = prunable(model, ["blocks.*"])
    return model, masks.select({name: p.detach().abs() for name, p in weights.items()}, SPARSITY)


def step(model: nn.Module, optimizer: Any, x: Tensor, y: Tensor) -> tuple[float, float]:
    """Seconds of the whole step and of optimizer.step."""
    start = time.perf_counter()
    optimizer.zero_grad()
    F.cross_entropy(model(x), y).backward()
    between = time.perf_counter()
    optimizer.step()
    end = time.perf_counter()
    return end - start, end - between


def with_survivors(steps: int) -> dict[str, Any]:
    """SurvivorOptimizer; the gathering hooks are timed and added to the optimiser part."""
    gathering = [0.0]
    gather = survivors._Survivors._gather

    def timed(self: Any, parameter: Tensor) -> None:
        start = time.perf_counter()
        gather(self, parameter)
        gathering[0] += time.perf_counter() - start

    survivors._Survivors._gather = timed  # type: ignore[method-assign]
    model, mask = network()
    masks.apply(prunable(model, ["blocks.*"]), mask)
    optimizer = survivors.SurvivorOptimizer(model, mask, "adam", lr=1e-3)
    rows = []
    for _ in range(steps):
        gathering[0] = 0.0
        whole, part = step(model, optimizer, *batch())
        rows.append((whole, part + gathering[0]))
    return summary(rows)


def with_torch_prune(steps: int) -> dict[str, Any]:
    """torch.nn.utils.prune.custom_from_mask on the same tensors, and Adam over all parameters."""
    model, mask = network()
    for name, keep in mask.items():
        prune.custom_from_mask(model.get_submodule(name.removesuffix(".weight")), "weight", keep)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    return summary([step(model, optimizer, *batch()) for _ in range(steps)])


def batch() -> tuple[Tensor, Tensor]:
    """The same random images each time."""
    draw = torch.Generator().manual_seed(1)
    return torch.randn(BATCH, 3, 224, 224, generator=draw), torch.arange(BATCH)


def summary(rows: list[tuple[float, float]]) -> dict[str, Any]:
    """The best seconds after the first step, which allocates, and the peak of memory."""
    whole, part = (min(column) for column in zip(*rows[1:], strict=True))
    return {"step": whole, "optimiser": part, "peak": peak_of_process()}


def main() -> None:
    """Measure both and print the comparison."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=6)
    steps = parser.parse_args().steps
    found = {work.__name__: in_child(work, steps) for work in (with_survivors, with_torch_prune)}
    for name, row in found.items():
        print(
            f"{name:18s} step {row['step']:.2f} s   optimiser {row['optimiser']:.3f} s   peak {row['peak'] / 1e9:.2f} GB"
        )
    ours, other = found.values()
    print(
        f"optimiser part {other['optimiser'] / ours['optimiser']:.1f}x faster, step {other['step'] / ours['step']:.2f}x,"
        f" peak memory {ours['peak'] / other['peak']:.2f}x"
    )


if __name__ == "__main__":
    main()
