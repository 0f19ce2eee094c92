"""Scoring ViT-B/16 at batch 8: seconds and peak memory of each scorer against one forward and backward pass.

Each scorer has a process of its own, in which the plain pass is measured too; seconds are the best of several, memory is
the highest level of the whole process, weights and libraries included. Scorers with rounds are measured for one round.
`double_backward` is GraSP's Hg the plain way: one backward pass through the graph of another, the batch at once.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import Any

import timm
import torch
from measure import PeakGrowth, in_child
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

from prune_cli import scorers
from prune_cli.models.prunable import prunable

ARCH, BATCH = "vit_base_patch16_224", 8
Work = Callable[[nn.Module, Tensor, Tensor, dict[str, nn.Parameter]], Any]


def forward_backward(model: nn.Module, x: Tensor, y: Tensor, _: dict[str, nn.Parameter]) -> None:
    """One plain pass; the gradients are left in the parameters."""
    F.cross_entropy(model(x), y).backward()


def double_backward(model: nn.Module, x: Tensor, y: Tensor, parameters: dict[str, nn.Parameter]) -> Any:
    """The Hessian times the gradient, all at once."""
    weights = list(parameters.values())
    with sdpa_kernel(SDPBackend.MATH):
        g = torch.autograd.grad(F.cross_entropy(model(x), y), weights, create_graph=True)
        return torch.autograd.grad(g, weights, [one.detach() for one in g])


def measured(work: Work, given: tuple[Any, ...], repeats: int) -> tuple[float, int]:
    """The best seconds and the highest level of memory [bytes]."""
    seconds, peaks = [], []
    for _ in range(repeats):
        given[0].zero_grad(set_to_none=True)
        with PeakGrowth() as memory:
            start = time.perf_counter()
            kept = work(*given)
            seconds.append(time.perf_counter() - start)
        del kept
        peaks.append(memory.peak)
    return min(seconds), max(peaks)


def compare(name: str, repeats: int) -> dict[str, Any]:
    """One scorer (or double_backward) beside the plain pass."""
    torch.manual_seed(0)
    model = timm.create_model(ARCH, num_classes=10).eval()
    given = (model, torch.randn(BATCH, 3, 224, 224), torch.arange(BATCH), prunable(model, ["blocks.*"]))
    plain = measured(forward_backward, given, repeats)
    if name == "double_backward":
        own = measured(double_backward, given, repeats)
    else:
        scorer = scorers.build(name)
        own = measured(lambda m, x, y, p: scorer(m, [(x, y)], p), given, repeats)
    return {"plain": plain, "own": own}


def main() -> None:
    """Measure all and print a row each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("scorers", nargs="*", default=[*scorers.scorers.classes, "double_backward"])
    options = parser.parse_args()
    for name in options.scorers:
        found = in_child(compare, name, options.repeats)
        (seconds, peak), (own_seconds, own_peak) = found["plain"], found["own"]
        print(
            f"{name:16s} {own_seconds:6.2f} s ({own_seconds / seconds:.2f}x of {seconds:.2f} s)"
            f"   peak {own_peak / 1e9:.2f} GB ({own_peak / peak:.2f}x of {peak / 1e9:.2f} GB)",
            flush=True,
        )


if __name__ == "__main__":
    main()
