"""Removing units of an LSTM: by a mask of their outputs, by zeros in the weights that read them, or by a smaller LSTM.

A letter legend: B clips, T frames, I inputs of the LSTM, U units, G = 4U gates in torch's order (in, forget, cell, out), K
classes. h is the hidden state, m the mask of the units, 1 where a unit stays.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping

from prune_cli.common.errors import ConfigError
from prune_cli.common.lazy import F, Tensor, nn, torch
from prune_cli.masks.mask import Mask

PLACEMENTS = ("recurrence", "readout")


def has_units(model: nn.Module) -> bool:
    """Whether units can be removed: there is one LSTM of one layer and one direction, and the classifier reads it."""
    return _lstm_name(model) is not None


def units(model: nn.Module) -> dict[str, nn.Parameter]:
    """The mask m of each recurrent layer by its name, all ones, (U,): what unit scorers score. Raises ConfigError."""
    name = _required_lstm_name(model)
    weight_GU = model.get_submodule(name).get_parameter("weight_hh_l0")
    return {name: nn.Parameter(torch.ones_like(weight_GU[0]), requires_grad=False)}


def weight_mask(model: nn.Module, mask: Mapping[str, Tensor], placement: str) -> Mask:
    """The mask of weights for a mask of units: False at a removed unit's column of the classifier and, for placement
    recurrence, of weight_hh.
    """
    readers = readers_of(model, placement)
    return {name: keep.expand_as(weight) for keep in mask.values() for name, weight in readers.items()}


def readers_of(model: nn.Module, placement: str) -> dict[str, Tensor]:
    """The weights with a column for each unit that removal sets to zero, by name."""
    lstm = _required_lstm_name(model)
    names = {id(layer): name for name, layer in model.named_modules()}
    head = f"{names[id(classifier_of(model))]}.weight"
    wanted = [head] if placement == "readout" else [f"{lstm}.weight_hh_l0", head]
    return {name: model.get_parameter(name) for name in wanted}


def shrink(model: nn.Module, mask: Mapping[str, Tensor]) -> nn.Module:
    """A copy of the model with only the units that stay: its outputs are those of the recurrence-masked model.

    mask: {layer: keep_U}, True = keep, as `masks.select` gives it; at least one unit must stay. Raises ConfigError.
    """
    small = copy.deepcopy(model)
    ((name, keep),) = mask.items()
    if not bool(keep.any()):
        raise ConfigError("an LSTM without units is none", name, "a lower sparsity")
    lstm, head = small.get_submodule(name), classifier_of(small)
    assert isinstance(lstm, nn.LSTM)
    kept = int(keep.sum())
    fresh = nn.LSTM(lstm.input_size, kept, batch_first=lstm.batch_first, device=keep.device).to(
        lstm.get_parameter("weight_hh_l0")
    )
    fresh.load_state_dict({key: _kept_rows(key, value, keep) for key, value in lstm.state_dict().items()})
    small.set_submodule(name, fresh.train(lstm.training))
    head.weight, head.in_features = nn.Parameter(head.weight.detach()[:, keep]), kept
    return small


def _kept_rows(key: str, value: Tensor, keep: Tensor) -> Tensor:
    """The rows of an LSTM parameter that belong to the kept units; of weight_hh also their columns only."""
    rows = value[keep.repeat(4)]
    return rows[:, keep] if key == "weight_hh_l0" else rows


def gate_inputs(lstm: nn.LSTM, x_BTI: Tensor) -> Tensor:
    """W_ih x + b_ih + b_hh, gates_BTG: what of the gates does not depend on the hidden state, so not on its mask."""
    bias_G = lstm.get_parameter("bias_ih_l0") + lstm.get_parameter("bias_hh_l0")
    return F.linear(x_BTI, lstm.get_parameter("weight_ih_l0"), bias_G)


def hidden_states(lstm: nn.LSTM, gates_BTG: Tensor, keep_U: Tensor | None = None) -> Tensor:
    """The hidden states h·m, (B, T, kept units), from gate inputs; inside the recurrence only the units of keep_U stay.

    A removed unit feeds nothing back and is not read, so it need not be computed: the fewer stay, the faster.
    """
    keep = torch.ones(lstm.hidden_size, dtype=torch.bool, device=gates_BTG.device) if keep_U is None else keep_U
    weight_GU = _kept_rows("weight_hh_l0", lstm.get_parameter("weight_hh_l0"), keep).T.contiguous()
    gates_TBG = gates_BTG.transpose(0, 1)[..., keep.repeat(4)]
    h = c = gates_BTG.new_zeros(len(gates_BTG), int(keep.sum()))
    found = []
    for gates_BG in gates_TBG:
        h, c = lstm_cell(torch.addmm(gates_BG, h, weight_GU), c)
        found.append(h)
    return torch.stack(found, 1)


def lstm_cell(gates_BG: Tensor, c_BU: Tensor) -> tuple[Tensor, Tensor]:
    """h' = o·tanh(c'), c' = f·c + i·g, from the sums at the gates (Hochreiter and Schmidhuber 1997, with forget gates)."""
    i, f, g, o = gates_BG.chunk(4, -1)
    c = torch.sigmoid(f) * c_BU + torch.sigmoid(i) * torch.tanh(g)
    return torch.sigmoid(o) * torch.tanh(c), c


def _required_lstm_name(model: nn.Module) -> str:
    name = _lstm_name(model)
    if name is None:
        raise ConfigError("this model has no units that could be removed", type(model).__name__, "model=lstm128")
    return name


def lstm_of(model: nn.Module) -> nn.LSTM:
    """The LSTM whose units can be removed. Raises ConfigError."""
    lstm = model.get_submodule(_required_lstm_name(model))
    assert isinstance(lstm, nn.LSTM)
    return lstm


def _lstm_name(model: nn.Module) -> str | None:
    found = [(name, layer) for name, layer in model.named_modules() if isinstance(layer, nn.RNNBase)]
    if len(found) != 1 or not isinstance(found[0][1], nn.LSTM):
        return None
    name, lstm = found[0]
    plain = lstm.num_layers == 1 and not lstm.bidirectional and not lstm.proj_size and lstm.bias
    return name if plain and classifier_of(model).in_features == lstm.hidden_size else None


def classifier_of(model: nn.Module) -> nn.Linear:
    """The classifier, the linear layer that reads the units."""
    return model.get_classifier()  # type: ignore[operator]
