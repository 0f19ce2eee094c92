"""Derivatives for scorers: the mean gradient of the cross-entropy, and Hessian-vector products."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

from prune_cli.common.errors import NumericalError
from prune_cli.common.lazy import F, Tensor, nn, torch
from prune_cli.scorers.registry import Batches, Parameters

Gradients = dict[str, Tensor]


@contextmanager
def eval_mode(model: nn.Module) -> Iterator[None]:
    """Put a model in eval mode inside this context; afterwards each module has the mode that it had."""
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        yield
    finally:
        for module, mode in modes.items():
            module.training = mode


@contextmanager
def eval_mode_with_grad(model: nn.Module, parameters: Parameters) -> Iterator[None]:
    """Put a model in eval mode with gradients for `parameters` alone inside this context; restore both afterwards."""
    wanted = {p: p.requires_grad for p in model.parameters()}
    chosen = set(parameters.values())
    for parameter in wanted:
        parameter.requires_grad_(parameter in chosen)
    try:
        with eval_mode(model), _differentiable(model):
            yield
    finally:
        for parameter, flag in wanted.items():
            parameter.requires_grad_(flag)


def _differentiable(model: nn.Module) -> AbstractContextManager[None]:
    """A context without cuDNN for recurrent models: its kernels have no backward pass in eval mode, and no double backward."""
    return torch.backends.cudnn.flags(enabled=False) if is_recurrent(model) else nullcontext()


def math_attention() -> AbstractContextManager[None]:
    """A context in which attention uses torch's math backend: fused kernels have no double backward on the CPU."""
    return nn.attention.sdpa_kernel(nn.attention.SDPBackend.MATH)


def is_recurrent(model: nn.Module) -> bool:
    """Whether the model has a recurrent layer (RNN, LSTM, GRU)."""
    return any(isinstance(layer, nn.RNNBase) for layer in model.modules())


def mean_gradients(model: nn.Module, batches: Batches, parameters: Parameters, temperature: float = 1.0) -> Gradients:
    """∂L/∂θ, L the mean over all samples (of clips: over all frames) of the cross-entropy of logits / temperature."""
    with eval_mode_with_grad(model, parameters), _accumulated(parameters) as accumulated:
        for number, (x, y) in enumerate(batches):
            with numbered(number):
                _loss(model, x, y, temperature).backward(inputs=list(parameters.values()))
            accumulated.samples += y.numel()
    return accumulated.mean


def hessian_vector_products(
    model: nn.Module, batches: Batches, parameters: Parameters, vectors: Gradients, temperature: float = 1.0
) -> Gradients:
    """H v for the vectors v, H the Hessian of the mean cross-entropy of logits / temperature, by a second backward pass."""
    weights, v = list(parameters.values()), [vectors[name] for name in parameters]
    with eval_mode_with_grad(model, parameters), _accumulated(parameters) as accumulated, math_attention():
        for number, (x, y) in enumerate(batches):
            with numbered(number):
                loss = _loss(model, x, y, temperature)
            slopes = torch.autograd.grad(loss, weights, create_graph=True, materialize_grads=True)
            curved = [(slope, of) for slope, of in zip(slopes, v, strict=True) if slope.requires_grad]
            if curved:
                torch.autograd.backward([slope for slope, _ in curved], [of for _, of in curved], inputs=weights)
            accumulated.samples += y.numel()
    return accumulated.mean


def in_parts(model: nn.Module, batches: Batches, mib: int) -> Batches:
    """The samples of `batches`, which may be gone through twice, in batches whose activations take about `mib` MiB at most,
    one sample at least.

    What a sample's activations take is measured on the first: the tensors that a forward pass, as it is differentiated
    twice, saves for its backward.
    """
    first, _ = next(iter(batches))
    size = max(1, mib * 2**20 // _saved_bytes(model, first[:1]))
    return (part for x, y in batches for part in zip(x.split(size), y.split(size), strict=True))


def names_in(model: nn.Module, parameters: Parameters) -> dict[str, str]:
    """The model's own name of each of these parameters, by the name in `parameters`."""
    own = {id(p): name for name, p in model.named_parameters()}
    return {name: own[id(p)] for name, p in parameters.items()}


def check_finite(values: Tensor, what: str) -> None:
    """Raise NumericalError unless all values are finite. what: their name in the message."""
    if not torch.isfinite(values).all():
        raise NumericalError(f"the {what} is {values.sum().item()} while scoring")


@contextmanager
def numbered(number: int) -> Iterator[None]:
    """Inside this context add the number of the scoring batch to a NumericalError. number: from 0, shown from 1."""
    try:
        yield
    except NumericalError as error:
        raise NumericalError(error.what, f"scoring batch {number + 1}", "check the weights and the images") from None


def _loss(model: nn.Module, x: Tensor, y: Tensor, temperature: float) -> Tensor:
    """The cross-entropy of logits / temperature, summed over the samples. Raises NumericalError where it is not finite."""
    loss = F.cross_entropy(model(x) / temperature, y, reduction="sum")
    check_finite(loss, "loss")
    return loss


def _saved_bytes(model: nn.Module, x: Tensor) -> int:
    found, weights = 1, {p.data_ptr() for p in model.parameters()}

    def count(tensor: Tensor) -> Tensor:
        nonlocal found
        if tensor.data_ptr() not in weights:
            found += tensor.numel() * tensor.element_size()
        return tensor

    with (
        eval_mode(model),
        math_attention(),
        torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor),
    ):
        model(x)
    return found


class _Accumulated:
    """Gradients accumulated over `samples` samples. mean: their mean by parameter name, filled at the end of the context."""

    def __init__(self) -> None:
        self.samples = 0
        self.mean: Gradients = {}


@contextmanager
def _accumulated(parameters: Parameters) -> Iterator[_Accumulated]:
    """Accumulate gradients in .grad inside this context, then divide by the samples and restore the previous .grad."""
    before = {name: p.grad for name, p in parameters.items()}
    accumulated = _Accumulated()
    for parameter in parameters.values():
        parameter.grad = None
    try:
        yield accumulated
        if not accumulated.samples:
            raise ValueError("scores need at least one batch")
        for name, p in parameters.items():
            accumulated.mean[name] = torch.zeros_like(p) if p.grad is None else p.grad.div_(accumulated.samples)
            accumulated.mean[name] = accumulated.mean[name].detach()
    finally:
        for name, p in parameters.items():
            p.grad = before[name]
