"""wanda: |W| · ‖x‖₂ (Sun et al., "A simple and effective pruning approach for large language models", 2024)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from prune_cli.common.errors import ConfigError
from prune_cli.common.lazy import F, Tensor, nn, torch
from prune_cli.scorers.gradients import check_finite, eval_mode, numbered
from prune_cli.scorers.registry import Batches, Parameters, Scorer, Scores, scorers

if TYPE_CHECKING:
    Layer = nn.Linear | nn.Conv2d


@scorers.register("wanda")
@dataclass(frozen=True)
class Wanda(Scorer):
    """s(W_oi) = |W_oi| · ‖x_i‖₂, the root mean square of input feature i over all tokens (pixels) of all samples.

    The method compares the weights of one output row with each other: use it with sparsity.scope=row. Forward passes
    alone, all layers at once on the dense model, where the method's paper goes from layer to layer. A feature of a k×k convolution is one entry of its unfolded input.
    """

    title = "Wanda"

    def __call__(self, model: nn.Module, batches: Batches, parameters: Parameters) -> Scores:
        """Score the weights; higher = keep. Raises ConfigError for a weight of no Linear or Conv2d layer."""
        layers = {name: _owner(model, p, name) for name, p in parameters.items()}
        totals = {name: _InputSquares() for name in layers}
        hooks = [layer.register_forward_pre_hook(_square_hook(totals[name], layer)) for name, layer in layers.items()]
        try:
            with eval_mode(model), torch.no_grad():
                for number, (x, y) in enumerate(batches):
                    with numbered(number):
                        check_finite(F.cross_entropy(model(x), y), "loss")
        finally:
            for hook in hooks:
                hook.remove()
        return {name: _score(name, layer, totals[name]) for name, layer in layers.items()}


class _InputSquares:
    """The sum of squares of each input feature of a layer, and the number of tokens summed over."""

    def __init__(self) -> None:
        self.squares: Tensor | None = None
        self.tokens = 0


def _owner(model: nn.Module, parameter: nn.Parameter, name: str) -> Layer:
    plain = (nn.Linear.forward, nn.Conv2d.forward)  # what pads or standardises inside sees another input or weight
    for layer in model.modules():
        if isinstance(layer, (nn.Linear, nn.Conv2d)) and layer.weight is parameter and type(layer).forward in plain:
            return layer
    raise ConfigError("wanda scores weights of plain Linear and Conv2d layers alone", name, "another model.prunable")


def _square_hook(total: _InputSquares, layer: Layer) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
    def add(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        squares, tokens = _squares(inputs[0].detach(), layer)
        total.squares = squares if total.squares is None else total.squares.add_(squares)
        total.tokens += tokens

    return add


def _squares(x: Tensor, layer: Layer) -> tuple[Tensor, int]:
    """The sum of x² by input feature, shaped to broadcast over the layer's weight, and the number of tokens."""
    if isinstance(layer, nn.Linear):
        tokens_NI = x.reshape(-1, x.shape[-1])
        return tokens_NI.square().sum(0), len(tokens_NI)
    top = _padded(x, layer).square()
    sides = zip(top.shape[2:], _spans(layer), layer.stride, strict=True)
    height, width = (1 + (size - span) // step for size, span, step in sides)
    rows = [
        [_tap(top, layer, i, j, height, width) for j in range(layer.kernel_size[1])]
        for i in range(layer.kernel_size[0])
    ]
    squares_Ckk = torch.stack([torch.stack(row, -1) for row in rows], 1)
    by_group = squares_Ckk.view(layer.groups, -1, *squares_Ckk.shape[1:])
    return by_group.repeat_interleave(layer.out_channels // layer.groups, 0), len(x) * height * width


def _padded(x: Tensor, layer: nn.Conv2d) -> Tensor:
    if layer.padding_mode != "zeros" or isinstance(layer.padding, str):
        raise ConfigError("wanda knows convolutions padded with a number of zeros alone", "scorer=wanda")
    rows, columns = layer.padding
    return F.pad(x, (columns, columns, rows, rows))


def _spans(layer: nn.Conv2d) -> list[int]:
    return [dilation * (size - 1) + 1 for dilation, size in zip(layer.dilation, layer.kernel_size, strict=True)]


def _tap(x: Tensor, layer: nn.Conv2d, i: int, j: int, height: int, width: int) -> Tensor:
    """The sum over samples and positions, for each channel, of the inputs that kernel entry (i, j) multiplies."""
    top, left = i * layer.dilation[0], j * layer.dilation[1]
    inputs = x[:, :, top :: layer.stride[0], left :: layer.stride[1]][:, :, :height, :width]
    return inputs.sum((0, 2, 3))


def _score(name: str, layer: Layer, total: _InputSquares) -> Tensor:
    if total.squares is None:
        raise ConfigError("this layer saw no input while scoring", name, "another model.prunable")
    return layer.weight.detach().abs() * (total.squares / total.tokens).sqrt()
