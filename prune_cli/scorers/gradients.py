"""The derivatives that scorers share: mean gradient of the cross-entropy, and the Hessian times a vector."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

from prune_cli.common.errors import NumericalError
from prune_cli.scorers.registry import Batches, Parameters

Gradients = dict[str, Tensor]


@contextmanager
def quiet(model: nn.Module) -> Iterator[None]:
    """Measure a model in eval mode, then leave every module in the mode that it had."""
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        yield
    finally:
        for module, mode in modes.items():
            module.training = mode


@contextmanager
def probing(model: nn.Module, parameters: Parameters) -> Iterator[None]:
    """Measure a model in eval mode with gradients for `parameters` alone, then leave it as it was."""
    wanted = {p: p.requires_grad for p in model.parameters()}
    chosen = set(parameters.values())
    for parameter in wanted:
        parameter.requires_grad_(parameter in chosen)
    try:
        with quiet(model):
            yield
    finally:
        for parameter, flag in wanted.items():
            parameter.requires_grad_(flag)


def mean_gradients(model: nn.Module, batches: Batches, parameters: Parameters, temperature: float = 1.0) -> Gradients:
    """∂L/∂θ, L the mean over all samples of the cross-entropy of logits / temperature."""
    with probing(model, parameters):
        return _weighted(batches, parameters, lambda x, y: _gradients(model, x, y, parameters, temperature))


def hessian_vector_products(
    model: nn.Module, batches: Batches, parameters: Parameters, vectors: Gradients, temperature: float = 1.0
) -> Gradients:
    """H v, H the second derivative of that same L among `parameters`, by a second backward pass."""
    v = [vectors[name] for name in parameters]

    def product(x: Tensor, y: Tensor) -> Sequence[Tensor]:
        gradients = _gradients(model, x, y, parameters, temperature, create_graph=True)
        return torch.autograd.grad(gradients, list(parameters.values()), v, materialize_grads=True)

    # fused attention has no double backward on the CPU; the math kernel computes the same thing
    with probing(model, parameters), sdpa_kernel(SDPBackend.MATH):
        return _weighted(batches, parameters, product)


def _gradients(
    model: nn.Module, x: Tensor, y: Tensor, parameters: Parameters, temperature: float, create_graph: bool = False
) -> Sequence[Tensor]:
    loss = F.cross_entropy(model(x) / temperature, y)
    check_finite(loss, "loss")
    return torch.autograd.grad(loss, list(parameters.values()), create_graph=create_graph, materialize_grads=True)


def check_finite(values: Tensor, what: str) -> None:
    """Raise NumericalError unless all of these values, called `what`, are finite."""
    if not torch.isfinite(values).all():
        raise NumericalError(f"the {what} is {values.sum().item()} while scoring")


@contextmanager
def numbered(number: int) -> Iterator[None]:
    """Let a NumericalError say in which batch it arose."""
    try:
        yield
    except NumericalError as error:
        raise NumericalError(error.what, f"scoring batch {number}", "check the weights and the images") from None


def _weighted(
    batches: Batches, parameters: Parameters, measure: Callable[[Tensor, Tensor], Sequence[Tensor]]
) -> Gradients:
    """The mean over batches of what is measured on each, weighted by samples; one tensor a name is kept."""
    total: list[Tensor] = []
    samples = 0
    for number, (x, y) in enumerate(batches):
        with numbered(number):
            found = measure(x, y)
        total = _merge(total, samples, found, len(y))
        samples += len(y)
    if not total:
        raise ValueError("scores need at least one batch")
    return dict(zip(parameters, total, strict=True))


def _merge(total: list[Tensor], samples: int, found: Sequence[Tensor], more: int) -> list[Tensor]:
    """The running mean of `samples` samples, joined by `more` of them; in place where that is safe."""
    if not total:
        return [t.detach() for t in found]
    share = more / (samples + more)
    return [mean.lerp_(t.detach(), share) for mean, t in zip(total, found, strict=True)]
